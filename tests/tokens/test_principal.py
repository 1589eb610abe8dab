"""Whom the tokens of each provider name, and what refuses to name anybody."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from meshid.errors import Refused
from meshid.policy.issuer_profiles import PROFILES
from meshid.policy.issuers import Issuer, IssuerProfile, Pin
from meshid.reasons import Reason
from meshid.tokens.claims import check_pins, check_times
from meshid.tokens.principal import principal_of

AWS = "https://sts.amazonaws.com/"
ROLE = "arn:aws:iam::111122223333:role/payments-api"
ACCOUNT = {AWS: {"aws_account": "111122223333", "org_id": "o-1", "principal_tags": {"team": "pay"}}}
POD = {
    "namespace": "payments",
    "serviceaccount": {"name": "api", "uid": "u-1"},
    "pod": {"name": "p", "uid": "u-2"},
}
SERVICE_ACCOUNT = "system:serviceaccount:payments:api"
SVID = "spiffe://prod.example.org/ns/pay/sa/api"
OID = "8b7a6c5d-0000-4000-8000-000000000001"

RIGHT: dict[IssuerProfile, tuple[dict[str, Any], str]] = {
    IssuerProfile.OKTA: ({"sub": "0oa1", "cid": "0oa1", "ver": 1, "scp": ["charge"]}, "0oa1"),
    IssuerProfile.AWS_IAM: ({"sub": ROLE, **ACCOUNT}, ROLE),
    IssuerProfile.KUBERNETES: ({"sub": SERVICE_ACCOUNT, "kubernetes.io": POD}, "payments/api"),
    IssuerProfile.EKS: ({"sub": SERVICE_ACCOUNT, "kubernetes.io": POD}, "payments/api"),
    IssuerProfile.GITHUB_ACTIONS: (
        {"sub": "repo:acme/payments:environment:prod", "repository_id": "74", "repository_owner_id": "65"},
        "repo:acme/payments:environment:prod",
    ),
    IssuerProfile.GOOGLE: (
        {"sub": "113774264463038321964", "email": "x@y.iam.gserviceaccount.com"},
        "113774264463038321964",
    ),
    IssuerProfile.ENTRA: ({"sub": OID, "oid": OID, "idtyp": "app", "azp": "a-1", "tid": "t-1"}, OID),
    IssuerProfile.JWT_SVID: ({"sub": SVID}, SVID),
    IssuerProfile.OIDC: ({"sub": "service-7"}, "service-7"),
}


def _issuer(profile: IssuerProfile, principal: str | None = None, *pins: Pin) -> Issuer:
    claim = principal or PROFILES[profile].principal
    return Issuer(
        name="it", profile=profile, issuer="https://it", audience=("a",), principal=claim, pins=pins
    )


def _refusal(issuer: Issuer, claims: dict[str, Any]) -> str:
    with pytest.raises(Refused) as caught:
        principal_of(issuer, claims)
    assert caught.value.reason is Reason.TOKEN_CLAIMS
    return caught.value.detail


@pytest.mark.parametrize("profile", IssuerProfile)
def test_the_token_of_a_workload_names_it(profile: IssuerProfile) -> None:
    claims, principal = RIGHT[profile]
    assert principal_of(_issuer(profile), claims) == principal


@pytest.mark.parametrize("profile", IssuerProfile)
def test_without_a_subject_nobody_is_named(profile: IssuerProfile) -> None:
    claims, _ = RIGHT[profile]
    assert _refusal(_issuer(profile), {**claims, "sub": ""}) == "its claim 'sub' is empty"


def test_another_claim_may_name_the_principal() -> None:
    claims, _ = RIGHT[IssuerProfile.GITHUB_ACTIONS]
    assert principal_of(_issuer(IssuerProfile.GITHUB_ACTIONS, "repository_id"), claims) == "74"
    detail = _refusal(_issuer(IssuerProfile.GITHUB_ACTIONS, "repository_id"), {**claims, "repository_id": 74})
    assert detail == "its claim 'repository_id' is not a text"


WRONG: dict[str, tuple[IssuerProfile, dict[str, Any], str]] = {
    "okta: a user": (IssuerProfile.OKTA, {"uid": "00u1"}, "it is about a user"),
    "okta: a user by the subject": (
        IssuerProfile.OKTA,
        {"sub": "jane@acme.example"},
        "'sub' and 'cid' differ",
    ),
    "okta: an ID token, which has no cid": (IssuerProfile.OKTA, {"cid": None}, "'cid' is missing"),
    "aws: a session of the role": (
        IssuerProfile.AWS_IAM,
        {"sub": "arn:aws:sts::111122223333:assumed-role/payments-api/i-1"},
        "not the ARN of a role",
    ),
    "aws: a user": (
        IssuerProfile.AWS_IAM,
        {"sub": "arn:aws:iam::111122223333:user/jane"},
        "not the ARN of a role",
    ),
    "aws: a role without a name": (
        IssuerProfile.AWS_IAM,
        {"sub": "arn:aws:iam::111122223333:role/"},
        "not the ARN",
    ),
    "aws: the role of another account": (
        IssuerProfile.AWS_IAM,
        {"sub": ROLE.replace("1111", "4444")},
        "in the account that its claim 'aws_account' names",
    ),
    "aws: no account": (IssuerProfile.AWS_IAM, {AWS: None}, "aws_account' is missing"),
    "aws: the account is a number": (
        IssuerProfile.AWS_IAM,
        {AWS: {"aws_account": 111122223333}},
        "is not a text",
    ),
    "aws: the account on the top level": (
        IssuerProfile.AWS_IAM,
        {AWS: None, "aws_account": "111122223333"},
        "is missing",
    ),
    "kubernetes: a user": (IssuerProfile.KUBERNETES, {"sub": "jane"}, "names nothing that is a principal"),
    "kubernetes: a node": (IssuerProfile.KUBERNETES, {"sub": "system:node:n-1"}, "names nothing"),
    "kubernetes: a name in two parts": (
        IssuerProfile.KUBERNETES,
        {"sub": "system:serviceaccount:payments:a/b"},
        "names nothing",
    ),
    "kubernetes: a fifth part": (IssuerProfile.KUBERNETES, {"sub": SERVICE_ACCOUNT + ":x"}, "names nothing"),
    "kubernetes: another account below": (
        IssuerProfile.KUBERNETES,
        {"kubernetes.io": {**POD, "serviceaccount": {"name": "admin"}}},
        "different service accounts",
    ),
    "kubernetes: another namespace below": (
        IssuerProfile.KUBERNETES,
        {"kubernetes.io": {**POD, "namespace": "kube-system"}},
        "different service accounts",
    ),
    "kubernetes: a token from a Secret": (
        IssuerProfile.KUBERNETES,
        {"kubernetes.io": None, "kubernetes.io/serviceaccount/namespace": "payments"},
        "kubernetes.io/namespace' is missing",
    ),
    "eks: another account below": (
        IssuerProfile.EKS,
        {"kubernetes.io": {**POD, "serviceaccount": {"name": "admin"}}},
        "different service accounts",
    ),
    "entra: a user": (IssuerProfile.ENTRA, {"idtyp": "user"}, "'idtyp' is not 'app'"),
    "entra: not said what it is about": (IssuerProfile.ENTRA, {"idtyp": None}, "'idtyp' is missing"),
    "entra: no object": (IssuerProfile.ENTRA, {"oid": None}, "'oid' is missing"),
    "jwt-svid: the trust domain itself": (
        IssuerProfile.JWT_SVID,
        {"sub": "spiffe://prod.example.org"},
        "has no path",
    ),
    "jwt-svid: no SPIFFE ID": (
        IssuerProfile.JWT_SVID,
        {"sub": "spiffe://prod.example.org/a//b"},
        "not a SPIFFE ID",
    ),
    "oidc: an array": (IssuerProfile.OIDC, {"sub": ["service-7"]}, "is not a text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_token_of_anything_else_names_nobody(name: str) -> None:
    profile, changes, words = WRONG[name]
    claims = {**RIGHT[profile][0], **changes}
    assert words in _refusal(
        _issuer(profile), {key: each for key, each in claims.items() if each is not None}
    )


PINS: dict[str, tuple[IssuerProfile, Pin]] = {
    "aws": (IssuerProfile.AWS_IAM, Pin("org_id", "o-1")),
    "aws, a tag": (IssuerProfile.AWS_IAM, Pin("principal_tags/team", "pay")),
    "kubernetes": (IssuerProfile.KUBERNETES, Pin("pod/uid", "u-2")),
    "github": (IssuerProfile.GITHUB_ACTIONS, Pin("repository_owner_id", "65")),
    "entra": (IssuerProfile.ENTRA, Pin("tid", "t-1")),
    "oidc": (IssuerProfile.OIDC, Pin("sub", "service-7")),
}


@pytest.mark.parametrize("name", PINS)
def test_a_pin_is_looked_for_where_the_provider_writes_it(name: str) -> None:
    profile, pin = PINS[name]
    claims, _ = RIGHT[profile]
    check_pins(_issuer(profile, None, pin), claims)
    with pytest.raises(Refused) as caught:
        check_pins(_issuer(profile, None, attrs.evolve(pin, value=pin.value + "0")), claims)
    assert caught.value.reason is Reason.TOKEN_CLAIMS
    assert repr(pin.claim) in caught.value.detail


def test_a_pin_that_the_profile_does_not_have_is_never_met() -> None:
    with pytest.raises(Refused, match="which aws-iam does not have"):
        check_pins(
            _issuer(IssuerProfile.AWS_IAM, None, Pin("request_tags/team", "pay")),
            RIGHT[IssuerProfile.AWS_IAM][0],
        )


def test_a_provider_may_date_its_tokens_back() -> None:
    """A token of Entra for a day, as it is published: ``iat`` is five minutes before it was made."""
    claims = {"iat": 1690329127, "nbf": 1690329127, "exp": 1690415827}
    assert check_times(_issuer(IssuerProfile.ENTRA), claims, 1690329427) == 1690415827
    for profile, later in ((IssuerProfile.OIDC, 0), (IssuerProfile.ENTRA, 1)):
        with pytest.raises(Refused) as caught:
            check_times(_issuer(profile), {**claims, "exp": claims["exp"] + later}, 1690329427)
        assert caught.value.reason is Reason.TOKEN_NOT_IN_DATE

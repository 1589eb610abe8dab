"""Whom a token names: one claim by the profile of its issuer, and what must be true beside it."""

from __future__ import annotations

import re
from typing import Any

from meshid.errors import InvalidSpiffeId, Refused
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.issuer_profiles import PROFILES
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.tokens.claims import text_claim

MAX_PRINCIPAL = 2048
"""Characters, as of a SPIFFE ID (SPIFFE-ID section 2.3); a ``sub`` has 255 (OpenID Connect section 2)."""

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}):role/[\w+=,.@/-]+", re.ASCII)
_AWS_ACCOUNT = ("https://sts.amazonaws.com/", "aws_account")
_NAMESPACE = ("kubernetes.io", "namespace")
_SERVICE_ACCOUNT = ("kubernetes.io", "serviceaccount", "name")


def principal_of(issuer: Issuer, claims: dict[str, Any]) -> str:
    """Return the principal that a token names.

    Args:
        issuer: Its issuer.
        claims: Its claims.

    Raises:
        Refused: TOKEN_CLAIMS, if it names none, names a user, or says two things of one workload.
    """
    text_claim(claims, ("sub",))
    _check_kind(issuer.profile, claims)
    principal = PROFILES[issuer.profile].principal_of(text_claim(claims, (issuer.principal,)))
    if principal is None:
        msg = f"its claim {quote(issuer.principal)} names nothing that is a principal of {issuer.profile}"
        raise Refused(Reason.TOKEN_CLAIMS, msg)
    if len(principal) > MAX_PRINCIPAL or not principal.isprintable():
        msg = f"its claim {quote(issuer.principal)} has control characters, or more than {MAX_PRINCIPAL}"
        raise Refused(Reason.TOKEN_CLAIMS, msg)
    _check_beside(issuer.profile, claims, principal)
    return principal


def _check_kind(profile: IssuerProfile, claims: dict[str, Any]) -> None:
    facts = PROFILES[profile]
    for name, value in facts.fixed_claims:
        if text_claim(claims, (name,)) != value:
            msg = f"its claim {name!r} is not {value!r}, as in each token of a workload"
            raise Refused(Reason.TOKEN_CLAIMS, msg)
    for name in facts.absent_claims:
        if name in claims:
            msg = f"it has a claim {name!r}: it is about a user"
            raise Refused(Reason.TOKEN_CLAIMS, msg)
    for one, other in facts.same_claims:
        if text_claim(claims, (one,)) != text_claim(claims, (other,)):
            msg = f"its claims {one!r} and {other!r} differ: it is not a workload's own"
            raise Refused(Reason.TOKEN_CLAIMS, msg)


def _check_beside(profile: IssuerProfile, claims: dict[str, Any], principal: str) -> None:
    """Check that what the token says of the principal in other places is the same."""
    if profile is IssuerProfile.JWT_SVID:
        _check_workload(principal)
    elif profile is IssuerProfile.AWS_IAM:
        role = _ROLE.fullmatch(principal)
        if role is None or role.group(1) != text_claim(claims, _AWS_ACCOUNT):
            msg = "its 'sub' is not the ARN of a role in the account that its claim 'aws_account' names"
            raise Refused(Reason.TOKEN_CLAIMS, msg)
    elif profile in {IssuerProfile.KUBERNETES, IssuerProfile.EKS}:
        told = f"{text_claim(claims, _NAMESPACE)}/{text_claim(claims, _SERVICE_ACCOUNT)}"
        if told != principal:
            msg = "its 'sub' and its claim 'kubernetes.io' name different service accounts"
            raise Refused(Reason.TOKEN_CLAIMS, msg)


def _check_workload(principal: str) -> None:
    try:
        fault = "has no path" if not SpiffeId.parse(principal).path else None
    except InvalidSpiffeId as error:
        fault = f"is not a SPIFFE ID: {error}"
    if fault:
        msg = f"its 'sub' {fault} (JWT-SVID section 3.1)"
        raise Refused(Reason.TOKEN_CLAIMS, msg)

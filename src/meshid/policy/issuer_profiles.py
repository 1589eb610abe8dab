"""What is documented of each kind of issuer: who its principal is, and what may be relied on.

Each row cites what it was read in. Who verifies a token and who reads a policy file go by the
same rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from meshid.policy.issuers import IssuerProfile

JUDGED_CLAIMS = frozenset({"aud", "cnf", "exp", "iat", "iss", "jti", "nbf", "nonce"})
"""Claims that say nothing of who somebody is: each is judged on its own, or is another one in each token."""


@attrs.frozen(kw_only=True, eq=False)
class ProfileFacts:
    """The facts of one profile.

    Attributes:
        source: What they were read in.
        principal: The claim that names the principal, without another word.
        principals: The claims that a file may choose instead; None for any that is not in *never*.
        subject_form: What the whole principal claim must match; its groups, joined with ``/``, are the
            principal. None if the principal is the claim as it is.
        needs_exact: Whether strangers share the issuer and nothing else tells them apart, so that no alias
            may have a wildcard.
        has_issuer: Whether its tokens have an ``iss`` of its own, and its keys a place of their own.
        fixed_issuer: The only ``iss`` that there is; None if each customer has another one.
        jwks: Where the keys are, where that is not the origin of the issuer; None to discover them.
        keys_at: What follows the ``iss`` in the address of the keys, where it is documented.
        issuer_form: What an ``iss`` looks like; None for any URL. Its groups tell whose it is, where one
            customer has several.
        at_any_host: Whether an ``iss`` that looks like that may be of another kind, too.
        issuer_wanted: What an ``iss`` looks like, in words.
        pins: The claims that can be pinned, with the way to each; None for any claim on the top level.
        pin_families: Objects of whose members each can be pinned (``principal_tags/team``), with the way
            to each.
        needed_pins: The pins without which strangers could speak, because they share the issuer.
        never: Claims that nobody may be told by, each with the reason.
        types: The values of ``typ`` that are right, in lower case; None for a header without one
            (RFC 7515 section 4.1.9: without the leading ``application/``).
        fixed_claims: Claims that each token must have, with their only value.
        absent_claims: Claims that a token of a workload does not have.
        same_claims: Pairs of claims that must be equal.
        dated_back: Seconds by which ``iat`` is before the token was made.
        foreign_audiences: Values of ``aud`` that mean somebody else: whoever is sent such a token could
            use it there.
    """

    source: str
    principal: str
    principals: tuple[str, ...] | None = ()
    subject_form: re.Pattern[str] | None = None
    needs_exact: bool = False
    has_issuer: bool = True
    fixed_issuer: str | None = None
    jwks: str | None = None
    keys_at: str | None = None
    issuer_form: re.Pattern[str] | None = None
    at_any_host: bool = False
    issuer_wanted: str = "an https:// URL"
    pins: Mapping[str, tuple[str, ...]] | None = None
    pin_families: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    needed_pins: tuple[str, ...] = ()
    never: Mapping[str, str] = attrs.field(factory=dict)
    types: frozenset[str | None] = frozenset({None, "jwt"})
    fixed_claims: tuple[tuple[str, str], ...] = ()
    absent_claims: tuple[str, ...] = ()
    same_claims: tuple[tuple[str, str], ...] = ()
    dated_back: int = 0
    foreign_audiences: tuple[str, ...] = ()

    def principal_of(self, claim: str) -> str | None:
        """Return the principal that the value of the principal claim names; None if it names none."""
        if self.subject_form is None:
            return claim
        match = self.subject_form.fullmatch(claim)
        return "/".join(match.groups()) if match else None

    def has(self, iss: str) -> bool:
        """Return whether an ``iss`` can be of no other kind."""
        if self.issuer_form is None:
            return iss == self.fixed_issuer
        return not self.at_any_host and bool(self.issuer_form.fullmatch(iss))

    def customer_of(self, iss: str) -> str | None:
        """Return whose an ``iss`` is, which may have another one; None where each has one."""
        match = self.issuer_form.fullmatch(iss) if self.issuer_form else None
        return "/".join(filter(None, match.groups())) or None if match else None


def _top(*claims: str) -> dict[str, tuple[str, ...]]:
    return {claim: (claim,) for claim in claims}


def _inside(root: str, *claims: str) -> dict[str, tuple[str, ...]]:
    return {claim: (root, *claim.split("/")) for claim in claims}


def _each(reason: str, *claims: str) -> dict[str, str]:
    return dict.fromkeys(claims, reason)


_AWS = "https://sts.amazonaws.com/"
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ACCESS_TOKEN = frozenset({None, "jwt", "at+jwt"})

# A service account's name: a DNS label for the namespace, a DNS subdomain for the account.
_SERVICE_ACCOUNT = re.compile("system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})")
_IN_POD = _inside(
    "kubernetes.io",
    "namespace",
    "serviceaccount/name",
    "serviceaccount/uid",
    "pod/name",
    "pod/uid",
    "node/name",
    "node/uid",
)

_CHANGEABLE = "it can be changed, or given to somebody else (OpenID Connect Core section 5.7)"
_PEOPLE = _each(
    _CHANGEABLE,
    "email",
    "family_name",
    "given_name",
    "name",
    "nickname",
    "phone_number",
    "preferred_username",
    "unique_name",
    "upn",
)

PROFILES: Mapping[IssuerProfile, ProfileFacts] = MappingProxyType(
    {
        IssuerProfile.OKTA: ProfileFacts(
            source="developer.okta.com/docs/api/openapi/okta-oauth/guides/overview, access token of a custom "
            "authorization server; tokens of the organization's own server are for Okta only",
            keys_at="/v1/keys",
            principal="cid",
            issuer_form=re.compile("https://[^/]+/oauth2/[A-Za-z0-9_-]+"),
            at_any_host=True,
            issuer_wanted="that of a custom authorization server, such as https://acme.okta.com/oauth2/default",
            types=_ACCESS_TOKEN,
            # With client credentials, and only then, there is no user.
            same_claims=(("sub", "cid"),),
            absent_claims=("uid",),
            never={**_PEOPLE, "uid": "a user is no workload"},
        ),
        IssuerProfile.AWS_IAM: ProfileFacts(
            source="docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html",
            keys_at="/.well-known/jwks.json",
            principal="sub",
            issuer_form=re.compile(r"https://[0-9a-z-]{8,64}\.tokens\.sts\.global\.api\.aws"),
            issuer_wanted="that of one account, https://....tokens.sts.global.api.aws "
            "(aws iam get-outbound-web-identity-federation-info)",
            pins=_inside(
                _AWS,
                "aws_account",
                "source_region",
                "org_id",
                "ou_path",
                "lambda_source_function_arn",
                "ec2_source_instance_arn",
            ),
            pin_families={"principal_tags": (_AWS, "principal_tags")},
            never={"request_tags": "whoever asks for the token chooses them"},
            foreign_audiences=("sts.amazonaws.com",),
        ),
        IssuerProfile.KUBERNETES: ProfileFacts(
            source="kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin, bound tokens",
            keys_at="/openid/v1/jwks",
            principal="sub",
            subject_form=_SERVICE_ACCOUNT,
            pins=_IN_POD,
            foreign_audiences=(
                "https://kubernetes.default.svc",
                "https://kubernetes.default.svc.cluster.local",
                "sts.amazonaws.com",
            ),
        ),
        IssuerProfile.EKS: ProfileFacts(
            source="docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html",
            keys_at="/keys",
            principal="sub",
            subject_form=_SERVICE_ACCOUNT,
            issuer_form=re.compile(
                r"https://(?:oidc\.eks\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?|oidc-eks\.([a-z0-9-]+)\.api\.aws)"
                "/id/([0-9A-Z]+)"
            ),
            issuer_wanted="that of one cluster, https://oidc.eks.REGION.amazonaws.com/id/ID "
            "(aws eks describe-cluster)",
            pins=_IN_POD,
            foreign_audiences=("https://kubernetes.default.svc", "sts.amazonaws.com"),
        ),
        IssuerProfile.GITHUB_ACTIONS: ProfileFacts(
            source="docs.github.com/en/actions/reference/security/oidc",
            keys_at="/.well-known/jwks",
            principal="sub",
            principals=("sub", "repository_id"),
            fixed_issuer="https://token.actions.githubusercontent.com",
            needed_pins=("repository_owner_id",),
            pins=_top(
                "repository_owner_id",
                "repository_id",
                "repository_visibility",
                "environment",
                "event_name",
                "ref",
                "ref_protected",
                "ref_type",
                "job_workflow_ref",
                "job_workflow_sha",
                "workflow_ref",
                "workflow_sha",
                "runner_environment",
                "enterprise_id",
                "actor_id",
            ),
            never={
                "repository_owner": "somebody else can register the name again; pin repository_owner_id",
                "repository": "the name can be given to another one; pin repository_id",
                "actor": "somebody else can register the name again; pin actor_id",
                "triggering_actor": "somebody else can register the name again; pin actor_id",
                "enterprise": "the name can change; pin enterprise_id",
                "workflow": "any workflow may have this name; pin workflow_ref",
                **_each("whoever opens a pull request chooses it", "head_ref", "base_ref"),
            },
        ),
        IssuerProfile.GOOGLE: ProfileFacts(
            source="cloud.google.com/docs/authentication/token-types, developers.google.com/identity/"
            "openid-connect/openid-connect: `sub` is unique among all Google accounts and never reused",
            principal="sub",
            principals=("sub",),
            # Every account of the world has the same issuer, and there is no claim of the customer's
            # organization in the tokens of all service accounts; the number is one account's for ever.
            needs_exact=True,
            fixed_issuer="https://accounts.google.com",
            jwks="https://www.googleapis.com/oauth2/v3/certs",
            pins={
                **_top("azp", "hd"),
                "project_id": ("google", "compute_engine", "project_id"),
                "zone": ("google", "compute_engine", "zone"),
                "instance_id": ("google", "compute_engine", "instance_id"),
            },
            never=_PEOPLE,
        ),
        IssuerProfile.ENTRA: ProfileFacts(
            source="learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference and "
            "optional-claims-reference (idtyp); the tenant is in the issuer",
            principal="oid",
            principals=("oid", "azp", "appid"),
            issuer_form=re.compile(
                r"https://login\.(?:microsoftonline\.com|microsoftonline\.us|partner\.microsoftonline\.cn)"
                rf"/({_UUID})/v2\.0|https://sts\.(?:windows\.net|chinacloudapi\.cn)/({_UUID})/"
            ),
            issuer_wanted="that of one tenant, by its id: https://login.microsoftonline.com/TENANT-ID/v2.0",
            fixed_claims=(("idtyp", "app"),),
            # Its tokens for an hour have 3900 s between `iat` and `exp`, and those for a day 86700 s.
            dated_back=300,
            pins=_top("tid", "azp", "appid", "azpacr", "appidacr", "idp", "ver", "oid", "sub"),
            never={**_PEOPLE, **_each(_CHANGEABLE, "app_displayname")},
        ),
        IssuerProfile.JWT_SVID: ProfileFacts(
            source="SPIFFE JWT-SVID sections 2 and 3",
            principal="sub",
            has_issuer=False,
            pins={},
            types=frozenset({None, "jwt", "jose"}),
        ),
        IssuerProfile.OIDC: ProfileFacts(
            source="OpenID Connect Core sections 2 and 5.7; RFC 9068 section 2",
            principal="sub",
            principals=None,
            types=_ACCESS_TOKEN,
            never=_PEOPLE,
        ),
    }
)
"""The facts, by profile."""


def pin_path(profile: IssuerProfile, claim: str) -> tuple[str, ...] | None:
    """Return the names on the way to a claim that is pinned; None if the profile knows no such claim."""
    facts = PROFILES[profile]
    if facts.pins is None:
        return (claim,)
    family, _, member = claim.partition("/")
    if member and family in facts.pin_families:
        return (*facts.pin_families[family], member)
    return facts.pins.get(claim)

"""Issuers of tokens: which of them an environment believes, and what about."""

from __future__ import annotations

from enum import StrEnum

import attrs

DEFAULT_SECONDS = 24 * 3600
"""The longest lifetime of a token, and the oldest keys, if a file says nothing else."""


class IssuerProfile(StrEnum):
    """Whose tokens they are: which claim names the principal, and which pins are needed."""

    OKTA = "okta"
    """A custom authorization server of Okta."""
    AWS_IAM = "aws-iam"
    """AWS STS, ``GetWebIdentityToken``."""
    KUBERNETES = "kubernetes"
    """Service account tokens of a cluster."""
    EKS = "eks"
    """The same, of a cluster of Amazon EKS."""
    GITHUB_ACTIONS = "github-actions"
    """Jobs of GitHub Actions."""
    GOOGLE = "google"
    """Service accounts of Google Cloud."""
    ENTRA = "entra"
    """Applications of one tenant of Microsoft Entra."""
    JWT_SVID = "jwt-svid"
    """JWT-SVIDs of the environment's own trust domains."""
    OIDC = "oidc"
    """Any other issuer that publishes its keys."""


@attrs.frozen
class Pin:
    """A claim that each token of an issuer must have.

    Attributes:
        claim: Its name; for a member of an object, the names on the way to it, joined with ``/``
            below the provider's own object, such as ``aws_account`` or ``pod/uid``
            (`issuer_profiles.pin_path` has the whole way).
        value: The only value that counts.
    """

    claim: str
    value: str


@attrs.frozen(kw_only=True)
class Issuer:
    """An issuer whose tokens an environment believes.

    Attributes:
        name: Its name in the file.
        profile: Whose tokens they are.
        issuer: The ``iss`` of its tokens, byte for byte; None for JWT-SVIDs, which need none.
        audience: The values of ``aud`` that mean this service; a token needs one of them.
        principal: The claim that names the principal.
        pins: Claims that each token must have.
        jwks: Where its keys are: an ``https://`` URL or an absolute path; None to discover them
            at the issuer, and for JWT-SVIDs, whose keys are in the trust bundles.
        roots: The file of the authorities for its web certificate; None for those of the system.
        bearer_file: The file of a token to ask for the keys with; None to ask without.
        pinned_keys: The thumbprints (RFC 7638, SHA-256, base64url) of the only keys that count;
            empty for all of its keys.
        binding_required: Whether a token that is bound to no certificate is refused.
        confirms_by_tls_key: Whether a token that names a key (``jkt``, ``jwk``) is bound by the TLS
            key of the peer; otherwise such a token is refused.
        max_lifetime: The most seconds from ``iat`` to ``exp``.
        max_stale: For how many seconds the keys that were read last count when they can no longer be read.
        place: Where it is in its file; for people, decides nothing.
    """

    name: str
    profile: IssuerProfile
    issuer: str | None
    audience: tuple[str, ...]
    principal: str
    pins: tuple[Pin, ...] = ()
    jwks: str | None = None
    roots: str | None = None
    bearer_file: str | None = None
    pinned_keys: tuple[str, ...] = ()
    binding_required: bool = False
    confirms_by_tls_key: bool = False
    max_lifetime: int = DEFAULT_SECONDS
    max_stale: int = DEFAULT_SECONDS
    place: str = attrs.field(default="", eq=False)

    def shares_keys_with(self, other: Issuer) -> bool:
        """Return whether the keys of another one are its own, too: the same origin, and the same pins.

        Args:
            other: How an issuer of that name is declared elsewhere, or was before.
        """
        one, two = ((each.issuer, each.jwks, each.pinned_keys) for each in (self, other))
        return one == two

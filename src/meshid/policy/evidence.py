"""What a token says of a peer, and what ties it to the connection that it came on."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import attrs

from meshid.policy.issuers import Issuer
from meshid.support.quoting import quote


class Binding(StrEnum):
    """What ties a token to a connection."""

    NONE = "none"
    """Nothing: anybody who has the token can present it, so it must agree with the certificate."""
    CERTIFICATE = "x5t#S256"
    """It names the leaf of the connection (RFC 8705 section 3.1)."""
    KEY = "tls-key"
    """It names the key that the peer has proven in the handshake (RFC 7800 section 3; RFC 9449 section 6)."""


class NamedByToken(Protocol):
    """Whom a token names, as far as a policy is concerned."""

    @property
    def issuer(self) -> str:
        """The name of the issuer in the policy."""

    @property
    def principal(self) -> str:
        """Whom the issuer names, such as a role's ARN."""

    @property
    def is_bound(self) -> bool:
        """Whether the token is bound to the connection."""


@attrs.frozen
class TokenName:
    """Whom a token would name, to ask a policy what it would decide.

    Attributes:
        issuer: The name of the issuer in the policy.
        principal: Whom the issuer names: ``arn:aws:iam::111122223333:role/api``, ``payments/api``.
        is_bound: Whether the token is bound to the connection.
    """

    issuer: str
    principal: str
    is_bound: bool = False

    def __str__(self) -> str:
        bound = "bound " if self.is_bound else ""
        return f"a {bound}token of {quote(self.issuer)} that names {quote(self.principal)}"


@attrs.frozen(kw_only=True)
class TokenEvidence:
    """What is kept of a token that was verified: never the token.

    Attributes:
        issuer: The name of the issuer in the policy.
        principal: Whom the issuer names.
        binding: What ties it to the connection.
        key: The thumbprint of the key that verified it (RFC 7638, SHA-256, base64url).
        key_id: The ``kid`` in its header; None if it has none.
        token_id: Its ``jti``; None if it has none.
        expires_at: Its ``exp``, in POSIX seconds.
        declared: The issuer as it was declared when the token was verified; None counts as never declared.
    """

    issuer: str
    principal: str
    binding: Binding
    key: str
    key_id: str | None = None
    token_id: str | None = None
    expires_at: float
    declared: Issuer | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def is_bound(self) -> bool:
        """Whether it is bound to the connection."""
        return self.binding is not Binding.NONE

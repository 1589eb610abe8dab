"""Peers by name: one workload, and everything by which it may prove itself."""

from __future__ import annotations

import attrs

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern


@attrs.frozen
class TokenAlias:
    """Principals of one issuer.

    Attributes:
        issuer: The name of the issuer.
        principal: The pattern of the principals.
    """

    issuer: str
    principal: Pattern


@attrs.frozen(kw_only=True)
class NamedPeer:
    """A workload with a name of its own; rules mean it as ``@name``.

    Attributes:
        name: The name, unique in the policy.
        spiffe: The patterns of the SPIFFE IDs that it may have.
        tokens: The principals that tokens may name it by, for the issuers of this environment.
        place: Where it is in its file; for people, decides nothing.
    """

    name: str
    spiffe: tuple[PeerPattern, ...] = ()
    tokens: tuple[TokenAlias, ...] = ()
    place: str = attrs.field(default="", eq=False)

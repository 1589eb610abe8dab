"""Peers by name: one workload, and everything by which it may prove itself."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from meshid.errors import InvalidSpiffeId
from meshid.names.pattern import Pattern
from meshid.names.pattern_index import PatternIndex
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy.issuers import Issuer, IssuerProfile


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
        idle: Its aliases that count for nothing in this environment: the place of each in the file, and
            why; for people, decide nothing.
        place: Where it is in its file; for people, decides nothing.
    """

    name: str
    spiffe: tuple[PeerPattern, ...] = ()
    tokens: tuple[TokenAlias, ...] = ()
    idle: tuple[tuple[str, str], ...] = attrs.field(default=(), eq=False)
    place: str = attrs.field(default="", eq=False)


@attrs.frozen(kw_only=True)
class PeerSet:
    """Peers that rules mean together, as ``@name``; a rule has them as if each were written out.

    Attributes:
        name: The name, unique among those of peers and sets.
        sources: The patterns of peers in it that can be of this environment.
        peers: The peers by name in it.
        idle: Its members that count for nothing in this environment: the place of each in the file, and
            why; for people, decide nothing.
        place: Where it is in its file; for people, decides nothing.
    """

    name: str
    sources: tuple[PeerPattern, ...] = ()
    peers: tuple[NamedPeer, ...] = ()
    idle: tuple[tuple[str, str], ...] = attrs.field(default=(), eq=False)
    place: str = attrs.field(default="", eq=False)

    @property
    def members(self) -> tuple[str, ...]:
        """Its members that count in this environment: the patterns, then the peers by name."""
        return (*map(str, self.sources), *(f"@{peer.name}" for peer in self.peers))


class PeerNames:
    """Which peer is meant by a SPIFFE ID, or by a principal: one at most, as loading a file has proven.

    Args:
        peers: The peers that have names.
        own: The trust domains of the environment.
        issuers: The issuers of the environment.
    """

    __slots__ = ("_by_issuer", "_by_path", "_own", "_spiffe_issuers")

    def __init__(
        self, peers: Iterable[NamedPeer], own: tuple[TrustDomain, ...], issuers: Iterable[Issuer] = ()
    ) -> None:
        self._own = frozenset(own)
        self._spiffe_issuers = {each.name for each in issuers if each.profile is IssuerProfile.JWT_SVID}
        self._by_path: dict[TrustDomain | None, PatternIndex[NamedPeer]] = {}
        self._by_issuer: dict[str, PatternIndex[NamedPeer]] = {}
        for peer in peers:
            for alias in peer.spiffe:
                _add(self._by_path.setdefault(alias.trust_domain, PatternIndex()), alias.path, peer)
            for token in peer.tokens:
                _add(self._by_issuer.setdefault(token.issuer, PatternIndex()), token.principal, peer)

    def of(self, spiffe_id: SpiffeId) -> NamedPeer | None:
        """Return the peer that has this SPIFFE ID; None if it has no name."""
        domain = spiffe_id.trust_domain
        named = _found(self._by_path.get(domain), spiffe_id.path)
        if named is None and domain in self._own:
            return _found(self._by_path.get(None), spiffe_id.path)
        return named

    def of_token(self, issuer: str, principal: str) -> NamedPeer | None:
        """Return the peer that an issuer names by this principal; None if it has no name.

        Args:
            issuer: The name of the issuer.
            principal: Whom it names; for JWT-SVIDs, a SPIFFE ID of a trust domain of the environment.
        """
        if issuer in self._spiffe_issuers:
            try:
                spiffe_id = SpiffeId.parse(principal)
            except InvalidSpiffeId:
                return None
            return self.of(spiffe_id) if spiffe_id.trust_domain in self._own else None
        # To a pattern, "/a" is the same as "a"; to an issuer, it may be a stranger.
        if principal.startswith("/"):
            return None
        return _found(self._by_issuer.get(issuer), principal)


def _add(index: PatternIndex[NamedPeer], pattern: Pattern, peer: NamedPeer) -> None:
    index.setdefault(pattern, lambda: peer)


def _found(index: PatternIndex[NamedPeer] | None, value: str) -> NamedPeer | None:
    found = index.matching(value) if index is not None else ()
    return found[0] if found else None

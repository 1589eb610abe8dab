"""Sets of peers: a name for several, and what the rules that say it have in its place.

A set is not a peer: it has no alias, proves nobody, and a rule means the same with its members written
out. So its members are put in at load, and nothing that decides or proves knows of sets. What that
may come to is bounded before it is made: a small file can name a large set very often.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.file import form
from meshid.policy.file.strings import Known
from meshid.policy.file.table_reader import TableReader
from meshid.policy.named_peers import NamedPeer, PeerSet
from meshid.support.quoting import quote

MAX_EXPANDED = 100_000
"""Patterns and peers that names of sets (and of peers in `not_from`) stand for, in all rules together."""

Entry: TypeAlias = PeerPattern | str
"""An entry of a list of peers: a pattern, or the name of a peer or of a set."""


@attrs.frozen
class WrittenSet:
    """A set as it is written, for every environment.

    Attributes:
        name: Its name.
        place: Where it is in the file.
        members: Its members that are right, each with its place; none is a set.
    """

    name: str
    place: str
    members: tuple[tuple[str, Entry], ...]

    def resolved(
        self,
        reader: TableReader,
        known: Known,
        federated: Collection[TrustDomain],
        peers: Mapping[str, NamedPeer],
    ) -> PeerSet:
        """Return the set of one environment: without what counts for nothing there.

        Args:
            reader: Is told of each member that no environment can have.
            known: The trust domains of the environment.
            federated: Those that any environment of the file federates with.
            peers: The peers by name.
        """
        sources: dict[PeerPattern, None] = {}
        idle: list[tuple[str, str]] = []
        for place, entry in self.members:
            if isinstance(entry, str):
                continue
            domain = entry.trust_domain
            if domain is None or known.knows(entry):
                sources[entry] = None
            elif domain in federated and domain not in known.owners:
                idle.append((place, f"{quote(known.environment.name)} does not federate with {domain}"))
            else:
                reader.fail(place, known.stranger(domain, entry.path))
        names = dict.fromkeys(entry for _, entry in self.members if isinstance(entry, str))
        return PeerSet(
            name=self.name,
            sources=tuple(sources),
            peers=tuple(peers[name] for name in names if name in peers),
            idle=tuple(idle),
            place=self.place,
        )


@attrs.frozen
class Listed:
    """What a rule has of its ``from`` and its ``not_from``."""

    sources: tuple[PeerPattern, ...]
    peers: tuple[NamedPeer, ...]
    listed_from: tuple[str, ...]
    not_sources: tuple[PeerPattern, ...]
    listed_not_from: tuple[str, ...]
    sets: tuple[str, ...]


class Expansion:
    """Puts the members of sets in the place of their names.

    Args:
        reader: Is told of what is wrong.
        environment: The name of the environment.
        peers: The peers by name.
        sets: The sets.
        by_svid: The trust domains whose SPIFFE IDs a token can prove, a JWT-SVID.
    """

    def __init__(
        self,
        reader: TableReader,
        environment: str = "",
        peers: Iterable[NamedPeer] = (),
        sets: Iterable[PeerSet] = (),
        *,
        by_svid: tuple[TrustDomain, ...] = (),
    ) -> None:
        self._reader = reader
        self._environment = environment
        self._peers = {peer.name: peer for peer in peers}
        self._sets = {each.name: each for each in sets}
        self._by_svid = by_svid
        self._left = MAX_EXPANDED

    def of(self, included: Sequence[tuple[str, Entry]], excluded: Sequence[tuple[str, Entry]]) -> Listed:
        """Return what the entries of ``from`` and of ``not_from`` mean, each given with its place."""
        written = [each for _, each in included if isinstance(each, PeerPattern)]
        named, excepted = _names(included), _names(excluded)
        sets = [each for name, place in named.items() if (each := self._set(name, place)) is not None]
        # An entry that is written twice is for lint to tell; that a set has it, too, is nobody's mistake.
        once = set(written)
        more = dict.fromkeys(each for one in sets for each in one.sources)
        peers = [self._peers[name] for name in named if name in self._peers]
        peers += [each for one in sets for each in one.peers]
        by_name = {peer.name: peer for peer in peers}
        return Listed(
            sources=(*written, *(each for each in more if each not in once)),
            peers=tuple(by_name.values()),
            listed_from=tuple(_shown(each) for _, each in included),
            not_sources=tuple(dict.fromkeys(self._excepted(excluded, excepted, by_name))),
            listed_not_from=tuple(_shown(each) for _, each in excluded),
            sets=tuple(name for name in {**named, **excepted} if name in self._sets),
        )

    def _set(self, name: str, place: str) -> PeerSet | None:
        """Return a set that is to be put in the place of its name; None if it is none, or is wrong."""
        found = self._sets.get(name)
        if found is None or not self._spend(_weight(found.sources, found.peers)):
            return None
        if found.idle and not found.sources and not found.peers:
            what = (
                f"of set {quote(name)}, nothing is left in environment {quote(self._environment)}: "
                f"{found.idle[0][1]}; give it a member of this environment, or leave it out"
            )
            self._reader.fail(place, what)
        return found

    def _excepted(
        self, entries: Sequence[tuple[str, Entry]], names: Mapping[str, str], included: Container[str]
    ) -> Iterator[PeerPattern]:
        yield from (each for _, each in entries if isinstance(each, PeerPattern))
        for name, place in names.items():
            one = self._sets.get(name)
            sources = one.sources if one is not None else ()
            peers = one.peers if one is not None else [self._peers[name]] if name in self._peers else []
            if not self._spend(_weight(sources, peers)):
                return
            yield from sources
            for peer in peers:
                if peer.tokens and not peer.spiffe:
                    self._reader.fail(place, _avoidable(name, peer.name))
                elif peer.name in included and self._is_provable(peer):
                    # A token that is bound to the connection gives its name to a certificate without one.
                    self._reader.fail(place, _let_in_by_name(name, peer.name))
                yield from peer.spiffe

    def _is_provable(self, peer: NamedPeer) -> bool:
        own = self._by_svid
        return bool(peer.tokens) or any(set(own) & set(each.domains(own)) for each in peer.spiffe)

    def _spend(self, entries: int) -> bool:
        """Count entries before they are made; False if they are too many, which is told once."""
        if self._left < 0:
            return False
        self._left -= entries
        if self._left < 0:
            what = f"in all rules together, its names stand for more than {MAX_EXPANDED} members; name less"
            self._reader.fail(form.PEERS.name, what)
        return self._left >= 0


def _names(entries: Iterable[tuple[str, Entry]]) -> dict[str, str]:
    """Return the names among entries, each with its first place."""
    names: dict[str, str] = {}
    for place, each in entries:
        if isinstance(each, str):
            names.setdefault(each, place)
    return names


def _weight(sources: Collection[PeerPattern], peers: Iterable[NamedPeer]) -> int:
    # A rule is about a peer by name by each of its patterns, and is indexed by each.
    return len(sources) + sum(max(1, len(peer.spiffe)) for peer in peers)


def _shown(entry: Entry) -> str:
    return f"@{entry}" if isinstance(entry, str) else str(entry)


def _avoidable(name: str, peer: str) -> str:
    return (
        f"{_whose(name, peer)} is proved only by tokens here, and whoever is not to be let in need not send "
        "one; name SPIFFE IDs, or give it an alias with spiffe"
    )


def _let_in_by_name(name: str, peer: str) -> str:
    return (
        f"{_whose(name, peer)} is in `from` by its name, too, and a token can prove it behind another "
        "certificate, which this does not leave out; have only the others in `from`"
    )


def _whose(name: str, peer: str) -> str:
    return f"peer {quote(peer)}" if peer == name else f"peer {quote(peer)} of set {quote(name)}"

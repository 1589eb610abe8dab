"""No SPIFFE ID and no principal names two peers, in any environment of a file.

An alias without a wildcard is compared by a look-up; one with a wildcard goes through an index of
the others that have one. What that may cost is bounded: a file whose aliases are more entangled than
any that a person writes is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from meshid.names.common_value import common_value
from meshid.names.pattern import Pattern, glob_of
from meshid.names.pattern_index import PatternIndex
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.file.peers_section import WrittenPeer, kinds_of
from meshid.policy.file.table_reader import TableReader
from meshid.policy.issuers import Issuer
from meshid.support.quoting import quote

MAX_COMPARISONS = 1_000_000
"""Comparisons of aliases that a file may need; 5000 peers by ordinary aliases need some 50 000."""


class _TooEntangledError(Exception):
    """There would be more than `MAX_COMPARISONS`."""


@attrs.frozen
class _Entry:
    """An alias of a peer."""

    order: int
    peer: str
    place: str
    pattern: Pattern


class _Effort:
    """What is left to spend."""

    def __init__(self) -> None:
        self._left = MAX_COMPARISONS

    def spend(self, comparisons: int) -> None:
        self._left -= comparisons
        if self._left < 0:
            raise _TooEntangledError


class _Entries:
    """Aliases for the same names."""

    def __init__(self, entries: Iterable[_Entry], effort: _Effort) -> None:
        self.listed = tuple(entries)
        self._effort = effort
        self._literals: dict[tuple[str, ...], list[_Entry]] = defaultdict(list)
        self._wild: PatternIndex[list[_Entry]] = PatternIndex()
        for each in self.listed:
            if each.pattern.is_literal:
                self._literals[each.pattern.segments].append(each)
            else:
                self._wild.setdefault(each.pattern, list).append(each)
        self._crowd = _crowd(each.pattern for each in self.listed)

    def within(self) -> Iterator[tuple[_Entry, _Entry]]:
        """Yield pairs of aliases of two peers that meet: for each alias at most one."""
        for each in self.listed:
            found = next((other for other in self._near(each) if self._is_told_by(each, other)), None)
            if found is not None:
                yield each, found

    def between(self, others: _Entries) -> Iterator[tuple[_Entry, _Entry]]:
        """Yield pairs of one alias of these and one of the *others*, of two peers, that meet."""
        for each in self.listed:
            found = next((other for other in others.meeting(each) if other.peer != each.peer), None)
            if found is not None:
                yield each, found

    def meeting(self, entry: _Entry) -> Iterator[_Entry]:
        """Yield the aliases that meet one of other entries."""
        yield from self._near(entry)
        if not entry.pattern.is_literal:
            self._effort.spend(len(self._literals))
            for segments, entries in self._literals.items():
                if entry.pattern.matches("/".join(segments)):
                    yield from entries

    def _near(self, entry: _Entry) -> Iterator[_Entry]:
        """Yield the aliases that meet one; if it has a wildcard, only those that have one, too."""
        pattern = entry.pattern
        if pattern.is_literal:
            self._effort.spend(1 + self._crowd)
            yield from self._literals.get(pattern.segments, ())
            groups: Iterable[list[_Entry]] = self._wild.matching("/".join(pattern.segments))
        else:
            groups = self._wild.intersecting(pattern, self._effort.spend)
        for group in groups:
            yield from group

    def _is_told_by(self, entry: _Entry, other: _Entry) -> bool:
        """Tell whether a pair is one, and is not found from the other side as well."""
        is_alike = entry.pattern.is_literal == other.pattern.is_literal
        return other.peer != entry.peer and (other.order < entry.order or not is_alike)


def _crowd(patterns: Iterable[Pattern]) -> int:
    """Return of how many segments with a wildcard a look-up may have to compare each."""
    alike: dict[tuple[str, str], set[str]] = defaultdict(set)
    for segment in {each for pattern in patterns for each in pattern.segments if "*" in each}:
        glob = glob_of(segment)
        alike[glob[0], glob[-1]].add(segment)
    return max(map(len, alike.values()), default=0)


def find_ambiguous(
    reader: TableReader,
    peers: Sequence[WrittenPeer],
    issuers: Mapping[str, Sequence[Issuer]],
    owners: Mapping[TrustDomain, str],
) -> None:
    """Note each alias that has a name in common with an alias of another peer."""
    effort = _Effort()
    try:
        _spiffe(reader, peers, owners, effort)
        _principals(reader, peers, issuers, effort)
    except _TooEntangledError:
        what = (
            f"their aliases take more than {MAX_COMPARISONS} comparisons; write fewer of them with wildcards"
        )
        reader.fail("peers", what)


def _spiffe(
    reader: TableReader, peers: Sequence[WrittenPeer], owners: Mapping[TrustDomain, str], effort: _Effort
) -> None:
    listed: dict[TrustDomain | None, list[_Entry]] = defaultdict(list)
    written = ((peer, place, alias) for peer in peers for place, alias in peer.spiffe)
    for order, (peer, place, alias) in enumerate(written):
        listed[alias.trust_domain].append(_Entry(order, peer.name, place, alias.path))
    groups = {domain: _Entries(entries, effort) for domain, entries in listed.items()}
    own = next(iter(owners), "the environment's own")
    for domain, entries in groups.items():
        pairs = [entries.within()]
        if domain in owners and None in groups:
            pairs.append(entries.between(groups[None]))
        for one, two in (pair for each in pairs for pair in each):
            example = f"spiffe://{domain or own}/{common_value(one.pattern, two.pattern)}"
            _tell(reader, one, two, f"SPIFFE ID {quote(example)}")


def _principals(
    reader: TableReader,
    peers: Sequence[WrittenPeer],
    issuers: Mapping[str, Sequence[Issuer]],
    effort: _Effort,
) -> None:
    listed: dict[str, list[_Entry]] = defaultdict(list)
    written = (alias for peer in peers for alias in peer.aliases)
    for order, alias in enumerate(written):
        listed[alias.issuers].append(_Entry(order, alias.peer, alias.place, alias.pattern))
    groups = {name: _Entries(entries, effort) for name, entries in listed.items()}
    for entries in groups.values():
        for one, two in entries.within():
            _tell(reader, one, two, _principal(one, two))
    every = (each for those in issuers.values() for each in those)
    for one_kind, *other_kinds in dict.fromkeys(tuple(kinds_of(issuer)) for issuer in every):
        for kind in other_kinds:
            if one_kind in groups and kind in groups:
                for one, two in groups[one_kind].between(groups[kind]):
                    _tell(reader, one, two, _principal(one, two))


def _principal(one: _Entry, two: _Entry) -> str:
    return f"principal {quote(common_value(one.pattern, two.pattern) or '')}"


def _tell(reader: TableReader, one: _Entry, two: _Entry, example: str) -> None:
    what = (
        f"{example} would be {quote(one.peer)} and, by {two.place}, {quote(two.peer)}; a name is one peer's"
    )
    reader.fail(one.place, what)

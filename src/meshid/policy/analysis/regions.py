"""Regions: what lies in all of some boxes and in none of some others. The shortest point, exactly.

A region is described, for each of the three kinds of words, by the patterns that must match and
those that must not, so its shortest point is the shortest word of each kind. If that point
lies in a box that must be left out, the region is cut along the box into parts without it, and
the part with the shortest point is looked at next. So the first point that lies in none of
these boxes is the shortest of all; if no parts are left, there is no such point, and that is
the proof.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TypeAlias

import attrs

from meshid.names.pattern import Pattern
from meshid.names.spiffe_id import MAX_ID_BYTES, SpiffeId, TrustDomain
from meshid.policy.analysis.answers import Access
from meshid.policy.analysis.automata import Words, shortest
from meshid.policy.analysis.boxes import HANDSHAKE
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.extent import Extent, Point
from meshid.policy.analysis.token_states import ANYTHING, NO_TOKEN, Elsewhere, Naming, TokenState
from meshid.policy.requests import as_sent

_KINDS = (Words.PEER_PATHS, Words.TARGETS, Words.REQUEST_PATHS)
_SCHEME_LENGTH = len("spiffe://")

_PART = 30
"""Steps for a part, beside one for each pattern that it must not match: what is kept of it."""

_EXTENT = 5
"""Steps for an extent of a region: what is kept of it."""

_Part: TypeAlias = tuple[tuple[Pattern, ...], ...]
"""The patterns of each of the three kinds."""


@attrs.frozen
class Region:
    """Peers of one trust domain, at targets, with requests of one method or at a handshake.

    Attributes:
        domain: The trust domain.
        method: The method; `HANDSHAKE` for none.
        inside: The boxes that all of it lies in.
        outside: The boxes that none of it lies in.
        elsewhere: The paths that none of its peers have.
        state: What the peers show beside their certificates.
        naming: Which tokens there are; None where none can be shown.
    """

    domain: TrustDomain
    method: str
    inside: tuple[Extent, ...]
    outside: tuple[Extent, ...]
    elsewhere: tuple[Elsewhere, ...] = ()
    state: TokenState = NO_TOKEN
    naming: Naming | None = attrs.field(default=None, eq=False, repr=False)

    @cached_property
    def cost(self) -> int:
        """Steps to tell whether a point lies in it."""
        return sum(each.cost for each in (*self.inside, *self.outside))


@attrs.frozen(order=True)
class _Candidate:
    """A part of a region and its shortest point; shorter points come first, then older parts."""

    length: int
    age: int
    region: Region = attrs.field(order=False)
    inside: _Part = attrs.field(order=False)
    outside: _Part = attrs.field(order=False)
    point: Point = attrs.field(order=False)


def shortest_access(
    regions: Iterable[Region], budget: Budget, looked_up: Callable[[Point], Iterable[Extent]] | None = None
) -> Access | None:
    """Return the shortest point of all the regions together; None if they are empty.

    Args:
        regions: The regions.
        budget: What it is paid from.
        looked_up: Returns more of what lies outside of them all, for a point: what holds it.

    Raises:
        PolicyTooComplex: If the budget does not last.
    """
    waiting: list[_Candidate] = []
    age = 0

    def put(region: Region, inside: _Part, outside: _Part) -> None:
        nonlocal age
        age += 1
        budget.spend(_PART + sum(map(len, outside)))
        if (point := _shortest_point(region.domain, inside, outside, budget)) is not None:
            heapq.heappush(waiting, _Candidate(_length(region, point), age, region, inside, outside, point))

    for region in regions:
        budget.spend(_EXTENT * (len(region.inside) + len(region.outside)))
        put(region, _whole(region.inside), ((), (), ()))
    while waiting:
        candidate = heapq.heappop(waiting)
        budget.spend(candidate.region.cost)
        hits = [*_hits(candidate), *(looked_up(candidate.point) if looked_up else ())]
        if not hits:
            return _access(candidate)
        budget.spend(sum(each.cost for each in hits))
        # Of what holds the point, that which leaves the fewest parts; often it leaves none.
        hit = min(hits, key=lambda extent: len(_open_kinds(candidate.inside, extent)) + len(extent.holes))
        for inside, outside in _cut(candidate, hit):
            put(candidate.region, inside, outside)
    return None


def _whole(inside: tuple[Extent, ...]) -> _Part:
    return tuple(map(_distinct, zip(*(each.patterns for each in inside), strict=True)))


def _shortest_point(domain: TrustDomain, inside: _Part, outside: _Part, budget: Budget) -> Point | None:
    words: list[str] = []
    for kind, ins, outs in zip(_KINDS, inside, outside, strict=True):
        word = shortest(kind, ins, outs, budget)
        # If the shortest name is too long, so are all others.
        if word is None or (not words and _id_length(domain, word) > MAX_ID_BYTES):
            return None
        words.append(word)
    path, target, request = words
    return path, target, request


def _id_length(domain: TrustDomain, path: str) -> int:
    return _SCHEME_LENGTH + len(domain.name) + len(path)


def _length(region: Region, point: Point) -> int:
    path, target, request = point
    asked = len(region.method) + len(request) if region.method != HANDSHAKE else 0
    return len(region.domain.name) + len(path) + len(target) + asked


def _hits(candidate: _Candidate) -> Iterator[Extent]:
    """Yield everything that a part's shortest point lies in and must not."""
    region, point = candidate.region, candidate.point
    yield from (extent for extent in region.outside if extent.holds(point))
    for extent in region.inside:
        if (hole := extent.hole_at(point)) is not None:
            yield Extent(hole)
    for paths in region.elsewhere:
        if (alias := paths.hit(point[0])) is not None:
            yield Extent((alias, ANYTHING, ANYTHING))


def _cut(candidate: _Candidate, out: Extent) -> Iterator[tuple[_Part, _Part]]:
    """Cut a part along an extent and leave it out: each piece is inside by the kinds before its own.

    What lies in its holes is left, in a piece for each hole.
    """
    inside, outside = candidate.inside, candidate.outside
    for kind in _open_kinds(inside, out):
        yield inside, _with(outside, kind, out.patterns[kind])
        inside = _with(inside, kind, out.patterns[kind])
    for hole in out.holes:
        within = inside
        for kind in _open_kinds(inside, Extent(hole)):
            within = _with(within, kind, hole[kind])
        yield within, outside


def _open_kinds(inside: _Part, extent: Extent) -> list[int]:
    """Return the kinds in which a part may have words that an extent has not."""
    return [
        kind
        for kind, pattern in enumerate(extent.patterns)
        if not any(pattern.contains(each) for each in inside[kind])
    ]


def _with(part: _Part, kind: int, pattern: Pattern) -> _Part:
    return tuple((*each, pattern) if at == kind else each for at, each in enumerate(part))


def _distinct(patterns: Iterable[Pattern]) -> tuple[Pattern, ...]:
    return tuple(dict.fromkeys(patterns))


def _access(candidate: _Candidate) -> Access:
    path, target, request = candidate.point
    region = candidate.region
    asked = None if region.method == HANDSHAKE else f"{region.method} {as_sent(request)}"
    spiffe_id = SpiffeId(region.domain, path)
    token = None if region.naming is None else region.naming.example(spiffe_id, region.state)
    return Access(spiffe_id, target.removeprefix("/"), asked, token)

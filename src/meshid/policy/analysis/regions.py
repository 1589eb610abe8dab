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
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import attrs

from meshid.errors import PolicyTooComplex
from meshid.names.pattern import Pattern
from meshid.names.spiffe_id import MAX_ID_BYTES, SpiffeId, TrustDomain
from meshid.policy.analysis.answers import Access
from meshid.policy.analysis.automata import Words, shortest
from meshid.policy.analysis.boxes import HANDSHAKE
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.extent import Extent
from meshid.policy.analysis.token_states import ANYTHING, NO_TOKEN, Elsewhere, Naming, TokenState
from meshid.policy.requests import as_sent

MAX_PARTS = 100_000
"""Parts that one search makes; most need one or two."""

_KINDS = (Words.PEER_PATHS, Words.TARGETS, Words.REQUEST_PATHS)
_SCHEME_LENGTH = len("spiffe://")

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

    @property
    def is_plainly_empty(self) -> bool:
        """Whether an outside box holds all of an inside box."""
        if any(each.is_plainly_empty for each in self.inside):
            return True
        if any(out.contains(each) for out in self.outside for each in self.inside):
            return True
        return any(paths.holds(each.patterns[0]) for paths in self.elsewhere for each in self.inside)


@attrs.frozen(order=True)
class _Candidate:
    """A part of a region and its shortest point; shorter points come first, then older parts."""

    length: int
    age: int
    region: Region = attrs.field(order=False)
    inside: _Part = attrs.field(order=False)
    outside: _Part = attrs.field(order=False)
    point: tuple[str, str, str] = attrs.field(order=False)


def shortest_access(regions: Iterable[Region], budget: Budget) -> Access | None:
    """Return the shortest point of all the regions together; None if they are empty.

    Raises:
        PolicyTooComplex: If the budget does not last, or it takes more than `MAX_PARTS` parts to find out.
    """
    waiting: list[_Candidate] = []
    age = 0

    def put(region: Region, inside: _Part, outside: _Part) -> None:
        nonlocal age
        age += 1
        budget.spend()
        if (point := _shortest_point(region, inside, outside, budget)) is not None:
            heapq.heappush(waiting, _Candidate(_length(region, point), age, region, inside, outside, point))

    for region in regions:
        if not region.is_plainly_empty:
            put(region, _whole(region.inside), ((), (), ()))
    while waiting:
        candidate = heapq.heappop(waiting)
        hit = _hit(candidate)
        if hit is None:
            return _access(candidate)
        for inside, outside in _cut(candidate, hit):
            put(candidate.region, inside, outside)
        if age > MAX_PARTS:
            msg = f"its rules are too entangled: no answer after {MAX_PARTS} parts; simplify them"
            raise PolicyTooComplex(msg)
    return None


def _whole(inside: tuple[Extent, ...]) -> _Part:
    return tuple(map(_distinct, zip(*(each.patterns for each in inside), strict=True)))


def _shortest_point(
    region: Region, inside: _Part, outside: _Part, budget: Budget
) -> tuple[str, str, str] | None:
    path, target, request = (
        shortest(words, ins, outs, budget) for words, ins, outs in zip(_KINDS, inside, outside, strict=True)
    )
    if path is None or target is None or request is None:
        return None
    # If the shortest name is too long, so are all others.
    if _SCHEME_LENGTH + len(region.domain.name) + len(path) > MAX_ID_BYTES:
        return None
    return path, target, request


def _length(region: Region, point: tuple[str, str, str]) -> int:
    path, target, request = point
    asked = len(region.method) + len(request) if region.method != HANDSHAKE else 0
    return len(region.domain.name) + len(path) + len(target) + asked


def _hit(candidate: _Candidate) -> Extent | None:
    """Return something that a part's shortest point lies in and must not."""
    region, point = candidate.region, candidate.point
    for extent in region.outside:
        if extent.holds(point):
            return extent
    for extent in region.inside:
        if (hole := extent.hole_at(point)) is not None:
            return Extent(hole)
    for paths in region.elsewhere:
        if (alias := paths.hit(point[0])) is not None:
            return Extent((alias, ANYTHING, ANYTHING))
    return None


def _cut(candidate: _Candidate, out: Extent) -> Iterator[tuple[_Part, _Part]]:
    """Cut a part along an extent and leave it out: each piece is inside by the kinds before its own.

    What lies in its holes is left, in a piece for each hole.
    """
    inside, outside = candidate.inside, candidate.outside
    for kind, pattern in enumerate(out.patterns):
        yield inside, _with(outside, kind, pattern)
        inside = _with(inside, kind, pattern)
    for hole in out.holes:
        within = inside
        for kind, pattern in enumerate(hole):
            within = _with(within, kind, pattern)
        yield within, outside


def _with(part: _Part, kind: int, pattern: Pattern) -> _Part:
    return tuple(_distinct((*each, pattern)) if at == kind else each for at, each in enumerate(part))


def _distinct(patterns: Iterable[Pattern]) -> tuple[Pattern, ...]:
    return tuple(dict.fromkeys(patterns))


def _access(candidate: _Candidate) -> Access:
    path, target, request = candidate.point
    region = candidate.region
    asked = None if region.method == HANDSHAKE else f"{region.method} {as_sent(request)}"
    spiffe_id = SpiffeId(region.domain, path)
    token = None if region.naming is None else region.naming.example(spiffe_id, region.state)
    return Access(spiffe_id, target.removeprefix("/"), asked, token)

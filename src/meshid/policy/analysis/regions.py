"""What is in some boxes and in none of others: the shortest point of it, exactly.

A region is told, for each of the three kinds of words, by the patterns that must match and
those that must not, so that its shortest point is the shortest word of each kind. If that
point lies in a box that must be left out, the region is cut along the box into parts that
have nothing in common, and the part with the shortest point is looked at next. The first
point that lies in none of those boxes is therefore the shortest of all; if there are no
parts left, there is no such point, and that is the proof.
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
from meshid.policy.analysis.boxes import HANDSHAKE, Patterns

MAX_PARTS = 100_000
"""Parts that one question is cut into; most need one or two."""

_KINDS = (Words.PEER_PATHS, Words.TARGETS, Words.REQUEST_PATHS)
_SCHEME_LENGTH = len("spiffe://")

_Part: TypeAlias = tuple[tuple[Pattern, ...], ...]
"""Patterns of each kind."""


@attrs.frozen
class Region:
    """Peers of one trust domain with requests of one method, at a handshake if it has none.

    Attributes:
        domain: The trust domain.
        method: The method; `HANDSHAKE` for none.
        inside: What all of must match.
        outside: What must not match, three patterns at a time.
    """

    domain: TrustDomain
    method: str
    inside: tuple[Patterns, ...]
    outside: tuple[Patterns, ...]

    @property
    def is_plainly_empty(self) -> bool:
        """Whether one box that is left out holds all of one that is in."""
        return any(
            all(out.contains(one) for out, one in zip(box, each, strict=True))
            for box in self.outside
            for each in self.inside
        )


@attrs.frozen(order=True)
class _Candidate:
    """A part of a region, and its shortest point; the shorter comes first, then the older."""

    length: int
    age: int
    region: Region = attrs.field(order=False)
    inside: _Part = attrs.field(order=False)
    outside: _Part = attrs.field(order=False)
    point: tuple[str, str, str] = attrs.field(order=False)


def shortest_access(regions: Iterable[Region]) -> Access | None:
    """Return the shortest point of all the regions together; None if they are empty.

    Raises:
        PolicyTooComplex: If it takes more than `MAX_PARTS` parts to tell.
    """
    waiting: list[_Candidate] = []
    age = 0

    def put(region: Region, inside: _Part, outside: _Part) -> None:
        nonlocal age
        age += 1
        if (point := _shortest_point(region, inside, outside)) is not None:
            heapq.heappush(waiting, _Candidate(_length(region, point), age, region, inside, outside, point))

    for region in regions:
        if not region.is_plainly_empty:
            put(region, tuple(map(_distinct, zip(*region.inside, strict=True))), ((), (), ()))
    while waiting:
        candidate = heapq.heappop(waiting)
        box = _hit(candidate)
        if box is None:
            return _access(candidate)
        for inside, outside in _cut(candidate, box):
            put(candidate.region, inside, outside)
        if age > MAX_PARTS:
            msg = f"its rules are too entangled: after {MAX_PARTS} parts there is no answer; simplify them"
            raise PolicyTooComplex(msg)
    return None


def _shortest_point(region: Region, inside: _Part, outside: _Part) -> tuple[str, str, str] | None:
    path, target, request = (
        shortest(words, ins, outs) for words, ins, outs in zip(_KINDS, inside, outside, strict=True)
    )
    if path is None or target is None or request is None:
        return None
    # The shortest name is too long: so are all others.
    if _SCHEME_LENGTH + len(region.domain.name) + len(path) > MAX_ID_BYTES:
        return None
    return path, target, request


def _length(region: Region, point: tuple[str, str, str]) -> int:
    path, target, request = point
    asked = len(region.method) + len(request) if region.method != HANDSHAKE else 0
    return len(region.domain.name) + len(path) + len(target) + asked


def _hit(candidate: _Candidate) -> Patterns | None:
    return next(
        (
            box
            for box in candidate.region.outside
            if all(pattern.matches(word) for pattern, word in zip(box, candidate.point, strict=True))
        ),
        None,
    )


def _cut(candidate: _Candidate, box: Patterns) -> Iterator[tuple[_Part, _Part]]:
    """Cut a part along a box, the box left out: along each kind, what is in the box by the kinds before."""
    inside, outside = candidate.inside, candidate.outside
    for kind, pattern in enumerate(box):
        yield inside, _with(outside, kind, pattern)
        inside = _with(inside, kind, pattern)


def _with(part: _Part, kind: int, pattern: Pattern) -> _Part:
    return tuple(_distinct((*each, pattern)) if at == kind else each for at, each in enumerate(part))


def _distinct(patterns: Iterable[Pattern]) -> tuple[Pattern, ...]:
    return tuple(dict.fromkeys(patterns))


def _access(candidate: _Candidate) -> Access:
    path, target, request = candidate.point
    method = candidate.region.method
    asked = None if method == HANDSHAKE else f"{method} {request}"
    return Access(SpiffeId(candidate.region.domain, path), target.removeprefix("/"), asked)

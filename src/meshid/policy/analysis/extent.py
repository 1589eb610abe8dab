"""What a box holds for one trust domain and one method: a product of patterns, less some holes."""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

import attrs

from meshid.names.pattern import Pattern

Patterns: TypeAlias = tuple[Pattern, Pattern, Pattern]
"""Of the path of a peer, of a target, of the path of a request."""

Point: TypeAlias = tuple[str, str, str]
"""The path of a peer, a target, the path of a request."""


@attrs.frozen
class Extent:
    """All points that match three patterns, but for those that match the three of a hole.

    Attributes:
        patterns: The patterns.
        holes: The holes; they may lie outside of the patterns.
    """

    patterns: Patterns
    holes: tuple[Patterns, ...] = ()

    @cached_property
    def cost(self) -> int:
        """Steps to compare it with something."""
        return sum(_cost_of(pattern) for patterns in (self.patterns, *self.holes) for pattern in patterns)

    def holds(self, point: Point) -> bool:
        """Tell whether a point lies in it."""
        return _matches(self.patterns, point) and self.hole_at(point) is None

    def hole_at(self, point: Point) -> Patterns | None:
        """Return a hole that a point lies in; None if there is none."""
        return next((hole for hole in self.holes if _matches(hole, point)), None)

    def contains(self, other: Extent) -> bool:
        """Tell whether it plainly holds all of another; it may do so together with its holes, too."""
        return _contains(self.patterns, other.patterns) and all(
            not _intersects(hole, other.patterns) or any(_contains(each, hole) for each in other.holes)
            for hole in self.holes
        )


def _matches(patterns: Patterns, point: Point) -> bool:
    return all(pattern.matches(word) for pattern, word in zip(patterns, point, strict=True))


def _contains(one: Patterns, two: Patterns) -> bool:
    return all(mine.contains(its) for mine, its in zip(one, two, strict=True))


def _intersects(one: Patterns, two: Patterns) -> bool:
    return all(mine.intersects(its) for mine, its in zip(one, two, strict=True))


def _cost_of(pattern: Pattern) -> int:
    """Return about how many microseconds a comparison with a pattern may take."""
    return 1 if pattern.is_literal else 1 + (len(pattern.segments) ** 2 >> 4)

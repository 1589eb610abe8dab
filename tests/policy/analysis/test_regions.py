"""Regions with holes, against brute force over all short words of a tiny alphabet."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.names.pattern import Pattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.boxes import HANDSHAKE
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.extent import Extent, Patterns, Point
from meshid.policy.analysis.regions import Region, shortest_access

SEGMENTS = st.sampled_from(["a", "b", "*", "**", "a*"])
PATTERN = st.lists(SEGMENTS, min_size=1, max_size=2).map(lambda each: Pattern.parse("/" + "/".join(each)))
PATTERNS: st.SearchStrategy[Patterns] = st.tuples(PATTERN, PATTERN, PATTERN)
EXTENT = st.builds(Extent, PATTERNS, st.lists(PATTERNS, max_size=2).map(tuple))
EXTENTS = st.lists(EXTENT, max_size=3).map(tuple)

WORDS = ["/" + "/".join(each) for n in (1, 2) for each in product(["a", "b", "ab"], repeat=n)]
POINTS: list[Point] = [(one, two, three) for one in WORDS for two in WORDS for three in WORDS]
DOMAIN = TrustDomain("d")


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(inside=st.lists(EXTENT, min_size=1, max_size=2).map(tuple), outside=EXTENTS)
def test_the_shortest_point_is_found(inside: tuple[Extent, ...], outside: tuple[Extent, ...]) -> None:
    left = [
        point
        for point in POINTS
        if all(each.holds(point) for each in inside) and not any(each.holds(point) for each in outside)
    ]
    region = Region(DOMAIN, "GET", inside, outside)
    access = shortest_access([region], Budget())
    # To look the outside up point by point is the same as to have it.
    again = shortest_access(
        [Region(DOMAIN, "GET", inside, ())],
        Budget(),
        lambda point: (each for each in outside if each.holds(point)),
    )
    assert (access is None) == (again is None)
    if access is None:
        assert not left
        return
    assert access.request is not None
    found = access.spiffe_id.path, f"/{access.target}", access.request.removeprefix("GET ")
    assert all(each.holds(found) for each in inside)
    assert not any(each.holds(found) for each in outside)
    if left:
        assert sum(map(len, found)) <= min(sum(map(len, each)) for each in left)


def test_a_part_that_is_held_whole_leaves_nothing_to_cut() -> None:
    anything = Pattern.parse("/**")
    hole = (Pattern.parse("/a"), anything, anything)
    inside = Extent((Pattern.parse("/a*"), anything, anything), (hole,))
    region = Region(DOMAIN, HANDSHAKE, (inside,), (Extent((Pattern.parse("/a*/**"), anything, anything)),))
    assert shortest_access([region], Budget()) is None

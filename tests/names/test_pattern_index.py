"""The index finds what each pattern alone would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshid.names.pattern import Pattern
from meshid.names.pattern_index import PatternIndex

SEGMENTS = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "*a", "*a*", "a*b", "b*", "*b*a"])
PATTERNS = st.one_of(
    st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join),
    st.sampled_from(["/", "/a/", "/**/a/"]),
).map(Pattern.parse)
VALUES = st.one_of(
    st.lists(st.text("ab", max_size=3), max_size=6).map("/".join),
    st.sampled_from(["", "/", "//", "/a", "a/"]),
)


def index_of(patterns: list[Pattern]) -> PatternIndex[list[int]]:
    index: PatternIndex[list[int]] = PatternIndex()
    for number, pattern in enumerate(patterns):
        index.setdefault(pattern, list[int]).append(number)
    return index


@given(st.lists(PATTERNS, max_size=8), VALUES)
def test_it_matches_as_each_pattern_does(patterns: list[Pattern], value: str) -> None:
    found = [number for numbers in index_of(patterns).matching(value) for number in numbers]
    assert sorted(found) == [number for number, each in enumerate(patterns) if each.matches(value)]


@given(st.lists(PATTERNS, max_size=8), PATTERNS)
def test_it_intersects_what_each_pattern_intersects(patterns: list[Pattern], other: Pattern) -> None:
    index = index_of(patterns)
    found = [number for numbers in index.intersecting(other) for number in numbers]
    assert sorted(found) == [number for number, each in enumerate(patterns) if each.intersects(other)]


def test_what_is_added_after_a_look_up_is_found_by_the_next() -> None:
    index = index_of([Pattern.parse("/a")])
    for _ in range(2):
        assert list(index.intersecting(Pattern.parse("/*"))) == [[0]]
    index.setdefault(Pattern.parse("/b"), list[int]).append(1)
    index.setdefault(Pattern.parse("/b*"), list[int]).append(2)
    assert sorted(index.intersecting(Pattern.parse("/*"))) == [[0], [1], [2]]
    assert sorted(index.matching("/b")) == [[1], [2]]


def test_a_pattern_written_in_two_ways_is_one_pattern() -> None:
    index = index_of([Pattern.parse("a/*"), Pattern.parse("/a/*"), Pattern.parse("b"), Pattern.parse("/b")])
    assert index.matching("/a/x") == [[0, 1]]
    assert index.matching("b") == [[2, 3]]

"""The example is a value of both patterns, and there is one exactly if they intersect."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.names.common_value import common_value
from meshid.names.pattern import Pattern

SEGMENTS = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "*a", "*a*", "a*b", "b*", ".*", "*.", "a*.*"])
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=6).map("/".join).map(Pattern.parse)


@settings(max_examples=200)
@given(PATTERNS, PATTERNS)
def test_it_is_a_value_of_both_if_they_intersect(one: Pattern, two: Pattern) -> None:
    value = common_value(one, two)
    assert (value is not None) == one.intersects(two)
    if value is not None:
        assert one.matches(value)
        assert two.matches(value)
        assert {"", ".", ".."}.isdisjoint(value.split("/") if value else ())


@pytest.mark.parametrize(
    ("one", "two", "value"),
    [
        ("/ns/*/sa/api", "/ns/pay/**", "ns/pay/sa/api"),
        ("api-*", "*-x", "api--x"),
        ("**", "**", ""),
        ("*", "*", "x"),
        (".*", "*.", ".x."),
        ("a/**", "**/b", "a/b"),
        ("*/**/a", "**/b/*", "b/a"),
        ("a", "b", None),
        ("a/*", "a", None),
    ],
    ids=str,
)
def test_it_is_short_enough_to_read(one: str, two: str, value: str | None) -> None:
    assert common_value(Pattern.parse(one), Pattern.parse(two)) == value


def test_the_most_entangled_patterns_take_no_time() -> None:
    one = Pattern.parse("/".join(["**", "a*"] * 15 + ["b"]))
    two = Pattern.parse("/".join(["**", "*a"] * 15 + ["c"]))
    began = time.process_time()
    assert common_value(one, two) is None
    assert time.process_time() - began < 1

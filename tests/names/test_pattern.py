"""The wildcard grammar, compared with two references that work in other ways.

`naive_match` reads a pattern as its definition says, by trying everything. `Automaton` reads
it as a regular language, character by character, and decides by the subset construction.
"""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable, Iterator
from itertools import product

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid import InvalidPattern
from meshid.names.pattern import MAX_PATTERN_LENGTH, MAX_WILDCARDS, Pattern
from meshid.support.quoting import quote
from tests.helpers.cost import calls_of

FRESH = "~"
"""A character that no pattern of these tests contains."""

thoroughly = settings(max_examples=300, deadline=None)


def parse(text: str) -> Pattern:
    return Pattern.parse(text)


# -- The references -----------------------------------------------------------


def segments_of(value: str) -> list[str]:
    if not value:
        return []
    return (value[1:] if value[0] == "/" else value).split("/")


def naive_match(pattern: list[str], value: list[str]) -> bool:
    if not pattern:
        return not value
    if pattern[0] == "**":
        return any(naive_match(pattern[1:], value[start:]) for start in range(len(value) + 1))
    return bool(value) and naive_segment(pattern[0], value[0]) and naive_match(pattern[1:], value[1:])


def naive_segment(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naive_segment(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return text[:1] == pattern[0] and naive_segment(pattern[1:], text[1:])


States = frozenset[int]


class Automaton:
    """A pattern as a regular language over values that are "" or begin with "/".

    A state is a place among the tokens: a character, "star" (a loop over all but "/"), "gate"
    (past it and the next token, or through "/") and "any" (a loop over everything).
    """

    def __init__(self, pattern: Pattern) -> None:
        self.tokens: list[str] = []
        for segment in pattern.segments:
            if segment == "**":
                self.tokens += ["gate", "any"]
            else:
                self.tokens += ["/", *("star" if character == "*" else character for character in segment)]
        self.start = self.closure({0})

    def closure(self, states: set[int]) -> States:
        todo = list(states)
        while todo:
            state = todo.pop()
            here = self.tokens[state] if state < len(self.tokens) else ""
            leap = {"star": 1, "any": 1, "gate": 2}.get(here, 0)
            if leap and state + leap not in states:
                states.add(state + leap)
                todo.append(state + leap)
        return frozenset(states)

    def step(self, states: States, character: str) -> States:
        reached = set()
        for state in states - {len(self.tokens)}:
            here = self.tokens[state]
            if here == "any" or (here == "star" and character != "/"):
                reached.add(state)
            elif here == character or (here == "gate" and character == "/"):
                reached.add(state + 1)
        return self.closure(reached)

    def accepts(self, states: States) -> bool:
        return len(self.tokens) in states


def shortest_value(one: Pattern, two: Pattern, wanted: Callable[[bool, bool], bool]) -> str | None:
    """Return a value that *two* still may match, where *wanted* holds of whether each matches it."""
    ours, theirs = Automaton(one), Automaton(two)
    alphabet = sorted(set(f"{one.text}{two.text}/{FRESH}") - {"*"})
    reached = {(ours.start, theirs.start): ""}
    todo = list(reached)
    for us, them in todo:
        if wanted(ours.accepts(us), theirs.accepts(them)):
            return reached[us, them]
        for character in alphabet:
            pair = ours.step(us, character), theirs.step(them, character)
            if pair[1] and pair not in reached:
                reached[pair] = reached[us, them] + character
                todo.append(pair)
    return None


def counterexample(one: Pattern, two: Pattern) -> str | None:
    return shortest_value(one, two, lambda ours, theirs: theirs and not ours)


def common_value(one: Pattern, two: Pattern) -> str | None:
    return shortest_value(one, two, lambda ours, theirs: ours and theirs)


# -- What they are tried on ---------------------------------------------------


def in_grammar(text: str) -> bool:
    try:
        parse(text)
    except InvalidPattern:
        return False
    return True


SMALL_TEXTS = ["".join(text) for length in range(1, 5) for text in product("a*/", repeat=length)]
SMALL_CHAINS = [
    "/".join(chain) for length in (1, 2, 3) for chain in product(["*", "**", "a", "b"], repeat=length)
]
TRICKY = [
    "**/a/*/**/b/**",
    "**/*/a/**",
    "a/**/*/b",
    "*/a*/**/*b",
    "**/a/a/b/**",
    "a/**/b/b",
    "**/a/b/",
    "*a*b*",
]
SMALL = list(dict.fromkeys(map(parse, filter(in_grammar, SMALL_TEXTS + SMALL_CHAINS + TRICKY))))
SMALL_VALUES = ["".join(value) for length in range(6) for value in product("ab/*", repeat=length)]

segment_texts = st.text("ab*", min_size=1, max_size=5).map(lambda text: re.sub(r"\*+", "*", text))
chains = st.lists(st.sampled_from(["**", "*", "a"]) | segment_texts, min_size=1, max_size=6)
patterns = st.builds(
    lambda lead, chain, tail: parse(lead + "/".join(chain) + tail),
    st.sampled_from(["", "/"]),
    chains,
    st.sampled_from(["", "", "/"]),
)
values = st.text("ab/*.", max_size=14)


@st.composite
def values_of(draw: st.DrawFn, pattern: Pattern) -> str:
    """Return a value that *pattern* matches, by filling in its wildcards."""
    segments: list[str] = []
    for segment in pattern.segments:
        if segment == "**":
            segments += draw(st.lists(st.text("ab*", max_size=2), max_size=3))
        else:
            segments.append("".join(draw(st.text("ab*", max_size=3)) if c == "*" else c for c in segment))
    return "".join(f"/{segment}" for segment in segments)


@st.composite
def widened(draw: st.DrawFn, pattern: Pattern) -> Pattern:
    """Return a pattern that is as wide as *pattern*, or wider, in each segment."""
    segments = []
    for segment in pattern.segments:
        cut = draw(st.integers(0, len(segment)))
        wider = re.sub(r"\*+", "*", f"{segment[:cut]}*") if segment != "**" else "**"
        segments.append(draw(st.sampled_from([segment, wider, "**"])))
    return parse("".join(f"/{segment}" for segment in segments))


# -- The grammar --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        pytest.param("payments", ("payments",), id="one segment"),
        pytest.param("/ns/pay/sa/api", ("ns", "pay", "sa", "api"), id="a leading slash makes no segment"),
        pytest.param("ns/pay", ("ns", "pay"), id="no leading slash"),
        pytest.param("/", ("",), id="one empty segment"),
        pytest.param("/v1/", ("v1", ""), id="a trailing slash is an empty last segment"),
        pytest.param("*", ("*",), id="star"),
        pytest.param("**", ("**",), id="two stars"),
        pytest.param("/**/", ("**", ""), id="two stars and a trailing slash"),
        pytest.param("**/**", ("**", "**"), id="two stars twice"),
        pytest.param("/api-*/*.b*c", ("api-*", "*.b*c"), id="stars inside segments"),
        pytest.param("/.a/..b/...", (".a", "..b", "..."), id="dots that are no dot segment"),
        pytest.param("/é/[a]?{b}\\", ("é", "[a]?{b}\\"), id="nothing else is special"),
    ],
)
def test_a_text_in_the_grammar_is_read_as_its_segments(text: str, segments: tuple[str, ...]) -> None:
    pattern = parse(text)
    assert pattern.segments == segments
    assert str(pattern) == pattern.text == text


@pytest.mark.parametrize(
    ("text", "position", "fault"),
    [
        pytest.param("a//b", 3, "a segment is empty", id="an empty segment"),
        pytest.param("/a//b", 4, "a segment is empty", id="an empty segment after a leading slash"),
        pytest.param("//a", 2, "a segment is empty", id="an empty first segment"),
        pytest.param("//", 2, "a segment is empty", id="two slashes"),
        pytest.param("a//", 3, "a segment is empty", id="two trailing slashes"),
        pytest.param(".", 1, "segment '.'", id="a dot"),
        pytest.param("/a/.", 4, "segment '.'", id="a dot at the end"),
        pytest.param("a/../b", 3, "segment '..'", id="two dots"),
        pytest.param("a**b", 2, "write '*', or '**' as", id="two stars inside a segment"),
        pytest.param("/a/***", 4, "write '*', or '**' as", id="three stars"),
        pytest.param("b/**a", 3, "write '*', or '**' as", id="two stars first in a segment"),
        pytest.param("**/b**", 5, "write '*', or '**' as", id="two stars last in a segment"),
        pytest.param("a\n", 2, r"'\n'", id="a newline at the end"),
        pytest.param("\0", 1, r"'\x00'", id="a null"),
        pytest.param("/a\x7f", 3, r"'\x7f'", id="delete"),
        pytest.param("a/\x85b", 3, r"'\x85'", id="a control character beyond ASCII"),
        pytest.param("a\ud800", 2, r"'\ud800'", id="a lone surrogate"),
        pytest.param("a" * 2049, 2049, "at most 2048 characters", id="too long"),
        pytest.param("*/" * 33, 65, "at most 32 wildcards", id="too many stars"),
        pytest.param("**/" * 16 + "*a*/" * 8 + "**", 81, "at most 32 wildcards", id="too many of both kinds"),
        pytest.param(
            "**/" + "a/" * 64, 130, "with wildcards has at most 64 segments", id="too many segments"
        ),
        pytest.param(
            "/a" * 64 + "/b*", 130, "with wildcards has at most 64 segments", id="one segment too many"
        ),
    ],
)
def test_a_message_says_what_is_wrong_and_where(text: str, position: int, fault: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        parse(text)
    place, _, what = str(caught.value).removeprefix(f"pattern {quote(text)}, ").partition(": ")
    assert place == f"character {position}"
    assert fault in what


@pytest.mark.parametrize("text", ["/a" * 63 + "/*", "**" + "/a" * 63, "/a" * 1024])
def test_as_many_segments_as_there_may_be(text: str) -> None:
    assert parse(text).text == text


def test_what_is_not_text_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match=r"^a pattern must be a str, not int$"):
        Pattern.parse(3)  # type: ignore[arg-type]


def test_an_empty_text_is_a_missing_pattern() -> None:
    with pytest.raises(InvalidPattern, match=r"^a pattern is missing$"):
        parse("")


@pytest.mark.parametrize("make", [Pattern, Pattern.parse])
def test_no_way_leads_around_the_grammar(make: Callable[[str], Pattern]) -> None:
    with pytest.raises(InvalidPattern):
        make("a//b")


@pytest.mark.parametrize(
    "text", ["a" * MAX_PATTERN_LENGTH, "*/" * MAX_WILDCARDS, "**/" * MAX_WILDCARDS], ids=["a", "*", "**"]
)
def test_a_pattern_may_be_as_large_as_its_limits(text: str) -> None:
    assert parse(text).text == text


@given(st.text(st.sampled_from("ab*./\n\ud800é") | st.characters(), max_size=12))
@thoroughly
def test_any_text_is_a_pattern_or_an_invalid_pattern(text: str) -> None:
    if in_grammar(text):
        assert parse(text).segments == tuple(segments_of(text))


@pytest.mark.parametrize("text", ["/", "/ns/pay/sa/api", "a/", "..."])
def test_a_pattern_without_wildcards_is_literal_and_matches_itself(text: str) -> None:
    assert parse(text).is_literal
    assert parse(text).matches(text)


@pytest.mark.parametrize("text", ["*", "**", "/ns/*/sa/api", "a/b*"])
def test_a_pattern_with_a_wildcard_is_not_literal(text: str) -> None:
    assert not parse(text).is_literal


def test_patterns_are_equal_by_their_segments() -> None:
    assert parse("/a/*") == parse("a/*")
    assert hash(parse("/a/*")) == hash(parse("a/*"))
    assert parse("a") != parse("a/")
    assert parse("*/**") != parse("**/*")


def test_a_pattern_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        parse("a").text = "**"  # type: ignore[misc]


def test_a_pattern_shows_its_text_and_segments() -> None:
    assert repr(parse("/a/*")) == "Pattern(text='/a/*', segments=('a', '*'))"


@pytest.mark.parametrize("remake", [copy.deepcopy, lambda pattern: pickle.loads(pickle.dumps(pattern))])  # noqa: S301 - our own
def test_a_copy_is_the_same_pattern(remake: Callable[[Pattern], Pattern]) -> None:
    pattern = remake(parse("/a/**/b*"))
    assert (pattern, pattern.text) == (parse("/a/**/b*"), "/a/**/b*")
    assert pattern.matches("/a/x/bc")


# -- Matching -----------------------------------------------------------------

MATCHES = {
    "agent": (
        ["agent", "/agent"],
        ["", "/", "agentish", "my-agent", "Agent", "agent/", "agent/x", "x/agent"],
    ),
    "/ns/*/sa/api": (
        ["/ns/pay/sa/api", "ns/pay/sa/api", "/ns//sa/api", "/ns/*/sa/api"],
        [
            "/ns/pay/sa/api2",
            "/ns/pay/sa",
            "/ns/sa/api",
            "/ns/a/b/sa/api",
            "/NS/pay/sa/api",
            "//ns/pay/sa/api",
        ],
    ),
    "/": (["/"], ["", "//", "a", "/a"]),
    "/v1/": (["/v1/", "v1/"], ["/v1", "/v1//", "/v1/a"]),
    "*": (["/", "a", "/a", "*", "**", "/.."], ["", "//", "a/", "/a/b"]),
    "/v1/*": (["/v1/", "/v1/a"], ["/v1", "/v1/a/", "/v1/a/b", "v1"]),
    "**": (["", "/", "//", "a", "/a/b/", "**", "/../a"], []),
    "/ns/ci/**": (["/ns/ci", "/ns/ci/", "/ns/ci/sa/x"], ["", "/ns", "/ns/cia", "/ns/c/i", "/x/ns/ci"]),
    "**/admin": (["admin", "/admin", "/a/b/admin", "//admin"], ["", "/admin/", "/badmin", "/admin/x"]),
    "/a/**/z": (["/a/z", "/a/b/z", "/a//z", "/a/z/z", "/a/a/z"], ["", "/a", "/z", "/az", "/a/z/", "/a/zz"]),
    "/**/": (["/", "a/", "/a/b/", "//"], ["", "a", "/a/b"]),
    "**/a/**/a/**": (["a/a", "/x/a/x/a/x", "a/a/a"], ["", "a", "/x/a/x", "aa"]),
    "**/a/b/**/c": (["a/b/c", "a/a/b/x/c", "a/b/a/b/c"], ["a/b", "a/c", "b/c", "a/x/b/c"]),
    "**/a/a/**/a/a/**": (["a/a/a/a", "x/a/a/x/a/a/x"], ["a/a/a", "a/a/x/a"]),
    "**/a/b/**/b/c/**": (["a/b/b/c"], ["a/b/c"]),
    "*/**": (["/", "a", "/a/b"], [""]),
    "**/*/**/*": (["//", "a/b", "a/b/c"], ["", "/", "a"]),
    "a/**/*/b": (["a/x/b", "a/x/y/b", "a/b/b"], ["a/b", "a", "b"]),
    "api-*": (["api-", "api-1", "api--"], ["api", "xapi-1", "api-1/x"]),
    "*-api": (["-api", "a-api", "-api-api"], ["api", "a-api-"]),
    "a*a": (["aa", "aba", "aaa"], ["a", "aab", "a/a"]),
    "*ab*ba*": (["abba", "xabyba", "abaaba"], ["aba", "ab", "ba", "baab"]),
    "a*b*c": (["abc", "axbxc", "abcbc"], ["ac", "ab", "acb"]),
}


@pytest.mark.parametrize(
    ("text", "value"), [(text, value) for text, (yes, _) in MATCHES.items() for value in yes]
)
def test_a_pattern_matches(text: str, value: str) -> None:
    assert parse(text).matches(value)


@pytest.mark.parametrize(
    ("text", "value"), [(text, value) for text, (_, no) in MATCHES.items() for value in no]
)
def test_a_pattern_does_not_match(text: str, value: str) -> None:
    assert not parse(text).matches(value)


@pytest.mark.parametrize("pattern", SMALL, ids=str)
def test_small_patterns_match_as_defined(pattern: Pattern) -> None:
    segments = list(pattern.segments)
    defined = [value for value in SMALL_VALUES if naive_match(segments, segments_of(value))]
    assert [value for value in SMALL_VALUES if pattern.matches(value)] == defined


@given(patterns, values)
@thoroughly
def test_any_pattern_matches_as_defined(pattern: Pattern, value: str) -> None:
    assert pattern.matches(value) == naive_match(list(pattern.segments), segments_of(value))


@given(st.data())
@thoroughly
def test_a_pattern_matches_what_its_wildcards_stand_for(data: st.DataObject) -> None:
    pattern = data.draw(patterns)
    assert pattern.matches(data.draw(values_of(pattern)))


# -- Comparing ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        pytest.param("**", "/", id="everything"),
        pytest.param("/ns/*/sa/*", "/ns/pay/sa/api-*", id="segment by segment"),
        pytest.param("/ns/**", "/ns/*/sa/**", id="a deep one"),
        pytest.param("/ns/ci/**", "/ns/ci", id="nothing under it"),
        pytest.param("*/**", "**/*", id="at least one segment, written first or last"),
        pytest.param("a/*/**/b", "a/**/c/b", id="what is left free need not stand where it is written"),
        pytest.param("**/a/b/**", "a/**/b/a/b", id="the later place"),
        pytest.param("**/a/*/**/b/**", "a/**/b/b", id="a gap that a segment fills"),
        pytest.param("*a*b*", "a*ab", id="inside a segment"),
        pytest.param("*ab*", "*aab*", id="overlapping literals"),
    ],
)
def test_one_pattern_contains_another(wide: str, narrow: str) -> None:
    assert parse(wide).contains(parse(narrow))


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        pytest.param("*", "**", "", id="one segment is not any number"),
        pytest.param("*/**", "**", "", id="at least one is not any number"),
        pytest.param("/v1/*", "/v1/**", "/v1", id="one segment below is not the tree"),
        pytest.param("api", "api*", "api-1", id="a literal is not its prefix"),
        pytest.param("**/a/b/**", "a/**/b", "a/x/b", id="what may stand between"),
        pytest.param(
            "**/a/*/b/**", "a/a/**/b/b", "a/a/x/x/b/b", id="true for none and for one between, not for two"
        ),
        pytest.param("**/a/b/**/b/c/**", "**/a/b/c/**", "a/b/c", id="one segment does not serve two blocks"),
        pytest.param("*ab*", "*a*b*", "axb", id="what may stand between, inside a segment"),
        pytest.param("a*a", "a*", "a", id="the same character twice"),
        pytest.param("*a*a*a*a*a*b", "*a*b*a*b*", "abab", id="many stars"),
        pytest.param("**/a/*", "**/a/**", "a", id="one below is not the tree, anywhere"),
    ],
)
def test_one_pattern_does_not_contain_another(one: str, other: str, value: str) -> None:
    assert not parse(one).contains(parse(other))
    assert parse(other).matches(value)
    assert not parse(one).matches(value)


@pytest.mark.parametrize(
    ("one", "two", "value"),
    [
        pytest.param("/ns/*/sa/api", "/ns/pay/sa/*", "/ns/pay/sa/api", id="segment by segment"),
        pytest.param("a/**", "**/b", "a/b", id="head and tail"),
        pytest.param("a/**/c", "a/b/**", "a/b/c", id="a longer head"),
        pytest.param("ab*", "*ba", "aba", id="overlapping literals"),
        pytest.param("*a*b", "ab*b*", "abab", id="both with a middle"),
        pytest.param("*a*/**/b/c", "**/xay/**/c", "xay/b/c", id="both with gaps"),
        pytest.param("**", "/", "/", id="everything and one empty segment"),
        pytest.param("**/a/**/b/**", "*/a/*b", "x/a/b", id="one without a gap"),
    ],
)
def test_two_patterns_share_a_value(one: str, two: str, value: str) -> None:
    assert parse(one).matches(value)
    assert parse(two).matches(value)
    assert parse(one).intersects(parse(two))
    assert parse(two).intersects(parse(one))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param("a", "a/", id="with and without a trailing slash"),
        pytest.param("*", "*/*", id="one segment and two"),
        pytest.param("a*", "b*", id="other beginnings"),
        pytest.param("*a", "*b", id="other endings"),
        pytest.param("aa*", "a", id="shorter than the prefix"),
        pytest.param("a/**", "b/**", id="other heads"),
        pytest.param("**/a", "**/b", id="other tails"),
        pytest.param("**/a*/b", "**/b*/*b", id="other tails, one segment up"),
        pytest.param("**/a/**/b/**", "b/a", id="another order"),
        pytest.param("*/**/*", "a", id="fewer than at least two"),
    ],
)
def test_two_patterns_share_nothing(one: str, two: str) -> None:
    assert not parse(one).intersects(parse(two))
    assert not parse(two).intersects(parse(one))


def check_comparison(one: Pattern, two: Pattern) -> None:
    left = counterexample(one, two)
    assert one.contains(two) == (left is None), left
    assert left is None or (two.matches(left) and not one.matches(left))
    common = common_value(one, two)
    assert one.intersects(two) == (common is not None), common
    assert common is None or (one.matches(common) and two.matches(common))


@pytest.mark.parametrize("one", SMALL, ids=str)
def test_small_patterns_compare_as_regular_languages(one: Pattern) -> None:
    for two in SMALL:
        check_comparison(one, two)


@given(patterns, patterns)
@thoroughly
def test_any_patterns_compare_as_regular_languages(one: Pattern, two: Pattern) -> None:
    check_comparison(one, two)


@given(st.data())
@thoroughly
def test_near_patterns_compare_as_regular_languages(data: st.DataObject) -> None:
    origin = data.draw(patterns)
    check_comparison(data.draw(widened(origin)), data.draw(widened(origin)))


@given(st.data())
@thoroughly
def test_a_widened_pattern_contains_the_narrow_one_and_its_values(data: st.DataObject) -> None:
    narrow = data.draw(patterns)
    wide = data.draw(widened(narrow))
    assert wide.contains(narrow)
    assert wide.intersects(narrow)
    assert wide.matches(data.draw(values_of(narrow)))


def extreme_values(pattern: Pattern, many: int) -> Iterator[str]:
    """Yield the values in which each `**` stands for nothing or for *many* segments, `*` for "~"."""
    ways = [
        ["", f"/{FRESH}" * many] if s == "**" else [f"/{s.replace('*', FRESH)}"] for s in pattern.segments
    ]
    yield from map("".join, product(*ways))


@given(patterns, patterns)
@thoroughly
def test_a_pattern_contains_another_if_it_matches_the_extreme_values(one: Pattern, two: Pattern) -> None:
    extreme = extreme_values(two, many=len(one.segments) + 1)
    assert one.contains(two) == all(map(one.matches, extreme))


# -- The laws -----------------------------------------------------------------


@pytest.fixture(scope="module")
def contained() -> dict[Pattern, set[Pattern]]:
    return {wide: {narrow for narrow in SMALL if wide.contains(narrow)} for wide in SMALL}


def test_each_pattern_contains_itself(contained: dict[Pattern, set[Pattern]]) -> None:
    assert all(pattern in below for pattern, below in contained.items())


def test_what_is_contained_in_the_contained_is_contained(contained: dict[Pattern, set[Pattern]]) -> None:
    assert all(contained[narrow] <= below for below in contained.values() for narrow in below)


def test_two_that_contain_each_other_match_the_same_values(contained: dict[Pattern, set[Pattern]]) -> None:
    twins = [(one, two) for one in SMALL for two in contained[one] if one in contained[two] and one != two]
    assert (parse("*/**"), parse("**/*")) in twins
    for one, two in twins:
        assert list(map(one.matches, SMALL_VALUES)) == list(map(two.matches, SMALL_VALUES))


def test_what_is_contained_intersects(contained: dict[Pattern, set[Pattern]]) -> None:
    assert all(wide.intersects(narrow) for wide, below in contained.items() for narrow in below)


def test_to_intersect_is_mutual() -> None:
    assert all(one.intersects(two) == two.intersects(one) for one, two in product(SMALL, SMALL))


def test_two_stars_contain_everything(contained: dict[Pattern, set[Pattern]]) -> None:
    assert contained[parse("**")] == set(SMALL)


def test_a_literal_is_contained_where_it_is_matched() -> None:
    literals = [pattern for pattern in SMALL if pattern.is_literal]
    assert literals
    for wide, literal in product(SMALL, literals):
        assert wide.contains(literal) == wide.intersects(literal) == wide.matches(literal.text)


# -- The cost -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param("*a" * 31 + "*b", "a", id="stars in one long segment"),
        pytest.param("**/a/" * 15 + "**/b", "a/", id="gaps before a tail that is missing"),
        pytest.param("**/a/" * 15 + "**/b/**", "a/", id="gaps before a block that is missing"),
        pytest.param("**/a/" + "*/" * 29 + "b/**", "a/", id="a block that almost fits everywhere"),
        pytest.param("**/" + "*a*b/" * 15 + "**", "ab/", id="segments that fit until the end is near"),
        pytest.param("**/*/" * 15 + "**/b/**", "/", id="empty segments only"),
    ],
)
def test_a_value_twice_as_long_costs_about_twice_as_much(text: str, part: str) -> None:
    pattern = parse(text)
    short, long = ((part * length)[:length] for length in (4096, 8192))
    once, twice = (calls_of(lambda value=value: pattern.matches(value)) for value in (short, long))  # type: ignore[misc]
    assert twice <= 2.1 * once  # the square would be 4


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param("*a*a*a*a*a*b", "*a*b*a*b*", id="stars against stars"),
        pytest.param("*a" * 31 + "*", "*b" * 31 + "*", id="as many stars as there may be"),
        pytest.param("**/a/" * 15 + "**", "**/b/" * 15 + "**", id="gaps against gaps"),
        pytest.param(
            "**/a/" + "*/" * 30 + "b", "**/a/" * 31 + "b", id="a subset construction would take 2**30 steps"
        ),
        pytest.param("**/" + "a/" * 61 + "b/**", "a/" * 63 + "**", id="long blocks"),
        pytest.param("**/" + "*a*/" * 15 + "b/**", "**/" + "*a*/" * 15 + "c/**", id="stars in gaps"),
    ],
)
def test_a_comparison_costs_at_most_the_product_of_the_lengths(one: str, two: str) -> None:
    left, right = parse(one), parse(two)
    bound = 100 + 4 * len(one) * len(two)
    assert calls_of(lambda: left.contains(right)) <= bound
    assert calls_of(lambda: right.contains(left)) <= bound
    assert calls_of(lambda: left.intersects(right)) <= bound

"""Foreign strings: nothing that somebody else wrote can forge a line or fill a disk."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.support.quoting import MAX_QUOTED, escaped, joined, plural, quote, quote_all


@given(st.text(max_size=2 * MAX_QUOTED))
def test_a_quoted_string_is_one_line_of_printable_ascii_of_bounded_length(text: str) -> None:
    shown = quote(text)
    assert shown.isascii()
    assert shown.isprintable()
    # A character takes ten at the most: \U0001f600.
    assert len(shown) <= 10 * MAX_QUOTED + 40


@given(st.text(max_size=MAX_QUOTED))
def test_a_short_string_can_be_read_back(text: str) -> None:
    assert ast.literal_eval(quote(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("api", "'api'", id="plain"),
        pytest.param("a\nFORGED", r"'a\nFORGED'", id="newline"),
        pytest.param("\x1b[2J", r"'\x1b[2J'", id="terminal escape"),
        pytest.param("a\0b", r"'a\x00b'", id="NUL"),
        pytest.param("\u202egnp", r"'\u202egnp'", id="right-to-left override"),
        pytest.param("ban\u212a", r"'ban\u212a'", id="KELVIN SIGN"),
        pytest.param("\udcff", r"'\udcff'", id="half a character"),
        pytest.param("it's", '"it\'s"', id="quotation mark"),
    ],
)
def test_what_could_deceive_a_reader_is_escaped(text: str, shown: str) -> None:
    assert quote(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("abcd", "'abcd'", id="as long as the limit"),
        pytest.param("abcde", "'abcd'... (5 characters)", id="longer by one"),
        pytest.param("a" * 1000, "'aaaa'... (1000 characters)", id="much longer"),
    ],
)
def test_a_long_string_is_cut_and_says_how_long_it_was(text: str, shown: str) -> None:
    assert quote(text, 4) == shown


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        pytest.param([], "", id="none"),
        pytest.param(("a",), "'a'", id="one"),
        pytest.param(["a", "b\n"], r"'a', 'b\n'", id="as many as the limit"),
        pytest.param(["a", "b", "c", "d"], "'a', 'b' and 2 more", id="more"),
    ],
)
def test_a_list_is_cut_and_says_how_many_are_left(texts: list[str], shown: str) -> None:
    assert quote_all(texts, limit=2) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a\nb", r"a\nb", id="short"),
        pytest.param("a" * MAX_QUOTED, "a" * MAX_QUOTED, id="as long as the limit"),
        pytest.param(
            "a" * (MAX_QUOTED + 1), f"'{'a' * MAX_QUOTED}'... ({MAX_QUOTED + 1} characters)", id="cut"
        ),
    ],
)
def test_a_field_of_its_own_needs_no_quotes_unless_it_is_cut(text: str, shown: str) -> None:
    assert escaped(text) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 rules"), (1, "1 rule"), (2, "2 rules")])
def test_a_count_agrees_with_its_noun(count: int, shown: str) -> None:
    assert plural(count, "rule") == shown


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [("Renew it.", "renew it"), ("a part: b", "a part: b"), ("", "")],
)
def test_a_sentence_that_ends_another_has_no_capital_and_no_full_stop(sentence: str, shown: str) -> None:
    assert joined(sentence) == shown

"""JSON that another reader could take for something else is refused."""

from __future__ import annotations

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.support.strict_json import MAX_JSON_VALUES, parse_json


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b'{"a": 1, "a": 2}', "a member occurs twice", id="a member twice"),
        pytest.param(b'[{"x": {"a": 1, "\\u0061": 1}}]', "a member occurs twice", id="twice, escaped"),
        pytest.param(b"[NaN]", "NaN is no number", id="NaN"),
        pytest.param(b"[-Infinity]", "-Infinity is no number", id="Infinity"),
        pytest.param('{"a": 1}'.encode("utf-16"), "byte 1 is not UTF-8", id="UTF-16"),
        pytest.param('{"a": 1}'.encode("utf-32-le"), "Expecting property name", id="UTF-32"),
        pytest.param(b'["\xed\xa0\x80"]', "byte 3 is not UTF-8", id="half of a surrogate pair"),
        pytest.param(b"[" * 90_000, "nested too deeply", id="deep"),
        pytest.param(b"1" * 5000, "Exceeds the limit", id="an integer of many digits"),
        pytest.param(b"[" + b"1," * MAX_JSON_VALUES, "more than 100000 values", id="too many values"),
        pytest.param(b"", "Expecting value", id="nothing"),
    ],
)
def test_it_is_refused_in_one_line(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_json(data)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_ignored() -> None:
    # RFC 8259 section 8.1: parsers "MAY ignore the presence of a byte order mark".
    assert parse_json(b'\xef\xbb\xbf{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("data", [b'{"a": "secret"', b'["secret\xff"]'], ids=["JSON", "UTF-8"])
def test_what_was_read_is_not_in_the_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not JSON") as caught:
        parse_json(data)
    assert caught.value.__context__ is None
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_is_json_is_read_as_it_is(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary())
def test_any_bytes_are_read_or_are_a_value_error(data: bytes) -> None:
    try:
        parse_json(data)
    except ValueError as error:
        assert str(error).isascii()

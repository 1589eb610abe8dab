"""Whatever an error says to write is right: it is read when it is written."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshid import InvalidPattern, InvalidSpiffeId
from meshid.policy.file.strings import condition, source, target, trust_domain

READERS: dict[str, Callable[[str], object]] = {
    "trust_domains": trust_domain,
    "from": source,
    "to": target,
    "http": condition,
}
QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
WRITE = re.compile(rf"write ((?:{QUOTED})(?:(?:, | or )(?:{QUOTED}))*)(\.\.\.)?")


def problem_of(key: str, text: str) -> str:
    try:
        READERS[key](text)
    except (InvalidPattern, InvalidSpiffeId) as error:
        return str(error)
    return ""


def suggested(problem: str) -> Iterator[str]:
    """Yield what a problem says to write, of a list of strings."""
    for match in WRITE.finditer(problem):
        # What is cut cannot be copied.
        assert not match[2]
        yield from (ast.literal_eval(each) for each in re.findall(QUOTED, match[1]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("OPTIONS *", "'*' is no path, and a request for it is refused; for all paths write 'OPTIONS /**'"),
        ("options *", "'*' is no path, and a request for it is refused; for all paths write '* /**'"),
        ("GET http://h/a", "write 'GET /a'"),
        ("GET HTTPS://h:8080", "write 'GET /'"),
        ("GET http://h//a", "must be one method, or '*' for any, a space and a path"),
        ("CONNECT host:443", "must be one method, or '*' for any, a space and a path"),
        (
            "get /a%2fb",
            "no judged path has '%'; write the path decoded, with %2F, %3B, %23, %25 alone for what",
        ),
        ("GET /a%2fb%3B", "write 'GET /a%2Fb%3B'"),
        ("GET /a%41", "write the path decoded"),
        ("GET /a%%2F2F", "no judged path has '%'"),
        ("GET /a;b", "leave the parameters out"),
        ("get|POST v1/a", "write 'GET /v1/a', 'POST /v1/a'"),
        ("get /" + "a" * 300, "must be one method, or '*' for any"),
        ("get " + "/a" * 40 + "/**b", "must be one method, or '*' for any"),
        ("A,B,C,D,E,F,G,H,I /a", "must be one method, or '*' for any"),
        ("POST /cafe\u0301/a**", "'**' is part of a longer segment"),
        ("POST /cafe\u0301", "normal form C; write 'POST /caf\\xe9'"),
        ("POST /e\u0301" + "a" * 300, "normal form C; compose it"),
    ],
    ids=lambda text: str(text)[:30],
)
def test_what_is_said_of_a_condition(text: str, told: str) -> None:
    assert told in problem_of("http", text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/payments/", "write 'payments'"),
        ("//", "write '**'"),
        ("/a b/", "write it without"),
        (" /a ", "cannot have ' '; write 'a'"),
        ("/a//b/", "write it without"),
        ("a/**b/", "write it without"),
    ],
)
def test_what_is_said_of_a_target(text: str, told: str) -> None:
    assert told in problem_of("to", text)


WORDS = st.lists(
    st.sampled_from(
        [
            *"/ *.;?#%\\|,@:aA\u00e9\u0301\n'\"",
            "**",
            "GET",
            "get",
            "OPTIONS",
            "CONNECT",
            "http://h",
            "%2F",
            "%2f",
            "..",
            "spiffe:",
            "//",
            "a.b",
        ]
    ),
    max_size=7,
).map("".join)


@pytest.mark.parametrize("key", READERS)
@given(text=WORDS | st.text(max_size=12))
@example(text="a.b/**c")
@example(text="spiffe:a.b/**c")
@example(text="SPIFFE://A-/**")
@example(text="/" + "a*/" * 40)
def test_whatever_is_suggested_is_right(key: str, text: str) -> None:
    for meant in suggested(problem_of(key, text)):
        assert not problem_of(key, meant), (text, meant)

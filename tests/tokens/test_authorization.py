"""The bearer token of a request, whatever its client wrote (RFC 6750, section 2.1; RFC 9110, 11.6.2)."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.reasons import Reason
from meshid.tokens.authorization import LONGEST_READ, authorization_in, challenge_for, token_in

ANY = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln-_"
B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("around", ["{} {}", "{}   {}", "  {} {}\t"], ids=["one", "some", "around"])
def test_the_scheme_has_no_case(scheme: str, around: str) -> None:
    assert token_in(around.format(scheme, ANY)) == ANY


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "Basic Ym9iOnNlY3JldA==",
        f"Bearerx {ANY}",
        f"Bearer-Token {ANY}",
        f"DPoP {ANY}",
        ANY,
        "Negotiate YIIbearer,bearerx",
        'Digest username="bearer", bearer=1, realm="a,bearerless"',
    ],
)
def test_other_schemes_have_no_token(value: str) -> None:
    assert token_in(value) is None


def test_without_a_header_there_is_no_token() -> None:
    assert token_in(None) is None
    assert authorization_in([(b"proxy-authorization", b"Bearer a"), (b"x", b"Bearer a")]) is None


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer ",
        "Bearer,",
        "Bearer: a.b.c",
        "Bearer\ta.b.c",
        "Bearer a.b.c d",
        "Bearer a.b.c,",
        "Bearer a.b.c, Bearer a.b.c",
        "Bearer a.b.c,Basic Ym9i",
        "Basic Ym9i, Bearer a.b.c",
        "Basic Ym9i,bearer a.b.c",
        "Basic Ym9i,\tBEARER",
        "Bearer é.b.c",
        'Bearer "a.b.c"',
        "Bearer a=b",
    ],
)
def test_what_is_no_single_token_is_handed_on_as_something_that_is_none(value: str) -> None:
    found = token_in(value)
    assert found is not None
    assert not B64TOKEN.fullmatch(found)


@pytest.mark.parametrize(
    "values",
    [
        (b"Bearer a", b"Bearer b"),
        (b"Basic Ym9i", b"bearer b"),
        (b"Bearer b", b"Basic Ym9i"),
        (b"", b"Bearer b"),
    ],
    ids=["two", "behind", "before", "empty"],
)
def test_of_two_headers_none_is_chosen(values: tuple[bytes, bytes]) -> None:
    found = token_in(authorization_in([(b"authorization", value) for value in values]))
    assert found is not None
    assert not B64TOKEN.fullmatch(found)


def test_one_header_is_read_as_it_is() -> None:
    assert authorization_in([(b"host", b"a"), (b"authorization", b"Bearer \xe9")]) == "Bearer é"


def test_a_token_that_is_too_long_is_cut_and_stays_too_long() -> None:
    found = token_in("Bearer " + "a" * 10_000_000)
    assert found is not None
    assert 16 * 1024 < len(found) <= LONGEST_READ


@pytest.mark.parametrize("piece", ["bearer", ", ", ",\t", "bearer,", " "], ids=repr)
def test_no_value_takes_long(piece: str) -> None:
    value = "Basic " + piece * 1_000_000
    begun = time.process_time()
    token_in(value)
    assert time.process_time() - begun < 0.5


_ANY_CASE = st.sampled_from(["Bearer", "bearer", "BEARER"])
_VALUES = st.lists(
    st.sampled_from(["Bearer", "bearer", "Basic", ANY, " ", ",", ", ", "\t", "=", '"', "x"])
    | st.text(max_size=3),
    max_size=8,
).map("".join)


@given(_ANY_CASE, st.from_regex(B64TOKEN, fullmatch=True))
def test_every_token_is_found(scheme: str, token: str) -> None:
    assert token_in(f"{scheme} {token}") == token


@given(_VALUES, _VALUES)
def test_a_token_is_found_only_where_it_is_all_there_is(before: str, behind: str) -> None:
    found = token_in(f"{before}{behind}")
    if found is not None and B64TOKEN.fullmatch(found):
        assert re.fullmatch(
            rf"[ \t]*bearer +{re.escape(found)}[ \t]*", before + behind, re.IGNORECASE | re.ASCII
        )


@given(st.lists(_VALUES.map(lambda text: text.encode("latin-1", "replace")), min_size=2, max_size=3))
def test_no_second_header_hides_behind_a_first_one(values: list[bytes]) -> None:
    found = token_in(authorization_in([(b"authorization", value) for value in values]))
    assert found is None or not B64TOKEN.fullmatch(found)


def test_who_is_asked_for_a_token() -> None:
    assert challenge_for(Reason.NO_TOKEN) == "Bearer"
    for reason in Reason:
        if reason.name.startswith("TOKEN_"):
            assert challenge_for(reason) == 'Bearer error="invalid_token"'
        elif reason is not Reason.NO_TOKEN:
            assert challenge_for(reason) is None

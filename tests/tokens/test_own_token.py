"""What we read of a token that is ours; it is never verified here."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.testing import TokenIssuer
from meshid.tokens.compact_jws import MAX_TOKEN_BYTES
from meshid.tokens.own_token import OwnToken

ISSUER = TokenIssuer("https://issuer.example", clock=lambda: 1_000_000.0)


def with_payload(payload: bytes) -> str:
    return f"e30.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.c2ln"


def test_when_it_expires_and_what_it_is_bound_to_is_read() -> None:
    text = ISSUER.mint({"exp": 1_000_300, "cnf": {"x5t#S256": "abc"}})
    assert OwnToken.read(text) == OwnToken(text, 1_000_300.0, "abc")
    unbound = OwnToken.read(ISSUER.mint({"exp": 1_000_300.5}))
    assert isinstance(unbound, OwnToken)
    assert (unbound.expires_at, unbound.certificate) == (1_000_300.5, None)


@pytest.mark.parametrize("binding", [{"jkt": "abc"}, {"x5t#S256": 1}, "abc", None], ids=json.dumps)
def test_what_binds_it_to_no_certificate_is_left_to_who_verifies_it(binding: object) -> None:
    token = OwnToken.read(ISSUER.mint({"cnf": binding}))
    assert isinstance(token, OwnToken)
    assert token.certificate is None


def test_the_token_is_not_shown() -> None:
    text = ISSUER.mint({})
    assert text not in repr(OwnToken.read(text))


AROUND = "it has quotes, white space or 'Bearer ' around the token"
NO_JWT, NO_OBJECT, NO_TIME = "it is no signed JWT", "its second part is no JSON object", "its exp is no time"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "it is empty", id="nothing"),
        pytest.param('"e30.e30.c2ln"', AROUND, id="quotes"),
        pytest.param("Bearer e30.e30.c2ln", AROUND, id="the scheme"),
        pytest.param("opaque", NO_JWT, id="one part"),
        pytest.param("e30.e30.", NO_JWT, id="no signature"),
        pytest.param("e30.e30.c2ln.c2ln", NO_JWT, id="four parts"),
        pytest.param("e30.e30.c2ln\r\nX-Admin: yes", NO_JWT, id="another header"),
        pytest.param("e30.e30.c2ln\n", AROUND, id="a newline"),
        pytest.param("e30.e30=.c2ln", NO_JWT, id="padding"),
        pytest.param("é30.e30.c2ln", NO_JWT, id="no ASCII"),
        pytest.param("e30.A.c2ln", NO_OBJECT, id="no base64url"),
        pytest.param(with_payload(b"{"), NO_OBJECT, id="no JSON"),
        pytest.param(with_payload(b"\xff\xfe"), NO_OBJECT, id="no UTF-8"),
        pytest.param(with_payload(b"[" * 12_000), NO_OBJECT, id="12000 deep"),
        pytest.param(with_payload(b"[1]"), NO_OBJECT, id="an array"),
        pytest.param(with_payload(b"{}"), "it has no exp", id="no exp"),
        pytest.param(with_payload(b'{"exp": "9"}'), "it has no exp", id="a string for exp"),
        pytest.param(with_payload(b'{"exp": true}'), "it has no exp", id="true for exp"),
        pytest.param(with_payload(b'{"exp": NaN}'), NO_TIME, id="NaN"),
        pytest.param(with_payload(b'{"exp": 1e999}'), NO_TIME, id="infinity"),
        pytest.param(with_payload(b'{"exp": 1%s}' % (b"0" * 400)), NO_TIME, id="400 digits"),
        pytest.param(with_payload(b'{"exp": 1%s}' % (b"0" * 5000)), NO_OBJECT, id="5000 digits"),
        pytest.param(with_payload(b'{"exp": 0}'), NO_TIME, id="zero"),
        pytest.param(with_payload(b'{"exp": 253402300800}'), NO_TIME, id="the year 10000"),
        pytest.param(f"e30.{'A' * MAX_TOKEN_BYTES}.c2ln", "it is longer than 16384", id="too long"),
    ],
)
def test_what_is_no_token_is_said(text: str, why: str) -> None:
    read = OwnToken.read(text)
    assert isinstance(read, str)
    assert read.startswith(why)


def test_one_of_the_greatest_length_is_read() -> None:
    token = ISSUER.mint({"exp": 1_000_300})
    longest = token + "A" * (MAX_TOKEN_BYTES - len(token))
    assert isinstance(OwnToken.read(longest), OwnToken)
    assert isinstance(OwnToken.read(longest + "A"), str)


@given(
    st.text()
    | st.binary().map(with_payload)
    | st.from_regex(r"\A[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
)
def test_whatever_it_is_there_is_an_answer(text: str) -> None:
    assert isinstance(OwnToken.read(text), str | OwnToken)

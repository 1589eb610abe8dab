"""Each hostile token is refused for its own reason, and none costs much or is told of."""

from __future__ import annotations

import inspect
import json
import sys
import traceback
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.errors import Refused
from meshid.reasons import Reason
from meshid.tokens.compact_jws import MAX_TOKEN_BYTES
from tests.helpers.cost import calls_of
from tests.helpers.hostile_tokens import GOOD, HOSTILE, HostileToken, Make
from tests.helpers.token_scene import ISS, NOW, TokenScene, token_scene


def _judged(token: str) -> Refused | str | None:
    try:
        verified = token_scene().verifier.verify(token, NOW)
    except Refused as refusal:
        return refusal
    return verified.principal if verified else None


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda it: it.name)
def test_a_hostile_token_is_refused_for_its_reason(hostile: HostileToken) -> None:
    judged = _judged(hostile.make(token_scene()))
    assert (judged.reason if isinstance(judged, Refused) else judged) is hostile.reason


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD.keys())
def test_a_good_token_is_taken(make: Make) -> None:
    judged = _judged(make(token_scene()))
    assert isinstance(judged, str), judged
    assert set(judged) <= set("api")


def test_there_are_hostile_tokens_for_each_step() -> None:
    assert len(HOSTILE) >= 200
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)


def _told(error: BaseException | None) -> Iterator[str]:
    """Yield all that an error tells whoever looks at it, and at what is behind it."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
        yield from traceback.format_exception_only(error)
        yield from (str(getattr(error, name, "")) for name in ("doc", "object"))
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("hostile", [it for it in HOSTILE if it.reason], ids=lambda it: it.name)
def test_a_refusal_has_nothing_of_the_token_in_it(hostile: HostileToken) -> None:
    token = hostile.make(token_scene())
    refusal = _judged(token)
    assert isinstance(refusal, Refused)
    assert len(refusal.detail) < 1000
    assert refusal.detail.isprintable()
    assert refusal.detail.isascii()
    parts = [part for part in token.split(".") if len(part) > 10]
    assert not [text for text in _told(refusal) if any(part in text for part in parts) or len(text) > 3000]


def test_what_was_verified_has_nothing_of_the_token_in_it() -> None:
    scene = token_scene()
    token = scene.token()
    shown = repr(scene.verifier.verify(token, NOW))
    assert not any(part in shown for part in token.split("."))


def _heavy(scene: TokenScene) -> dict[str, str]:
    """Return tokens of nearly 16 KiB, each with as much as possible of what costs something."""

    def full(part: str, end: str = "", start: str = "") -> str:
        room = (MAX_TOKEN_BYTES - 400) * 3 // 4 - 300
        return scene.text('{"x":' + start + part * (room // len(part)) + end + ",$}")

    return {
        "numbers": full("1,", "1]", "["),
        "2000 numbers": scene.text('{"x":[' + "1234567," * 1490 + "1],$}"),
        "2000 fractions": scene.text('{"x":[' + "1.2345," * 1500 + "1],$}"),
        "texts": full('"",', "1]", "["),
        "members": scene.text("{" + "".join(f'"{i}":1,' for i in range(1100)) + "$}"),
        "objects": full("{},", "1]", "["),
        "arrays": full("[", "1"),
        "digits": full("9"),
        "escapes": full("\\u0041", '"', '"'),
        "surrogates": full("\\ud83d\\ude00", '"', '"'),
        "audiences": scene.text('{"aud":[' + '"a",' * 2500 + '"b"],"iss":"' + ISS + '"}'),
        "names in the header": scene.token({f"n{i}": 1 for i in range(1000)}),
        "base64": scene.token() + "A" * 12000 + "=",
        "dots": scene.token() + "." * 12000,
        "backslashes": full("\\\\", '",', '"'),
    }


def test_no_token_costs_more_than_a_bounded_number_of_calls() -> None:
    scene = token_scene()
    heavy = _heavy(scene)
    # The first one loads PyJWT.
    _judged(scene.token())
    assert all(len(token) <= MAX_TOKEN_BYTES for token in heavy.values())
    calls = {name: calls_of(partial(_judged, token)) for name, token in heavy.items()}
    assert {name: count for name, count in calls.items() if count > 5000} == {}


def test_a_deep_token_under_a_deep_stack_is_refused_at_worst() -> None:
    """Python may count what its JSON decoder does against the depth of the stack."""
    token = token_scene().text('{"x":' + "[" * 200 + "]" * 200 + ",$}")
    depth, limit = len(inspect.stack(0)), sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 150)
    try:
        judged = _judged(token)
    finally:
        sys.setrecursionlimit(limit)
    assert judged == "api" or (isinstance(judged, Refused) and judged.reason is Reason.TOKEN_MALFORMED)


@given(st.text())
def test_any_text_is_refused_or_left_alone(text: str) -> None:
    assert not isinstance(_judged(text), str)


@given(st.lists(st.text(alphabet="eyJ.-_=AZ09~+/"), max_size=6).map(".".join))
def test_any_text_that_looks_like_a_token_is_refused_or_left_alone(text: str) -> None:
    assert not isinstance(_judged(text), str)


@given(st.data())
def test_a_good_token_is_a_token_in_one_spelling_only(data: st.DataObject) -> None:
    token = token_scene().token()
    at = data.draw(st.integers(0, len(token)))
    changed = token[:at] + data.draw(st.text(max_size=2)) + token[at + data.draw(st.integers(0, 2)) :]
    assert changed == token or not isinstance(_judged(changed), str)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_CLAIMS = ("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "cnf", "tenant")


@given(st.dictionaries(st.sampled_from(_CLAIMS) | st.text(), _JSON, max_size=3))
def test_whatever_a_signed_claim_is_the_principal_is_the_subject(changes: dict[str, object]) -> None:
    scene = token_scene()
    judged = _judged(scene.issuer.mint({**scene.claims(), **changes}))
    assert not isinstance(judged, str) or judged == changes.get("sub", "api")


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk"]) | st.text(), _JSON, max_size=3))
def test_whatever_a_header_is_nothing_but_a_refusal_is_raised(changes: dict[str, object]) -> None:
    scene = token_scene()
    raw = json.dumps({"alg": "ES256", "kid": scene.issuer.keys[-1].key_id, **changes}).encode()
    judged = _judged(scene.issuer.mint(scene.claims(), raw_header=raw))
    assert isinstance(judged, Refused) or judged == "api"


@pytest.mark.parametrize(
    ("token", "told"),
    [
        pytest.param("", "it is empty", id="nothing"),
        pytest.param('"e30.e30.AAAA"', "it has '\"' in it, as no bearer token has", id="quotes"),
        pytest.param("Bearer e30.e30.AAAA", "it has ' ' in it", id="the scheme, too"),
        pytest.param("e30.e30.AAAA\n", r"it has '\n' in it", id="a newline"),
        pytest.param("e30=.e30.AAAA", "it has '=' before its end", id="padding inside"),
    ],
)
def test_what_was_sent_with_a_token_is_told(token: str, told: str) -> None:
    judged = _judged(token)
    assert isinstance(judged, Refused)
    assert judged.detail.startswith(told)
    assert "e30" not in judged.detail

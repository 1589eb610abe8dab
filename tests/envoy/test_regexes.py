"""The regular expressions match what the patterns match, in every form in which it is sent."""

from __future__ import annotations

import re
from string import ascii_letters, digits

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from meshid import InvalidInput, PeerPattern, Request, SpiffeId, TrustDomain
from meshid.envoy.regexes import (
    CHARACTERS,
    DOT_SEGMENT,
    EMPTY_SEGMENT,
    LONG_PATH,
    MANY_SEGMENTS,
    ONE_NAME,
    literal,
    path_regex,
    peer_regex,
)
from meshid.names.pattern import Pattern

OWN = (TrustDomain("prod.example.org"), TrustDomain("prod-example.org"))
CONDITIONS = st.lists(
    st.one_of(
        st.sampled_from(["**", "*", "*a", "6*1", ""]),
        st.lists(st.sampled_from([*"*a61.~+ ([{|^$'\"é"]), max_size=4).map("".join),
    ),
    max_size=4,
).map(lambda segments: "/" + "/".join(segments))

TOKENS = st.one_of(
    st.sampled_from([*"//a61.~+([{|^$'\"*", "%61", "%36", "%2e", "%2E", "%20", "%2a", "%2A"]),
    st.sampled_from(
        [
            "%2F",
            "%2f",
            "%5C",
            "\\",
            ";",
            "%3b",
            "#",
            "%",
            "%6",
            "%g0",
            "%25",
            "%C3%A9",
            "%00",
            "%7f",
            " ",
            "é",
        ]
    ),
    st.integers(0, 255).map("%{:02X}".format),
    st.integers(0, 255).map("%{:02x}".format),
    st.integers(0, 255).map(chr),
)
SENT = st.lists(TOKENS, max_size=8).map(lambda tokens: "/" + "".join(tokens))


def is_safe(path: str) -> bool:
    unsafe = (EMPTY_SEGMENT, DOT_SEGMENT, MANY_SEGMENTS, LONG_PATH)
    return bool(re.fullmatch(CHARACTERS, path)) and not any(re.fullmatch(each, path) for each in unsafe)


def read(path: str) -> Request | None:
    try:
        return Request("GET", path)
    except InvalidInput:
        return None


@given(SENT.filter(lambda path: "?" not in path))
def test_safe_is_what_a_request_is_of_ascii(path: str) -> None:
    request = read(path)
    assert is_safe(path) == (request is not None and request.path.isascii())


@pytest.mark.parametrize(
    "path",
    ["/", "/a" * 256, "/a" * 255 + "/", f"/{'a' * 8191}", "/...", "/..a/.b/c."],
    ids=lambda path: f"{path[:8]}-{len(path)}",
)
def test_just_safe(path: str) -> None:
    assert is_safe(path)
    assert read(path)


@pytest.mark.parametrize(
    "path",
    ["/a" * 257, "/a" * 256 + "/", f"/{'a' * 8192}", "/%2e%2E", "/a/.", "a", "", "*"],
    ids=lambda path: f"{path[:8]}-{len(path)}",
)
def test_just_not_safe(path: str) -> None:
    assert not is_safe(path)
    assert not read(path)


@given(CONDITIONS, SENT)
def test_paths(text: str, path: str) -> None:
    try:
        pattern = Pattern(text)
    except InvalidInput:
        assume(False)
    assume(is_safe(path))
    assert bool(re.fullmatch(path_regex(pattern), path)) == pattern.matches(Request("GET", path).path)


def forms_of(character: str) -> list[str]:
    encoded = [f"%{ord(character):02X}", f"%{ord(character):02x}"]
    return ["/"] if character == "/" else encoded if character == " " else [*encoded, character]


@given(st.text(alphabet=[*"a61.~+ ([{|^$'\"/"], max_size=6), st.data())
def test_a_path_in_each_form(text: str, data: st.DataObject) -> None:
    """What is written literally matches itself, however much of it is encoded."""
    path = f"/{text}"
    sent = "".join(data.draw(st.sampled_from(forms_of(each))) for each in path)
    request = read(sent)
    assume(request is not None)
    assert request is not None
    assert request.path == path
    assert re.fullmatch(path_regex(Pattern(path)), sent)


NAME = st.text(alphabet=[*"ab.-_A"], min_size=1, max_size=3)
NAMES = st.builds(
    "spiffe://{}/{}".format,
    st.sampled_from(["prod.example.org", "prod-example.org", "prodxexample.org", "partner.example"]),
    st.lists(NAME, min_size=1, max_size=4).map("/".join),
)
SOURCES = st.builds(
    "{}/{}".format,
    st.sampled_from(["", "", "spiffe://prod.example.org", "spiffe://partner.example"]),
    st.lists(st.text(alphabet=[*"ab.*-_A"], min_size=1, max_size=3), min_size=1, max_size=4).map("/".join),
)


@given(SOURCES, NAMES)
def test_names(source: str, name: str) -> None:
    try:
        pattern, spiffe_id = PeerPattern.parse(source), SpiffeId.parse(name)
    except InvalidInput:
        assume(False)
    assert bool(re.fullmatch(peer_regex(pattern, OWN), name)) == pattern.matches(spiffe_id, OWN)


HEADER = f"By=spiffe://prod.example.org/me;Hash={'0' * 64}"


@given(st.one_of(NAMES, st.text(alphabet=[*'spife:/prod.exm;,="%URI ']).map("spiffe://prod/{}".format)))
def test_one_name(name: str) -> None:
    try:
        is_workload = bool(SpiffeId.parse(name).path)
    except InvalidInput:
        is_workload = False
    assert bool(re.fullmatch(ONE_NAME, f"{HEADER};URI={name}")) == is_workload


@pytest.mark.parametrize(
    "header",
    [
        "",
        HEADER,
        f"{HEADER};URI=",
        f"{HEADER};DNS=a.example",
        f"{HEADER};URI=spiffe://a/b;URI=spiffe://a/c",
        f"{HEADER};URI=spiffe://a/b,{HEADER};URI=spiffe://a/b",
        f'{HEADER};Subject="x";URI=spiffe://a/b";URI=spiffe://a/b',
        f"{HEADER};DNS=x;URI=spiffe://a/b",
        f"{HEADER};URI=spiffe://a/b;DNS=x;URI=spiffe://a/b",
        f"{HEADER};URI=spiffe://a/b;DNS=x=y",
    ],
)
def test_not_one_name(header: str) -> None:
    assert not re.fullmatch(ONE_NAME, header)


@given(st.text())
def test_a_literal_matches_itself(text: str) -> None:
    assert re.fullmatch(literal(text), text)
    assert set(re.findall(r"\\(.)", literal(text), re.DOTALL)) <= set(r"\.+*?()|[]{}^$")


def test_only_what_both_engines_read_alike_is_used() -> None:
    """RE2 has no look-around and no references, and its classes such as `\\w` have other members."""
    for regex in (CHARACTERS, DOT_SEGMENT, EMPTY_SEGMENT, MANY_SEGMENTS, LONG_PATH, ONE_NAME):
        assert not re.search(r"\(\?[^:]", regex)
        assert not set(re.findall(r"\\(.)", regex)) & set(ascii_letters + digits)

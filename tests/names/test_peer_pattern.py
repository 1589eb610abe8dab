"""Patterns of peers: a path, or a trust domain and a path, and nothing that could never match."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.errors import InvalidPattern
from meshid.names.peer_pattern import PEER, PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain

PROD, DEV = TrustDomain("prod.example.org"), TrustDomain("dev.example.org")
API = SpiffeId(PROD, "/ns/pay/sa/api")


def matches(pattern: str, name: str, *own: TrustDomain) -> bool:
    return PeerPattern.parse(pattern).matches(SpiffeId.parse(name), own)


@pytest.mark.parametrize(
    ("text", "trust_domain"),
    [
        ("/ns/pay/sa/api", None),
        ("/**", None),
        ("/*", None),
        ("/ns/*/sa/api-*", None),
        ("/.a*/..b", None),
        ("spiffe://prod.example.org/ns/pay/**", PROD),
        ("spiffe://prod.example.org/**", PROD),
    ],
)
def test_a_pattern_is_read_and_written_as_it_is(text: str, trust_domain: TrustDomain | None) -> None:
    pattern = PeerPattern.parse(text)
    assert pattern.trust_domain == trust_domain
    assert str(pattern) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "'' must begin with '/' or 'spiffe://'", id="nothing"),
        pytest.param("ns/pay", "must begin with '/' or 'spiffe://': write '/ns/pay'", id="no slash"),
        pytest.param(" /ns/pay ", ": write '/ns/pay'", id="spaces around it"),
        pytest.param("**", ": write '/**'", id="no slash before a wildcard"),
        pytest.param("SPIFFE://prod/a", ": write 'spiffe://prod/a'", id="upper-case scheme"),
        pytest.param("SPIFFE://Prod/A", ": write 'spiffe://prod/A'", id="upper-case scheme and trust domain"),
        pytest.param("spiffe:/prod/a", ": write 'spiffe://prod/a'", id="scheme with one slash"),
        pytest.param("spiffe:prod/a", ": write 'spiffe://prod/a'", id="scheme without slashes"),
        pytest.param("spiffe//prod/a", ": write 'spiffe://prod/a'", id="scheme without a colon"),
        pytest.param("spiffe:", "'spiffe:' must begin with '/' or 'spiffe://'", id="only a scheme"),
        pytest.param(
            "cluster.local/ns/pay",
            ": write '/cluster.local/ns/pay' or 'spiffe://cluster.local/ns/pay'",
            id="no scheme before a trust domain",
        ),
        pytest.param("https://prod/a", "must begin with '/' or 'spiffe://'", id="another scheme"),
        pytest.param("Spiffe:///", "must begin with '/' or 'spiffe://'", id="only a scheme and slashes"),
        pytest.param("*://prod/a", "must begin with '/' or 'spiffe://'", id="any scheme"),
        pytest.param(
            "spiffe://prod", "names no workload: write 'spiffe://prod/**' for all of them", id="no path"
        ),
        pytest.param(
            "spiffe://*/ns/pay", "a trust domain has no wildcards, name each", id="any trust domain"
        ),
        pytest.param("spiffe://prod-*/ns/pay", "a trust domain has no wildcards", id="some trust domains"),
        pytest.param("spiffe://Prod/ns/pay", ": write 'spiffe://prod/ns/pay'", id="upper-case trust domain"),
        pytest.param(
            "spiffe:///ns/pay", "a trust domain name is missing: write '/ns/pay'", id="empty trust domain"
        ),
        pytest.param("spiffe://prod:443/a", "may hold only a-z", id="port"),
        pytest.param("/ns/pay/", "SPIFFE ID: it ends in '/': write '/ns/pay'", id="slash at the end"),
        pytest.param("/", "it ends in '/': write '/**' for all of them", id="only a slash"),
        pytest.param(
            "spiffe://prod/", ": write 'spiffe://prod/**' for all of them", id="trust domain and a slash"
        ),
        pytest.param(
            "/ns/p y",
            "can never match a SPIFFE ID: segment 'p y' may hold only a-z, A-Z, 0-9, '.', '-', '_'",
            id="space",
        ),
        pytest.param("/ns/pay*?", "can never match a SPIFFE ID", id="query"),
        pytest.param("/ns/p%61y", "can never match a SPIFFE ID", id="percent"),
        pytest.param("/ns/{pay,ship}", "can never match a SPIFFE ID", id="braces"),
        pytest.param("/ns/ban\u212a", "can never match a SPIFFE ID", id="KELVIN SIGN"),
        pytest.param("/ns//pay", "a segment is empty", id="empty segment"),
        pytest.param("//ns", "a segment is empty", id="two slashes"),
        pytest.param("/ns/../pay", "'..'", id="dot segment"),
        pytest.param("/ns/pay**", "'**' is part of a longer segment", id="invalid pattern"),
        pytest.param("/ns/pay\n", "control character", id="newline"),
    ],
)
def test_what_could_never_match_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        PeerPattern.parse(text)
    assert message in str(caught.value)
    assert str(caught.value).isascii()


@pytest.mark.parametrize("text", ["a" * 2049, "a" * 50_000_000, " " * 50_000_000, "spiffe://" + "a/" * 9999])
def test_nothing_is_suggested_for_what_is_too_long(text: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        PeerPattern.parse(text)
    assert ": write" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@given(st.text(max_size=20) | st.text("spiffeSPIFFE:/ab*. ", max_size=20))
def test_what_is_suggested_is_a_pattern_except_for_its_wildcards(text: str) -> None:
    try:
        PeerPattern.parse(text)
    except InvalidPattern as error:
        _, found, meant = str(error).partition(": write ")
        for each in re.findall(r"'([^']*)'", meant) if found else ():
            assert PEER.fullmatch(each)
            # The next message says what else is wrong with it.
            if not {".", "**"} & set(re.findall(r"\.|\*\*", each)):
                assert str(PeerPattern.parse(each)) == each


def test_a_path_alone_means_ones_own_trust_domains_and_nothing_else() -> None:
    name = str(API)
    assert matches("/ns/pay/**", name, PROD)
    assert matches("/ns/pay/**", name, DEV, PROD)
    assert not matches("/ns/pay/**", name, DEV)
    assert not matches("/ns/pay/**", name)


@pytest.mark.parametrize("own", [(), (PROD,), (DEV, PROD)], ids=len)
def test_the_domains_are_the_one_that_is_written_or_ones_own(own: tuple[TrustDomain, ...]) -> None:
    assert PeerPattern.parse("/ns/pay/**").domains(own) == own
    assert PeerPattern.parse("spiffe://prod.example.org/ns/pay/**").domains(own) == (PROD,)


def test_a_trust_domain_means_itself_whatever_ones_own_are() -> None:
    pattern = "spiffe://prod.example.org/ns/pay/**"
    for own in ((), (PROD,), (DEV,)):
        assert matches(pattern, str(API), *own)
        assert not matches(pattern, str(API).replace("prod", "dev"), *own)


@pytest.mark.parametrize(
    ("pattern", "path", "verdict"),
    [
        ("/ns/pay/sa/api", "/ns/pay/sa/api", True),
        ("/ns/pay/sa/api", "/ns/pay/sa/API", False),
        ("/ns/pay", "/ns/payments", False),
        ("/ns/pay", "/ns/pay/sa/api", False),
        ("/ns/pay/*", "/ns/pay/sa/api", False),
        ("/ns/pay/**", "/ns/pay/sa/api", True),
        ("/**", "/a", True),
        ("/**", "", True),
        ("/*", "", False),
    ],
)
def test_a_path_is_matched_whole(pattern: str, path: str, *, verdict: bool) -> None:
    assert matches(pattern, f"spiffe://prod.example.org{path}", PROD) is verdict


@given(st.text() | st.text("spifea:/*.\n-").map("spiffe://".__add__) | st.text("/*a.-%"))
def test_any_text_is_a_pattern_or_invalid(text: str) -> None:
    try:
        pattern = PeerPattern.parse(text)
    except InvalidPattern:
        return
    assert str(pattern) == text
    # A value that it matches is the pattern itself, with a letter for each wildcard.
    domain = pattern.trust_domain or PROD
    path = text.removeprefix(f"spiffe://{pattern.trust_domain}").replace("*", "x")
    assert pattern.matches(SpiffeId(domain, path), (PROD,))


def test_what_is_not_text_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match=r"^a pattern of peers must be a str, not int$"):
        PeerPattern.parse(3)  # type: ignore[arg-type]

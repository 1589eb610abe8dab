"""Envoy's header: what Envoy writes is read, and nothing that a certificate writes into it is believed."""

from __future__ import annotations

import hashlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.http.xfcc import MAX_PAIRS, read_xfcc
from meshid.testing import CA
from tests.helpers.forged import damaged
from tests.helpers.forwarding import escaped, xfcc

VICTIM = CA("prod.example.org").intermediate().issue("/ns/checkout/sa/api", dns=["api.example"])
PARTNER = CA("partner.example")
STRANGER = PARTNER.intermediate().issue("/ns/a")
HASH = f"Hash={hashlib.sha256(STRANGER.chain[0]).hexdigest()}"
CERT = f'Cert="{escaped(STRANGER.chain[0])}"'
CHAIN = f'Chain="{escaped(*STRANGER.chain)}"'
STOLEN_HASH = f"Hash={hashlib.sha256(VICTIM.chain[0]).hexdigest()}"
STOLEN_CERT = f'Cert="{escaped(VICTIM.chain[0])}"'
STOLEN_CHAIN = f'Chain="{escaped(*VICTIM.chain)}"'


def element(*pairs: str) -> bytes:
    return ";".join(pairs).encode()


def refused(value: bytes, count: int = 1) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        read_xfcc(value, count)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 250
    return str(caught.value)


# -- What Envoy writes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "chain"),
    [
        pytest.param(element("By=a", HASH, CERT, CHAIN), STRANGER.chain, id="as we configure it"),
        pytest.param(element(HASH, CHAIN), STRANGER.chain, id="chain alone, and a server without a URI"),
        pytest.param(element("By=a", HASH, CERT), STRANGER.chain[:1], id="leaf alone"),
        pytest.param(element("By=a", "By=b", HASH, CERT), STRANGER.chain[:1], id="a server with two URIs"),
        pytest.param(element("By=", HASH, CERT, 'Subject=""', "URI="), STRANGER.chain[:1], id="empty names"),
        pytest.param(
            element("By=a", HASH, CERT, CHAIN, 'Subject="CN=a,O=b"', "URI=u", "DNS=a", "DNS=b"),
            STRANGER.chain,
            id="everything",
        ),
    ],
)
def test_what_envoy_writes_is_read(value: bytes, chain: tuple[bytes, ...]) -> None:
    assert read_xfcc(value) == chain


def test_behind_several_envoys_the_peer_is_the_client_of_the_first() -> None:
    edge = CA("prod.example.org").issue("/ns/edge/sa/envoy")
    value = ",".join([xfcc(STRANGER.chain), xfcc(edge.chain)]).encode()
    assert read_xfcc(value, 2) == STRANGER.chain


def subject_with(text: str) -> str:
    """Return a subject whose name is any text, as in RFC 2253 section 2.4."""
    return "CN=" + re.sub(r'([,+"\\<>;#= ])', r"\\\1", text)


@given(st.text(st.sampled_from('abC="\\,;%+ '), max_size=20))
def test_a_subject_may_hold_anything(text: str) -> None:
    value = element(HASH, CERT, CHAIN, f'Subject="{subject_with(text)}"', "URI=spiffe://partner.example/ns/a")
    assert read_xfcc(value) == STRANGER.chain


def test_a_subject_that_ends_with_a_backslash_ends_there() -> None:
    assert subject_with("x\\") == "CN=x\\\\"
    value = element(HASH, CERT, 'Subject="CN=x\\\\"', "DNS=a")
    assert read_xfcc(value) == STRANGER.chain[:1]
    # Whoever takes the quote for one that is escaped reads on to this one.
    assert "no KEY=VALUE" in refused(element(HASH, CERT, 'Subject="CN=x\\\\"', f'DNS=";{STOLEN_CERT}'))


# -- What a certificate writes into it ------------------------------------------------------------


def partner(**shape: list[str]) -> tuple[bytes, ...]:
    return PARTNER.issue(**shape).chain  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        pytest.param(
            {"uris": [f"spiffe://partner.example/ns/a,By=x;{STOLEN_CERT}"]},
            "an element has no Hash",
            id="an element in a URI",
        ),
        pytest.param(
            {"uris": [f"spiffe://partner.example/ns/a,By=x;{STOLEN_HASH};{STOLEN_CERT}"]},
            "it has more than 1 element;",
            id="an element in a URI, with its hash",
        ),
        pytest.param(
            {"uris": [f"spiffe://partner.example/ns/a;{STOLEN_CERT}"]},
            "Cert at byte",
            id="a certificate in a URI",
        ),
        pytest.param(
            {"uris": [f"spiffe://partner.example/ns/a;{STOLEN_HASH}"]}, "Hash at byte", id="a hash in a URI"
        ),
        pytest.param({"dns": ["a;URI=spiffe://prod.example.org/x"]}, "URI at byte", id="a URI in a DNS name"),
        pytest.param({"dns": ["a,Hash=1"]}, "it has more than 1 element;", id="an element in a DNS name"),
        pytest.param({"dns": ["a;By=x"]}, "By at byte", id="a server's name in a DNS name"),
        pytest.param({"dns": ['"a"']}, "no KEY=VALUE", id="a quote in a DNS name"),
        pytest.param({"dns": ["a,"]}, "no KEY=VALUE", id="a comma at the end of a DNS name"),
        pytest.param({"dns": ["a;"]}, "no KEY=VALUE", id="a semicolon at the end of a DNS name"),
        pytest.param({"dns": ["a;Colour=red"]}, "no KEY=VALUE", id="an unknown key in a DNS name"),
    ],
)
def test_what_a_certificate_writes_into_the_header_is_refused(shape: dict[str, list[str]], said: str) -> None:
    assert said in refused(xfcc(partner(**shape)).encode())


PIECES = st.sampled_from(
    [
        *',;="\\ a',
        *("By=x", STOLEN_HASH, STOLEN_CERT, STOLEN_CHAIN, "URI=spiffe://prod.example.org/a", "DNS=a"),
        *('Subject="', HASH, CERT, "Cert=", 'Cert="', xfcc(VICTIM.chain)),
    ]
)
NAMES = st.lists(PIECES, max_size=8).map("".join)
ENTRIES = st.lists(st.builds("{}={}".format, st.sampled_from(["URI", "DNS"]), NAMES), max_size=3)


@given(ENTRIES, st.integers(1, 3), st.sampled_from([(CERT,), (CHAIN,), (CERT, CHAIN)]))
def test_whatever_names_a_certificate_has_nobody_else_is_found(
    names: list[str], count: int, certificates: tuple[str, ...]
) -> None:
    value = element("By=a", HASH, *certificates, *names)
    try:
        chain = read_xfcc(value, count)
    except ValueError:
        return
    assert chain in (STRANGER.chain, STRANGER.chain[:1])


@given(ENTRIES)
def test_where_envoy_writes_no_certificate_the_names_bring_none(names: list[str]) -> None:
    refused(element("By=a", HASH, *names))


# -- What Envoy does not write --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(
            element(HASH, 'Subject=""', "URI=a"), "set cert and chain in Envoy's", id="no certificate"
        ),
        pytest.param(element("By=a", CERT, CHAIN), "an element has no Hash", id="no hash"),
        pytest.param(element(STOLEN_HASH, CERT), "Hash is not the SHA-256", id="the hash of another"),
        pytest.param(element(STOLEN_HASH, CHAIN), "Hash is not the SHA-256", id="the hash of another chain"),
        pytest.param(
            element(HASH.upper().replace("HASH", "Hash"), CERT), "Hash is not", id="upper-case hash"
        ),
        pytest.param(element(HASH, CERT, STOLEN_CHAIN), "Cert is not the first", id="the chain of another"),
        pytest.param(element(HASH, STOLEN_CERT, CHAIN), "Cert is not the first", id="another certificate"),
        pytest.param(element(HASH, CERT, CERT), "is there twice", id="certificate twice"),
        pytest.param(element(HASH, CHAIN, CHAIN), "is there twice", id="chain twice"),
        pytest.param(element(HASH, HASH, CERT), "is there twice", id="hash twice"),
        pytest.param(element(HASH, CERT, 'Subject=""', 'Subject=""'), "is there twice", id="subject twice"),
        pytest.param(element(CERT, HASH), "Hash at byte", id="another order"),
        pytest.param(element(HASH, CERT, "URI=a", "DNS=b", "URI=c"), "URI at byte", id="a URI after a name"),
        pytest.param(element(HASH, CERT.replace('"', "")), "no KEY=VALUE", id="no quotes"),
        pytest.param(element(HASH.replace("=", '="') + '"', CERT), "no KEY=VALUE", id="a quoted hash"),
        pytest.param(element(HASH, CERT + "a"), "no KEY=VALUE", id="more after a quote"),
        pytest.param(element(HASH, CERT[:-1]), "no KEY=VALUE", id="a quote that does not end"),
        pytest.param(element(HASH, CERT.lower()), "no KEY=VALUE", id="lower-case key"),
        pytest.param(element(HASH, f" {CERT}"), "no KEY=VALUE", id="a space"),
        pytest.param(
            element(HASH, f'Cert="{escaped(*STRANGER.chain)}"'), "Cert: it has 2", id="chain as leaf"
        ),
        pytest.param(element(HASH, 'Cert=""'), "Cert: it does not begin", id="an empty certificate"),
        pytest.param(element(HASH, CERT, 'Chain="a"'), "Chain: it does not begin", id="no chain"),
        pytest.param(b",", "no KEY=VALUE", id="a comma"),
        pytest.param(b"", "no KEY=VALUE", id="nothing"),
    ],
)
def test_what_envoy_does_not_write_is_refused(value: bytes, said: str) -> None:
    assert said in refused(value)


@pytest.mark.parametrize(("written", "count"), [(2, 1), (3, 1), (1, 2), (3, 2)])
def test_another_number_of_elements_is_refused(written: int, count: int) -> None:
    value = ",".join([xfcc(STRANGER.chain)] * written).encode()
    assert "elements= says how many Envoys there are" in refused(value, count)


@pytest.mark.parametrize("between", ["", " ", ", ", " ,", ",,", "a", "\n"], ids=ascii)
def test_elements_have_a_comma_between_them_and_nothing_else(between: str) -> None:
    one = element(HASH, CERT).decode()
    assert read_xfcc(f"{one},{one}".encode(), 2) == STRANGER.chain[:1]
    assert "no KEY=VALUE" in refused(f"{one}{between}{one}".encode(), 2)


def test_the_number_of_pairs_is_bounded() -> None:
    most = element(HASH, CERT, *["DNS=a"] * (MAX_PAIRS - 2))
    assert read_xfcc(most) == STRANGER.chain[:1]
    assert f"more than {MAX_PAIRS} pairs" in refused(most + b";DNS=a")


@pytest.mark.parametrize(
    "part", [b"DNS=a;", b"By=,", b'Subject="', b"\\a", b"\\", b"a", b'Cert="";', b"Hash=a,"], ids=ascii
)
def test_the_time_does_not_grow_with_the_square_of_the_size(part: bytes) -> None:
    value = b'Subject="' + part * (128 * 1024 // len(part))
    start = time.perf_counter()
    refused(value)
    refused(value[9:])
    assert time.perf_counter() - start < 1


@given(damaged(xfcc(STRANGER.chain).encode()) | st.binary())
def test_any_bytes_are_a_chain_of_the_leaf_that_hash_names_or_refused(value: bytes) -> None:
    try:
        chain = read_xfcc(value)
    except ValueError as error:
        assert str(error).isascii()
        assert len(str(error)) < 250
    else:
        assert chain[0] == STRANGER.chain[0]

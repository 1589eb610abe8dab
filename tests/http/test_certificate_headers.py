"""How DER is written into a header: each way is read, and nothing that looks like it."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.certificates.pem import decoded, pem_blocks
from meshid.http.certificate_headers import (
    MAX_CERTIFICATES,
    base64_ders,
    base64_leaf,
    base64_list,
    byte_sequence,
    byte_sequences,
    escaped_pem,
    escaped_pem_leaf,
)
from meshid.testing import CA
from tests.helpers.forged import SEQUENCE, damaged, der
from tests.helpers.forwarding import base64_of, escaped

CHAIN = CA("prod.example.org").intermediate().issue().chain
LEAF, ABOVE = CHAIN
ESCAPED = escaped(LEAF)
BASE64 = base64_of(LEAF)

ODD = der(SEQUENCE, b"\0", b"\xfb\xef\xbe", b"\xff\xff\xff", b"\1")
"""Bytes that no certificate has; their base64 has each character that may be escaped."""

DERS = st.lists(st.binary(max_size=200).map(lambda content: der(SEQUENCE, content)), min_size=1, max_size=7)

WAYS: dict[str, tuple[Callable[[bytes], tuple[bytes, ...]], Callable[[list[bytes]], str]]] = {
    "escaped PEM": (escaped_pem, lambda ders: escaped(*ders)),
    "escaped PEM of a load balancer": (escaped_pem, lambda ders: escaped(*ders, safe="+=/")),
    "base64 of each": (base64_list, lambda ders: ",".join(map(base64_of, ders))),
    "base64 of all": (base64_ders, lambda ders: base64_of(b"".join(ders))),
    "byte sequences": (byte_sequences, lambda ders: ", ".join(f":{base64_of(each)}:" for each in ders)),
}
LEAF_WAYS: dict[str, tuple[Callable[[bytes], tuple[bytes, ...]], str]] = {
    "escaped PEM": (escaped_pem_leaf, escaped(ODD)),
    "base64": (base64_leaf, base64_of(ODD)),
    "byte sequence": (byte_sequence, f":{base64_of(ODD)}:"),
}

in_each_way = pytest.mark.parametrize(("read", "write"), WAYS.values(), ids=WAYS)


def refused(read: Callable[[bytes], tuple[bytes, ...]], value: str | bytes) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        read(value if isinstance(value, bytes) else value.encode())
    assert len(str(caught.value)) < 200
    return str(caught.value)


@in_each_way
@given(ders=DERS)
def test_certificates_that_were_written_are_read(
    read: Callable[[bytes], tuple[bytes, ...]], write: Callable[[list[bytes]], str], ders: list[bytes]
) -> None:
    assert read(write(ders).encode()) == tuple(ders)


@in_each_way
def test_the_number_of_certificates_is_bounded(
    read: Callable[[bytes], tuple[bytes, ...]], write: Callable[[list[bytes]], str]
) -> None:
    assert len(read(write([LEAF] * MAX_CERTIFICATES).encode())) == MAX_CERTIFICATES
    said = refused(read, write([LEAF] * (MAX_CERTIFICATES + 1)))
    assert said == f"it has more than {MAX_CERTIFICATES} certificates, and no more are read"


@in_each_way
def test_no_certificate_is_refused(
    read: Callable[[bytes], tuple[bytes, ...]], write: Callable[[list[bytes]], str]
) -> None:
    refused(read, "")
    refused(read, write([b""]))


@pytest.mark.parametrize(("read", "value"), LEAF_WAYS.values(), ids=LEAF_WAYS)
def test_a_leaf_that_comes_alone_is_one_certificate(
    read: Callable[[bytes], tuple[bytes, ...]], value: str
) -> None:
    assert read(value.encode()) == (ODD,)
    for joined in (value * 2, f"{value},{value}", f"{value}, {value}", f"{value};{value}", f" {value}", ""):
        refused(read, joined)


@pytest.mark.parametrize("read", [escaped_pem, base64_list, base64_ders], ids=lambda read: read.__name__)
def test_two_values_that_somebody_joined_are_no_value(read: Callable[[bytes], tuple[bytes, ...]]) -> None:
    _, write = next(way for way in WAYS.values() if way[0] is read)
    refused(read, f"{write([LEAF])}, {write([ABOVE])}")


@given(damaged(escaped(*CHAIN).encode()))
def test_what_is_read_of_escaped_pem_is_what_every_other_reader_reads(value: bytes) -> None:
    try:
        found = escaped_pem(value)
    except ValueError:
        return
    assert [decoded(block) for _, block in pem_blocks(unquote_to_bytes(value))] == list(found)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("MAgA%2B%2B%2B%2B%2F%2F%2F%2FAQ%3D%3D", id="escaped"),
        pytest.param("MAgA++++////AQ==", id="not escaped"),
        pytest.param("MAgA+%2B++//%2F/AQ%3D=", id="some of them escaped"),
    ],
)
@pytest.mark.parametrize("end", ["%0A", ""], ids=["a line end at the end", "none"])
def test_a_plus_is_a_plus_whether_escaped_or_not(value: str, end: str) -> None:
    assert "%0AMAgA%2B%2B%2B%2B%2F%2F%2F%2FAQ%3D%3D%0A" in escaped(ODD)
    text = f"-----BEGIN%20CERTIFICATE-----%0A{value}%0A-----END%20CERTIFICATE-----{end}"
    assert escaped_pem(text.encode()) == (ODD,)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(ESCAPED.replace("%20", "+"), "does not begin with", id="a space as plus"),
        pytest.param(
            ESCAPED.replace("%20", " ").replace("%0A", "\n"), "does not begin with", id="not escaped"
        ),
        pytest.param(ESCAPED.replace("%0A", " "), "does not begin with", id="folded"),
        pytest.param(ESCAPED.replace("%", "%25"), "does not begin with", id="escaped twice"),
        pytest.param(BASE64, "does not begin with", id="base64"),
        pytest.param(ESCAPED + "a", "or something follows", id="more at the end"),
        pytest.param("a" + ESCAPED, "does not begin with", id="more at the beginning"),
        pytest.param(ESCAPED[:100], "does not end with", id="cut off"),
        pytest.param(ESCAPED.replace("CERTIFICATE", "X509%20CRL"), "does not begin with", id="another label"),
        pytest.param(ESCAPED.replace("END%20CERT", "END%20CRED"), "does not end with", id="another end"),
        pytest.param(ESCAPED.replace("MII", "%4DII", 1), "not base64", id="a letter escaped"),
        pytest.param(ESCAPED.replace("MII", "%0aMII", 1), "not base64", id="lower-case escape"),
        pytest.param(ESCAPED.replace("MII", "M-I", 1), "not base64", id="another alphabet"),
        pytest.param(ESCAPED.replace("MII", "MI", 1), "not base64", id="a letter less"),
    ],
)
def test_what_is_not_escaped_pem_is_refused(value: str, said: str) -> None:
    assert said in refused(escaped_pem, value)


@pytest.mark.parametrize("read", [base64_leaf, base64_list, base64_ders], ids=lambda read: read.__name__)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(BASE64[:-1], id="cut off"),
        pytest.param(BASE64 + "====", id="more padding"),
        pytest.param(f"{BASE64[:40]}\n{BASE64[40:]}", id="lines"),
        pytest.param(f":{BASE64}:", id="a byte sequence"),
        pytest.param(BASE64.replace("M", "-"), id="another alphabet"),
        pytest.param("=", id="padding alone"),
        pytest.param("MAA", id="no padding"),
        pytest.param("MAB=", id="bits that are dropped"),
        pytest.param("MAAA====", id="padding that is not needed"),
        pytest.param("MAA=MAA=", id="padding in the middle"),
    ],
)
def test_what_is_not_base64_is_refused(read: Callable[[bytes], tuple[bytes, ...]], value: str) -> None:
    assert "not base64" in refused(read, value)


@pytest.mark.parametrize(
    "ders",
    [
        pytest.param(LEAF[:-1], id="the end is missing"),
        pytest.param(LEAF + ABOVE[:-1], id="the end of the second is missing"),
        pytest.param(LEAF + b"\0", id="a byte more"),
        pytest.param(LEAF + b"\x30", id="a tag without a length"),
        pytest.param(LEAF + b"\x30\x84\xff", id="half a length"),
        pytest.param(LEAF + b"\x30\x84\xff\xff\xff\xff", id="a length of 4 GiB"),
        pytest.param(LEAF + b"\x30\x80\0\0", id="a length that comes later"),
        pytest.param(LEAF + b"\x30\x81\x01a", id="a length written too long"),
        pytest.param(LEAF + b"\x31\0", id="a set"),
        pytest.param(b"-----BEGIN CERTIFICATE-----", id="PEM"),
    ],
)
def test_what_is_not_der_after_der_is_refused(ders: bytes) -> None:
    said = refused(base64_ders, base64_of(ders))
    assert said == "it is not the base64 of DER certificates, one after the other"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(BASE64, id="no colons"),
        pytest.param(f":{BASE64}", id="one colon"),
        pytest.param("::", id="nothing between them"),
        pytest.param(f":{BASE64}:;a=b", id="a parameter"),
        pytest.param(f'"{BASE64}"', id="a string"),
        pytest.param(f":{BASE64[:-2]} =:", id="a space"),
        pytest.param(f"(:{BASE64}:)", id="an inner list"),
        pytest.param(f":{BASE64}:\n", id="a line end"),
    ],
)
def test_what_is_not_a_byte_sequence_is_refused(value: str) -> None:
    refused(byte_sequence, value)
    refused(byte_sequences, value)


@pytest.mark.parametrize("between", [",", ", ", " ,", "\t, \t"], ids=ascii)
def test_members_of_a_list_may_have_space_around_the_comma(between: str) -> None:
    """RFC 9651 section 3.1: "members are separated by commas with optional whitespace around them"."""
    assert byte_sequences(f":{BASE64}:{between}:{base64_of(ABOVE)}:".encode()) == CHAIN


@pytest.mark.parametrize("value", [",", "{},", ",{}", "{},,{}"])
def test_an_empty_member_of_a_list_is_refused(value: str) -> None:
    refused(base64_list, value.replace("{}", BASE64))
    refused(byte_sequences, value.replace("{}", f":{BASE64}:"))


@pytest.mark.parametrize(
    "read",
    {way[0]: None for way in (*WAYS.values(), *LEAF_WAYS.values())},
    ids=lambda read: read.__name__,
)
@given(value=st.binary())
def test_any_bytes_are_certificates_or_refused(
    read: Callable[[bytes], tuple[bytes, ...]], value: bytes
) -> None:
    try:
        found = read(value)
    except ValueError as error:
        assert str(error).isascii()
    else:
        assert 0 < len(found) <= MAX_CERTIFICATES
        assert all(found)


PARTS = [
    *(b" ", b", ", b",", b":", b"::", b"::,", b"=", b"A", b"+", b"%0A", b"%20", b"-----BEGIN%20", b"MAA="),
    *(b"-----BEGIN%20CERTIFICATE-----%0A", b"-----END%20CERTIFICATE-----", b":MAA=:, ", b"0\0", b"0\x81"),
]


@pytest.mark.parametrize("part", PARTS, ids=ascii)
def test_the_time_does_not_grow_with_the_square_of_the_size(part: bytes) -> None:
    value = part * (128 * 1024 // len(part))
    start = time.perf_counter()
    for read in {way[0] for way in (*WAYS.values(), *LEAF_WAYS.values())}:
        for each in (value, b":" + value, base64.b64encode(value)):
            with contextlib.suppress(ValueError):
                read(each)
    assert time.perf_counter() - start < 2

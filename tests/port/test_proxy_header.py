"""What the header says is what was verified; the reader is another than the writer."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshid.names.spiffe_id import SpiffeId
from meshid.port.proxy_header import OWN_TLV, SPIFFE_TLVS, proxy_header
from tests.helpers.proxy_protocol import read_header

HANDLE = "0123456789abcdef0123456789abcdef"
NAME = "spiffe://prod.example.org/ns/checkout/sa/api"
HERE, THERE = ("192.0.2.1", 51234), ("198.51.100.7", 8443)
NOBODY = ("192.0.0.8", 0)
"""RFC 7600 section 4.8."""

LONGEST = 1024 - 16 - 12 - 3 - 32 - 3
"""Bytes that are left for a SPIFFE ID over IPv4 beside a handle."""

PORTS = st.integers(0, 65535)
V4 = st.tuples(st.ip_addresses(v=4).map(str), PORTS)
V6 = st.tuples(st.ip_addresses(v=6).map(str), PORTS, st.integers(0, 2**20 - 1), st.integers(0, 9))
MAPPED = V4.map(lambda name: (f"::ffff:{name[0]}", name[1], 0, 0))
SCOPED = PORTS.map(lambda port: ("fe80::1%eth0", port, 0, 2))
NAMELESS = st.sampled_from([None, "", "/run/mesh.sock", b"\0abstract"])
NAMES = st.one_of(V4, V6, MAPPED, SCOPED, NAMELESS)
HANDLES = st.none() | st.text("0123456789abcdef", min_size=32, max_size=32)
VERSIONS = st.sampled_from([None, "TLSv1.2", "TLSv1.3"])
SPIFFE_IDS = st.none() | st.builds(
    "spiffe://{}/{}".format,
    st.from_regex(r"[a-z0-9._-]{1,255}", fullmatch=True),
    st.lists(st.from_regex(r"[a-zA-Z0-9_-]{1,400}", fullmatch=True), min_size=1, max_size=4).map("/".join),
).filter(lambda text: len(text) <= 2048)


def meant(name: object) -> tuple[IPv4Address | IPv6Address, int]:
    """Return an address as IPv6, in which an IPv4 address is embedded; of nobody is the dummy address."""
    if not isinstance(name, tuple):
        name = NOBODY
    address = ip_address(name[0].partition("%")[0])
    return IPv6Address(f"::ffff:{address}") if isinstance(address, IPv4Address) else address, name[1]


@given(NAMES, NAMES, HANDLES, SPIFFE_IDS, VERSIONS, st.sampled_from(sorted(SPIFFE_TLVS)))
@example(None, None, HANDLE, NAME, None, OWN_TLV)
@example(("::ffff:192.0.2.1", 1, 0, 0), ("2001:db8::1", 2, 0, 0), HANDLE, None, "TLSv1.3", OWN_TLV)
def test_a_header_says_what_was_given_and_nothing_else(  # noqa: PLR0913, PLR0917 # what there is to tell
    source: object,
    destination: object,
    handle: str | None,
    spiffe_id: str | None,
    version: str | None,
    spiffe_tlv: int,
) -> None:
    data = proxy_header(
        source, destination, handle=handle, spiffe_id=spiffe_id, version=version, spiffe_tlv=spiffe_tlv
    )
    assert len(data) <= 1024
    header = read_header(data + b"GET /")
    assert (header.command, header.rest) == ("PROXY", b"GET /")
    assert header.source is not None
    assert header.destination is not None
    assert meant(header.source) == meant(source)
    assert meant(header.destination) == meant(destination)
    entries = dict(header.entries)
    assert entries.pop(0x05, None) == (handle and handle.encode())
    if version is not None:
        assert header.tls == (0x07, 0, {0x21: version.encode()})
        del entries[0x20]
    written = entries.pop(spiffe_tlv, None)
    if spiffe_id is not None and len(spiffe_id) <= 900:
        assert written is not None
    assert written in {None, spiffe_id and spiffe_id.encode()}
    assert entries == {}


@pytest.mark.parametrize(
    ("source", "destination", "read"),
    [
        pytest.param(HERE, THERE, (HERE, THERE), id="IPv4"),
        pytest.param(
            ("2001:db8::1", 1, 0, 0),
            ("2001:db8::2", 2, 0, 0),
            (("2001:db8::1", 1), ("2001:db8::2", 2)),
            id="IPv6",
        ),
        pytest.param(
            ("::ffff:192.0.2.1", 51234, 0, 0),
            ("::ffff:198.51.100.7", 8443, 0, 0),
            (HERE, THERE),
            id="mapped is IPv4",
        ),
        pytest.param(
            ("fe80::1%eth0", 1, 0, 2),
            ("fe80::2%eth0", 2, 0, 2),
            (("fe80::1", 1), ("fe80::2", 2)),
            id="scoped",
        ),
        pytest.param("", "/run/mesh.sock", (NOBODY, NOBODY), id="Unix"),
        pytest.param(
            None,
            ("2001:db8::2", 2, 0, 0),
            ((str(IPv6Address("::ffff:192.0.0.8")), 0), ("2001:db8::2", 2)),
            id="one end unknown",
        ),
    ],
)
def test_an_address_is_read_as_it_is(
    source: object, destination: object, read: tuple[tuple[str, int], tuple[str, int]]
) -> None:
    header = read_header(proxy_header(source, destination, handle=HANDLE, spiffe_id=NAME, version="TLSv1.3"))
    assert (header.source, header.destination) == read
    # nginx passes over the entries of LOCAL, UNSPEC and AF_UNIX headers.
    assert header.command == "PROXY"
    assert header.entries[0x05] == HANDLE.encode()


def test_the_names_of_a_real_unix_socket_are_no_address() -> None:
    one, other = socket.socketpair()
    with one, other:
        data = proxy_header(one.getpeername(), one.getsockname(), handle=HANDLE, spiffe_id=None, version=None)
    assert read_header(data).source == NOBODY


def name_of(length: int, path: str = "a") -> str:
    start = "spiffe://prod.example.org/"
    name = start + path * (length - len(start))
    assert str(SpiffeId.parse(name)) == name
    return name


@pytest.mark.parametrize("more", [0, 1], ids=["the longest that fits", "one byte more"])
def test_the_header_has_1024_bytes_at_most(more: int) -> None:
    name = name_of(LONGEST + more)
    data = proxy_header(HERE, THERE, handle=HANDLE, spiffe_id=name, version=None)
    assert (len(data) == 1024, OWN_TLV in read_header(data).entries) == (
        (True, True) if not more else (False, False)
    )


def test_a_name_that_does_not_fit_is_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    name = name_of(2048, "b")
    for _ in range(3):
        header = read_header(proxy_header(HERE, THERE, handle=HANDLE, spiffe_id=name, version="TLSv1.3"))
        assert set(header.entries) == {0x05, 0x20}
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("meshid.port", "WARNING")
    assert "no SPIFFE ID" in record.message
    assert "1024 bytes" in record.message
    assert len(record.message) < 400


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param({"handle": HANDLE + "\r\nX: y"}, "is not a handle", id="handle with a line"),
        pytest.param({"handle": HANDLE.upper()}, "is not a handle", id="handle in upper case"),
        pytest.param({"handle": HANDLE + "\n"}, "is not a handle", id="handle with an end of line"),
        pytest.param({"spiffe_id": NAME + "\r\nX-Peer: y"}, "is not a SPIFFE ID", id="name with a line"),
        pytest.param({"spiffe_id": NAME + "\0"}, "is not a SPIFFE ID", id="name with a NUL"),
        pytest.param({"spiffe_id": "CN=a"}, "is not a SPIFFE ID", id="a subject"),
        pytest.param({"spiffe_id": NAME + "\u00e9"}, "is not a SPIFFE ID", id="not ASCII"),
        pytest.param({"version": "TLSv1.3\n"}, "is not a version of TLS", id="version"),
        pytest.param(
            {"spiffe_tlv": 0x05}, "must be 0xD0, or 0xE0 to 0xEF, not 5", id="type of another entry"
        ),
    ],
)
def test_nothing_but_verified_text_is_written(wrong: dict[str, str | int], message: str) -> None:
    right: dict[str, object] = {"handle": HANDLE, "spiffe_id": NAME, "version": "TLSv1.3"}
    with pytest.raises(ValueError, match=re.escape(message)):
        proxy_header(HERE, THERE, **(right | wrong))  # type: ignore[arg-type]

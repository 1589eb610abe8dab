"""The header that tells the service behind the port who is connected: PROXY protocol, version 2.

https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt, section 2.2. What it holds reaches the HTTP
headers of nginx as it is, CR and LF too. So nothing is written here but an address, our own handle, the
name of an admitted peer and the version of TLS, each checked against its own alphabet.
"""

from __future__ import annotations

import logging
import re
import struct
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from meshid.port.handles import HANDLE
from meshid.support.logs import WARNING, log
from meshid.support.quoting import quote

LOGGER = logging.getLogger("meshid.port")
"""Gets a line at WARNING, at a limited rate, for each connection that cannot be served as it should be."""

MAX_HEADER_BYTES = 1024
"""nginx resets a connection whose header is longer, or does not come in one piece."""

OWN_TLV = 0xE0
"""The first of the types for an application's own use (section 2.2.8, PP2_TYPE_MIN_CUSTOM)."""

SPIFFE_TLVS = frozenset({0xD0, *range(OWN_TLV, 0xF0)})
"""Types that a SPIFFE ID may have: those of section 2.2.8, and the one that Istio's ztunnel writes."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_VERSION_2_PROXY = 0x21
_TCP_OVER_IPV4, _TCP_OVER_IPV6 = 0x11, 0x21
_UNIQUE_ID, _SSL, _SSL_VERSION = 0x05, 0x20, 0x21
_CERTIFICATE_OVER_TLS = 0x01 | 0x02 | 0x04
"""PP2_CLIENT_SSL, PP2_CLIENT_CERT_CONN and PP2_CLIENT_CERT_SESS: nothing is resumed at a port."""

_UNKNOWN = IPv4Address("192.0.0.8"), 0
"""The dummy address (RFC 7600 section 4.8): Envoy refuses 0.0.0.0, and somebody may trust 127.0.0.1."""

_SPIFFE_ID = re.compile(r"spiffe://[a-zA-Z0-9._/-]+")
_VERSION = re.compile(r"TLSv1(\.[0-9])?")


def proxy_header(  # noqa: PLR0913  # what there is to tell, all named
    source: object,
    destination: object,
    *,
    handle: str | None,
    spiffe_id: str | None,
    version: str | None,
    spiffe_tlv: int = OWN_TLV,
) -> bytes:
    """Return the header of a connection, to be written in one piece before anything else.

    A SPIFFE ID that makes it longer than 1024 bytes is left out, with a warning.

    Args:
        source: What ``getpeername()`` of the connection returned; None if that is not known. Who has no IP
            address has 192.0.0.8 in the header, the dummy address of RFC 7600.
        destination: What its ``getsockname()`` returned; likewise.
        handle: The handle of the connection, which is written as its unique ID (0x05).
        spiffe_id: The SPIFFE ID of its peer.
        version: The version of TLS, such as ``TLSv1.3``; None if the connection has no TLS.
        spiffe_tlv: The type of the entry for the SPIFFE ID: 0xD0, or 0xE0 to 0xEF.

    Raises:
        ValueError: If something to be written is not what its name says.
    """
    if spiffe_tlv not in SPIFFE_TLVS:
        msg = f"the type of the SPIFFE ID's entry must be 0xD0, or 0xE0 to 0xEF, not {spiffe_tlv!r}"
        raise ValueError(msg)
    family, body = _addresses(_address(source), _address(destination))
    if handle is not None:
        body += _entry(_UNIQUE_ID, _checked(HANDLE, handle, "a handle"))
    if version is not None:
        text = _entry(_SSL_VERSION, _checked(_VERSION, version, "a version of TLS"))
        # The last field is the result of the verification: zero is success.
        body += _entry(_SSL, struct.pack("!BI", _CERTIFICATE_OVER_TLS, 0) + text)
    if spiffe_id is not None:
        entry = _entry(spiffe_tlv, _checked(_SPIFFE_ID, spiffe_id, "a SPIFFE ID"))
        if len(_SIGNATURE) + 4 + len(body) + len(entry) <= MAX_HEADER_BYTES:
            body += entry
        else:
            _say_left_out(spiffe_id)
    return _SIGNATURE + struct.pack("!BBH", _VERSION_2_PROXY, family, len(body)) + body


_Address = tuple[IPv4Address | IPv6Address, int]


def _address(name: object) -> _Address | None:
    """Read what a socket calls one of its ends; one that is no IP socket has no address."""
    if not isinstance(name, tuple):
        return None
    address = ip_address(name[0])
    # As a socket for both families calls it; the service behind knows it as IPv4.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, name[1]


def _addresses(source: _Address | None, destination: _Address | None) -> tuple[int, bytes]:
    # Neither LOCAL, UNSPEC nor AF_UNIX, which are for this: nginx passes over the entries of such a
    # header, and so over the handle.
    (from_, port), (to, own_port) = source or _UNKNOWN, destination or _UNKNOWN
    if isinstance(from_, IPv4Address) and isinstance(to, IPv4Address):
        return _TCP_OVER_IPV4, struct.pack("!4s4sHH", from_.packed, to.packed, port, own_port)
    return _TCP_OVER_IPV6, struct.pack("!16s16sHH", _as_ipv6(from_), _as_ipv6(to), port, own_port)


def _as_ipv6(address: IPv4Address | IPv6Address) -> bytes:
    if isinstance(address, IPv6Address):
        return address.packed
    return bytes(10) + b"\xff\xff" + address.packed


def _entry(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def _checked(alphabet: re.Pattern[str], text: str, what: str) -> bytes:
    if not alphabet.fullmatch(text):
        msg = f"{quote(text)} is not {what}"
        raise ValueError(msg)
    return text.encode("ascii")


# Remembers whom it was said of; a connection of theirs can come many times a second.
@lru_cache(maxsize=64)
def _say_left_out(spiffe_id: str) -> None:
    message = "the PROXY header has no SPIFFE ID, since it would be longer than %d bytes with %s"
    log(LOGGER, WARNING, message, MAX_HEADER_BYTES, quote(spiffe_id))

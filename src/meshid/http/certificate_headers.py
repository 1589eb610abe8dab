"""The three ways to write DER certificates into a header: escaped PEM, base64, and RFC 9440.

Each function reads exactly what proxies write, and nothing that merely means the same: two
values that somebody joined are then no value at all. What is in a certificate is not looked at.
"""

from __future__ import annotations

import binascii
import re
from itertools import islice

from meshid.certificates.chain import MAX_INTERMEDIATES
from meshid.certificates.der import element, elements

MAX_CERTIFICATES = 1 + MAX_INTERMEDIATES

_BEGIN, _END = b"-----BEGIN%20CERTIFICATE-----%0A", b"-----END%20CERTIFICATE-----"
_BYTE_SEQUENCE = re.compile(rb":([A-Za-z0-9+/=]*+):")
_SEQUENCE = 0x30


def escaped_pem(value: bytes) -> tuple[bytes, ...]:
    """Read PEM texts, one after the other, that are percent-encoded (RFC 3986 section 2.1).

    ``+``, ``/`` and ``=`` may stand as they are, so ``+`` is never a space.

    Raises:
        ValueError: If it is not that, or if it has too many certificates.
    """
    _check_count(value.count(_BEGIN))
    first, *blocks = value.split(_BEGIN)
    if first or not blocks:
        msg = "it does not begin with '-----BEGIN%20CERTIFICATE-----%0A'"
        raise ValueError(msg)
    return tuple(map(_escaped_block, blocks))


def escaped_pem_leaf(value: bytes) -> tuple[bytes, ...]:
    """Read one such text with one certificate.

    Raises:
        ValueError: If it is not that.
    """
    found = escaped_pem(value)
    if len(found) != 1:
        msg = f"it has {len(found)} certificates; the proxy passes the leaf alone"
        raise ValueError(msg)
    return found


def _escaped_block(block: bytes) -> bytes:
    body = block.removesuffix(b"%0A")
    if not body.endswith(_END):
        msg = "a certificate in it does not end with '-----END%20CERTIFICATE-----', or something follows"
        raise ValueError(msg)
    body = body.removesuffix(_END)
    # A third of the time of `urllib.parse.unquote`, and any other escape is left over for base64 to refuse.
    body = body.replace(b"%0A", b"").replace(b"%2B", b"+").replace(b"%2F", b"/").replace(b"%3D", b"=")
    return _base64(body)


def base64_leaf(value: bytes) -> tuple[bytes, ...]:
    """Read one certificate in base64 (RFC 4648 section 4).

    Raises:
        ValueError: If it is not that.
    """
    return (_base64(value),)


def base64_list(value: bytes) -> tuple[bytes, ...]:
    """Read certificates in base64 with a comma, and no space, between them.

    Raises:
        ValueError: If it is not that, or if it has too many certificates.
    """
    _check_count(value.count(b",") + 1)
    return tuple(map(_base64, value.split(b",")))


def base64_ders(value: bytes) -> tuple[bytes, ...]:
    """Read the base64 of certificates that are written one after the other.

    Raises:
        ValueError: If it is not that, or if it has too many certificates.
    """
    ders = _base64(value)
    try:
        found = [element(tag, content) for tag, content in islice(elements(ders), MAX_CERTIFICATES + 1)]
    except IndexError:
        found = []
    _check_count(len(found))
    # What is not DER, or ends early, is written otherwise than it was read.
    if b"".join(found) != ders or any(each[0] != _SEQUENCE for each in found):
        msg = "it is not the base64 of DER certificates, one after the other"
        raise ValueError(msg)
    return tuple(found)


def byte_sequence(value: bytes) -> tuple[bytes, ...]:
    """Read one certificate as a byte sequence, ``:base64:`` (RFC 9440 section 2.2, RFC 9651 section 3.3.5).

    Raises:
        ValueError: If it is not that.
    """
    found = _BYTE_SEQUENCE.fullmatch(value)
    if found is None:
        msg = "it is not base64 between two colons (RFC 9440 section 2.1)"
        raise ValueError(msg)
    return (_base64(found[1]),)


def byte_sequences(value: bytes) -> tuple[bytes, ...]:
    """Read a list of such (RFC 9440 section 2.3, RFC 9651 section 3.1).

    Raises:
        ValueError: If it is not that, or if it has too many certificates.
    """
    _check_count(value.count(b",") + 1)
    return tuple(der for member in value.split(b",") for der in byte_sequence(member.strip(b" \t")))


def _check_count(count: int) -> None:
    if count > MAX_CERTIFICATES:
        msg = f"it has more than {MAX_CERTIFICATES} certificates, and no more are read"
        raise ValueError(msg)


def _base64(text: bytes) -> bytes:
    try:
        der = binascii.a2b_base64(text)
    except binascii.Error:
        der = b""
    # Even in its strict mode the decoder takes more than one text for the same bytes.
    if not der or binascii.b2a_base64(der, newline=False) != text:
        msg = "a certificate in it is empty, or is not base64 (RFC 4648 section 4)"
        raise ValueError(msg)
    return der

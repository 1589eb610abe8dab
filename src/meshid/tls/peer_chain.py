"""The chain that the other end presented: from OpenSSL, or from the wire.

After a handshake that succeeded, OpenSSL has the chain. After one that it broke off, it has
dropped the chain, and `ssl.SSLCertVerificationError` gives only its own reason. So the
Certificate message is read as it arrives. The hook for that, `SSLContext._msg_callback`, is
private, and the same in every CPython since 3.8 (Modules/_ssl/debughelpers.c). Nobody is
admitted because of it: without it, a peer that OpenSSL refuses is refused all the same, with
OpenSSL's reason instead of ours.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Protocol

from meshid.certificates.chain import MAX_INTERMEDIATES

_HANDSHAKE = 22
_CERTIFICATE = 11
_MESSAGE_HEADER = 4
_DER = 2

MAX_CERTIFICATES = 1 + MAX_INTERMEDIATES + 1
"""Certificates that are read: a leaf, its intermediates, and one more, which makes the chain too large."""


class Watched(Protocol):
    """A connection whose messages are watched."""

    presented: list[bytes] | None


def chain_of(connection: ssl.SSLObject) -> list[bytes]:
    """Return the chain of a finished handshake as DER, leaf first; for an `ssl.SSLSocket`, too.

    After a resumption it is only the leaf: a session ticket does not hold more.
    """
    leaf = connection.getpeercert(binary_form=True)
    if leaf is None:
        return []
    # `SSLObject.get_unverified_chain` is new in Python 3.13; the object behind it has it since 3.10.
    sent = connection._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]  # noqa: SLF001
    return [leaf, *(certificate.public_bytes(_DER) for certificate in sent[1:MAX_CERTIFICATES])]


def watch(context: ssl.SSLContext) -> None:
    """Let each connection of *context* keep the chain that it is sent, as ``presented``."""
    context._msg_callback = _keep_certificates  # type: ignore[attr-defined]  # noqa: SLF001


def _keep_certificates(  # noqa: PLR0913, PLR0917  # the signature is CPython's
    connection: Watched,
    direction: str,
    version: ssl.TLSVersion,
    content_type: int,
    message_type: int,
    message: bytes,
) -> None:
    if direction == "read" and content_type == _HANDSHAKE and message_type == _CERTIFICATE:
        connection.presented = read_certificate_message(message, tls13=version is ssl.TLSVersion.TLSv1_3)


def read_certificate_message(message: bytes, *, tls13: bool) -> list[bytes]:
    """Return the certificates of a TLS Certificate message, leaf first.

    The format is that of RFC 8446 section 4.4.2 for TLS 1.3 and RFC 5246 section 7.4.2 for
    TLS 1.2. A wrong length ends the list, and so does one certificate more than a chain may have.
    """
    context_length = 1 + message[_MESSAGE_HEADER] if tls13 and len(message) > _MESSAGE_HEADER else 0
    # The length of the whole list is not needed: the message ends with it.
    start = _MESSAGE_HEADER + context_length + 3
    return list(_entries(message, start, extensions=tls13))


def _entries(message: bytes, at: int, *, extensions: bool) -> Iterator[bytes]:
    for _ in range(MAX_CERTIFICATES):
        start, at = _vector(message, at, 3)
        if certificate := message[start:at]:
            yield certificate
        if extensions:
            _, at = _vector(message, at, 2)


def _vector(message: bytes, at: int, width: int) -> tuple[int, int]:
    """Return where the content of a vector starts and ends."""
    start = at + width
    return start, start + int.from_bytes(message[at:start], "big")

"""The chain that the other end presented: from OpenSSL, or from the wire.

After a handshake that succeeded, OpenSSL tells. After one that it broke off itself, it
has forgotten the chain, and with it why; so the Certificate message is read as it goes
by. That hook (`SSLContext._msg_callback`) is private, though the same in every Python
since 3.8, and nothing is ever admitted by it: without it a peer that OpenSSL refuses is
refused as before, with OpenSSL's reason in place of ours.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Protocol

_HANDSHAKE = 22
_CERTIFICATE = 11
_MESSAGE_HEADER = 4
_DER = 2


class Watched(Protocol):
    """A connection whose messages are watched."""

    presented: list[bytes] | None


def chain_of(connection: ssl.SSLObject) -> list[bytes]:
    """Return the chain of a finished handshake as DER, leaf first; of an `ssl.SSLSocket`, too.

    After a resumption with a session ticket it is the leaf alone, for a ticket holds no more.
    """
    leaf = connection.getpeercert(binary_form=True)
    if leaf is None:
        return []
    # Public since Python 3.13 only; the object behind it has had it since 3.10.
    sent = connection._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]  # noqa: SLF001
    return [leaf, *(certificate.public_bytes(_DER) for certificate in sent[1:])]


def watch(context: ssl.SSLContext) -> None:
    """Let each connection of *context* keep what is presented to it as ``presented``."""
    # Private, see above.
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

    The source is RFC 8446 section 4.4.2 for TLS 1.3 and RFC 5246 section 7.4.2 for
    TLS 1.2. A length that lies ends the list.
    """
    context_length = 1 + message[_MESSAGE_HEADER] if tls13 and len(message) > _MESSAGE_HEADER else 0
    # The length of the whole list is not needed: the message ends with it.
    body = message[_MESSAGE_HEADER + context_length + 3 :]
    return list(_entries(body, extensions=tls13))


def _entries(body: bytes, *, extensions: bool) -> Iterator[bytes]:
    while body:
        certificate, body = _vector(body, 3)
        if extensions:
            _, body = _vector(body, 2)
        if certificate:
            yield certificate


def _vector(data: bytes, width: int) -> tuple[bytes, bytes]:
    end = width + int.from_bytes(data[:width], "big")
    return data[width:end], data[end:]

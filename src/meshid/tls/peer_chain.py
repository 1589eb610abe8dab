"""The chain that the other end presents: from the wire, or, of a resumed session, from OpenSSL.

The chain has to be known before OpenSSL looks at it, so the Certificate message is read as it
arrives. The hook for that, `SSLContext._msg_callback`, is private, and the same in every
CPython since 3.8 (Modules/_ssl/debughelpers.c). Nobody is trusted unless it is called.
"""

from __future__ import annotations

import _ssl
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from meshid.certificates.chain import MAX_INTERMEDIATES

_HANDSHAKE = 22
_CERTIFICATE = 11
_TLS_1_3 = 0x0304
_MESSAGE_HEADER = 4
_DER = 2

MAX_CERTIFICATES = 1 + MAX_INTERMEDIATES + 1
"""Certificates that are read: a leaf, its intermediates, and one more, which makes the chain too large."""


class Listening(Protocol):
    """A connection that is told of the certificates of the other end."""

    def on_certificates(self, chain: list[bytes], version: str) -> None:
        """Take note of a chain, before OpenSSL looks at it; raises nothing."""


def leaf_of(connection: ssl.SSLObject) -> bytes | None:
    """Return the leaf that OpenSSL has verified, as DER; for an `ssl.SSLSocket`, too."""
    return connection.getpeercert(binary_form=True)


def chain_of(connection: ssl.SSLObject) -> list[bytes]:
    """Return the chain that OpenSSL has after a handshake, leaf first; for an `ssl.SSLSocket`, too.

    After a resumption it is only the leaf: a session ticket does not hold more.
    """
    leaf = leaf_of(connection)
    if leaf is None:
        return []
    # `SSLObject.get_unverified_chain` is new in Python 3.13; the object behind it has it since 3.10.
    sent = connection._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]  # noqa: SLF001
    return [leaf, *(certificate.public_bytes(_DER) for certificate in sent[1:MAX_CERTIFICATES])]


def listen(context: ssl.SSLContext) -> None:
    """Tell each connection of *context* of the certificates of the other end."""
    set_message_callback(context, _on_message)


def set_message_callback(context: ssl.SSLContext, callback: Callable[..., None]) -> None:
    """Let *callback* be called with each message, as ``SSL_CTX_set_msg_callback`` does."""
    # `ssl.SSLContext._msg_callback` makes an enum of each argument, which took an eighth of a handshake.
    _ssl._SSLContext._msg_callback.__set__(context, callback)  # type: ignore[attr-defined]  # noqa: SLF001


def _on_message(  # noqa: PLR0913, PLR0917  # the signature is CPython's
    connection: Listening,
    direction: str,
    version: int,
    content_type: int,
    message_type: int,
    message: bytes,
) -> None:
    if message_type == _CERTIFICATE and content_type == _HANDSHAKE and direction == "read":
        # gevent gives OpenSSL a socket of its own, which knows the TLS socket.
        connection = cast("Listening", getattr(connection, "_sslsock", lambda: connection)())
        is_newer = version == _TLS_1_3
        chain = read_certificate_message(message, tls13=is_newer)
        connection.on_certificates(chain, "TLSv1.3" if is_newer else "TLSv1.2")


def read_certificate_message(message: bytes, *, tls13: bool) -> list[bytes]:
    """Return the certificates of a TLS Certificate message, leaf first.

    The format is that of RFC 8446 section 4.4.2 for TLS 1.3 and RFC 5246 section 7.4.2 for
    TLS 1.2. A wrong length ends the list, and so does one certificate more than a chain may have.
    """
    context_length = 1 + message[_MESSAGE_HEADER] if tls13 and len(message) > _MESSAGE_HEADER else 0
    # The length of the whole list is not needed: the message ends with it.
    at = _MESSAGE_HEADER + context_length + 3
    chain = []
    # One plain loop: with a function for each field, to read took longer than to decide.
    for _ in range(MAX_CERTIFICATES):
        if at >= len(message):
            break
        start = at + 3
        at = start + int.from_bytes(message[at:start], "big")
        if certificate := message[start:at]:
            chain.append(certificate)
        if tls13:
            at += 2 + int.from_bytes(message[at : at + 2], "big")
    return chain

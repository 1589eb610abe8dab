"""Whether the other end of a failed handshake gets to read why.

OpenSSL writes the alert (RFC 8446 section 6.2). Three things are between it and its reader:

- An `ssl.SSLObject` writes to memory, and asyncio, uvloop, trio and anyio close the connection
  of a failed handshake without sending what is there (CPython gh-98078).
- A socket that is closed while bytes of the other end are unread resets the connection, and the
  reset can overtake the alert. A client that waits for nothing has such bytes under way.
- After the handshake, where a resumed session is decided about, Python cannot send an alert of
  our choice. It can send close_notify, which says at least that nobody cut the connection.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from typing import Protocol, cast

LINGER_SECONDS = 0.2
"""How long a socket that blocks waits for the other end to read the alert and to hang up: a round trip."""

MAX_READ_OFF = 256 * 1024
"""Bytes that are read off meanwhile; what a client sends ahead of its answer is a request."""

_CHUNK = 16 * 1024


class Sender(Protocol):
    """Whoever reads and writes for an `ssl.SSLObject`."""

    def send(self, data: bytes) -> bool:
        """Put bytes on the wire now, if that is possible."""


class Stream(Protocol):
    """What is below TLS."""

    def shutdown(self, how: int, /) -> None:
        """Shut it down."""

    def recv(self, size: int, /) -> bytes:
        """Read from it."""


def part_by(owner: Sender | None, connection: ssl.SSLObject, outgoing: ssl.MemoryBIO) -> None:
    """Part with the other end of an `ssl.SSLObject` whose handshake has failed.

    Args:
        owner: Who reads and writes for it, if that is known.
        connection: The SSL object.
        outgoing: The memory BIO that it writes to.

    Raises:
        ssl.SSLWantReadError: If only the caller can send the alert, which it does before it waits.
    """
    if _is_over(connection):
        with suppress(ssl.SSLError):
            connection.unwrap()
    alert = outgoing.read()
    if alert and (owner is None or not owner.send(alert)):
        outgoing.write(alert)
        raise ssl.SSLWantReadError(ssl.SSLErrorNumber.SSL_ERROR_WANT_READ, "an alert has to be sent")


def part(connection: ssl.SSLSocket, tls: type[ssl.SSLSocket]) -> None:
    """Part with the other end of an `ssl.SSLSocket` whose handshake has failed.

    Args:
        connection: The socket.
        tls: The class of it whose methods go through TLS.
    """
    timeout = connection.gettimeout()
    # Whatever fails here, the connection is over.
    with suppress(OSError):
        if _is_over(connection):
            _send_close_notify(connection)
        read_off(connection, cast("Stream", super(tls, connection)), waits=timeout != 0)
    with suppress(OSError):
        connection.settimeout(timeout)


def _is_over(connection: ssl.SSLObject | ssl.SSLSocket) -> bool:
    """Whether the handshake is over for OpenSSL, as it is if we refuse who resumes a session."""
    return connection.version() is not None


def _send_close_notify(connection: ssl.SSLSocket) -> None:
    # Otherwise OpenSSL waits for the other end's.
    connection.settimeout(0)
    with suppress(OSError):
        # `unwrap` would take TLS off the socket.
        connection._sslobj.shutdown()  # type: ignore[attr-defined]  # noqa: SLF001


def read_off(sock: socket.socket, below: Stream, *, waits: bool) -> None:
    """End our half of a connection, and read what is under way, so that closing does not reset it."""
    end = time.monotonic() + LINGER_SECONDS
    below.shutdown(socket.SHUT_WR)
    left = MAX_READ_OFF
    while left > 0 and (wait := end - time.monotonic()) > 0:
        sock.settimeout(wait if waits else 0)
        chunk = below.recv(_CHUNK)
        if not chunk:
            return
        left -= len(chunk)

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
from typing import Protocol

LINGER_SECONDS = 0.2
"""How long a socket that blocks waits for the other end to read the alert and to hang up: a round trip."""

MAX_READ_OFF = 256 * 1024
"""Bytes that are read off meanwhile; what a client sends ahead of its answer is a request."""

_CHUNK = 16 * 1024


class Sender(Protocol):
    """Whoever reads and writes for an `ssl.SSLObject`."""

    def send(self, data: bytes) -> bool:
        """Put bytes on the wire now, if that is possible."""


def send_alert(outgoing: ssl.MemoryBIO, owner: Sender | None) -> None:
    """Send what OpenSSL has written last.

    Raises:
        ssl.SSLWantReadError: If only the caller can send it, who does so before it waits for an answer.
    """
    alert = outgoing.read()
    if alert and (owner is None or not owner.send(alert)):
        outgoing.write(alert)
        raise ssl.SSLWantReadError(ssl.SSLErrorNumber.SSL_ERROR_WANT_READ, "an alert has to be sent")


def send_close_notify(sock: ssl.SSLSocket) -> None:
    """Send close_notify, and do not wait for the other end's."""
    timeout = sock.gettimeout()
    sock.settimeout(0)
    with suppress(OSError):
        # `unwrap` would take TLS off the socket.
        sock._sslobj.shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    sock.settimeout(timeout)


def read_off(sock: socket.socket, below: type[socket.socket] = socket.socket) -> None:
    """End our half of a connection, and read what is under way, so that closing does not reset it.

    Args:
        sock: The socket.
        below: The class whose methods do not go through TLS, if *sock* is an `ssl.SSLSocket`.
    """
    timeout = sock.gettimeout()
    end = time.monotonic() + LINGER_SECONDS
    # Whatever fails here, the connection is over.
    with suppress(OSError):
        below.shutdown(sock, socket.SHUT_WR)
        left = MAX_READ_OFF
        while left > 0 and (wait := end - time.monotonic()) > 0:
            if timeout != 0:
                sock.settimeout(wait)
            chunk = below.recv(sock, _CHUNK)
            if not chunk:
                break
            left -= len(chunk)
    with suppress(OSError):
        sock.settimeout(timeout)

"""A TLS connection to a known server, within a deadline.

The rules of this module:

- Nothing is written before the handshake has ended, and with it the decision about the server.
- Everything that a server sends is counted, headers included.
- TLS has to be closed in order: a stream that just ends was cut off, perhaps by somebody
  in between (RFC 8446 section 6.1).
"""

from __future__ import annotations

import errno
import io
import os
import selectors
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar

from typing_extensions import Buffer, override

from meshid.sources.https.deadlines import Deadline

_R = TypeVar("_R")
Place: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]
"""An address, as `socket.getaddrinfo` returns it."""

MAX_LINES = 20_000
"""Two for each chunk: a bundle of the largest size, in chunks of 420 bytes."""

_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK})


class TlsStream(io.RawIOBase):
    """A TLS connection, as a stream of what the server sends; made by `connected`.

    Args:
        tls: The connection, which does not block.
        deadline: Until when.
        limit: How many bytes are read at most.
    """

    def __init__(self, tls: ssl.SSLSocket, deadline: Deadline, limit: int) -> None:
        self._tls = tls
        self._deadline = deadline
        self._limit = self._left = limit

    def handshake(self) -> None:
        """Run the handshake.

        Raises:
            OSError: If it fails, or the server is not the right one.
        """
        self._until_done(self._tls.do_handshake)

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._until_done(partial(self._tls.send, rest)) :]

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer) -> int:
        """Receive what there is; nothing after an orderly end.

        Raises:
            OSError: If the stream was cut off, or is longer than the limit.
        """
        count = self._until_done(partial(self._tls.recv_into, buffer))
        self._left -= count
        if self._left < 0:
            raise OSError(errno.EMSGSIZE, f"it sends more than {self._limit} bytes")
        return count

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return a buffered stream; `http.client` asks its socket for one."""
        return _Lines(self)

    def _until_done(self, step: Callable[[], _R]) -> _R:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                event = selectors.EVENT_READ
            except ssl.SSLWantWriteError:
                event = selectors.EVENT_WRITE
            self._deadline.wait(self._tls, event)


class _Lines(io.BufferedReader):
    """A buffered stream of a bounded number of lines: each costs `http.client` microseconds."""

    _left = MAX_LINES

    @override
    def readline(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise OSError(errno.EMSGSIZE, f"it sends more than {MAX_LINES} lines of headers and chunks")
        return super().readline(size)


@contextmanager
def connected(
    host: str, port: int, context: ssl.SSLContext, deadline: Deadline, *, limit: int
) -> Iterator[TlsStream]:
    """Connect, run the handshake, and close the connection at the end of the block.

    Args:
        host: A host name or an IP address.
        port: The TCP port.
        context: Decides who the right server is.
        deadline: Until when.
        limit: How many bytes are read at most.

    Raises:
        OSError: If the host is unknown, cannot be reached, or is not the right server.
        Stopped: If the deadline was stopped.
    """
    places = deadline.wait_for(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    with reach(places, deadline) as plain:
        # Of one that was reset meanwhile, `wrap_socket` raises and leaves the socket open.
        plain.getpeername()
        tls = context.wrap_socket(
            plain, do_handshake_on_connect=False, suppress_ragged_eofs=False, server_hostname=host
        )
    with tls:
        stream = TlsStream(tls, deadline, limit)
        stream.handshake()
        yield stream


def reach(places: Sequence[Place], deadline: Deadline) -> socket.socket:
    """Return a socket that is connected to the first of *places* that answers.

    Raises:
        OSError: If none does.
        Stopped: If the deadline was stopped.
    """
    failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for number, place in enumerate(places):
        try:
            # One that never answers must leave time for the next.
            return _connect(place, deadline, share=len(places) - number)
        except OSError as error:
            failure = error
    raise failure


def _connect(place: Place, deadline: Deadline, *, share: int) -> socket.socket:
    family, kind, protocol, _, address = place
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        fault = sock.connect_ex(address)
        if fault in _UNDER_WAY:
            deadline.wait(sock, selectors.EVENT_WRITE, share=share)
            fault = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if fault:
            raise OSError(fault, os.strerror(fault))
    except BaseException:
        sock.close()
        raise
    return sock

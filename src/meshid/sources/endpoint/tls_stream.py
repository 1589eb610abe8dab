"""A TLS connection to a server that is known, within a deadline.

The rules of this room:

- Nothing is written before the handshake is over, and with it the judgement of the server.
- Everything that a server sends is counted, headers and all.
- TLS has to be closed in order: a stream that just ends was cut off, perhaps by somebody
  between us (RFC 8446 section 6.1).
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

from meshid.sources.endpoint.deadlines import Deadline

_R = TypeVar("_R")
Place: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]
"""What `socket.getaddrinfo` tells of one address."""

_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK})


class Connection:
    """A TLS connection whose handshake is over; made by `connected`."""

    def __init__(self, tls: ssl.SSLSocket, deadline: Deadline, limit: int) -> None:
        """Read at most *limit* bytes from *tls*."""
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

    def receive_into(self, buffer: Buffer) -> int:
        """Receive what there is; nothing after an orderly end.

        Raises:
            OSError: If the stream was cut off, or if it is more than is read altogether.
        """
        count = self._until_done(partial(self._tls.recv_into, buffer))
        self._left -= count
        if self._left < 0:
            raise OSError(errno.EMSGSIZE, f"it sends more than {self._limit} bytes")
        return count

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return a stream of what is received; `http.client` asks its socket for one."""
        return io.BufferedReader(_Received(self))

    def _until_done(self, step: Callable[[], _R]) -> _R:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                event = selectors.EVENT_READ
            except ssl.SSLWantWriteError:
                event = selectors.EVENT_WRITE
            self._deadline.wait(self._tls, event)


class _Received(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer) -> int:
        return self._connection.receive_into(buffer)


@contextmanager
def connected(
    host: str, port: int, context: ssl.SSLContext, deadline: Deadline, *, limit: int
) -> Iterator[Connection]:
    """Connect, run the handshake, and close the connection at the end of the block.

    Args:
        host: A host name or an IP address.
        port: The TCP port.
        context: Says who the right server is.
        deadline: Until when.
        limit: How many bytes are read at the most.

    Raises:
        OSError: If there is no such host, if it cannot be reached, if it is not the right one.
        Stopped: If the deadline was stopped.
    """
    with (
        reach(_places(host, port, deadline), deadline) as plain,
        context.wrap_socket(
            plain, do_handshake_on_connect=False, suppress_ragged_eofs=False, server_hostname=host
        ) as tls,
    ):
        connection = Connection(tls, deadline, limit)
        connection.handshake()
        yield connection


def _places(host: str, port: int, deadline: Deadline) -> Sequence[Place]:
    return deadline.wait_for(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))


def reach(places: Sequence[Place], deadline: Deadline) -> socket.socket:
    """Return a socket that is connected to the first of *places* that answers.

    Raises:
        OSError: If none does.
        Stopped: If the deadline was stopped.
    """
    failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for number, place in enumerate(places):
        try:
            # One that swallows everything must leave time for the next.
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

"""The listening sockets of a port.

The rules of this module:

- A process that is out of descriptors goes on listening: it says so, and tries again after a pause.
- While the port is full, nobody is accepted: who comes waits in the queue of the kernel, and costs nothing.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISSOCK

from meshid.audit.rate_limit import RateLimit, left_out
from meshid.port.proxy_header import LOGGER
from meshid.port.upstream import UNIX, unix_path
from meshid.support.logs import WARNING, log
from meshid.support.quoting import described

BACKLOG = 1024
"""Connections that wait in the queue of the kernel (Linux takes ``net.core.somaxconn``, 4096, at most)."""

AT_ONCE = 8
"""Connections that are accepted before the loop goes on with those that are open.

An old handshake that gives way to a new one is closed some turns of the loop later, so in a flood several
times as many are open beyond those that may be. They must fit into `meshid.port.arguments.SPARE_FILES`."""

PAUSE_SECONDS = 0.2
"""Until the next attempt, where the system cannot accept."""


async def open_sockets(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[socket.socket]:
    """Return sockets that are bound to a host, at all of its addresses, or to ``unix:/path``.

    Raises:
        OSError: If that is not possible.
    """
    try:
        if host.startswith(UNIX):
            return [_unix_socket(unix_path(host, "host"))]
        return await _tcp_sockets(loop, host, port)
    except OSError as error:
        where = host if host.startswith(UNIX) else f"{host}, port {port}"
        msg = f"cannot listen on {where}: {error.strerror}"
        raise OSError(error.errno, msg) from error


async def _tcp_sockets(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[socket.socket]:
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _unix_socket(path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        # Left behind by a process that was killed. If one listens there, it loses its name, as elsewhere.
        if S_ISSOCK(Path(path).stat().st_mode):
            Path(path).unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        # Nobody can connect before listen().
        Path(path).chmod(0o600)
    except OSError:
        sock.close()
        raise
    return sock


def _file_of(address: object) -> tuple[int, int] | None:
    """Return which file a Unix socket is; None for one that has none."""
    if not isinstance(address, str):
        return None
    try:
        status = Path(address).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Acceptor:
    """Accepts connections.

    Args:
        loop: The loop.
        sockets: Bound sockets, which are closed with it.
        serve: Takes a connection.
        is_full: Whether no more may be accepted now.
        unlinks: Whether the name of a Unix socket goes with it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sockets: Sequence[socket.socket],
        serve: Callable[[socket.socket], None],
        is_full: Callable[[], bool],
        *,
        unlinks: bool,
    ) -> None:
        self._loop = loop
        self._unlinks = unlinks
        self._sockets = tuple(sockets)
        self._serve = serve
        self._is_full = is_full
        self._is_listening = False
        self._pause: asyncio.TimerHandle | None = None
        self._limit = RateLimit()
        # Kept, as a socket that is closed has none.
        self.addresses = tuple(sock.getsockname() for sock in self._sockets)
        self._files = tuple(map(_file_of, self.addresses))
        try:
            for sock in self._sockets:
                sock.setblocking(False)
                sock.listen(BACKLOG)
        except OSError:
            self.close()
            raise
        self.resume()

    def resume(self) -> None:
        """Accept again, unless it is full, pauses or is closed."""
        if not self._is_listening and self._pause is None and not self._is_full():
            self._is_listening = True
            for sock in self._sockets:
                self._loop.add_reader(sock, self._accept, sock)

    def _stop(self) -> None:
        self._is_listening = False
        for sock in self._sockets:
            self._loop.remove_reader(sock)

    def close(self) -> None:
        """Close the sockets."""
        self._stop()
        if self._pause is not None:
            self._pause.cancel()
        for sock, address, file in zip(self._sockets, self.addresses, self._files, strict=True):
            sock.close()
            # Another process may have taken its place.
            if self._unlinks and file is not None and _file_of(address) == file:
                with suppress(OSError):
                    Path(address).unlink()
        self._sockets = ()

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            if self._is_full():
                self._stop()
                return
            try:
                accepted, _ = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            self._serve(accepted)

    def _rest(self, error: OSError) -> None:
        self._stop()
        self._pause = self._loop.call_later(PAUSE_SECONDS, self._go_on)
        suppressed = self._limit.suppressed(error.errno)
        if suppressed is not None:
            advice = ": raise the limit of open files (ulimit -n)" if error.errno == errno.EMFILE else ""
            log(
                LOGGER,
                WARNING,
                "cannot accept connections: %s%s%s",
                described(error),
                advice,
                left_out(suppressed),
            )

    def _go_on(self) -> None:
        self._pause = None
        self.resume()

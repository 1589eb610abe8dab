"""`MeshPort`: a listener in front of a plain service."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import Self

import attrs

from meshid.admission.question import Expected
from meshid.mesh import Mesh
from meshid.port.acceptor import Acceptor, open_sockets
from meshid.port.hub import Hub, Plan
from meshid.port.relay import Pace
from meshid.port.totals import PortFigures, Totals
from meshid.port.upstream import UNIX, Upstream, is_loopback, unix_path
from meshid.support.quoting import quote
from meshid.support.types import check_type
from meshid.tls.handshakes import DEFAULT_TIMEOUT, MAX_HANDSHAKES

CONNECT_TIMEOUT = 5.0
"""Seconds until the upstream must have answered; on one machine that is a long time."""

HALF_CLOSE_TIMEOUT = 60.0
"""Seconds for which a connection may be idle of which one half is closed."""

MAX_CONNECTIONS = 10_000
"""Connections at once, if the limit of open files allows as many; idle ones take 30 KiB each."""

MAX_FILES = 1 << 30
"""More open files than any system allows."""

MAX_PORT = 65535

SPARE_FILES = 64
"""Open files that are left for all else that the process does."""


class MeshPort:
    """A listener that lets only admitted peers reach a plain service.

    It speaks mutual TLS with its clients and passes on bytes, of any protocol, to its upstream. The
    upstream is not even connected before the peer has been admitted. All methods but `figures` are for the
    loop that it was started in.

    An end of one half of a connection is passed on, either way, and the other half goes on. Whatever
    else ends a connection (a peer that is revoked, an upstream that fails, TCP that ends without TLS's
    close_notify) resets it at both ends, so that nobody takes half a request or half an answer for the
    whole. A Unix socket knows no reset: there it is an end.

    Args:
        mesh: Decides, and has our certificate.
        upstream: Where connections go: ``"127.0.0.1:8080"``, ``"[::1]:8080"`` or ``"unix:/run/app.sock"``.
            A plain one must be on the loopback or a Unix socket.
        host: Where to listen, at all of its addresses: a name, an address, or ``"unix:/run/port.sock"``.
        port: The TCP port; 0 for a free one.
        target: What clients reach; the service of the mesh if None.
        expect: The upstream speaks mutual TLS, and must have this name: as for `Mesh.client_context`.
        client: Whether clients are local and speak plainly, and the upstream is a server of the mesh: for
            programs that do not know TLS. It needs *expect*, and *host* must be of the loopback or a Unix
            socket.
        remote_upstream: Whether a plain upstream may be elsewhere. All on the way to it can read and change
            everything.
        minimum_version: The oldest TLS version that is accepted: TLS 1.3 or 1.2.
        handshake_timeout: How many seconds a TLS handshake may take.
        connect_timeout: How many seconds connecting to the upstream may take.
        half_close_timeout: How many seconds a connection may be idle once one half of it is closed.
        idle_timeout: How many seconds any connection may be idle; None for any time.
        max_connections: How many connections of admitted peers there may be at once; None for what the limit
            of open files allows, and at most 10 000. When there are so many, who comes next waits until one
            ends.

    Raises:
        InvalidCredentials: If the mesh has no credentials.
        InvalidPattern: If *expect* is not valid.
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of its range, or does not go with the others.
    """

    def __init__(  # noqa: PLR0913  # what a user chooses, all named
        self,
        mesh: Mesh,
        upstream: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        target: str | None = None,
        expect: Expected | None = None,
        client: bool = False,
        remote_upstream: bool = False,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        handshake_timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        half_close_timeout: float = HALF_CLOSE_TIMEOUT,
        idle_timeout: float | None = None,
        max_connections: int | None = None,
    ) -> None:
        check_type(type(mesh), Mesh, "mesh", "a Mesh")
        for name, flag in (("client", client), ("remote_upstream", remote_upstream)):
            # "no" is true.
            check_type(type(flag), bool, name, "True or False")
        where = Upstream.parse(upstream)
        self._host, self._port = _place(host, port)
        _check_sides(where, self._host, expect, target, client=client, remote=remote_upstream)
        self._most = (
            None if max_connections is None else _whole(max_connections, "max_connections", 1, MAX_FILES)
        )
        outer = inner = None
        if not client:
            outer = mesh.server_context(
                target=target, minimum_version=minimum_version, handshake_timeout=handshake_timeout
            )
        if expect is not None:
            inner = mesh.client_context(
                expect, minimum_version=minimum_version, handshake_timeout=handshake_timeout
            )
        self._plan = Plan(
            upstream=where,
            outer=outer,
            inner=inner,
            pace=Pace(
                _seconds(half_close_timeout, "half_close_timeout"),
                None if idle_timeout is None else _seconds(idle_timeout, "idle_timeout"),
            ),
            connect_timeout=_seconds(connect_timeout, "connect_timeout"),
        )
        self._totals = Totals()
        self._hub: Hub | None = None
        self._acceptor: Acceptor | None = None

    # -- From start to end --------------------------------------------------------

    async def start(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Listen, and serve from then on.

        Args:
            sockets: Sockets to listen on, in place of the host and the port, as systemd passes them; they
                are closed with the port. None to open them.

        Raises:
            OSError: If the host and the port cannot be listened on.
            RuntimeError: If it was started before.
        """
        if self._hub is not None:
            msg = "a MeshPort is started once: make another one"
            raise RuntimeError(msg)
        loop = asyncio.get_running_loop()
        handshakes, connections = _limits(self._most)
        if self._plan.outer is not None:
            self._plan.outer._handshakes.at_most = handshakes  # noqa: SLF001 - users have no use for it
        self._hub = hub = Hub(self._plan, loop, self._totals, connections, self._make_room)
        opened = await open_sockets(loop, self._host, self._port) if sockets is None else sockets
        self._acceptor = Acceptor(loop, opened, hub.serve, lambda: hub.is_full, unlinks=sockets is None)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def drain(self, seconds: float) -> int:
        """Listen no more, and wait until the connections have ended; cut off those that have not.

        Args:
            seconds: For how long to wait.

        Returns:
            How many connections of admitted peers were cut off.
        """
        if self._hub is None:
            return 0
        self._stop_listening()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hub.nobody.wait()
        cut_off = len(self)
        await self.close()
        return cut_off

    async def close(self) -> None:
        """Listen no more, and cut off all connections."""
        if self._hub is not None:
            self._stop_listening()
            self._hub.cut_off()
            await self._hub.nobody.wait()

    def _stop_listening(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None

    def _make_room(self) -> None:
        if self._acceptor is not None:
            self._acceptor.resume()

    # -- What it is doing ---------------------------------------------------------

    @property
    def addresses(self) -> tuple[object, ...]:
        """Where it listens, as ``getsockname()`` tells it: tuples that begin with host and port, or a path.

        Empty before `start` and after `drain` and `close`.
        """
        return () if self._acceptor is None else self._acceptor.addresses

    def __len__(self) -> int:
        """Return how many connections of admitted peers are open."""
        return 0 if self._hub is None else len(self._hub.admitted)

    def figures(self) -> PortFigures:
        """Return what it has done so far, and what it is doing; from any thread."""
        outer = self._plan.outer
        return PortFigures(
            connections=len(self),
            handshakes=0 if outer is None else len(outer._handshakes),  # noqa: SLF001 - as above
            **attrs.asdict(self._totals),
        )


def _place(host: str, port: int) -> tuple[str, int]:
    check_type(type(host), str, "host", "a str")
    if host.startswith(UNIX):
        unix_path(host, "host")
    return host, _whole(port, "port", 0, MAX_PORT)


def _check_sides(  # noqa: PLR0913  # all named
    upstream: Upstream, host: str, expect: Expected | None, target: str | None, *, client: bool, remote: bool
) -> None:
    """Refuse what would let plain text out, and what means nothing.

    Raises:
        ValueError: If there is such a thing.
    """
    msg = None
    if client and expect is None:
        msg = (
            "client=True needs expect=: the name of the server that the upstream is, such as '/ns/pay/sa/api'"
        )
    elif client and target is not None:
        msg = "target is for clients with a certificate: leave it out with client=True"
    elif client and not (host.startswith(UNIX) or is_loopback(host)):
        msg = (
            f"host {quote(host)} is not of the loopback, and with client=True whoever can connect speaks as"
            " this service: listen on 127.0.0.1, or on unix:/path"
        )
    elif expect is None and not (remote or upstream.is_local):
        msg = (
            f"upstream {quote(str(upstream))} is not of the loopback, and would get plain text: pass expect="
            " with the name of the server for TLS, or remote_upstream=True"
        )
    if msg is not None:
        raise ValueError(msg)


def _seconds(value: object, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        msg = f"{name} must be a number of seconds, not {type(value).__name__}"
        raise TypeError(msg)
    # Written this way so that NaN is rejected.
    if not 0 < value < inf:
        msg = f"{name} must be a positive, finite number of seconds, not {value:g}"
        raise ValueError(msg)
    return float(value)


def _whole(value: object, name: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{name} must be a whole number, not {type(value).__name__}"
        raise TypeError(msg)
    if not least <= value <= most:
        msg = f"{name} must be from {least} to {most}, not {value}"
        raise ValueError(msg)
    return value


def _limits(most: int | None) -> tuple[int, int]:
    """Return how many handshakes and connections there may be; a connection has two open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = MAX_FILES
    handshakes = min(MAX_HANDSHAKES, files // 4)
    return handshakes, most or max(1, min(MAX_CONNECTIONS, (files - handshakes - SPARE_FILES) // 2))

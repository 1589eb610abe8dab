"""`MeshPort`: a listener in front of a plain service."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Self

import attrs

from meshid.admission.question import Expected, Question
from meshid.http.asgi import App
from meshid.http.authorizer import AuthorizerApp
from meshid.http.requested import in_original
from meshid.mesh import Mesh
from meshid.port.acceptor import Acceptor, open_sockets
from meshid.port.arguments import MAX_FILES, check_sides, limits, place, whole
from meshid.port.handle_judge import HandleJudge
from meshid.port.handles import Handles
from meshid.port.hub import Hub, Plan
from meshid.port.proxy_header import OWN_TLV, SPIFFE_TLVS
from meshid.port.relay import Pace
from meshid.port.totals import PortFigures, Totals
from meshid.port.upstream import Upstream
from meshid.support.types import check_type, positive_seconds
from meshid.tls.context import MeshContext
from meshid.tls.handshakes import DEFAULT_TIMEOUT
from meshid.tls.tls_settings import TlsSettings, protocols

CONNECT_TIMEOUT = 5.0
"""Seconds until the upstream must have answered; on one machine that is a long time."""

HALF_CLOSE_TIMEOUT = 60.0
"""Seconds for which a connection may be idle of which one half is closed."""


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
        proxy_protocol: Whether a plain upstream is told first who is connected, in a header of the PROXY
            protocol, version 2: the address, a handle of the connection as its unique ID, the SPIFFE ID of
            the peer, and the version of TLS.
        spiffe_tlv: The type of the SPIFFE ID's entry in that header: 0xE0 to 0xEF, or 0xD0 as Istio's ztunnel
            writes it.
        remote_upstream: Whether a plain upstream may be elsewhere. All on the way to it can read and change
            everything.
        alpn: The application protocols that are offered to clients, preferred first (RFC 7301); clients may
            agree on none. An upstream with TLS is offered what the client has agreed on, and must agree on
            it. With *client*, the one protocol that clients speak and the upstream must agree on.
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
        proxy_protocol: bool = False,
        spiffe_tlv: int = OWN_TLV,
        remote_upstream: bool = False,
        alpn: Iterable[str] = (),
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        handshake_timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        half_close_timeout: float = HALF_CLOSE_TIMEOUT,
        idle_timeout: float | None = None,
        max_connections: int | None = None,
    ) -> None:
        check_type(type(mesh), Mesh, "mesh", "a Mesh")
        flags = {"client": client, "proxy_protocol": proxy_protocol, "remote_upstream": remote_upstream}
        for name, flag in flags.items():
            # "no" is true.
            check_type(type(flag), bool, name, "True or False")
        offered = protocols(alpn)
        where = Upstream.parse(upstream)
        self._host, self._port = place(host, port)
        check_sides(
            where,
            self._host,
            expect,
            has_target=target is not None,
            client=client,
            remote=remote_upstream,
            proxy_protocol=proxy_protocol,
            alpn=offered,
        )
        if spiffe_tlv not in SPIFFE_TLVS:
            msg = f"spiffe_tlv must be 0xD0, or 0xE0 to 0xEF, not {spiffe_tlv!r}"
            raise ValueError(msg)
        make = partial(
            mesh.server_context,
            target=target,
            alpn=offered,
            minimum_version=minimum_version,
            handshake_timeout=positive_seconds(handshake_timeout, "handshake_timeout"),
        )
        # Not made now: with an authorizer it is another one, and each that is made counts as a listener.
        self._make_outer: Callable[..., MeshContext] | None = None if client else make
        TlsSettings.limits(ssl.PROTOCOL_TLS_SERVER, minimum_version=minimum_version)
        if not client:
            Question(target=mesh.service if target is None else target)
        spoken = offered[0] if client and offered else None
        inner = {}
        if expect is not None:
            for protocol in (spoken,) if client else (None, *offered):
                inner[protocol] = mesh.client_context(
                    expect,
                    () if protocol is None else (protocol,),
                    minimum_version=minimum_version,
                    handshake_timeout=handshake_timeout,
                )
        most = None if max_connections is None else whole(max_connections, "max_connections", 1, MAX_FILES)
        self._handshakes, connections = limits(most)
        self._plan = Plan(
            upstream=where,
            outer=None,
            inner=inner,
            spoken=spoken,
            pace=Pace(
                positive_seconds(half_close_timeout, "half_close_timeout"),
                None if idle_timeout is None else positive_seconds(idle_timeout, "idle_timeout"),
            ),
            connect_timeout=positive_seconds(connect_timeout, "connect_timeout"),
            at_most=connections,
            proxy_protocol=proxy_protocol,
            spiffe_tlv=spiffe_tlv,
            handles=Handles(),
        )
        self._mesh = mesh
        self._target = target
        self._authorizer: App | None = None
        self._totals = Totals()
        self._hub: Hub | None = None
        self._acceptor: Acceptor | None = None

    def authorizer(self) -> App:
        """Return an ASGI application that the upstream asks about each request, at ``/authorize``.

        It passes on, in ``X-Meshid-Connection``, the unique ID that it was told in the PROXY header, and in
        ``X-Original-Method`` and ``X-Original-URI`` the request; the answers are those of
        `meshid.http.authorizer`. With it, rules with http conditions let their peers connect: so the
        upstream must ask. Serve it to the upstream alone, on a Unix socket in a private directory.

        Raises:
            RuntimeError: If the port was started before.
            ValueError: If it has no *proxy_protocol*, without which the upstream knows no connection.
        """
        if self._authorizer is None:
            if self._hub is not None:
                msg = "call authorizer() before start(): connections are admitted differently with it"
                raise RuntimeError(msg)
            if not self._plan.proxy_protocol:
                msg = "authorizer() needs proxy_protocol=True: it tells the upstream which connection it has"
                raise ValueError(msg)
            judge = HandleJudge(self._mesh, self._plan.handles, self._target)
            self._authorizer = AuthorizerApp(in_original, judge, self._mesh.keep_encoded)
        return self._authorizer

    # -- From start to end --------------------------------------------------------

    async def start(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Listen, and serve from then on.

        Args:
            sockets: Sockets to listen on, in place of the host and the port, as systemd passes them; they
                are closed with the port. None to open them.

        Raises:
            OSError: If the host and the port cannot be listened on.
            InvalidCredentials: If the mesh has no credentials.
            RuntimeError: If it was started before.
        """
        if self._hub is not None:
            msg = "a MeshPort is started once: make another one"
            raise RuntimeError(msg)
        loop = asyncio.get_running_loop()
        plan = self._plan
        if self._make_outer is not None:
            outer = self._make_outer(http=self._authorizer is not None)
            outer._handshakes.at_most = self._handshakes  # noqa: SLF001 - users have no use for it
            plan = attrs.evolve(plan, outer=outer)
        hub = Hub(plan, loop, self._totals, self._make_room)
        opened = await open_sockets(loop, self._host, self._port) if sockets is None else sockets
        self._acceptor = Acceptor(loop, opened, hub.serve, lambda: hub.is_full, unlinks=sockets is None)
        self._hub = hub

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
        return PortFigures(
            connections=len(self),
            handshakes=0 if self._hub is None else self._hub.handshakes,
            **attrs.asdict(self._totals),
        )

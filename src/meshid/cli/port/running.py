"""A port from its start to its end: what it tells, and what signals do.

The rules of this module:

- The first SIGTERM or SIGINT drains: nobody new comes in, and the connections that are open may end by
  themselves. When the time for that is over, or at the second signal, the rest is cut off.
- SIGHUP changes nothing, as there is nothing to reload: trust and policy follow their sources.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import cast

from meshid.cli.asgi_server import AuthorizerServer
from meshid.cli.port.announcing import Started, is_for_this_machine_only
from meshid.cli.port.cannot_listen import listening_at
from meshid.cli.port.readiness import Readiness
from meshid.cli.running_options import say
from meshid.errors import InvalidInput
from meshid.http.private_socket import private_socket
from meshid.mesh import Mesh
from meshid.metrics.exposition import exposition
from meshid.metrics.figures import FIGURES
from meshid.port.arguments import room_for
from meshid.port.port import MeshPort
from meshid.port.port_metrics import figures_of
from meshid.port.proxy_header import LOGGER, OWN_TLV
from meshid.port.status_listener import StatusListener
from meshid.port.systemd import READY, STOPPING, notify
from meshid.port.upstream import UNIX, Upstream
from meshid.settings.settings import Settings
from meshid.support.logs import INFO, WARNING, log
from meshid.support.quoting import plural


class Running:
    """A port that runs until it is told to stop.

    Args:
        mesh: The mesh.
        settings: The settings, which have been checked.
        client: Whether it is a port for local clients.
        as_json: Whether to print JSON.

    Raises:
        InvalidInput: If a port cannot be made of these settings.
        MissingExtra: If there is to be an authorizer, without the extra ``authorizer``.
    """

    def __init__(self, mesh: Mesh, settings: Settings, *, client: bool, as_json: bool) -> None:
        self._mesh = mesh
        self._settings = settings
        self._client = client
        self._as_json = as_json
        self._port = _port_of(mesh, settings, client=client)
        upstream = Upstream.parse(cast("str", settings.upstream))
        self._readiness = Readiness(mesh, None if client else upstream)
        self._status = StatusListener(self._readiness.answer, self._metrics)
        self._authorizer = None if settings.authorizer is None else AuthorizerServer(self._port.authorizer())
        self._signals = asyncio.Queue[signal.Signals]()

    async def run(self, sockets: Sequence[socket.socket]) -> int:
        """Serve until a signal says to stop; return 1 if connections were cut off, and 0 if none were.

        Args:
            sockets: Those that systemd has opened; if there are none, they are opened here.

        Raises:
            NoAnswer: If it cannot be listened where it should.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        loop.add_signal_handler(signal.SIGHUP, _reload_nothing)
        async with AsyncExitStack() as closing:
            await self._be_asked(closing)
            closing.push_async_callback(self._port.close)
            closing.push_async_callback(self._status.close)
            self._tell_start(await self._start(sockets), is_handed_over=bool(sockets))
            await self._signals.get()
            return await self._stop()

    async def _be_asked(self, closing: AsyncExitStack) -> None:
        path = self._settings.authorizer
        if self._authorizer is not None and path is not None:
            with listening_at(f"{UNIX}{path}", 0):
                listener = closing.enter_context(private_socket(path))
            await closing.enter_async_context(self._authorizer.answering(listener))

    async def _start(self, sockets: Sequence[socket.socket]) -> Started:
        settings, status_address = self._settings, None
        if (at := settings.status_address) is not None:
            with listening_at(at.host, at.port):
                status_address = (await self._status.start(at.host, at.port))[0].getsockname()
        with listening_at(settings.host, settings.port or 0):
            await self._port.start(sockets or None)
        return Started(
            mesh=self._mesh,
            settings=settings,
            client=self._client,
            addresses=self._port.addresses,
            status_address=status_address,
        )

    def _tell_start(self, started: Started, *, is_handed_over: bool) -> None:
        say(str(started), as_json=self._as_json, **started.as_dict())
        if not (self._client or is_handed_over) and is_for_this_machine_only(started.addresses):
            log(LOGGER, WARNING, "only this machine can connect: set MESHID_HOST, 0.0.0.0 for all addresses")
        most, room = self._settings.max_connections, room_for()[1]
        if most is not None and most > room:
            what = f"max_connections is {most}, and the limit of open files allows {room}"
            log(LOGGER, WARNING, f"{what}: raise it (LimitNOFILE of systemd, ulimit -n)")
        notify(os.environ, READY, f"STATUS={started}")

    async def _stop(self) -> int:
        self._readiness.is_stopping = True
        seconds, open_ones = self._settings.drain_timeout, plural(len(self._port), "open connection")
        time = f" within {seconds:g} s" if math.isfinite(seconds) else ", however long it takes"
        said = f"stopping: {open_ones} may end{time}"
        notify(os.environ, STOPPING, f"STATUS={said}")
        say(said, as_json=self._as_json)
        cut_off = await self._drain(seconds)
        end = f"stopped: {plural(cut_off, 'connection')} cut off" if cut_off else "stopped"
        say(end, as_json=self._as_json, cut_off=cut_off)
        return 1 if cut_off else 0

    async def _drain(self, seconds: float) -> int:
        """Return how many connections were cut off."""
        loop = asyncio.get_running_loop()
        draining = loop.create_task(self._port.drain(seconds))
        hurry = loop.create_task(self._signals.get())
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if draining.done():
            return await draining
        draining.cancel()
        return len(self._port)

    def _metrics(self) -> str:
        return exposition(self._mesh, (*FIGURES, *figures_of(self._port)))


def _port_of(mesh: Mesh, settings: Settings, *, client: bool) -> MeshPort:
    try:
        return MeshPort(
            mesh,
            cast("str", settings.upstream),
            host=settings.host,
            port=settings.port or 0,
            expect=settings.expect or None,
            client=client,
            proxy_protocol=settings.proxy_protocol,
            spiffe_tlv=OWN_TLV if settings.spiffe_tlv is None else settings.spiffe_tlv,
            remote_upstream=settings.remote_upstream,
            alpn=settings.alpn,
            idle_timeout=settings.idle_timeout,
            max_connections=settings.max_connections,
        )
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def _reload_nothing() -> None:
    log(LOGGER, INFO, "SIGHUP: there is nothing to reload, as trust and policy follow their sources")

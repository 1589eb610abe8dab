"""An application from its start to its end: what is told, and what signals do.

The rules of this module are those of `meshid port`:

- The first SIGTERM or SIGINT drains: nobody new comes in, idle connections end, and the requests that are
  under way may end by themselves. When the time for that is over, or at the second signal, the rest is cut
  off.
- SIGHUP changes nothing, as there is nothing to reload: trust and policy follow their sources.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, cast

from meshid.cli.no_answer import NoAnswer
from meshid.cli.port.announcing import is_for_this_machine_only, shown
from meshid.cli.port.cannot_listen import listening_at
from meshid.cli.port.readiness import Readiness
from meshid.cli.running_options import in_force, say
from meshid.http.asgi import App
from meshid.mesh import Mesh
from meshid.metrics.exposition import exposition
from meshid.metrics.figures import FIGURES
from meshid.policy import Policy
from meshid.port.acceptor import open_sockets
from meshid.port.status_listener import StatusListener
from meshid.port.systemd import READY, STOPPING, notify
from meshid.settings.settings import Settings
from meshid.support.logs import INFO, WARNING, log
from meshid.support.quoting import plural

LOGGER = logging.getLogger("meshid.serve")

_CLOSING_SECONDS = 1.0
"""For a client to answer the end of its connection; a pool does not look at those that are idle."""

_SECONDS_TO_END = 1.0
"""For what is still running when its connections have been cut off; then it is cancelled."""


class Serving:
    """An application that is served until somebody says to stop.

    Args:
        uvicorn: The module.
        app: The application, in its middleware.
        mesh: Its mesh.
        settings: The settings, which have been checked.
        as_json: Whether to print JSON.

    Attributes:
        loop_factory: Makes the loop that uvicorn wants; the default one if None.
    """

    def __init__(
        self, uvicorn: ModuleType, app: App, mesh: Mesh, settings: Settings, *, as_json: bool
    ) -> None:
        self._mesh = mesh
        self._settings = settings
        self._as_json = as_json
        self._cut_off = 0
        self._readiness = Readiness(mesh, None)
        self._status = StatusListener(self._readiness.answer, lambda: exposition(mesh, FIGURES))
        config = uvicorn.Config(
            app,
            ssl_context_factory=lambda *_: mesh.server_context(http=True),
            # Peers are at the other end, and no proxy of ours: they would write their own addresses.
            proxy_headers=False,
            server_header=False,
            log_config=None,
            log_level="warning",
            # The audit log has every request.
            access_log=False,
            timeout_graceful_shutdown=_or_none(settings.drain_timeout + _SECONDS_TO_END),
        )
        self.loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = config.get_loop_factory()
        # Only requests that were cut off are cancelled, and their number is told.
        logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
        self._server: Any = uvicorn.Server(config)
        # It would end the process by the signal once more.
        self._server.capture_signals = contextlib.nullcontext

    async def run(self, sockets: Sequence[socket.socket]) -> int:
        """Serve until a signal says to stop; return 1 if connections were cut off, and 0 if none were.

        Args:
            sockets: Those that systemd has opened; if there are none, they are opened here.

        Raises:
            NoAnswer: If it cannot be listened where it should, or the application does not start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, _reload_nothing)
        async with contextlib.AsyncExitStack() as closing:
            host, port = self._settings.host, self._settings.port or 0
            with listening_at(host, port):
                bound = list(sockets) or await open_sockets(loop, host, port)
            for each in bound:
                closing.callback(each.close)
            closing.push_async_callback(self._status.close)
            await self._serve(bound, await self._start_status())
        end = f"stopped: {plural(self._cut_off, 'connection')} cut off" if self._cut_off else "stopped"
        say(end, as_json=self._as_json, cut_off=self._cut_off)
        return 1 if self._cut_off else 0

    async def _start_status(self) -> str | None:
        if (at := self._settings.status_address) is None:
            return None
        with listening_at(at.host, at.port):
            return shown((await self._status.start(at.host, at.port))[0].getsockname())

    async def _serve(self, bound: list[socket.socket], status: str | None) -> None:
        startup = self._server.startup

        async def start(sockets: list[socket.socket]) -> None:
            # The application starts first: nobody can connect before listen().
            await startup(sockets=sockets)
            self._tell_start([each.getsockname() for each in sockets], status)

        self._server.startup = start
        try:
            await self._server.serve(bound)
        except SystemExit as error:
            msg = "the application did not start: what it said is above"
            raise NoAnswer(msg) from error

    def _tell_start(self, addresses: list[object], status: str | None) -> None:
        # A mesh that was told of a policy does not start without one.
        policy = cast("Policy", self._mesh.snapshot.policy)
        facts: dict[str, object] = {
            "listening": list(map(shown, addresses)),
            "service": self._mesh.service,
            "spiffe_id": str(self._mesh.snapshot.name),
            "environment": policy.environment.name,
            "policy_hash": policy.hash,
        }
        line = f"listening on {', '.join(map(shown, addresses))} for {self._mesh.service}; {in_force(policy)}"
        if status is not None:
            facts["status_address"] = status
            line += f"; status on {status}"
        say(line, as_json=self._as_json, **facts)
        if is_for_this_machine_only(addresses):
            log(LOGGER, WARNING, "only this machine can connect: set MESHID_HOST, 0.0.0.0 for all addresses")
        notify(os.environ, READY, f"STATUS={line}")

    def _stop(self) -> None:
        if self._server.should_exit:
            self._server.force_exit = True
            self._cut_off_all()
            return
        self._server.should_exit = self._readiness.is_stopping = True
        self._end_closing()
        seconds = self._settings.drain_timeout
        if math.isfinite(seconds):
            asyncio.get_running_loop().call_later(seconds, self._cut_off_all)
        time = f" within {seconds:g} s" if math.isfinite(seconds) else ", however long it takes"
        said = f"stopping: what is under way may end{time}"
        notify(os.environ, STOPPING, f"STATUS={said}")
        say(said, as_json=self._as_json)

    def _end_closing(self, seen: frozenset[Any] = frozenset()) -> None:
        """End what has been closing since the last time: asyncio waits 30 s for the client's close_notify."""
        closing = frozenset(each for each in self._connections if each.transport.is_closing())
        for each in closing & seen:
            each.transport.abort()
        asyncio.get_running_loop().call_later(_CLOSING_SECONDS, self._end_closing, closing)

    def _cut_off_all(self) -> None:
        for each in self._connections:
            self._cut_off += not each.transport.is_closing()
            each.transport.abort()

    @property
    def _connections(self) -> list[Any]:
        return list(self._server.server_state.connections)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    return not (record.exc_info and record.exc_info[0] is asyncio.CancelledError)


def _or_none(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


def _reload_nothing() -> None:
    log(LOGGER, INFO, "SIGHUP: there is nothing to reload, as trust and policy follow their sources")

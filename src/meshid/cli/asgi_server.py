"""The ASGI server that an authorizer runs on: uvicorn (extra ``authorizer``, or ``serve``)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import socket
from collections.abc import AsyncIterator
from types import ModuleType

from meshid.errors import MissingExtra
from meshid.http.asgi import App
from meshid.http.forwarded import MAX_HEADER_BYTES

_IDLE_SECONDS = 3900
"""Proxies keep idle connections for up to an hour (Envoy). They must be those who close them: a question on a
connection that we have just closed is a refusal."""

_DRAIN_SECONDS = 5


def load_uvicorn(extra: str = "authorizer") -> ModuleType:
    """Return uvicorn, which is loaded where it is needed.

    Args:
        extra: The extra that installs it.

    Raises:
        MissingExtra: If it is not installed.
    """
    try:
        return importlib.import_module("uvicorn")
    except ImportError as error:
        raise MissingExtra(extra) from error


def config_of(uvicorn: ModuleType, app: App, proxy: str | None) -> object:
    """Return how uvicorn is to serve an authorizer.

    Args:
        uvicorn: The module.
        app: The authorizer.
        proxy: Which proxy asks; None for any that asks with ``X-Original-URI``.
    """
    return uvicorn.Config(
        app,
        # Envoy asks with the client's own target. httptools cuts a fragment off, and what is behind "#" would
        # be served, if Envoy lets it through, without having been judged.
        http="h11" if proxy == "envoy" else "auto",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        # Or a client with a large chain gets 400, which nginx makes a 500 and an alarm.
        h11_max_incomplete_event_size=2 * MAX_HEADER_BYTES,
    )


class AuthorizerServer:
    """An authorizer that is asked at a socket, in a loop that is not its own.

    Args:
        app: The authorizer.

    Raises:
        MissingExtra: Without the extra ``authorizer``.
    """

    def __init__(self, app: App) -> None:
        uvicorn = load_uvicorn()
        self._server = uvicorn.Server(config_of(uvicorn, app, None))
        logging.getLogger("uvicorn").handlers = logging.getLogger("meshid").handlers
        # Signals are for whoever has the loop.
        self._server.capture_signals = contextlib.nullcontext

    @contextlib.asynccontextmanager
    async def answering(self, listener: socket.socket) -> AsyncIterator[None]:
        """Answer until the end of the block, when there must be nobody left who asks."""
        serving = asyncio.get_running_loop().create_task(self._server.serve([listener]))
        try:
            yield
        finally:
            self._server.should_exit = self._server.force_exit = True
            await serving

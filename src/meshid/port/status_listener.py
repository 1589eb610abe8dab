"""A small HTTP listener beside the port: whether it lives, whether it is ready, and its metrics.

It answers GET and HEAD of three paths, one request a connection, to probes and to Prometheus. What it
reads of a request is bounded, and so are the time for it, the number of connections, and what an answer
costs: it is remembered for a second.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import attrs

from meshid.metrics.exposition import CONTENT_TYPE

MAX_HEAD_BYTES = 8192
"""A probe of the kubelet sends 150 bytes, Prometheus 300."""

MAX_CONNECTIONS = 32
"""More than one process has probes and scrapers; what comes on top takes the place of the oldest, so that who
connects and says nothing keeps no probe out."""

SECONDS = 5.0
"""For a whole exchange. A probe of Kubernetes waits for one second by default."""

REMEMBERED = 1.0
"""Seconds. The metrics of a mesh cost a millisecond, and a dial of the upstream a connection of its."""

_TEXT = "text/plain; charset=utf-8"

Answer = tuple[HTTPStatus, str]
"""A status, and the text for it."""

Ask = Callable[[], Awaitable[Answer]]


@attrs.define
class _Remembered:
    """An answer that is asked for again once it is older than a second; all who wait share it."""

    _ask: Ask
    _clock: Callable[[], float]
    _until: float = -float("inf")
    _answer: asyncio.Future[Answer] | None = None

    async def get(self) -> Answer:
        if self._answer is None or (self._answer.done() and self._clock() >= self._until):
            self._answer = asyncio.ensure_future(self._ask())
            self._answer.add_done_callback(self._begin)
        # Who goes away must not take it from the others.
        return await asyncio.shield(self._answer)

    def _begin(self, _: object) -> None:
        self._until = self._clock() + REMEMBERED


class StatusListener:
    """Answers ``/livez``, ``/readyz`` and ``/metrics`` over plain HTTP.

    Args:
        ready: Returns whether the port is ready, in a few words that anybody may read.
        metrics: Returns the metrics as text for Prometheus.
        clock: Returns seconds, counted from any instant.

    Attributes:
        exchanges: What is under way, the oldest first.
    """

    def __init__(
        self, ready: Ask, metrics: Callable[[], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        async def measured() -> Answer:
            return HTTPStatus.OK, metrics()

        async def alive() -> Answer:
            return HTTPStatus.OK, "alive\n"

        self._paths = {
            "/livez": (alive, _TEXT),
            "/readyz": (_Remembered(ready, clock).get, _TEXT),
            "/metrics": (_Remembered(measured, clock).get, CONTENT_TYPE),
        }
        self.exchanges: dict[asyncio.Task[None], None] = {}
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> tuple[socket.socket, ...]:
        """Listen at *host* and *port*; return the sockets.

        Raises:
            OSError: If that cannot be listened at.
        """
        self._server = await asyncio.start_server(self._accept, host, port, limit=MAX_HEAD_BYTES)
        return tuple(self._server.sockets)

    async def close(self) -> None:
        """Stop, and end what is under way."""
        if self._server is not None:
            self._server.close()
        for exchange in self.exchanges:
            exchange.cancel()
        await asyncio.gather(*self.exchanges, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self.exchanges) >= MAX_CONNECTIONS:
            oldest = next(iter(self.exchanges))
            del self.exchanges[oldest]
            oldest.cancel()
        exchange = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self.exchanges[exchange] = None
        exchange.add_done_callback(lambda _: self._end(exchange, writer))

    def _end(self, exchange: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        # Not in the task: one that is cancelled before its first step has no end of its own.
        writer.transport.abort()
        self.exchanges.pop(exchange, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                writer.write(await self._response(reader))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):
            # It has gone, or is too slow: there is nobody to tell.
            pass

    async def _response(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _written(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        method, path = asked_for(head)
        if path is None:
            return _written(HTTPStatus.BAD_REQUEST)
        if path not in self._paths:
            return _written(HTTPStatus.NOT_FOUND, f"there are {', '.join(self._paths)}\n")
        if method not in {"GET", "HEAD"}:
            return _written(HTTPStatus.METHOD_NOT_ALLOWED, more="Allow: GET, HEAD\r\n")
        ask, kind = self._paths[path]
        return _written(*await ask(), kind=kind, without_body=method == "HEAD")


def asked_for(head: bytes) -> tuple[str, str | None]:
    """Return the method and the path of a request, without its query; None for the path if it is none.

    RFC 9112 section 3.
    """
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, target, version
        return "", None
    return words[0], words[1].partition("?")[0]


def _written(
    status: HTTPStatus, text: str = "", *, kind: str = _TEXT, more: str = "", without_body: bool = False
) -> bytes:
    body = (text or f"{status.phrase}\n").encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if without_body else body)

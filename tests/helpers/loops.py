"""The server of `tests.helpers.tls_peers` on each loop that meshid knows.

Each answers every line with the name of its peer, in a thread of its own, until the end of the
block. What is raised instead is in `Service.raised`; where a library wraps it, what it wraps is.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Protocol

import anyio
import anyio.from_thread
import anyio.lowlevel
import gevent
import trio
import uvloop
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream
from gevent.event import Event
from gevent.server import StreamServer

from meshid import ConnectionEnded, Reason
from tests.helpers.tls_peers import (
    HOST,
    TIMEOUT,
    Service,
    Serving,
    Started,
    asyncio_server,
    blocking_server,
    handle_one,
    lazy_server,
    running,
    wrapping,
)

# -- uvloop -------------------------------------------------------------------


def new_uvloop() -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop()


def uvloop_server(context: ssl.SSLContext) -> AbstractContextManager[Service]:
    return asyncio_server(context, new_uvloop)


# -- trio and anyio -----------------------------------------------------------

_ENDS = (OSError, trio.BrokenResourceError, anyio.BrokenResourceError, anyio.EndOfStream)


class Lines(Protocol):
    """What trio's and anyio's streams have in common here."""

    async def receive(self) -> bytes:
        """Return some bytes; none at the end."""

    async def send(self, data: bytes) -> None:
        """Send all of them."""

    @property
    def connection(self) -> object:
        """What `peer_of` takes."""


async def _answer(service: Service, stream: Lines) -> None:
    buffer = b""
    try:
        while received := await stream.receive():
            *lines, buffer = (buffer + received).split(b"\n")
            for line in lines:
                await stream.send(service.answer(line + b"\n", stream.connection))
    except _ENDS as error:
        service.raised.put(_cause_of(error))


def _cause_of(error: Exception) -> Exception:
    # To the first one: anyio may wrap what trio has wrapped.
    return _cause_of(error.__cause__) if isinstance(error.__cause__, Exception) else error


LOST = (ConnectionError, trio.BrokenResourceError, anyio.BrokenResourceError, anyio.EndOfStream)
"""What a server gets whose connection was lost while it read (reset) or wrote (broken pipe)."""


class _OfTrio:
    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        return bytes(await self._stream.receive_some())

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    @property
    def connection(self) -> object:
        return self._stream


class _OfAnyio:
    def __init__(self, stream: TLSStream) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        try:
            return await self._stream.receive()
        except anyio.EndOfStream:
            return b""

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    @property
    def connection(self) -> object:
        return self._stream


def trio_server(context: ssl.SSLContext) -> AbstractContextManager[Service]:
    async def serve(service: Service, started: Started) -> None:
        async def handle(plain: trio.SocketStream) -> None:
            stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
            async with stream:
                await _answer(service, _OfTrio(stream))

        stopped, token = trio.Event(), trio.lowlevel.current_trio_token()
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, handle, listeners)
            service.port = listeners[0].socket.getsockname()[1]
            started.put(lambda: trio.from_thread.run_sync(stopped.set, trio_token=token))
            await stopped.wait()
            nursery.cancel_scope.cancel()

    return running(lambda service, started: trio.run(serve, service, started))


def anyio_server(
    context: ssl.SSLContext, backend: str, *, use_uvloop: bool = False
) -> AbstractContextManager[Service]:
    async def serve(service: Service, started: Started) -> None:
        async def handle(plain: ByteStream) -> None:
            async with plain:
                try:
                    stream = await TLSStream.wrap(
                        plain, server_side=True, ssl_context=context, standard_compatible=False
                    )
                except _ENDS as error:
                    service.raised.put(_cause_of(error))
                else:
                    await _answer(service, _OfAnyio(stream))

        stopped, token = anyio.Event(), anyio.lowlevel.current_token()
        async with (
            await anyio.create_tcp_listener(local_host=HOST) as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(functools.partial(listener.serve, handle))
            service.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - not Django's
            started.put(lambda: anyio.from_thread.run_sync(stopped.set, token=token))
            await stopped.wait()
            group.cancel_scope.cancel()

    options = {"use_uvloop": True} if use_uvloop else {}
    run: Callable[[Callable[[Service, Started], Coroutine[object, object, None]], Service, Started], None]
    run = functools.partial(anyio.run, backend=backend, backend_options=options)
    return running(lambda service, started: run(serve, service, started))


def anyio_asyncio_server(context: ssl.SSLContext) -> AbstractContextManager[Service]:
    return anyio_server(context, "asyncio")


def anyio_uvloop_server(context: ssl.SSLContext) -> AbstractContextManager[Service]:
    return anyio_server(context, "asyncio", use_uvloop=True)


def anyio_trio_server(context: ssl.SSLContext) -> AbstractContextManager[Service]:
    return anyio_server(context, "trio")


# -- gevent -------------------------------------------------------------------


def serve_until_stopped(server: StreamServer, service: Service, started: Started) -> None:
    """Run a server of gevent's in this thread."""
    stopped, stopping = Event(), gevent.get_hub().loop.async_()
    stopping.start(stopped.set)
    server.start()
    service.port = server.socket.getsockname()[1]
    started.put(stopping.send)
    stopped.wait()
    server.stop(TIMEOUT)
    # What only the collector finds could not be closed without its hub.
    gc.collect()
    gevent.get_hub().destroy(destroy_loop=True)


def gevent_server(context: ssl.SSLContext) -> AbstractContextManager[Service]:
    """Serve with gevent's own sockets, in a process that is not monkey-patched."""
    handle = wrapping(context)

    def serve(service: Service, started: Started) -> None:
        server = StreamServer((HOST, 0), lambda plain, _: handle_one(handle, service, plain))
        serve_until_stopped(server, service, started)

    return running(serve)


LOOPS: dict[str, Serving] = {
    "asyncio": asyncio_server,
    "uvloop": uvloop_server,
    "trio": trio_server,
    "anyio_asyncio": anyio_asyncio_server,
    "anyio_uvloop": anyio_uvloop_server,
    "anyio_trio": anyio_trio_server,
}
"""Where an `ssl.SSLObject` has an owner that reads and writes for it."""

EVERYWHERE: dict[str, Serving] = {
    **LOOPS,
    "threads": blocking_server,
    "lazy": lazy_server,
    "gevent": gevent_server,
}
"""And with sockets."""


def tells(raised: Exception, reason: Reason, serve: Serving) -> bool:
    """Whether the application of an open connection has heard why it was ended."""
    # trio reads the socket itself, and finds it reset if the client has answered the end, as OpenSSL does.
    if serve in {trio_server, anyio_trio_server} and isinstance(raised, ConnectionResetError):
        return True
    return isinstance(raised, ConnectionEnded) and raised.reason is reason

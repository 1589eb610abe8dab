"""ASGI servers in threads of this process, over TLS; requests to them, byte by byte; and who was let in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Self

import hypercorn.asyncio
import hypercorn.config
import hypercorn.trio
import trio
import uvicorn
from typing_extensions import override

from meshid.http.asgi import App, Message, Receive, Scope, Send
from meshid.testing import Issued
from tests.helpers.tls_peers import HOST, TIMEOUT, stranger

Serving = Callable[[App, ssl.SSLContext | None], contextlib.AbstractContextManager[int]]
"""Serves an application with a context, or as plain HTTP, until the end of the block; yields the port."""


class Recording:
    """An application that keeps the scope of each request, and answers with the name of its peer."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        self.scopes.append(scope)
        peer = scope.get("meshid.peer")
        name = str(peer.spiffe_id) if peer is not None else "-"
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": f"{name} {message['text']}"})
            return
        await answer(send, json.dumps({"peer": name, "path": scope["path"]}).encode())


async def answer(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    phase = ""
    while phase != "lifespan.shutdown":
        message: Message = await receive()
        phase = message["type"]
        await send({"type": f"{phase}.complete"})


def under_uvicorn(**options: Any) -> Serving:  # noqa: ANN401 - theirs
    """Return uvicorn with these options."""

    @contextlib.contextmanager
    def serving(app: App, context: ssl.SSLContext | None) -> Iterator[int]:
        factory = None if context is None else lambda *_: context
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ssl_context_factory=factory, **options))
        with socket.create_server((HOST, 0)) as listener:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                yield listener.getsockname()[1]
            finally:
                server.should_exit = True
                thread.join(TIMEOUT)
                assert not thread.is_alive()

    return serving


class HypercornConfig(hypercorn.config.Config):
    """As the docs show it: hypercorn's own configuration takes files only."""

    context: ssl.SSLContext | None = None

    @property
    @override
    def ssl_enabled(self) -> bool:
        return self.context is not None

    @override
    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self.context


def under_hypercorn(**options: Any) -> Serving:  # noqa: ANN401 - theirs
    """Return hypercorn on asyncio with these options."""

    @contextlib.contextmanager
    def serving(app: App, context: ssl.SSLContext | None) -> Iterator[int]:
        config, port = _hypercorn_config(context, options)
        loop, stop = asyncio.new_event_loop(), asyncio.Event()
        serve = hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]
        thread = threading.Thread(target=loop.run_until_complete, args=(serve,))
        thread.start()
        try:
            yield port
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(TIMEOUT)
            assert not thread.is_alive()
            loop.close()

    return serving


@contextlib.contextmanager
def under_hypercorn_on_trio(app: App, context: ssl.SSLContext | None) -> Iterator[int]:
    config, port = _hypercorn_config(context, {})
    stop, tokens = trio.Event(), list[trio.lowlevel.TrioToken]()

    async def serve() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        await hypercorn.trio.serve(app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        yield port
    finally:
        tokens[0].run_sync_soon(stop.set)
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def _hypercorn_config(context: ssl.SSLContext | None, options: dict[str, Any]) -> tuple[HypercornConfig, int]:
    listener = socket.create_server((HOST, 0))
    port: int = listener.getsockname()[1]
    config = HypercornConfig()
    config.context = context
    config.errorlog = config.accesslog = None
    config.bind = [f"fd://{listener.detach()}"]
    for name, value in options.items():
        setattr(config, name, value)
    return config, port


SERVERS: dict[str, Serving] = {
    "uvicorn, h11": under_uvicorn(http="h11", loop="asyncio"),
    "uvicorn, httptools, uvloop": under_uvicorn(http="httptools", loop="uvloop"),
    "hypercorn": under_hypercorn(),
    "hypercorn, trio": under_hypercorn_on_trio,
}


# -- Clients ------------------------------------------------------------------


class Talk:
    """A connection that is kept, of a client without a certificate if *who* is None; or without TLS."""

    def __init__(self, port: int, who: Issued | None, *, tls: bool = True) -> None:
        plain = socket.create_connection((HOST, port), TIMEOUT)
        self.socket, self.presented = plain, b""
        if tls:
            self.socket = wrapped = stranger(who).wrap_socket(plain)
            self.presented = wrapped.getpeercert(binary_form=True) or b""
        self._stream = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, *targets: bytes, method: bytes = b"GET", headers: bytes = b"") -> None:
        """Send requests, all at once, each byte of a target as it is given."""
        self.socket.sendall(
            b"".join(
                method + b" " + target + b" HTTP/1.1\r\nHost: payments\r\n" + headers + b"\r\n"
                for target in targets
            )
        )

    def got(self, count: int = 1) -> list[tuple[int, bytes]]:
        """Return the status and the body of the next answers."""
        return [_read(self._stream) for _ in range(count)]

    def ask(self, target: bytes, method: bytes = b"GET", headers: bytes = b"") -> tuple[int, bytes]:
        self.send(target, method=method, headers=headers)
        return self.got()[0]


def _read(stream: BinaryIO) -> tuple[int, bytes]:
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline().rstrip(b"\r\n")) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, stream.read(length)

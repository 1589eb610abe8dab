"""HTTP over a Unix socket, byte by byte, as proxies write it; and the ASGI servers that answer."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

import attrs
import hypercorn.asyncio
import hypercorn.config
import uvicorn
from typing_extensions import override

from meshid.http.asgi import App
from tests.helpers.tls_peers import TIMEOUT


@attrs.frozen
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket.

    Args:
        path: The path of the socket.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("meshid", timeout=TIMEOUT)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(str(self._path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Got:
        """Send a request, each byte of it as it is given, and return the answer."""
        if self.sock is None:
            self.connect()
        lines = [method + b" " + target + b" HTTP/1.1", *(name + b": " + value for name, value in headers)]
        assert self.sock is not None
        self.sock.sendall(b"\r\n".join([*lines, b"", b""]))
        response = http.client.HTTPResponse(self.sock, method=method.decode("latin-1"))
        response.begin()
        return Got(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())


Serving = Callable[[App, socket.socket], contextlib.AbstractContextManager[None]]


def under_uvicorn(http_parser: str, loop: str) -> Serving:
    """Return uvicorn with one of its parsers and one of its loops."""

    @contextlib.contextmanager
    def serving(app: App, listener: socket.socket) -> Iterator[None]:
        config = uvicorn.Config(
            app, http=http_parser, loop=loop, log_config=None, h11_max_incomplete_event_size=2**18
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(TIMEOUT)
            assert not thread.is_alive()

    return serving


@contextlib.contextmanager
def under_hypercorn(app: App, listener: socket.socket) -> Iterator[None]:
    config = hypercorn.config.Config()
    config.h11_max_incomplete_size = 2**18
    config.bind = [f"fd://{listener.detach()}"]
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    serve = hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]
    thread = threading.Thread(target=loop.run_until_complete, args=(serve,))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        loop.close()


SERVERS: dict[str, Serving] = {
    "uvicorn, h11": under_uvicorn("h11", "asyncio"),
    "uvicorn, httptools, uvloop": under_uvicorn("httptools", "uvloop"),
    "hypercorn": under_hypercorn,
}

"""The application of the rows: what it is asked for, and by whom, goes into its own log first.

The rows with a framework have the same routes in its own idiom, and call `noted`.

    GET  /v1/charges/{id}   {"peer": the SPIFFE ID, "path": the path as it was routed}
    POST /v1/charges        {"peer": the SPIFFE ID, "length": of the body that it read}
    GET  /v1/stream         a line each 50 ms, for ten seconds
    GET  /healthz           {"peer": the SPIFFE ID or "-"}, public
    WebSocket /v1/ws        {"peer": the SPIFFE ID, "text": what was sent}
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from meshid import Mesh, Peer
from tests.frameworks.scene import append

LINES, PAUSE = 200, 0.05
"""Of the stream."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def noted(method: str, path: str | bytes, peer: object) -> str:
    """Write to the application's own log what reached it; return the peer's name, ``-`` if there is none.

    Args:
        method: The method, ``WS`` for a message of a WebSocket.
        path: The path as the application routes it, decoded.
        peer: The `Peer`, or None.
    """
    name = "-" if peer is None else str(getattr(peer, "spiffe_id", peer))
    text = path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
    append(Path(os.environ["ROW_LOG"]), f"{method} {quote(text)} {name}")
    return name


def charge(path: str, peer: object, method: str = "GET") -> bytes:
    """Note a request for a charge, and return the answer."""
    return json.dumps({"peer": noted(method, path, peer), "path": path}).encode()


def posted(path: str, peer: object, length: int) -> bytes:
    """Note a request with a body, and return the answer."""
    return json.dumps({"peer": noted("POST", path, peer), "length": length}).encode()


def stream() -> Iterator[bytes]:
    """Yield the lines of the stream, and wait between them."""
    for number in range(LINES):
        yield b"line %d\n" % number
        time.sleep(PAUSE)


def answered(mesh: Mesh, peer: Peer, line: bytes) -> Iterator[bytes]:
    """Judge a request of the dialect of lines, and yield its answer; the stream waits between its lines."""
    request = line.decode().strip()
    if not mesh.check(peer, request=request):
        yield b'{"status": 403}\n'
    elif request == "GET /v1/stream":
        noted("GET", "/v1/stream", peer)
        yield from stream()
    else:
        yield charge(request.removeprefix("GET "), peer) + b"\n"


async def answering(
    mesh: Mesh, peer: Peer, line: bytes, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> AsyncIterator[bytes]:
    """Do the same as `answered`, on any loop."""
    if line.strip() != b"GET /v1/stream":
        for answer in answered(mesh, peer, line):
            yield answer
    elif mesh.check(peer, request="GET /v1/stream"):
        noted("GET", "/v1/stream", peer)
        for number in range(LINES):
            yield b"line %d\n" % number
            await sleep(PAUSE)


async def asgi_app(scope: Message, receive: Receive, send: Send) -> None:
    """Be the application for ASGI."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await _echo(scope, receive, send)
    else:
        await _http(scope, receive, send)


async def _http(scope: Message, receive: Receive, send: Send) -> None:
    method, path, peer = scope["method"], scope["path"], scope.get("meshid.peer")
    if path == "/v1/stream":
        noted(method, path, peer)
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        for number in range(LINES):
            await send({"type": "http.response.body", "body": b"line %d\n" % number, "more_body": True})
            await asyncio.sleep(PAUSE)
        await send({"type": "http.response.body", "body": b""})
        return
    # Not of a GET: uvicorn's HTTP/2 never ends the body of one.
    length, more = 0, method == "POST"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    body = posted(path, peer, length) if method == "POST" else charge(path, peer, method)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _echo(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        name = noted("WS", scope["path"], scope.get("meshid.peer"))
        text = json.dumps({"peer": name, "text": message.get("text") or ""})
        await send({"type": "websocket.send", "text": text})


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Be the application for WSGI."""
    method, peer = environ["REQUEST_METHOD"], environ.get("meshid.peer")
    # PEP 3333: each octet of the path is a character.
    octets = (environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]).encode("latin-1")
    path = octets.decode("utf-8", "surrogateescape")
    if path == "/v1/stream":
        noted(method, path, peer)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream()
    if method == "POST":
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = posted(path, peer, len(environ["wsgi.input"].read(length)))
    else:
        body = charge(path, peer, method)
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]

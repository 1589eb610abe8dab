"""The peer of a client is the server; each library keeps the connection elsewhere in what it hands out."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import smtplib
import socket
import ssl
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import anyio
import httpcore
import httpx
import paho.mqtt.client
import paho.mqtt.enums
import pytest
import redis
import redis.asyncio
import requests
import trio
import urllib3
import websockets.asyncio.client
import websockets.sync.client
from websockets.server import ServerProtocol

from meshid import Mesh, MeshContext, NoPeer, Peer, peer_of
from meshid.testing import CA
from tests.helpers.tls_peers import HOST, PATH, Service, mesh_of, threaded_server
from tests.tls.test_libraries import Mounted

NAME = f"spiffe://prod.example.org{PATH}"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
BODY = b"hello"


def answer(tls: ssl.SSLSocket, request: bytes) -> None:
    """Answer in the protocol of the request; the body of HTTP comes when it is asked for."""
    if b"Upgrade: websocket" in request:
        protocol = ServerProtocol()
        protocol.receive_data(request)
        [asked] = protocol.events_received()
        protocol.send_response(protocol.accept(asked))  # type: ignore[arg-type]  # it is a request
        tls.sendall(b"".join(protocol.data_to_send()))
    elif request.startswith(b"GET"):
        tls.sendall(HEAD + BODY)
    elif request.startswith(b"ehlo"):
        tls.sendall(b"250 hi\r\n")
    else:
        tls.sendall(b"+OK\r\n")


def serving(context: ssl.SSLContext, *, greeting: bytes = b"") -> contextlib.AbstractContextManager[Service]:
    def serve(_: Service, plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as tls:
            tls.sendall(greeting)
            while request := tls.recv(65536):
                answer(tls, request)

    return threaded_server(serve)


Found = list[Peer]
Connect = Callable[[int, MeshContext], Found]
ConnectAsync = Callable[[int, MeshContext], Awaitable[Found]]


def with_http_client(port: int, context: MeshContext) -> Found:
    with contextlib.closing(http.client.HTTPSConnection(HOST, port, context=context)) as connection:
        connection.request("GET", "/")
        with connection.getresponse() as response:
            return [peer_of(connection), peer_of(response)]


def with_urllib(port: int, context: MeshContext) -> Found:
    with urllib.request.urlopen(f"https://{HOST}:{port}/", context=context) as response:
        return [peer_of(response)]


def with_urllib3(port: int, context: MeshContext) -> Found:
    with urllib3.PoolManager(ssl_context=context) as pool:
        response = pool.request("GET", f"https://{HOST}:{port}/", preload_content=False)
        found = [peer_of(response)]
        assert response.read() == BODY
        # The connection is back in the pool, and may be another request's.
        with pytest.raises(NoPeer, match="before its body is read"):
            peer_of(response)
        return found


def with_requests(port: int, context: MeshContext) -> Found:
    with requests.Session() as session:
        session.mount("https://", Mounted(context))
        with session.get(f"https://{HOST}:{port}/", stream=True) as response:
            return [peer_of(response), peer_of(response.raw)]


def with_httpx(port: int, context: MeshContext) -> Found:
    with (
        httpx.Client(verify=context, trust_env=False) as client,
        client.stream("GET", f"https://{HOST}:{port}/") as response,
    ):
        stream = response.extensions["network_stream"]
        return [peer_of(response), peer_of(stream), peer_of(stream.get_extra_info("ssl_object"))]


def with_httpcore(port: int, context: MeshContext) -> Found:
    with (
        httpcore.ConnectionPool(ssl_context=context) as pool,
        pool.stream("GET", f"https://{HOST}:{port}/") as response,
    ):
        return [peer_of(response)]


def with_websockets(port: int, context: MeshContext) -> Found:
    connection = websockets.sync.client.connect(
        f"wss://{HOST}:{port}/", ssl=context, proxy=None, close_timeout=0
    )
    with connection:
        return [peer_of(connection)]


def with_redis(port: int, context: MeshContext) -> Found:
    class Connection(redis.SSLConnection):
        def _wrap_socket_with_ssl(self, sock: Any) -> Any:  # noqa: ANN401 - redis has no types for it
            return context.wrap_socket(sock, server_hostname=HOST)

    # The server is none, and is not greeted.
    connection: Any = Connection(host=HOST, port=port, redis_connect_func=bool)
    connection.connect()
    found = [peer_of(connection)]
    connection.disconnect()
    return found


def with_paho(port: int, context: MeshContext) -> Found:
    client = paho.mqtt.client.Client(paho.mqtt.enums.CallbackAPIVersion.VERSION2)
    client.tls_set_context(context)
    client.connect(HOST, port)
    found = [peer_of(client)]
    client.disconnect()
    client.loop_write()
    return found


def with_smtplib(port: int, context: MeshContext) -> Found:
    with contextlib.closing(smtplib.SMTP_SSL(HOST, port, context=context)) as client:
        return [peer_of(client), peer_of(client.sock)]


def with_trio(port: int, context: MeshContext) -> Found:
    async def connect() -> Found:
        stream = await trio.open_ssl_over_tcp_stream(HOST, port, ssl_context=context, https_compatible=True)
        async with stream:
            with pytest.raises(NoPeer, match="the handshake is not over"):
                peer_of(stream)
            await stream.do_handshake()
            return [peer_of(stream)]

    return trio.run(connect)


def on_anyio(backend: str, port: int, context: MeshContext) -> Found:
    async def connect() -> Found:
        stream = await anyio.connect_tcp(HOST, port, ssl_context=context, tls_standard_compatible=False)
        async with stream:
            return [peer_of(stream)]

    return anyio.run(connect, backend=backend)


async def with_streams(port: int, context: MeshContext) -> Found:
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
    found = [peer_of(reader), peer_of(writer), peer_of(writer.transport)]
    writer.close()
    await writer.wait_closed()
    return found


async def with_aiohttp(port: int, context: MeshContext) -> Found:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"https://{HOST}:{port}/", ssl=context, headers={"Accept": "a"}) as response:
            # Its body came with the head, so that the connection is given back at once.
            with pytest.raises(NoPeer, match="before its body is read"):
                peer_of(response)
        async with session.ws_connect(f"wss://{HOST}:{port}/", ssl=context) as web_socket:
            return [peer_of(web_socket)]


async def with_httpx_async(port: int, context: MeshContext) -> Found:
    async with (
        httpx.AsyncClient(verify=context, trust_env=False) as client,
        client.stream("GET", f"https://{HOST}:{port}/") as response,
    ):
        return [peer_of(response)]


async def with_redis_asyncio(port: int, context: MeshContext) -> Found:
    class Connection(redis.asyncio.SSLConnection):
        def _connection_arguments(self) -> Any:  # noqa: ANN401 - redis has no types for it
            return {"host": HOST, "port": port, "ssl": context}

    async def greet(_: object) -> None:
        """Say nothing: the server is none."""

    connection: Any = Connection(redis_connect_func=greet)
    await connection.connect()
    found = [peer_of(connection)]
    await connection.disconnect()
    return found


async def with_websockets_asyncio(port: int, context: MeshContext) -> Found:
    connect = websockets.asyncio.client.connect(
        f"wss://{HOST}:{port}/", ssl=context, proxy=None, close_timeout=0.1
    )
    async with connect as connection:
        return [peer_of(connection)]


BLOCKING: dict[str, Connect] = {
    "http.client": with_http_client,
    "urllib": with_urllib,
    "urllib3": with_urllib3,
    "requests": with_requests,
    "httpx": with_httpx,
    "httpcore": with_httpcore,
    "websockets": with_websockets,
    "redis": with_redis,
    "paho": with_paho,
    "trio": with_trio,
    "anyio on asyncio": functools.partial(on_anyio, "asyncio"),
    "anyio on trio": functools.partial(on_anyio, "trio"),
}
ASYNC: dict[str, ConnectAsync] = {
    "asyncio": with_streams,
    "aiohttp": with_aiohttp,
    "httpx on asyncio": with_httpx_async,
    "redis on asyncio": with_redis_asyncio,
    "websockets on asyncio": with_websockets_asyncio,
}


def on_asyncio(client: ConnectAsync, port: int, context: MeshContext) -> Found:
    async def connect() -> Found:
        return await client(port, context)

    return asyncio.run(connect())


CLIENTS = BLOCKING | {name: functools.partial(on_asyncio, client) for name, client in ASYNC.items()}


@pytest.fixture(scope="module")
def scene() -> tuple[Mesh, ssl.SSLContext]:
    ca = CA("prod.example.org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue(PATH).load_into(context)
    return mesh_of(ca), context


@pytest.fixture(scope="module")
def port(scene: tuple[Mesh, ssl.SSLContext]) -> Iterator[int]:
    with serving(scene[1]) as service:
        yield service.port


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_client_knows_its_server(client: Connect, port: int, scene: tuple[Mesh, ssl.SSLContext]) -> None:
    found = client(port, scene[0].client_context([PATH]))
    assert {str(peer.spiffe_id) for peer in found} == {NAME}


def test_a_client_of_a_protocol_that_greets_knows_it_too(scene: tuple[Mesh, ssl.SSLContext]) -> None:
    mesh, context = scene
    with serving(context, greeting=b"220 hi\r\n") as service:
        found = with_smtplib(service.port, mesh.client_context([PATH]))
    assert {str(peer.spiffe_id) for peer in found} == {NAME}

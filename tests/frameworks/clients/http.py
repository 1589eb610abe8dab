"""Clients of HTTP and WebSocket."""

from __future__ import annotations

import contextlib
import http.client
import urllib.request
import xmlrpc.client
from collections.abc import AsyncIterator, Iterator

import aiohttp
import httpcore
import httpx
import requests
import tornado.httpclient
import urllib3
import websockets
import websockets.sync.client

from meshid import MeshContext
from meshid.http.requests_adapter import MeshAdapter
from meshid.http.urllib3_retry import RetryUnlessRefused
from tests.frameworks.clients.dialogues import PATH
from tests.frameworks.clients.kinds import Ask, AsyncAsk, in_loop


@contextlib.contextmanager
def http_client(context: MeshContext, port: int) -> Iterator[Ask]:
    """`http.client` of the standard library."""
    connection = http.client.HTTPSConnection("localhost", port, context=context)

    def ask() -> tuple[object, object]:
        connection.request("GET", PATH)
        return connection.getresponse().read().decode(), connection.sock

    with contextlib.closing(connection):
        yield ask


@contextlib.contextmanager
def urllib_request(context: MeshContext, port: int) -> Iterator[Ask]:
    """`urllib.request` of the standard library."""

    def ask() -> tuple[object, object]:
        with urllib.request.urlopen(f"https://localhost:{port}{PATH}", context=context) as response:
            return response.read().decode(), None

    yield ask


@contextlib.contextmanager
def xmlrpc_client(context: MeshContext, port: int) -> Iterator[Ask]:
    """`xmlrpc.client` of the standard library."""
    with xmlrpc.client.ServerProxy(f"https://localhost:{port}", context=context) as proxy:
        yield lambda: (proxy.charge(7), None)


@contextlib.contextmanager
def urllib3_pool(context: MeshContext, port: int) -> Iterator[Ask]:
    """urllib3."""
    with urllib3.PoolManager(ssl_context=context, retries=RetryUnlessRefused(3)) as pool:

        def ask() -> tuple[object, object]:
            response = pool.request("GET", f"https://localhost:{port}{PATH}", preload_content=False)
            connection = response.connection
            assert isinstance(connection, urllib3.connection.HTTPSConnection)
            # The connection lets go of the answer when it has been read.
            shown = connection.sock
            return response.data.decode(), shown

        yield ask


@contextlib.contextmanager
def requests_session(context: MeshContext, port: int) -> Iterator[Ask]:
    """requests, with the adapter of ours."""
    with requests.Session() as session:
        session.mount("https://", MeshAdapter(context, max_retries=3))

        def ask() -> tuple[object, object]:
            response = session.get(f"https://localhost:{port}{PATH}", stream=True)
            shown = response.raw.connection.sock
            return response.text, shown

        yield ask


@contextlib.contextmanager
def httpx_client(context: MeshContext, port: int) -> Iterator[Ask]:
    """httpx."""
    with httpx.Client(verify=context) as client:

        def ask() -> tuple[object, object]:
            response = client.get(f"https://localhost:{port}{PATH}")
            return response.text, response

        yield ask


@contextlib.contextmanager
def httpx_http2(context: MeshContext, port: int) -> Iterator[Ask]:
    """httpx, HTTP/2."""
    with httpx.Client(verify=context, http2=True) as client:

        def ask() -> tuple[object, object]:
            response = client.get(f"https://localhost:{port}{PATH}")
            assert response.http_version == "HTTP/2"
            return response.text, response

        yield ask


@contextlib.asynccontextmanager
async def _httpx_async(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    async with httpx.AsyncClient(verify=context) as client:

        async def ask() -> tuple[object, object]:
            response = await client.get(f"https://localhost:{port}{PATH}")
            return response.text, response

        yield ask


httpx_async = in_loop(_httpx_async)
httpx_trio = in_loop(_httpx_async, "trio")


@contextlib.contextmanager
def httpcore_pool(context: MeshContext, port: int) -> Iterator[Ask]:
    """httpcore."""
    with httpcore.ConnectionPool(ssl_context=context) as pool:

        def ask() -> tuple[object, object]:
            response = pool.request("GET", f"https://localhost:{port}{PATH}")
            return response.content.decode(), response

        yield ask


@contextlib.asynccontextmanager
async def _aiohttp(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

        async def ask() -> tuple[object, object]:
            async with session.get(f"https://localhost:{port}{PATH}") as response:
                # It lets go of the connection with the last octet of the answer, often before we see it.
                return await response.text(), None

        yield ask


aiohttp_session = in_loop(_aiohttp)


@contextlib.asynccontextmanager
async def _tornado(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    client = tornado.httpclient.AsyncHTTPClient(force_instance=True)

    async def ask() -> tuple[object, object]:
        response = await client.fetch(f"https://localhost:{port}{PATH}", ssl_options=context)
        return response.body.decode(), None

    with contextlib.closing(client):
        yield ask


tornado_client = in_loop(_tornado)


@contextlib.contextmanager
def websockets_sync(context: MeshContext, port: int) -> Iterator[Ask]:
    """websockets, in threads."""
    with websockets.sync.client.connect(f"wss://localhost:{port}/v1/ws", ssl=context, proxy=None) as client:

        def ask() -> tuple[object, object]:
            client.send("charge")
            return client.recv(), client

        yield ask


@contextlib.asynccontextmanager
async def _websockets(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    async with websockets.connect(f"wss://localhost:{port}/v1/ws", ssl=context, proxy=None) as client:

        async def ask() -> tuple[object, object]:
            await client.send("charge")
            return await client.recv(), client

        yield ask


websockets_asyncio = in_loop(_websockets)

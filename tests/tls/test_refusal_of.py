"""The refusal is found behind whatever a library makes of it."""

from __future__ import annotations

import asyncio
import functools
import http.client
import smtplib
import traceback
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn
from unittest import mock

import aiohttp
import anyio
import asyncpg
import grpclib.client
import httpx
import paho.mqtt.client
import paho.mqtt.enums
import pytest
import redis
import redis.asyncio
import tornado.httpclient
import tornado.simple_httpclient
import trio
import urllib3
import websockets.asyncio.client
import websockets.sync.client

from meshid import Decision, Mesh, MeshContext, PeerRejected, Reason, refusal_of
from meshid.testing import CA
from meshid.tls.refusal_of import MAX_EXCEPTIONS
from tests.helpers.tls_peers import HOST, PATH, mesh_of, presenting_server
from tests.tls.test_libraries import with_requests

Connect = Callable[[int, MeshContext], object]
ConnectAsync = Callable[[int, MeshContext], Awaitable[object]]

REFUSAL = PeerRejected(Decision(allowed=False, reason=Reason.REVOKED), of_server=True)


# -- Any exception ------------------------------------------------------------


def caused() -> BaseException:
    error = OSError("lost")
    error.__cause__ = REFUSAL
    return error


def while_handled() -> BaseException:
    try:
        try:
            raise REFUSAL
        except PeerRejected:
            raise OSError from None
    except OSError as error:
        return error


def with_attribute() -> BaseException:
    error = RuntimeError("lost")
    error.original = REFUSAL  # type: ignore[attr-defined]  # as many wrappers do
    return error


def in_a_circle() -> BaseException:
    one, other = OSError("one"), OSError("other")
    one.__cause__, other.__context__, other.args = other, one, (one, REFUSAL)
    return one


@pytest.mark.parametrize(
    "exception",
    [
        REFUSAL,
        caused(),
        while_handled(),
        with_attribute(),
        in_a_circle(),
        OSError("lost", REFUSAL),
        ExceptionGroup("some", [OSError("lost"), ExceptionGroup("more", [OSError(REFUSAL)])]),
        BaseExceptionGroup("some", [KeyboardInterrupt(), REFUSAL]),
    ],
    ids=["itself", "cause", "context", "attribute", "circle", "argument", "groups", "base group"],
)
def test_it_is_found(exception: BaseException) -> None:
    assert refusal_of(exception) is REFUSAL


class Odd(Exception):
    """Its own class has made something of its arguments."""

    @property
    def args(self) -> NoReturn:  # type: ignore[override]
        msg = "args"
        raise RuntimeError(msg)


def raising(_: object) -> NoReturn:
    msg = "read"
    raise RuntimeError(msg)


class OddCause(Exception):
    __cause__ = property(raising)


class OddGroup(ExceptionGroup[Exception]):
    exceptions = property(raising)


class NoClass:
    __class__ = property(raising)


def circle() -> BaseException:
    one, other = OSError("one"), OSError("other")
    one.__cause__, other.__cause__ = other, one
    return one


def endless() -> BaseException:
    error: BaseException = REFUSAL
    for number in range(MAX_EXCEPTIONS):
        error, below = OSError(number), error
        error.__cause__ = below
    return error


@pytest.mark.parametrize(
    "exception",
    [
        None,
        OSError("peer rejected"),
        ExceptionGroup("some", [OSError()]),
        Odd(),
        OddCause(),
        OddGroup("some", [OSError()]),
        OSError(NoClass()),
        circle(),
        endless(),
    ],
    ids=["none", "text", "group", "args", "cause", "members", "class", "circle", "too far"],
)
def test_there_is_none(exception: BaseException | None) -> None:
    assert refusal_of(exception) is None


def test_the_nearest_one_is_returned() -> None:
    far = PeerRejected(Decision(allowed=False, reason=Reason.EXPIRED))
    error = OSError()
    error.__context__ = far
    error.__cause__ = REFUSAL
    assert refusal_of(error) is REFUSAL


# -- Real clients and a server that is not the expected one -------------------


def with_http_client(port: int, context: MeshContext) -> None:
    http.client.HTTPSConnection(HOST, port, context=context).connect()


def with_urllib(port: int, context: MeshContext) -> None:
    urllib.request.urlopen(f"https://{HOST}:{port}/", context=context)


def with_urllib3(port: int, context: MeshContext) -> None:
    with urllib3.PoolManager(ssl_context=context, retries=1) as pool:
        pool.request("GET", f"https://{HOST}:{port}/")


def with_httpx(port: int, context: MeshContext) -> None:
    with httpx.Client(verify=context, trust_env=False) as client:
        client.get(f"https://{HOST}:{port}/")


def with_redis(port: int, context: MeshContext) -> None:
    class Connection(redis.SSLConnection):
        def _wrap_socket_with_ssl(self, sock: Any) -> Any:  # noqa: ANN401 - redis has no types for it
            return context.wrap_socket(sock, server_hostname=HOST)

    pool = redis.ConnectionPool(connection_class=Connection, host=HOST, port=port)
    redis.Redis(connection_pool=pool).ping()


def with_paho(port: int, context: MeshContext) -> None:
    client = paho.mqtt.client.Client(paho.mqtt.enums.CallbackAPIVersion.VERSION2)
    client.tls_set_context(context)
    with mock.patch.object(context, "wrap_socket") as wrap, ExitStack() as stack:
        # paho does not close a socket whose handshake has failed.
        wrap.side_effect = lambda *args, **options: stack.enter_context(
            MeshContext.wrap_socket(context, *args, **options)
        )
        client.connect(HOST, port)


def with_smtplib(port: int, context: MeshContext) -> None:
    smtplib.SMTP_SSL(HOST, port, context=context)


def with_websockets(port: int, context: MeshContext) -> None:
    websockets.sync.client.connect(f"wss://{HOST}:{port}/", ssl=context, proxy=None)


def with_trio(port: int, context: MeshContext) -> None:
    async def connect() -> None:
        stream = await trio.open_ssl_over_tcp_stream(HOST, port, ssl_context=context)
        async with stream:
            await stream.do_handshake()

    trio.run(connect)


def on_anyio(backend: str, port: int, context: MeshContext) -> None:
    async def connect() -> None:
        async with await anyio.connect_tcp(HOST, port, ssl_context=context):
            pass

    anyio.run(connect, backend=backend)


def on_asyncio(client: ConnectAsync, port: int, context: MeshContext) -> None:
    async def connect() -> None:
        await client(port, context)

    asyncio.run(connect())


async def with_streams(port: int, context: MeshContext) -> None:
    await asyncio.open_connection(HOST, port, ssl=context)


async def with_a_task_group(port: int, context: MeshContext) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.open_connection(HOST, port, ssl=context))


async def with_aiohttp(port: int, context: MeshContext) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"https://{HOST}:{port}/", ssl=context):
        pass


async def with_httpx_async(port: int, context: MeshContext) -> None:
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        await client.get(f"https://{HOST}:{port}/")


async def with_websockets_asyncio(port: int, context: MeshContext) -> None:
    async with websockets.asyncio.client.connect(f"wss://{HOST}:{port}/", ssl=context, proxy=None):
        pass


async def with_asyncpg(port: int, context: MeshContext) -> None:
    await asyncpg.connect(host=HOST, port=port, user="u", database="d", ssl=context, direct_tls=True)


async def with_grpclib(port: int, context: MeshContext) -> None:
    channel = grpclib.client.Channel(HOST, port, ssl=context)
    try:
        await channel.__connect__()
    finally:
        channel.close()


async def with_tornado(port: int, context: MeshContext) -> None:
    client = tornado.simple_httpclient.SimpleAsyncHTTPClient(force_instance=True)
    try:
        await client.fetch(f"https://{HOST}:{port}/", ssl_options=context)
    finally:
        client.close()


async def with_redis_asyncio(port: int, context: MeshContext) -> None:
    class Connection(redis.asyncio.SSLConnection):
        def _connection_arguments(self) -> Any:  # noqa: ANN401 - redis has no types for it
            return {"host": HOST, "port": port, "ssl": context}

    pool = redis.asyncio.ConnectionPool(connection_class=Connection)
    async with redis.asyncio.Redis(connection_pool=pool) as client:
        await client.ping()


BLOCKING: dict[str, Connect] = {
    "http.client": with_http_client,
    "urllib": with_urllib,
    "urllib3": with_urllib3,
    "requests": with_requests,
    "httpx": with_httpx,
    "redis": with_redis,
    "paho": with_paho,
    "smtplib": with_smtplib,
    "websockets": with_websockets,
    "trio": with_trio,
    "anyio on asyncio": functools.partial(on_anyio, "asyncio"),
    "anyio on trio": functools.partial(on_anyio, "trio"),
}
ASYNC: dict[str, ConnectAsync] = {
    "asyncio": with_streams,
    "a task group": with_a_task_group,
    "aiohttp": with_aiohttp,
    "httpx on asyncio": with_httpx_async,
    "websockets on asyncio": with_websockets_asyncio,
    "asyncpg": with_asyncpg,
    "grpclib": with_grpclib,
    "tornado": with_tornado,
    "redis on asyncio": with_redis_asyncio,
}
CLIENTS = BLOCKING | {name: functools.partial(on_asyncio, client) for name, client in ASYNC.items()}


@pytest.fixture(scope="module")
def wrong() -> Iterator[tuple[int, Mesh]]:
    """The port of a server of ours that is not the expected one."""
    ca = CA("prod.example.org")
    with presenting_server(ca.issue("/ns/a/sa/b")) as port:
        yield port, mesh_of(ca)


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_client_can_tell_why_it_has_refused_a_server(client: Connect, wrong: tuple[int, Mesh]) -> None:
    port, mesh = wrong
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever the library makes of it
        client(port, mesh.client_context([PATH]))
    refusal = refusal_of(raised.value)
    assert refusal is not None
    assert refusal.reason is Reason.UNEXPECTED_SERVER
    shown = "".join(traceback.format_exception(raised.value))
    assert "unexpected_server" in shown
    assert "spiffe://prod.example.org/ns/a/sa/b" in shown

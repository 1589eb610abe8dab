"""Clients of databases, brokers, mail and gRPC."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiokafka  # type: ignore[import-untyped]
import asyncpg
import grpclib.client
import grpclib.const
import paho.mqtt.client
import paho.mqtt.enums
import psycopg
import pymongo
import redis
import redis.asyncio
from grpclib.encoding.base import CodecBase
from typing_extensions import override

from meshid import MeshContext
from tests.frameworks.clients.kinds import Ask, AsyncAsk, in_loop

# -- gRPC ---------------------------------------------------------------------


class _Octets(CodecBase):
    """Sends messages as they are."""

    __content_subtype__ = "octets"

    @override
    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    @override
    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


@contextlib.asynccontextmanager
async def _grpclib(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    async with grpclib.client.Channel("localhost", port, ssl=context, codec=_Octets()) as channel:
        charge = grpclib.client.UnaryUnaryMethod(channel, "/payments.Payments/Charge", bytes, bytes)

        async def ask() -> tuple[object, object]:
            return (
                await charge(b"7")
            ).decode(), channel._protocol and channel._protocol.processor.connection._transport  # noqa: SLF001 - it shows it nowhere else

        yield ask


grpclib_channel = in_loop(_grpclib)

# -- Redis --------------------------------------------------------------------


@contextlib.contextmanager
def redis_sync(context: MeshContext, port: int) -> Iterator[Ask]:
    """redis-py, which makes a context of its own."""

    class Connection(redis.SSLConnection):
        def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
            return context.wrap_socket(sock, server_hostname=self.host)

    pool = redis.ConnectionPool(connection_class=Connection, host="localhost", port=port)
    with redis.Redis.from_pool(pool) as client:

        def ask() -> tuple[object, object]:
            answer = client.get("charge")
            assert isinstance(answer, bytes)
            return answer.decode(), None

        yield ask


@contextlib.asynccontextmanager
async def _redis_asyncio(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    class Connection(redis.asyncio.SSLConnection):
        def __init__(self, **options: Any) -> None:  # noqa: ANN401 - redis's own
            super().__init__(**options)
            self.ssl_context.context = context

    pool = redis.asyncio.ConnectionPool(connection_class=Connection, host="localhost", port=port)
    async with redis.asyncio.Redis.from_pool(pool) as client:

        async def ask() -> tuple[object, object]:
            answer = await client.get("charge")
            assert isinstance(answer, bytes)
            return answer.decode(), None

        yield ask


redis_asyncio = in_loop(_redis_asyncio)

# -- PostgreSQL ---------------------------------------------------------------


@contextlib.asynccontextmanager
async def _asyncpg(context: MeshContext, port: int, *, direct_tls: bool = False) -> AsyncIterator[AsyncAsk]:
    connection = await asyncpg.connect(
        host="localhost", port=port, user="payments", database="charges", ssl=context, direct_tls=direct_tls
    )

    async def ask() -> tuple[object, object]:
        return await connection.execute("SELECT charge"), None

    try:
        yield ask
    finally:
        connection.terminate()


def _asyncpg_direct(context: MeshContext, port: int) -> contextlib.AbstractAsyncContextManager[AsyncAsk]:
    return _asyncpg(context, port, direct_tls=True)


asyncpg_connection = in_loop(_asyncpg)
asyncpg_direct = in_loop(_asyncpg_direct)


@contextlib.contextmanager
def psycopg_connection(_: MeshContext, port: int) -> Iterator[Ask]:
    """psycopg: libpq takes files, so it asks `meshid port --client`, which speaks TLS."""
    conninfo = f"host=localhost port={port} user=payments dbname=charges sslmode=disable"
    with contextlib.closing(psycopg.connect(conninfo, autocommit=True)) as connection:

        def ask() -> tuple[object, object]:
            # A simple query, which the recording endpoint knows.
            found = connection.pgconn.exec_(b"SELECT charge")
            if found.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise psycopg.OperationalError(found.error_message.decode())
            return (found.command_status or b"").decode(), None

        yield ask


# -- Brokers ------------------------------------------------------------------


@contextlib.contextmanager
def paho_mqtt(context: MeshContext, port: int) -> Iterator[Ask]:
    """paho-mqtt."""
    client = paho.mqtt.client.Client(paho.mqtt.enums.CallbackAPIVersion.VERSION2)
    client.tls_set_context(context)
    client.connect("localhost", port)
    client.loop_start()

    def ask() -> tuple[object, object]:
        told = client.publish("charges", b"7", qos=1)
        told.wait_for_publish(2)
        if not told.is_published():
            raise TimeoutError
        return "hello", client.socket()

    try:
        yield ask
    finally:
        client.disconnect()
        client.loop_stop()


@contextlib.asynccontextmanager
async def _aiokafka(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    client = aiokafka.AIOKafkaProducer(
        bootstrap_servers=f"localhost:{port}", security_protocol="SSL", ssl_context=context
    )

    async def ask() -> tuple[object, object]:
        if not await client.client.force_metadata_update():
            raise aiokafka.errors.KafkaConnectionError
        return "hello", None

    try:
        await client.start()
        yield ask
    finally:
        await client.stop()


aiokafka_producer = in_loop(_aiokafka)


@contextlib.contextmanager
def pymongo_client(_: MeshContext, port: int) -> Iterator[Ask]:
    """PyMongo: it takes files, so it asks `meshid port --client`, which speaks TLS."""
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(
        "localhost", port, directConnection=True, serverSelectionTimeoutMS=1000
    ) as client:
        yield lambda: (client.payments.command("charge")["answer"], None)


# -- Mail ---------------------------------------------------------------------


@contextlib.contextmanager
def smtplib_ssl(context: MeshContext, port: int) -> Iterator[Ask]:
    """`smtplib` of the standard library, TLS from the start."""
    with smtplib.SMTP_SSL("localhost", port, context=context, timeout=10) as client:
        yield lambda: (client.noop()[1].decode(), client.sock)


@contextlib.contextmanager
def smtplib_starttls(context: MeshContext, port: int) -> Iterator[Ask]:
    """`smtplib` of the standard library, STARTTLS."""
    with smtplib.SMTP("localhost", port, timeout=10) as client:
        client.starttls(context=context)
        yield lambda: (client.noop()[1].decode(), client.sock)

"""How each client of the table is tried, by the name of its row."""

from __future__ import annotations

import attrs

from tests.frameworks.clients import dialogues, http, services, streams
from tests.frameworks.clients.dialogues import Speech
from tests.frameworks.clients.kinds import Client


@attrs.frozen(kw_only=True)
class Trial:
    """A client that is tried.

    Attributes:
        client: Its code.
        speech: What its server says.
        peer: How a user gets what `peer_of` takes; None if the library shows its connection nowhere.
        pools: Whether it keeps a connection, and makes another when that one has gone.
        handshakes: How many there are with a server that is refused, as the row has it; None for as many as
            there is time for.
        tells: Whether what it raises leads to the refusal; our log has it in any case.
        by_port: Whether it asks `meshid port --client`.
        leaves_sockets: Whether it leaves the socket of a failed handshake to the garbage collector.
    """

    client: Client
    speech: Speech = dialogues.HTTP
    peer: str | None = None
    pools: bool = True
    handshakes: int | None = 1
    tells: bool = True
    by_port: bool = False
    leaves_sockets: bool = False


TRIALS = {
    "httpx": Trial(client=http.httpx_client, peer="response"),
    "httpx_http2": Trial(client=http.httpx_http2, speech=dialogues.HTTP2, peer="response"),
    "httpx_async": Trial(client=http.httpx_async, peer="response"),
    "httpx_trio": Trial(client=http.httpx_trio, peer="response"),
    "httpcore": Trial(client=http.httpcore_pool, peer="response"),
    "requests": Trial(client=http.requests_session, peer="response.raw.connection.sock"),
    "urllib3": Trial(client=http.urllib3_pool, peer="response.connection.sock"),
    "http_client": Trial(client=http.http_client, peer="connection.sock"),
    "urllib_request": Trial(client=http.urllib_request, pools=False),
    "xmlrpc_client": Trial(client=http.xmlrpc_client),
    "aiohttp_client": Trial(client=http.aiohttp_session),
    "tornado_client": Trial(client=http.tornado_client, pools=False),
    "websockets_client": Trial(
        client=http.websockets_asyncio, speech=dialogues.WEBSOCKET, peer="connection", pools=False
    ),
    "websockets_sync_client": Trial(
        client=http.websockets_sync, speech=dialogues.WEBSOCKET, peer="connection", pools=False
    ),
    "asyncio_client": Trial(
        client=streams.asyncio_streams, speech=dialogues.LINES, peer="writer", pools=False
    ),
    "uvloop_client": Trial(client=streams.uvloop_streams, speech=dialogues.LINES, peer="writer", pools=False),
    "start_tls_client": Trial(
        client=streams.asyncio_start_tls, speech=dialogues.STARTTLS, peer="writer", pools=False
    ),
    "anyio_client": Trial(client=streams.anyio_asyncio, speech=dialogues.LINES, peer="stream", pools=False),
    "anyio_trio_client": Trial(client=streams.anyio_trio, speech=dialogues.LINES, peer="stream", pools=False),
    "trio_client": Trial(client=streams.trio_stream, speech=dialogues.LINES, peer="stream", pools=False),
    "grpclib_client": Trial(client=services.grpclib_channel, speech=dialogues.HTTP2, leaves_sockets=True),
    "redis": Trial(client=services.redis_sync, speech=dialogues.REDIS),
    "redis_asyncio": Trial(client=services.redis_asyncio, speech=dialogues.REDIS),
    "asyncpg": Trial(client=services.asyncpg_connection, speech=dialogues.POSTGRES, pools=False),
    "asyncpg_direct": Trial(client=services.asyncpg_direct, speech=dialogues.POSTGRES_DIRECT, pools=False),
    "psycopg": Trial(
        client=services.psycopg_connection,
        speech=dialogues.POSTGRES_DIRECT,
        pools=False,
        by_port=True,
        tells=False,
    ),
    "pymongo": Trial(
        client=services.pymongo_client, speech=dialogues.MONGO, by_port=True, tells=False, handshakes=None
    ),
    "aiokafka": Trial(client=services.aiokafka_producer, speech=dialogues.KAFKA, tells=False),
    "paho_mqtt": Trial(
        client=services.paho_mqtt,
        speech=dialogues.MQTT,
        peer="client.socket()",
        pools=False,
        leaves_sockets=True,
    ),
    "smtplib_ssl": Trial(client=services.smtplib_ssl, speech=dialogues.SMTP, peer="client.sock", pools=False),
    "smtplib_starttls": Trial(
        client=services.smtplib_starttls, speech=dialogues.SMTP_STARTTLS, peer="client.sock", pools=False
    ),
}

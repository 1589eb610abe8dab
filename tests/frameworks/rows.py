"""The rows of the table: every server and every client that meshid is tested with, as data.

A server's code is `tests/frameworks/servers/NAME.py`, a client's in `tests/frameworks/clients/`.
"""

from __future__ import annotations

import attrs

from tests.frameworks.dialects import HTTP11, Dialect

FAMILIES = ("asgi", "wsgi", "asyncio", "threads", "twisted", "grpc", "clients")
"""Each has a page, docs/FAMILY.md."""


@attrs.frozen(kw_only=True)
class ServerRow:
    """A server.

    Attributes:
        name: Its name, and that of its module.
        family: Its family.
        packages: The distributions that it is made of, the most telling first; none is the standard library.
        plug: How to plug meshid in, in one line of Markdown.
        dialect: What it speaks.
        representative: Whether it runs in every `make test`.
        judges_requests: Whether each request is judged; if not, only the connection is.
        ends_idle: Whether an idle connection of a peer that was revoked ends at once; if not, its next
            octet is refused.
        keeps: Whether it keeps a connection for a second request.
        slow_bodies: Whether it takes a body that comes slowly.
        resumes: Whether it gives tickets; every connection is a full handshake if not.
        crowd: How many clients at once; fewer where the server has a thread or a process for each.
        fails: Why it cannot work, and what to do; nobody gets in, the right peer neither.
        note: What else the reader must know, in one sentence.
    """

    name: str
    family: str = attrs.field(validator=attrs.validators.in_(FAMILIES))
    packages: tuple[str, ...] = ()
    plug: str
    dialect: Dialect = HTTP11
    representative: bool = False
    judges_requests: bool = True
    ends_idle: bool = True
    keeps: bool = True
    slow_bodies: bool = True
    resumes: bool = True
    crowd: int = 24
    fails: str = ""
    note: str = ""


@attrs.frozen(kw_only=True)
class ClientRow:
    """A client.

    Attributes:
        name: Its name, by which `tests/frameworks/clients/trials.py` has its code.
        packages: As for a server.
        plug: As for a server.
        ran: Against what it ran: a real server, or an endpoint that records what comes.
        representative: As for a server.
        fails: As for a server.
        note: As for a server.
    """

    name: str
    family: str = attrs.field(default="clients", validator=attrs.validators.in_(FAMILIES))
    packages: tuple[str, ...] = ()
    plug: str
    ran: str = "real server"
    representative: bool = False
    fails: str = ""
    note: str = ""


# -- ASGI: docs/asgi.md ---------------------------------------------------------

ASGI: tuple[ServerRow, ...] = (
    ServerRow(
        name="uvicorn_h11",
        family="asgi",
        packages=("uvicorn", "h11"),
        plug="`uvicorn.run(app, ssl_context_factory=lambda *_: context)`",
    ),
)

# -- WSGI: docs/wsgi.md ---------------------------------------------------------

WSGI: tuple[ServerRow, ...] = ()

# -- asyncio, and what is built on its streams and transports: docs/asyncio.md ----

ASYNCIO: tuple[ServerRow, ...] = ()

# -- A thread for each connection: docs/threads.md --------------------------------

THREADS: tuple[ServerRow, ...] = (
    ServerRow(
        name="http_server",
        family="threads",
        plug="`server.socket = context.wrap_socket(server.socket, server_side=True)`",
        representative=True,
    ),
)

# -- Twisted and pyOpenSSL: docs/twisted.md ---------------------------------------

TWISTED: tuple[ServerRow, ...] = ()

# -- gRPC: docs/grpc.md -----------------------------------------------------------

GRPC: tuple[ServerRow, ...] = ()

# -- Clients: docs/clients.md -----------------------------------------------------

_RECORDING = "a recording endpoint"
_BY_PORT = "takes files only and cannot be asked about a server: `meshid port --client` in front"

CLIENTS: tuple[ClientRow, ...] = (
    ClientRow(
        name="httpx",
        packages=("httpx",),
        plug="`httpx.Client(verify=context)`",
        representative=True,
    ),
    ClientRow(
        name="httpx_http2",
        packages=("httpx", "h2"),
        plug='`httpx.Client(verify=mesh.client_context(..., alpn=["h2", "http/1.1"]), http2=True)`',
    ),
    ClientRow(name="httpx_async", packages=("httpx",), plug="`httpx.AsyncClient(verify=context)`"),
    ClientRow(
        name="httpx_trio", packages=("httpx", "trio"), plug="`httpx.AsyncClient(verify=context)`, under trio"
    ),
    ClientRow(name="httpcore", packages=("httpx",), plug="`httpcore.ConnectionPool(ssl_context=context)`"),
    ClientRow(
        name="requests",
        packages=("requests", "urllib3"),
        plug='`session.mount("https://", MeshAdapter(context))`',
        representative=True,
    ),
    ClientRow(
        name="urllib3",
        packages=("urllib3",),
        plug="`urllib3.PoolManager(ssl_context=context, retries=RetryUnlessRefused(3))`",
        note="with its own `Retry`, a server that is refused is asked four times.",
    ),
    ClientRow(name="http_client", plug="`http.client.HTTPSConnection(host, port, context=context)`"),
    ClientRow(name="urllib_request", plug="`urllib.request.urlopen(url, context=context)`"),
    ClientRow(name="xmlrpc_client", plug="`xmlrpc.client.ServerProxy(url, context=context)`"),
    ClientRow(
        name="aiohttp_client",
        packages=("aiohttp",),
        plug="`aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))`",
    ),
    ClientRow(
        name="tornado_client",
        packages=("tornado",),
        plug="`AsyncHTTPClient().fetch(url, ssl_options=context)`",
    ),
    ClientRow(
        name="websockets_client", packages=("websockets",), plug="`websockets.connect(url, ssl=context)`"
    ),
    ClientRow(
        name="websockets_sync_client",
        packages=("websockets",),
        plug="`websockets.sync.client.connect(url, ssl=context)`",
    ),
    ClientRow(name="asyncio_client", plug="`asyncio.open_connection(host, port, ssl=context)`"),
    ClientRow(
        name="uvloop_client",
        packages=("uvloop",),
        plug="`asyncio.open_connection(host, port, ssl=context)`, under uvloop",
    ),
    ClientRow(name="start_tls_client", plug="`await meshid.start_tls(reader, writer, context)`"),
    ClientRow(
        name="anyio_client",
        packages=("anyio",),
        plug="`anyio.connect_tcp(host, port, ssl_context=context)`",
    ),
    ClientRow(
        name="anyio_trio_client",
        packages=("anyio", "trio"),
        plug="`anyio.connect_tcp(host, port, ssl_context=context)`, under trio",
    ),
    ClientRow(
        name="trio_client",
        packages=("trio",),
        plug="`trio.open_ssl_over_tcp_stream(host, port, ssl_context=context)`",
    ),
    ClientRow(
        name="grpclib_client",
        packages=("grpclib",),
        plug='`Channel(host, port, ssl=mesh.client_context(..., alpn=["h2"]))`',
    ),
    ClientRow(
        name="redis",
        packages=("redis",),
        plug="a connection class of four lines",
        ran=_RECORDING,
    ),
    ClientRow(
        name="redis_asyncio",
        packages=("redis",),
        plug="a connection class of four lines",
        ran=_RECORDING,
    ),
    ClientRow(
        name="asyncpg",
        packages=("asyncpg",),
        plug="`asyncpg.connect(..., ssl=context)`",
        ran=_RECORDING,
        note="SSLRequest first, then TLS.",
    ),
    ClientRow(
        name="asyncpg_direct",
        packages=("asyncpg",),
        plug="`asyncpg.connect(..., ssl=context, direct_tls=True)`",
        ran=_RECORDING,
        note="TLS from the start: also to a `meshid port` in front of PostgreSQL.",
    ),
    ClientRow(
        name="psycopg",
        packages=("psycopg",),
        plug="`meshid port --client`, and `sslmode=disable` to it",
        ran=_RECORDING,
        note=f"libpq {_BY_PORT}.",
    ),
    ClientRow(
        name="pymongo",
        packages=("pymongo",),
        plug="`meshid port --client`, and `directConnection=True` to it",
        ran=_RECORDING,
        note=f"PyMongo {_BY_PORT}.",
    ),
    ClientRow(
        name="aiokafka",
        packages=("aiokafka",),
        plug='`AIOKafkaProducer(..., security_protocol="SSL", ssl_context=context)`',
        ran=_RECORDING,
    ),
    ClientRow(
        name="paho_mqtt", packages=("paho-mqtt",), plug="`client.tls_set_context(context)`", ran=_RECORDING
    ),
    ClientRow(name="smtplib_ssl", plug="`smtplib.SMTP_SSL(host, port, context=context)`", ran=_RECORDING),
    ClientRow(name="smtplib_starttls", plug="`smtp.starttls(context=context)`", ran=_RECORDING),
    ClientRow(
        name="niquests",
        packages=("niquests",),
        plug="-",
        fails="it makes a context of its own from ours, for rtls: use httpx or requests.",
    ),
)

SERVERS: tuple[ServerRow, ...] = (*ASGI, *WSGI, *ASYNCIO, *THREADS, *TWISTED, *GRPC)

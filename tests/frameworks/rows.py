"""The rows of the table: every server and every client that meshid is tested with, as data.

A server's code is `tests/frameworks/servers/NAME.py`, a client's in `tests/frameworks/clients/`.
"""

from __future__ import annotations

import json
from functools import partial

import attrs

from tests.frameworks.dialect_grpc import GRPC as GRPC_CALLS
from tests.frameworks.dialect_h2 import HTTP2
from tests.frameworks.dialect_smtp import SMTP, SMTP_AFTER_STARTTLS
from tests.frameworks.dialect_starttls import STARTTLS
from tests.frameworks.dialect_websocket import WEBSOCKET
from tests.frameworks.dialect_xmlrpc import XMLRPC
from tests.frameworks.dialects import HTTP11, LINES, Dialect

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
        at_handshake: Whether a peer that no rule allows is refused in its handshake, and not in its calls.
        judges_requests: Whether each request is judged; if not, only the connection is.
        ends_idle: Whether an idle connection of a peer that was revoked ends at once; if not, its next
            octet is refused.
        keeps: Whether it keeps a connection for a second request.
        slow_bodies: Whether it takes a body that comes slowly.
        decodes: Whether it decodes a path; if not, one with a percent-encoding is refused.
        resumes: Whether it gives tickets; every connection is a full handshake if not.
        crowd: How many clients at once; fewer where the server has a thread or a process for each.
        fails: Why it cannot work, and what to do; nobody gets in, the right peer neither.
        note: What else the reader must know, in one sentence.
        module: Its module, if that has not its name.
        options: What the module reads with `scene.options`, as JSON.
    """

    name: str
    family: str = attrs.field(validator=attrs.validators.in_(FAMILIES))
    packages: tuple[str, ...] = ()
    plug: str
    dialect: Dialect = HTTP11
    representative: bool = False
    at_handshake: bool = True
    judges_requests: bool = True
    ends_idle: bool = True
    keeps: bool = True
    slow_bodies: bool = True
    decodes: bool = True
    resumes: bool = True
    crowd: int = 24
    fails: str = ""
    note: str = ""
    module: str = ""
    options: str = "{}"


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


WRAPPED = "`server.socket = context.wrap_socket(server.socket, server_side=True)`"

# -- ASGI: docs/asgi.md ---------------------------------------------------------

UVICORN = "`uvicorn.run(ASGIMiddleware(app, mesh), ssl_context_factory=lambda *_: context)`"
HYPERCORN = "a `Config` whose `create_ssl_context` returns ours, see the page"
_uvicorn = partial(ServerRow, family="asgi", module="uvicorn_server", plug=UVICORN)
_hypercorn = partial(ServerRow, family="asgi", module="hypercorn_server", plug=HYPERCORN)

H2_ALPN = 'as above, and `mesh.server_context(http=True, alpn=["h2", "http/1.1"])`'

ASGI: tuple[ServerRow, ...] = (
    _uvicorn(name="uvicorn_h11", packages=("uvicorn", "h11"), options='{"http": "h11", "loop": "asyncio"}'),
    _uvicorn(
        name="uvicorn_httptools",
        packages=("uvicorn", "httptools"),
        options='{"http": "httptools", "loop": "asyncio"}',
    ),
    _uvicorn(
        name="uvicorn_h11_uvloop",
        packages=("uvicorn", "h11", "uvloop"),
        options='{"http": "h11", "loop": "uvloop"}',
    ),
    _uvicorn(
        name="uvicorn_httptools_uvloop",
        packages=("uvicorn", "httptools", "uvloop"),
        options='{"http": "httptools", "loop": "uvloop"}',
    ),
    _uvicorn(
        name="uvicorn_zttp", packages=("uvicorn", "zttp"), options='{"http": "zttp", "loop": "asyncio"}'
    ),
    _uvicorn(
        name="uvicorn_zttp_h2",
        packages=("uvicorn", "zttp", "uvloop"),
        options='{"http": "zttp", "http2": true, "loop": "uvloop", "alpn": ["h2", "http/1.1"]}',
        dialect=HTTP2,
        plug=f'{H2_ALPN} with `http="zttp", http2=True`',
        note="An application that reads the body of a GET waits for ever, with and without meshid.",
    ),
    _uvicorn(
        name="uvicorn_ws_websockets",
        packages=("uvicorn", "websockets"),
        options='{"ws": "websockets", "loop": "asyncio"}',
        dialect=WEBSOCKET,
    ),
    _uvicorn(
        name="uvicorn_ws_wsproto",
        packages=("uvicorn", "wsproto"),
        options='{"ws": "wsproto", "loop": "asyncio"}',
        dialect=WEBSOCKET,
    ),
    ServerRow(
        name="uvicorn_workers",
        family="asgi",
        packages=("uvicorn", "uvloop"),
        plug='`uvicorn.run("module:app", workers=2, ssl_context_factory=f)`, with `f` in that module',
    ),
    _uvicorn(
        name="starlette_uvicorn", packages=("starlette", "uvicorn", "uvloop"), options='{"app": "starlette"}'
    ),
    _uvicorn(
        name="fastapi_uvicorn",
        packages=("fastapi", "uvicorn", "uvloop"),
        options='{"app": "fastapi"}',
        representative=True,
    ),
    _uvicorn(
        name="litestar_uvicorn", packages=("litestar", "uvicorn", "uvloop"), options='{"app": "litestar"}'
    ),
    _uvicorn(name="quart_uvicorn", packages=("quart", "uvicorn", "uvloop"), options='{"app": "quart"}'),
    _hypercorn(name="hypercorn_h1", packages=("hypercorn",), options="{}"),
    _hypercorn(
        name="hypercorn_h2",
        packages=("hypercorn", "h2"),
        options='{"alpn": ["h2", "http/1.1"]}',
        dialect=HTTP2,
    ),
    _hypercorn(
        name="hypercorn_uvloop", packages=("hypercorn", "uvloop"), options='{"worker_class": "uvloop"}'
    ),
    _hypercorn(
        name="hypercorn_trio",
        packages=("hypercorn", "trio"),
        options='{"worker_class": "trio"}',
    ),
    _hypercorn(name="quart_hypercorn", packages=("quart", "hypercorn"), options='{"app": "quart"}'),
    ServerRow(
        name="granian_own_tls",
        family="asgi",
        packages=("granian",),
        plug="-",
        fails="It has TLS of its own (rustls), which takes files. Serve plain HTTP on a Unix socket or the"
        " loopback, behind the [mesh port](port.md).",
    ),
)

# -- WSGI: docs/wsgi.md ---------------------------------------------------------

GUNICORN = (
    "`certfile = __file__` and `def ssl_context(config, default): return context` in `gunicorn.conf.py`"
)
PATCHED = f"`gevent.monkey.patch_all()` before meshid is imported; {GUNICORN}"
IGNORES = (
    "This worker ignores gunicorn's hook: with `certfile = __file__` it never serves, and with a real"
    " certificate the middleware refuses all; use gunicorn's own worker `asgi`, or `meshid serve`"
)
NO_WAY = (
    "Tornado's `WSGIContainer` gives no way from a request to its connection: use another worker or server,"
    " or Tornado's own handlers"
)

_gunicorn = partial(ServerRow, family="wsgi", module="gunicorn_worker", plug=GUNICORN)


def _started(arguments: str, app: str, *, alpn: bool = False) -> str:
    return json.dumps(
        {
            "arguments": arguments.split(),
            "app": app,
            **({"alpn": ["h2", "http/1.1"]} if alpn else {}),
        }
    )


WSGI: tuple[ServerRow, ...] = (
    ServerRow(name="gunicorn_sync", family="wsgi", packages=("gunicorn",), plug=GUNICORN, keeps=False),
    ServerRow(name="gunicorn_gthread", family="wsgi", packages=("gunicorn",), plug=GUNICORN),
    ServerRow(
        name="gunicorn_sync_preload", family="wsgi", packages=("gunicorn",), plug=GUNICORN, keeps=False
    ),
    ServerRow(name="gunicorn_gthread_preload", family="wsgi", packages=("gunicorn",), plug=GUNICORN),
    ServerRow(name="gunicorn_gevent", family="wsgi", packages=("gunicorn", "gevent"), plug=GUNICORN),
    ServerRow(name="gunicorn_gevent_pywsgi", family="wsgi", packages=("gunicorn", "gevent"), plug=GUNICORN),
    ServerRow(name="gunicorn_gevent_patched", family="wsgi", packages=("gunicorn", "gevent"), plug=PATCHED),
    ServerRow(
        name="gunicorn_tornado", family="wsgi", packages=("gunicorn", "tornado"), plug=GUNICORN, fails=NO_WAY
    ),
    _gunicorn(
        name="gunicorn_asgi",
        family="asgi",
        options=_started("--worker-class asgi", "asgi_app"),
        packages=("gunicorn", "uvloop"),
    ),
    _gunicorn(
        name="gunicorn_asgi_h2",
        family="asgi",
        options=_started("--worker-class asgi --http-protocols h2,h1", "asgi_app", alpn=True),
        packages=("gunicorn", "uvloop", "h2"),
        dialect=HTTP2,
        decodes=False,
        note="A path with a percent-encoding is refused: over HTTP/2, gunicorn does not decode it.",
    ),
    _gunicorn(
        name="gunicorn_gthread_h2",
        options=_started("--worker-class gthread --threads 8 --http-protocols h2,h1", "app", alpn=True),
        packages=("gunicorn", "h2"),
        dialect=HTTP2,
        note='HTTP/2 needs `alpn=["h2", "http/1.1"]` in `server_context`.',
    ),
    _gunicorn(
        name="gunicorn_uvicorn_subclass",
        family="asgi",
        options=_started("--worker-class worker.MeshWorker", "asgi_app"),
        packages=("gunicorn", "uvicorn", "uvloop"),
        plug="a `UvicornWorker` with `ssl_context_factory` in its `CONFIG_KWARGS`",
    ),
    ServerRow(
        name="gunicorn_uvicorn", family="asgi", packages=("gunicorn", "uvicorn"), plug=GUNICORN, fails=IGNORES
    ),
    ServerRow(
        name="gunicorn_aiohttp",
        family="asyncio",
        packages=("gunicorn", "aiohttp"),
        plug=GUNICORN,
        fails=IGNORES,
    ),
    ServerRow(
        name="gunicorn_plain",
        family="wsgi",
        packages=("gunicorn",),
        plug="the hook alone, without `certfile`",
        fails="Without `certfile` gunicorn speaks plain HTTP and never calls the hook: `certfile = __file__`",
    ),
    ServerRow(name="wsgiref_server", family="wsgi", plug=WRAPPED, keeps=False),
    ServerRow(
        name="werkzeug_server",
        family="wsgi",
        packages=("werkzeug",),
        plug="`run_simple(host, port, app, ssl_context=context, threaded=True)`",
        keeps=False,
    ),
    ServerRow(
        name="flask_server",
        family="wsgi",
        packages=("flask", "werkzeug"),
        plug="`app.wsgi_app = WSGIMiddleware(app.wsgi_app, mesh)`, `app.run(ssl_context=context)`",
        keeps=False,
    ),
    ServerRow(
        name="django_runserver",
        family="wsgi",
        packages=("django",),
        plug=WRAPPED,
        keeps=False,
        note="`runserver` itself takes no context; it is Django's `ThreadedWSGIServer`.",
    ),
    ServerRow(
        name="waitress_wrapped",
        family="wsgi",
        packages=("waitress",),
        plug="`waitress.serve(app, sockets=[context.wrap_socket(listener, server_side=True)])`",
        representative=True,
    ),
    ServerRow(
        name="cheroot_server",
        family="wsgi",
        packages=("cheroot",),
        plug="a `Server` whose `bind` wraps `self.socket`",
        crowd=8,
        note="It keeps ten idle connections; `keep_alive_conn_limit` is for more.",
    ),
    ServerRow(
        name="cherrypy_server",
        family="wsgi",
        packages=("cherrypy", "cheroot"),
        plug="`cherrypy.server.httpserver` is such a `Server` of `WSGIMiddleware(cherrypy.tree, mesh)`",
        crowd=8,
    ),
    ServerRow(
        name="gevent_pywsgi",
        family="wsgi",
        packages=("gevent",),
        plug="`WSGIServer(address, app, ssl_context=context)`",
    ),
    ServerRow(
        name="tornado_wsgi",
        family="wsgi",
        packages=("tornado",),
        plug="`HTTPServer(WSGIContainer(app), ssl_options=context)`",
        fails=NO_WAY,
    ),
)

# -- asyncio, and what is built on its streams and transports: docs/asyncio.md ----

ASYNCIO: tuple[ServerRow, ...] = (
    ServerRow(
        name="aiohttp_server",
        family="asyncio",
        packages=("aiohttp",),
        plug="`aiohttp_middleware(mesh)` in `middlewares=`; `web.run_app(app, ssl_context=context)`",
        representative=True,
    ),
    ServerRow(
        name="aiohttp_server_uvloop",
        family="asyncio",
        packages=("aiohttp", "uvloop"),
        plug="the same, with `loop=uvloop.new_event_loop()`",
    ),
    ServerRow(
        name="asyncio_streams",
        family="asyncio",
        plug="`asyncio.start_server(handle, host, port, ssl=context)`",
        dialect=LINES,
    ),
    ServerRow(
        name="asyncio_streams_uvloop",
        family="asyncio",
        packages=("uvloop",),
        plug="the same, with `uvloop.run(main())`",
        dialect=LINES,
    ),
    ServerRow(
        name="asyncio_protocol",
        family="asyncio",
        plug="`loop.create_server(Lines, host, port, ssl=context)`",
        dialect=LINES,
    ),
    ServerRow(
        name="asyncio_protocol_uvloop",
        family="asyncio",
        packages=("uvloop",),
        plug="the same, with `uvloop.run(main())`",
        dialect=LINES,
    ),
    ServerRow(
        name="asyncio_starttls",
        family="asyncio",
        plug="`await meshid.start_tls(reader, writer, context)`",
        dialect=STARTTLS,
    ),
    ServerRow(
        name="asyncio_starttls_uvloop",
        family="asyncio",
        packages=("uvloop",),
        plug="the same, with `uvloop.run(main())`",
        dialect=STARTTLS,
    ),
    ServerRow(
        name="anyio_asyncio",
        family="asyncio",
        packages=("anyio",),
        plug="`TLSListener(listener, context, standard_compatible=False)`",
        dialect=LINES,
    ),
    ServerRow(
        name="anyio_trio",
        family="asyncio",
        packages=("anyio", "trio"),
        plug='the same, with `backend="trio"`',
        dialect=LINES,
    ),
    ServerRow(
        name="trio_server",
        family="asyncio",
        packages=("trio",),
        plug="`trio.serve_ssl_over_tcp(handle, port, context)`",
        dialect=LINES,
    ),
    ServerRow(
        name="tornado_server",
        family="asyncio",
        packages=("tornado",),
        plug="`HTTPServer(app, ssl_options=context)`, and `prepare` in the base of all handlers",
    ),
    ServerRow(
        name="sanic_server",
        family="asyncio",
        packages=("sanic", "uvloop"),
        plug="`app.run(ssl=context, single_process=True)`, and a function that is `@app.on_request`",
    ),
    ServerRow(
        name="sanic_list",
        family="asyncio",
        packages=("sanic", "uvloop"),
        plug="`app.run(ssl=[context])`",
        fails="it wants the names in certificate files, and does not start; give it the context alone",
    ),
    ServerRow(
        name="websockets_asyncio",
        family="asyncio",
        packages=("websockets",),
        plug="`serve(handle, host, port, ssl=context, process_request=judge)`",
        dialect=WEBSOCKET,
    ),
    ServerRow(
        name="websockets_sync",
        family="asyncio",
        packages=("websockets",),
        plug="the same, of `websockets.sync.server`",
        dialect=WEBSOCKET,
    ),
    ServerRow(
        name="aiosmtpd_tls",
        family="asyncio",
        packages=("aiosmtpd",),
        plug="`loop.create_server(lambda: SMTP(handler), host, port, ssl=context)`",
        dialect=SMTP,
        judges_requests=False,
        note="Its `Controller` connects to itself, without a certificate, and so does not start.",
    ),
    ServerRow(
        name="aiosmtpd_starttls",
        family="asyncio",
        packages=("aiosmtpd",),
        plug="`SMTP(handler, tls_context=context, require_starttls=True)`",
        dialect=SMTP_AFTER_STARTTLS,
        judges_requests=False,
    ),
    ServerRow(
        name="h2_bare",
        family="asyncio",
        packages=("h2",),
        plug='`asyncio.start_server(handle, host, port, ssl=context)`; `alpn=["h2"]` for the context',
        dialect=HTTP2,
    ),
)

# -- A thread for each connection: docs/threads.md --------------------------------

THREADS: tuple[ServerRow, ...] = (
    ServerRow(
        name="http_server",
        family="threads",
        plug=WRAPPED,
        representative=True,
    ),
    ServerRow(
        name="http_server_lazy",
        family="threads",
        plug="`get_request` wraps the connection with `do_handshake_on_connect=False`",
        note="With a `handle_error` of its own, or each refused peer costs a traceback.",
    ),
    ServerRow(name="socketserver_threading", family="threads", plug=WRAPPED, dialect=LINES),
    ServerRow(
        name="plain_threads",
        family="threads",
        plug="`context.wrap_socket(plain, server_side=True)` in the thread of the connection",
        dialect=LINES,
    ),
    ServerRow(
        name="xmlrpc_server",
        family="threads",
        plug=WRAPPED,
        dialect=XMLRPC,
        note="Its `rpc_paths` are the paths of the policy; who calls is known in the handler's `_dispatch`.",
    ),
)

# -- Twisted and pyOpenSSL: docs/twisted.md ---------------------------------------

TWISTED: tuple[ServerRow, ...] = (
    ServerRow(
        name="twisted_web",
        family="twisted",
        packages=("twisted",),
        plug="`reactor.listenSSL(port, site, mesh.openssl_context(server_side=True, http=True))`",
        representative=True,
        resumes=False,
    ),
    ServerRow(
        name="daphne_creator",
        family="twisted",
        packages=("daphne", "twisted"),
        plug="`reactor.listenSSL(port, server.http_factory, context)`; `ASGIMiddleware(app, mesh)`",
        resumes=False,
    ),
    ServerRow(
        name="daphne_own_tls",
        family="twisted",
        packages=("daphne", "twisted"),
        plug='`daphne -e "ssl:8443:privateKey=...:certKey=..." application`',
        fails="an endpoint that is a text takes no context; give Daphne one of Twisted's, as above",
    ),
)

# -- gRPC: docs/grpc.md -----------------------------------------------------------

INTERCEPTOR = (
    "`interceptors=[interceptor]`, `server.add_secure_port(address, interceptor.server_credentials())`"
)

GRPC: tuple[ServerRow, ...] = (
    ServerRow(
        name="grpcio_threads",
        family="grpc",
        packages=("grpcio",),
        plug=INTERCEPTOR,
        dialect=GRPC_CALLS,
        representative=True,
        at_handshake=False,
        ends_idle=False,
    ),
    ServerRow(
        name="grpcio_aio",
        family="grpc",
        packages=("grpcio",),
        plug=INTERCEPTOR,
        dialect=GRPC_CALLS,
        at_handshake=False,
        ends_idle=False,
    ),
    ServerRow(
        name="grpclib_server",
        family="grpc",
        packages=("grpclib",),
        plug="`listen(server, RecvRequest, judge)`, `server.start(ssl=context)`",
        dialect=GRPC_CALLS,
    ),
)

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
        fails="with rtls it makes a context of its own from ours, and does not ask for the name that"
        " you expect: use httpx or requests.",
        note="rtls need not be yours: any package can bring it.",
    ),
)

SERVERS: tuple[ServerRow, ...] = (*ASGI, *WSGI, *ASYNCIO, *THREADS, *TWISTED, *GRPC)

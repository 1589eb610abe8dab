"""The rows of the table: every server and every client that meshid is tested with, as data.

A server's code is `tests/frameworks/servers/NAME.py`, a client's `tests/frameworks/clients/NAME.py`.
"""

from __future__ import annotations

from functools import partial

import attrs

from tests.frameworks.dialect_grpc import GRPC_H2
from tests.frameworks.dialect_h2 import HTTP2
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
        judges_requests: Whether each request is judged; if not, only the connection is.
        ends_idle: Whether an idle connection of a peer that was revoked ends at once; if not, its next
            octet is refused.
        keeps: Whether it keeps a connection for a second request.
        slow_bodies: Whether it takes a body that comes slowly.
        resumes: Whether it gives tickets; every connection is a full handshake if not.
        records_handshakes: Whether there is a record of who is refused for its authority; if not, the library
            refuses it and tells nobody.
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
    judges_requests: bool = True
    ends_idle: bool = True
    keeps: bool = True
    slow_bodies: bool = True
    resumes: bool = True
    records_handshakes: bool = True
    crowd: int = 24
    fails: str = ""
    note: str = ""
    module: str = ""
    options: str = "{}"


@attrs.frozen(kw_only=True)
class ClientRow:
    """A client.

    Attributes:
        name: Its name, and that of its module.
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
NO_WAY = (
    "Tornado's `WSGIContainer` gives no way from a request to its connection: use another worker or server, or"
    " Tornado's own handlers"
)

WSGI: tuple[ServerRow, ...] = (
    ServerRow(name="gunicorn_sync", family="wsgi", packages=("gunicorn",), plug=GUNICORN, keeps=False),
    ServerRow(
        name="gunicorn_gthread", family="wsgi", packages=("gunicorn",), plug=GUNICORN, representative=True
    ),
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
    ServerRow(name="wsgiref_server", family="wsgi", plug=WRAPPED, keeps=False),
    ServerRow(
        name="werkzeug_server",
        family="wsgi",
        packages=("werkzeug",),
        plug="`run_simple(host, port, app, ssl_context=context, threaded=True)`",
        keeps=False,
    ),
    ServerRow(
        name="waitress_wrapped",
        family="wsgi",
        packages=("waitress",),
        plug="`waitress.serve(app, sockets=[context.wrap_socket(listener, server_side=True)])`",
    ),
    ServerRow(
        name="cheroot_server",
        family="wsgi",
        packages=("cheroot",),
        plug="a `Server` whose `bind` wraps `self.socket`",
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
        packages=("daphne", "Twisted", "pyOpenSSL"),
        plug="`reactor.listenSSL(port, server.http_factory, context)`; `ASGIMiddleware(app, mesh)`",
        resumes=False,
    ),
    ServerRow(
        name="daphne_own_tls",
        family="twisted",
        packages=("daphne", "Twisted", "pyOpenSSL"),
        plug='`daphne -e "ssl:8443:privateKey=...:certKey=..." application`',
        fails="an endpoint that is a text takes no context; give Daphne one of Twisted's, as above",
    ),
)

# -- gRPC: docs/grpc.md -----------------------------------------------------------

_grpcio = partial(
    ServerRow,
    family="grpc",
    packages=("grpcio",),
    dialect=GRPC_H2,
    ends_idle=False,
    records_handshakes=False,
    note="each call is judged; a connection that is refused for its authority is in no record of ours",
)

GRPC: tuple[ServerRow, ...] = (
    _grpcio(
        name="grpcio_server",
        plug="`grpc.server(pool, interceptors=[interceptor])`, `interceptor.server_credentials()`",
        representative=True,
    ),
    _grpcio(
        name="grpcio_aio_server",
        plug="`grpc.aio.server(interceptors=[interceptor])`, `interceptor.server_credentials()`",
    ),
)

# -- Clients: docs/clients.md -----------------------------------------------------

CLIENTS: tuple[ClientRow, ...] = ()

SERVERS: tuple[ServerRow, ...] = (*ASGI, *WSGI, *ASYNCIO, *THREADS, *TWISTED, *GRPC)

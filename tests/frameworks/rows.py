"""The rows of the table: every server and every client that meshid is tested with, as data.

A server's code is `tests/frameworks/servers/NAME.py`, a client's `tests/frameworks/clients/NAME.py`.
"""

from __future__ import annotations

import attrs

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

WRAPPED = "`server.socket = context.wrap_socket(server.socket, server_side=True)`"

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

GRPC: tuple[ServerRow, ...] = ()

# -- Clients: docs/clients.md -----------------------------------------------------

CLIENTS: tuple[ClientRow, ...] = ()

SERVERS: tuple[ServerRow, ...] = (*ASGI, *WSGI, *ASYNCIO, *THREADS, *TWISTED, *GRPC)

"""`ASGIMiddleware`: only verified peers reach an ASGI application, and each request is judged (ASGI 3.0).

::

    app = ASGIMiddleware(app, mesh)    # around everything; the server has mesh.server_context(http=True)

A server that ignores our context passes its requests on like any other; only that they come over no
connection of ours tells them apart. So a request without one is refused, whatever the server says of it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote as percent_encoded

from meshid.errors import NoPeer, PeerRejected
from meshid.http.asgi import AnyApp, Message, Receive, Scope, Send
from meshid.http.judging import Judged, RequestJudge
from meshid.http.routing_habits import RoutingHabits
from meshid.http.tls_extension import TlsExtension, tls_extension
from meshid.mesh import Mesh
from meshid.support.callables import takes
from meshid.support.quoting import quote
from meshid.tls.connection_of import JUDGE, JUDGED_CONNECTION, JUDGED_PEER
from meshid.tls.connection_of_call import Call, ServersEnd, connection_of_call, is_about
from meshid.tls.peer_of import peer_of
from meshid.tokens.authorization import authorization_in, challenge_for
from meshid.verification.verifier import Peer

_POLICY_VIOLATION = 1008
"""RFC 6455 section 7.4.1."""

_BODY = b"forbidden\n"
_HEADERS = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_BODY)),
    # A cache in between would give the refusal of one peer to another.
    (b"cache-control", b"no-store"),
)


class ASGIMiddleware:
    """Lets a request through to an ASGI application if its peer may ask for it, and answers 403 otherwise.

    The application finds the `Peer` at ``scope["meshid.peer"]``, and what the ASGI TLS extension says of the
    connection at ``scope["extensions"]["tls"]``. A WebSocket that is refused is closed with code 1008 before
    it is accepted, which servers answer with 403. The refused peer learns no reason; the audit event has it.

    A bearer token of an issuer of the policy is judged with each request that has one, and then is in
    ``Peer.token``. One that is refused is answered with 401 (RFC 6750 section 3), and so is its lack if the
    mesh requires tokens.

    The path is judged as the server tells it, with ``root_path`` in front, and must be what the application
    routes. So this is the outermost middleware, and nothing outside of it rewrites paths.

    Args:
        app: The application.
        mesh: Decides. Its ``server_context(http=True)`` must be the server's.
        target: What peers reach; the mesh's service if None.
        public: The requests that need no peer, as in a policy's http conditions: ``["GET /healthz"]``.
            A peer that is there must still be allowed to be there.

    Raises:
        InvalidPattern: If one of *public* is no such condition, or makes every path public.
        TypeError: If an argument has the wrong type, as a WSGI application has.
        ValueError: If there is no target, or if the application is a FastAPI with a ``root_path``,
            or has one mounted.
    """

    def __init__(
        self, app: AnyApp, mesh: Mesh, *, target: str | None = None, public: Iterable[str] = ()
    ) -> None:
        if not callable(app):
            msg = f"app must be an ASGI application, not {type(app).__name__}"
            raise TypeError(msg)
        if takes(app, 2) and not takes(app, 3):
            msg = (
                "app takes two arguments, as a WSGI application does, and this is for ASGI: "
                "use meshid.http.WSGIMiddleware"
            )
            raise TypeError(msg)
        self._app = app
        self._habits = RoutingHabits(app)
        self._judge = RequestJudge(mesh, target=target, public=public)
        self._extensions: weakref.WeakKeyDictionary[ServersEnd, TlsExtension] = weakref.WeakKeyDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request, and let it through or refuse it.

        Raises:
            ValueError: If the scope is neither ``http`` nor ``websocket`` nor ``lifespan``.
        """
        kind = scope["type"]
        if kind == "lifespan":
            return await self._app(scope, receive, send)
        if kind not in {"http", "websocket"}:
            msg = f"requests are judged over http and websocket only, not over {quote(str(kind))}"
            raise ValueError(msg)
        connection = connection_of_call() or _handed_on(scope)
        peer = None if connection is None else _peer(connection)
        # The handshake of a WebSocket is a GET (RFC 6455 section 4.1), also where HTTP/2 has none (RFC 8441).
        method: str = scope["method"] if kind == "http" else "GET"
        target = _target(scope)
        decision, peer = self._decide(peer, method, target, scope)
        if not decision:
            if connection is None:
                self._judge.warn(decision.reason, _NOT_OURS)
            return await _refuse(kind, send, challenge_for(decision.reason))
        about = None if connection is None else weakref.ref(connection)

        async def send_on(message: Message) -> None:
            # A server may begin the next request of this connection in here. The application may have
            # read another connection since, such as one that it serves itself.
            is_about(about)
            try:
                await send(message)
            finally:
                is_about(None)

        told = self._told(scope, connection, peer)
        told[JUDGE] = partial(self._judge.judge_at, peer, method, target, is_sent=_is_sent(scope))
        # What the application starts goes on, and hands on what it was started in: a server without TLS, say,
        # whose requests would all be those of this peer.
        is_about(None)
        try:
            await self._app(told, receive, send_on)
        finally:
            is_about(about)

    def _decide(self, peer: Peer | None, method: str, target: str, scope: Scope) -> Judged:
        path: str = scope["path"]
        root = (scope.get("root_path") or "").rstrip("/")
        # Frameworks cut it off, one of them wherever it is; and where it is not, they route the whole path.
        if root and path != root and not path.startswith(f"{root}/"):
            why = f"the path {quote(path)} is not below the server's root_path {quote(root)}"
            return self._judge.refuse(why), peer
        routed = path.rstrip("/") if self._habits.drops_last_slash(path) else path
        authorization = authorization_in(scope.get("headers", ()))
        return self._judge.judge(
            peer, method, target, routed=routed, authorization=authorization, is_sent=_is_sent(scope)
        )

    def _told(self, scope: Scope, connection: ServersEnd | None, peer: Peer | None) -> dict[str, Any]:
        told = dict(scope)
        if connection is None or peer is None:
            # What came in is somebody else's word.
            told.pop(JUDGED_CONNECTION, None)
            told.pop(JUDGED_PEER, None)
            return told
        extension = self._extensions.get(connection)
        if extension is None:
            extension = self._extensions[connection] = tls_extension(connection, peer)
        told[JUDGED_CONNECTION] = connection
        told[JUDGED_PEER] = peer
        told["extensions"] = {**(scope.get("extensions") or {}), "tls": extension}
        return told


def _handed_on(scope: Scope) -> ServersEnd | None:
    """Return the connection of a request that a middleware around this one has judged."""
    connection = scope.get(JUDGED_CONNECTION)
    reference: Call = getattr(connection, "call", None)
    # Only the server's end of a connection of ours is about itself.
    return connection if reference is not None and reference() is connection else None


def _is_sent(scope: Scope) -> bool:
    """Tell whether the server says how the path was sent."""
    return scope.get("raw_path") is not None


def _target(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        # Encoded anew, so that nothing in it is decoded twice.
        return percent_encoded(scope["path"], errors="surrogatepass")
    return raw.decode("latin-1")


_NOT_OURS = (
    "the request came over no connection of ours; if peers are refused like this, the server was not given"
    " mesh.server_context(http=True), or ignores it"
)


def _peer(connection: ServersEnd) -> Peer | None:
    try:
        return peer_of(connection)
    # It was ended, which is on record.
    except (NoPeer, PeerRejected):
        return None


async def _refuse(kind: str, send: Send, challenge: str | None) -> None:
    if kind == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        return
    status, headers = HTTPStatus.FORBIDDEN.value, list(_HEADERS)
    if challenge is not None:
        status = HTTPStatus.UNAUTHORIZED.value
        headers.append((b"www-authenticate", challenge.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})

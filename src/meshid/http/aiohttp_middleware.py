"""`aiohttp_middleware`: only verified peers reach an aiohttp application, and each request is judged.

::

    app = web.Application(middlewares=[aiohttp_middleware(mesh)])
    web.run_app(app, ssl_context=mesh.server_context(http=True))
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshid.errors import NoPeer, PeerRejected
from meshid.http.judging import RequestJudge
from meshid.mesh import Mesh
from meshid.tls.connection_of import JUDGED_PEER, connection_of
from meshid.tls.peer_of import peer_of
from meshid.tokens.authorization import challenge_for
from meshid.verification.verifier import Peer

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler, Middleware


_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


def aiohttp_middleware(mesh: Mesh, *, target: str | None = None, public: Iterable[str] = ()) -> Middleware:
    """Return a middleware of aiohttp's server, which judges each request, and answers 403 to what is refused.

    A handler finds the `Peer` at ``request["meshid.peer"]``. A WebSocket is judged before it is accepted. A
    request that came over no connection of ours is refused. The refused peer learns no reason; the audit
    event has it. Bearer tokens are judged as by `ASGIMiddleware`.

    It is the first one of the application's middlewares, as one before it could change the path; an
    ``expect_handler`` of a route runs before all of them.

    Args:
        mesh: Decides. Its ``server_context(http=True)`` must be the server's.
        target: What peers reach; the mesh's service if None.
        public: The requests that need no peer, as in a policy's http conditions: ``["GET /healthz"]``.
            A peer that is there must still be allowed to be there.

    Raises:
        InvalidPattern: If one of *public* is no such condition, or makes every path public.
        TypeError: If an argument has the wrong type.
        ValueError: If there is no target.
        ImportError: If aiohttp is not installed.
    """
    from aiohttp import web  # noqa: PLC0415 - whoever calls this has it

    judge = RequestJudge(mesh, target=target, public=public)

    @web.middleware
    async def judged(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = _peer(request)
        # Of an absolute URL, aiohttp routes the path alone. It decodes a little less than others do.
        path = request.rel_url.raw_path
        routed = _routed(path) if _ENCODED_SLASH.search(path) else request.rel_url.path
        decision, peer = judge.judge(
            peer, request.method, path, routed=routed, authorization=_authorization(request)
        )
        if not decision:
            if connection_of(request) is None:
                judge.warn(decision.reason, _NOT_OURS)
            # A cache in between would give the refusal of one peer to another.
            headers, status = {"Cache-Control": "no-store"}, 403
            if (challenge := challenge_for(decision.reason)) is not None:
                headers["WWW-Authenticate"], status = challenge, 401
            return web.Response(status=status, text="forbidden\n", headers=headers)
        if peer is not None:
            # Not as an item: aiohttp 3.14 warns of keys that are strings.
            request._state[JUDGED_PEER] = peer  # noqa: SLF001 - the same in all versions of aiohttp 3
        return await handler(request)

    return judged


_NOT_OURS = (
    "the request came over no connection of ours; if peers are refused like this, the server was not given"
    " ssl_context=mesh.server_context(http=True), or ignores it, as gunicorn's worker of aiohttp does"
)


def _authorization(request: web.Request) -> str | None:
    return ", ".join(request.headers.getall("Authorization", ())) or None


def _routed(path: str) -> str:
    """Return what a path is to aiohttp: decoded, but for each "/" in a segment."""
    from yarl import URL  # noqa: PLC0415 - aiohttp has it

    parts = _ENCODED_SLASH.split(path)
    return "%2F".join(URL.build(path=part, encoded=True).path for part in parts)


def _peer(request: web.Request) -> Peer | None:
    try:
        return peer_of(request)
    # It was ended, which is on record.
    except (NoPeer, PeerRejected):
        return None

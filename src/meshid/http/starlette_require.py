"""`require`, a dependency of FastAPI, and for handlers of Starlette: may the peer reach this target, too?

::

    @app.post("/v1/refunds")
    async def refund(peer: Annotated[Peer, Depends(require("refunds"))]): ...

It needs `meshid.http.ASGIMiddleware` around the application, which has found the peer and the request.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cache
from http import HTTPStatus
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection

from meshid.admission.question import Question
from meshid.errors import NoPeer
from meshid.tls.connection_of import JUDGE, JUDGED_PEER
from meshid.verification.verifier import Peer

Required: TypeAlias = Callable[[HTTPConnection], Coroutine[Any, Any, Peer]]
"""Returns the peer of a request or a WebSocket.

Raises starlette's `HTTPException` with status 403, or `WebSocketException` with code 1008, if there is
none or it may not; and `NoPeer` without the middleware.
"""

_POLICY_VIOLATION = 1008
"""RFC 6455 section 7.4.1."""


def require(target: str, /) -> Required:
    """Return a dependency that returns the `Peer` if it may reach *target* with this request, on record.

    For one target it is always the same object, so that a test can name it in FastAPI's
    ``app.dependency_overrides``. A handler of Starlette calls it: ``await require("refunds")(request)``.

    The parentheses cannot be forgotten: of ``Depends(require)``, FastAPI would make a query parameter, and
    let in whoever names a target. It cannot pass one that is positional only, so it answers nobody.

    Args:
        target: What the peer must be allowed to reach.

    Raises:
        TypeError: If *target* is no str.
    """
    return _required(Question(target=target).required_target)


@cache
def _required(target: str) -> Required:
    async def peer_that_may(connection: HTTPConnection) -> Peer:
        scope = connection.scope
        if JUDGE not in scope:
            msg = "no request was judged here: put meshid.http.ASGIMiddleware around the application"
            raise NoPeer(msg)
        peer: Peer | None = scope.get(JUDGED_PEER)
        if peer is not None and scope[JUDGE](target):
            return peer
        if scope["type"] == "websocket":
            raise WebSocketException(_POLICY_VIOLATION)
        raise HTTPException(HTTPStatus.FORBIDDEN)

    return peer_that_may

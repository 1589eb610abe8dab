"""The WSGI middleware (PEP 3333): every request is judged before the application sees it.

The rules of this module:

- The connection is found from the environ, which belongs to one request. A `ContextVar` or a
  thread-local could name another connection's peer: threads are pooled.
- What is judged is what the application routes. A server has decoded the path, and no two decode
  alike; so what it made of it is encoded again, and decoded exactly once by the policy.
- A server that gives no way to its connection, that ignored our context or that speaks plain HTTP
  has no peer of ours, and so is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote as percent_encoded

from meshid.errors import InvalidRequest
from meshid.http.judging import RequestJudge
from meshid.http.routing_habits import RoutingHabits
from meshid.policy.requests import MAX_PATH_LENGTH
from meshid.reasons import Reason
from meshid.support.callables import takes
from meshid.support.quoting import quote
from meshid.tls.connection_of import JUDGE, JUDGED_CONNECTION, JUDGED_PEER, connection_of
from meshid.tokens.authorization import challenge_for

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from meshid.mesh import Mesh

_PATH_CHARACTERS = "/:@!$&'()*+,;="
"""What a path has as it is, beside letters, digits, ``-._~`` (RFC 3986 section 3.3)."""

_BODY = b"forbidden\n"
_HEADERS = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(_BODY))),
    # A cache in between would give the refusal of one peer to another.
    ("Cache-Control", "no-store"),
)


class WSGIMiddleware:
    """A WSGI application that lets another one see only requests that the policy allows.

    The peer is in ``environ["meshid.peer"]``. Any other request gets 403, and its audit event the reason:
    there is no connection of a `MeshContext`, its peer may no longer be there, the policy does not allow
    the request, or servers read it differently. Bearer tokens are judged as by `ASGIMiddleware`.

    It must be the outermost application: what changes the method or the path between it and the
    application (a method override, say) changes what was judged.

    Args:
        app: The application.
        mesh: Decides.
        target: What peers reach through it; the mesh's service if None.
        public: What needs no peer, as in the ``http`` conditions of a policy: ``"GET /healthz"``. If
            there is a peer, it is in the environ there, too.

    Raises:
        InvalidPattern: If one of *public* cannot be read, or makes every path public.
        TypeError: If an argument has another type, as an ASGI application has.
        ValueError: If there is no target, or if a FastAPI with a ``root_path`` is in the application.
    """

    def __init__(
        self, app: WSGIApplication, mesh: Mesh, *, target: str | None = None, public: Iterable[str] = ()
    ) -> None:
        if not callable(app):
            msg = f"app must be a WSGI application, not {type(app).__name__}"
            raise TypeError(msg)
        if takes(app, 3) and not takes(app, 2):
            msg = (
                "app takes three arguments, as an ASGI application does, and this is for WSGI: "
                "use meshid.http.ASGIMiddleware"
            )
            raise TypeError(msg)
        self._app = app
        self._habits = RoutingHabits(app)
        self._judge = RequestJudge(mesh, target=target, public=public)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Judge one request, and pass it on or answer 403."""
        connection = connection_of(environ)
        peer = None if connection is None else connection.peer
        method = environ.get("REQUEST_METHOD", "")
        try:
            path = path_of(environ)
        except InvalidRequest as error:
            self._judge.refuse(str(error))
            return _refused(method, start_response, None)
        # What SCRIPT_NAME leaves is routed, and a slash alone is nothing that could be dropped.
        routed = path.rstrip("/") if self._habits.drops_last_slash(environ["PATH_INFO"]) else None
        authorization = environ.get("HTTP_AUTHORIZATION")
        decision, peer = self._judge.judge(
            peer, method, path, routed=routed, authorization=authorization, is_sent=False
        )
        if not decision:
            if connection is None:
                self._judge.warn(Reason.NO_CERTIFICATE, _why_not_found(environ))
            return _refused(method, start_response, challenge_for(decision.reason))
        # A middleware around this one may have written its own.
        environ.pop(JUDGED_PEER, None)
        if peer is not None:
            # Servers whose listener was wrapped as a whole know of no TLS.
            environ |= {JUDGED_PEER: peer, JUDGED_CONNECTION: connection, "wsgi.url_scheme": "https"}
        environ[JUDGE] = partial(self._judge.judge_at, peer, method, path, is_sent=False)
        return self._app(environ, start_response)


def path_of(environ: WSGIEnvironment) -> str:
    """Return the path that the application routes, percent-encoded.

    Args:
        environ: The environ of a request: ``SCRIPT_NAME`` and ``PATH_INFO`` are text of octets (PEP 3333).

    Raises:
        InvalidRequest: If they are not, if ``PATH_INFO`` does not begin with a slash, or if the client has
            chosen where it begins.
    """
    if "HTTP_SCRIPT_NAME" in environ:
        msg = (
            "a header SCRIPT_NAME: gunicorn lets a client on its host, or on a Unix socket, choose how much"
            " of its path is not routed (to ignore it: forwarder_headers = '' in gunicorn.conf.py)"
        )
        raise InvalidRequest(msg)
    script, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
    if not path.startswith("/"):
        msg = f"PATH_INFO is {quote(path)}, and must begin with '/'"
        raise InvalidRequest(msg)
    try:
        # One more than the policy reads is refused as well, and costs no more.
        octets = (script + path)[: MAX_PATH_LENGTH + 1].encode("latin-1")
    except UnicodeEncodeError as error:
        msg = f"PATH_INFO is {quote(path)}, which is not text of octets (PEP 3333)"
        raise InvalidRequest(msg) from error
    return percent_encoded(octets, safe=_PATH_CHARACTERS)


def _why_not_found(environ: WSGIEnvironment) -> str:
    server = quote(str(environ.get("SERVER_SOFTWARE", "")))
    return (
        f"no connection of a MeshContext: the server {server} speaks plain HTTP, has ignored our context, or"
        " gives no way to its connections"
    )


def _refused(method: str, start_response: StartResponse, challenge: str | None) -> list[bytes]:
    if challenge is None:
        start_response("403 Forbidden", list(_HEADERS))
    else:
        start_response("401 Unauthorized", [*_HEADERS, ("WWW-Authenticate", challenge)])
    return [] if method == "HEAD" else [_BODY]

"""The peer at the other end of a connection."""

from __future__ import annotations

import ssl
from typing import cast

from meshid.errors import NoPeer
from meshid.tls.admitted_connection import AdmittedConnection
from meshid.tls.connection_of import JUDGE, HasPeer, connection_of, judged_over, packages_of, surroundings_of
from meshid.verification.verifier import Peer


def peer_of(connection: object) -> Peer:
    """Return the admitted peer at the other end of a connection, or behind a request.

    The path and the dates are those of the last decision, not of the handshake.

    Args:
        connection: A TLS connection of a `MeshContext` (an `ssl.SSLSocket` or `ssl.SSLObject`); or
            what a framework or a library has made of it: a transport or stream of asyncio, trio, anyio or
            Tornado, a request, a WebSocket, a handler, an ASGI scope or a WSGI environ, a client's response
            whose body is still to be read. For a request that `meshid.http.ASGIMiddleware` or
            `meshid.http.WSGIMiddleware` has judged, it is the peer that was judged, with its token.

    Raises:
        NoPeer: If that leads to no connection of a `MeshContext`, or to more than one, or if the handshake
            is not over. The text says what to hand over.
        PeerRejected: If the peer was refused, or may no longer be there.
    """
    admitted = connection
    if not issubclass(type(connection), AdmittedConnection):
        try:
            # First, as it is the most frequent one, and quick.
            admitted = connection.get_extra_info("ssl_object")  # type: ignore[attr-defined]
        # Code of others, of which nothing is known.
        except Exception:  # noqa: BLE001
            admitted = None
        if issubclass(type(admitted), AdmittedConnection):
            admitted = judged_over(cast("HasPeer", admitted), connection)
        else:
            admitted = connection_of(connection)
    if admitted is None:
        raise NoPeer(_what_is_wrong(connection))
    return _peer_of(cast("HasPeer", admitted))


def _peer_of(admitted: HasPeer) -> Peer:
    # Read first: another thread may end it at this moment, and then it has none.
    peer = admitted.peer
    admitted.raise_if_ended()
    if peer is None:
        msg = "the handshake is not over"
        raise NoPeer(msg)
    return peer


def _what_is_wrong(thing: object) -> str:
    kind = type(thing).__name__
    # Not `isinstance`, which asks the object as well.
    if issubclass(type(thing), (ssl.SSLObject, ssl.SSLSocket)):
        return f"{kind} is not a connection of a MeshContext, but of another context: {_CONTEXTS}"
    for around in [cast("dict[str, object]", thing), *surroundings_of(thing)]:
        if not issubclass(type(around), dict):
            continue
        # Not as it may have it: a subclass is code of others.
        keys = set(dict.keys(around))
        if JUDGE in keys:
            return f"{kind} is a request without a peer: a public route does not need one"
        if middleware := next((each for known, each in _MIDDLEWARE if known <= keys), None):
            return (
                f"{kind} has no verified peer: put meshid.http.{middleware} around the application"
                " (a test client has no peer: docs/testing.md)"
            )
    if "grpc" in packages_of(thing):
        return (
            f"{kind} has no verified peer here: give the server a meshid.grpc.PeerInterceptor, and ask in the"
            " call itself, not in a thread of its own"
        )
    if {"urllib3", "requests", "aiohttp", "http"} & packages_of(thing):
        return f"{kind} leads to no connection of a MeshContext: {_RESPONSES}"
    return f"{kind} is not a connection of a MeshContext: {_OTHERS}"


_CONTEXTS = "make it with Mesh.server_context() or Mesh.client_context()"

_MIDDLEWARE = (
    ({"wsgi.version"}, "WSGIMiddleware"),
    ({"asgi"}, "ASGIMiddleware"),
    ({"type", "path", "headers"}, "ASGIMiddleware"),  # of Starlette's `TestClient`, which leaves "asgi" out
)
"""By the keys that such a request has (PEP 3333, and ASGI's specification of the scope)."""

_RESPONSES = (
    f"{_CONTEXTS}; and ask for the peer of a response before its body is read, as its connection is given "
    "back then (stream=True in requests, preload_content=False in urllib3)"
)

_OTHERS = (
    "hand over the StreamWriter, transport, stream or socket that TLS runs on, the request of a framework, "
    f"or a client's response before its body is read; {_CONTEXTS}"
)

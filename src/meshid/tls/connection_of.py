"""The connection behind what a framework or a library hands to its user.

No framework has a way to the TLS connection that all others have, too. So a few attributes are followed:
those that many use for it, and for the packages below some that are theirs alone. Nothing is imported: a
package is known by the name of the module in which a class, or one of its bases, was defined.

The rules of this module:

- What is read of an object is code of others. It may raise, as the request of Flask does outside one, and
  it may lead on for ever, as a mock does. Nothing that it raises leaves this module, and the way has an end.
- Nothing that reads from the network or from a body is touched.
- A TLS object ends the way: what is below it, such as the TLS connection to a proxy, is another connection.
- Who leads to two connections leads to none. A guess here would be somebody else's name.
"""

from __future__ import annotations

import ssl
import sys
from collections import deque
from collections.abc import Callable
from operator import attrgetter
from types import BuiltinMethodType, MethodType
from typing import Any, Protocol, TypeAlias, cast

import attrs

from meshid.tls.admitted_connection import AdmittedConnection
from meshid.verification.verifier import Peer

MAX_OBJECTS = 64
"""Objects that are looked at; a real way has ten."""

JUDGED_PEER = "meshid.peer"
"""Where our middleware puts the peer of a request: in the ASGI scope, or the WSGI environ."""

JUDGED_CONNECTION = "meshid.connection"
"""Where our middleware puts the connection of that peer, if it has one."""

JUDGE = "meshid.judge"
"""Where our middleware puts what judges requests."""

_KEYS = (
    "gunicorn.socket",
    "gunicorn.sock",  # of its gevent_pywsgi worker
    "werkzeug.socket",
    "waitress.client_disconnected",  # a method of the channel, which has the socket
    "wsgi.input",
    "network_stream",  # in the extensions of httpx and httpcore
)
"""Keys of a WSGI environ, and of other dictionaries, that lead to a connection."""

_REQUESTS = ("scope", "environ", "META")
"""Attributes of a framework's request: all else that it has may read the body."""

_ANYWHERE = ("transport", "socket", "connection")

_IN_PACKAGES = {
    "_io": ("raw",),
    "_pyio": ("raw",),
    "asyncio": ("_transport",),
    "asyncpg": ("_transport",),
    "cheroot": ("rfile",),
    "django": ("_read",),
    "gevent": ("rfile", "_sock"),
    "grpclib": ("peer", "_stream", "_transport"),
    "http": ("sock", "fp"),
    "httpcore": ("extensions",),
    "httpx": ("extensions",),
    "paho": ("_sock",),
    "redis": ("_sock", "_writer"),
    "requests": ("raw",),
    "smtplib": ("sock",),
    "socket": ("_sock",),
    "socketserver": ("request",),
    "tornado": ("request", "stream", "ws_connection"),
    "urllib3": ("_fp",),
    "werkzeug": ("_stream",),
    "wsgiref": ("input",),
}
"""Attributes that lead to a connection in objects of one package, many of them private: the rows of the
table of frameworks are tests of them."""


class HasPeer(Protocol):
    """A connection that has a peer while the peer may be there."""

    @property
    def peer(self) -> Peer | None:
        """Who is at the other end; None before the end of the handshake and after that of the connection."""

    def raise_if_ended(self) -> None:
        """Raise the refusal, if there is one."""


@attrs.frozen
class _JudgedRequest:
    """A request whose peer has no connection of ours, as behind a proxy."""

    peer: Peer

    def raise_if_ended(self) -> None:
        """Do nothing: each request is judged for itself."""


@attrs.frozen
class _RequestWithToken:
    """A request whose peer has a token: its connection has the same peer without one."""

    _judged: Peer
    _connection: HasPeer

    @property
    def peer(self) -> Peer | None:
        return None if self._connection.peer is None else self._judged

    def raise_if_ended(self) -> None:
        self._connection.raise_if_ended()


Finder: TypeAlias = Callable[[object], HasPeer | None]

_FINDERS: dict[str, Finder] = {}


def find_in(package: str, finder: Finder) -> None:
    """Have *finder* asked for the connection behind the objects of a package.

    For an edge with connections that are not of the `ssl` module: its module calls this when it is imported.
    Until then there are no connections of its.

    Args:
        package: The package that defines the class of such an object (``"OpenSSL"``).
        finder: Returns the connection; None if it is not one of ours. It may raise.
    """
    _FINDERS[package] = finder


def connection_of(thing: object) -> HasPeer | None:
    """Return the connection behind *thing*; None if there is none, or more than one. It raises nothing.

    For a request that our middleware has judged, that is the connection that it was judged by.
    """
    seen: dict[int, object] = {}
    found: dict[int, HasPeer | None] = {}
    ahead = deque([thing])
    while ahead and len(seen) < MAX_OBJECTS:
        here = ahead.popleft()
        if id(here) in seen:
            continue
        seen[id(here)] = here
        if (judged := _judged(here)) is not None:
            return judged
        if _is(here, AdmittedConnection):
            found[id(here)] = cast("AdmittedConnection", here)
        elif _is(here, ssl.SSLObject, ssl.SSLSocket):
            found[id(here)] = None
        elif (finder := _finder_for(here)) is not None:
            by_finder = cast("HasPeer | None", _attempt(finder, here))
            found[id(by_finder)] = by_finder
        else:
            ahead.extend(each for each in _onwards(here) if each is not None)
    # A way without an end may lead to one more.
    return next(iter(found.values())) if len(found) == 1 and not ahead else None


def _is(here: object, *kinds: type) -> bool:
    # Not `isinstance`, which asks the object as well.
    return issubclass(type(here), kinds)


def _judged(here: object) -> HasPeer | None:
    if not _is(here, dict):
        return None
    # Not `here.get`, which may be code of others.
    peer = dict.get(cast("dict[str, object]", here), JUDGED_PEER)
    if type(peer) is not Peer:
        return None
    connection = dict.get(cast("dict[str, object]", here), JUDGED_CONNECTION)
    return _JudgedRequest(peer) if connection is None else _for(peer, cast("HasPeer", connection))


def _for(judged: Peer, connection: HasPeer) -> HasPeer:
    return connection if judged.token is None else _RequestWithToken(judged, connection)


def judged_over(connection: HasPeer, request: object) -> HasPeer:
    """Return the *connection* of a *request*, with the peer that our middleware for aiohttp has judged."""
    state = _attribute(request, "_state")
    peer = dict.get(cast("dict[str, object]", state), JUDGED_PEER) if _is(state, dict) else None
    return _for(peer, connection) if type(peer) is Peer else connection


def surroundings_of(request: object) -> list[dict[str, object]]:
    """Return the ASGI scope, or the WSGI environ, of a framework's request; none if it is no request."""
    of_it = [_attribute(request, name) for name in _REQUESTS]
    return [cast("dict[str, object]", each) for each in of_it if _is(each, dict)]


def _finder_for(here: object) -> Finder | None:
    return next((_FINDERS[each] for each in packages_of(here) if each in _FINDERS), None)


def _onwards(here: object) -> list[object]:
    if _is(here, dict):
        known = cast("dict[str, object]", here)
        return [dict.get(known, key) for key in _KEYS]
    if _is(here, MethodType, BuiltinMethodType):
        return [cast("MethodType", here).__self__]
    if requests := surroundings_of(here):
        return list(requests)
    packages = packages_of(here)
    for ask in (_ask_for_extra_info, *(_TLS[each] for each in packages if each in _TLS)):
        if (tls := _attempt(ask, here)) is not None:
            return [tls]
    names = {*_ANYWHERE, *(name for each in packages for name in _IN_PACKAGES.get(each, ()))}
    return [_attribute(here, name) for name in names]


def _ask_for_extra_info(here: Any) -> object:  # noqa: ANN401 - any object
    return here.get_extra_info("ssl_object")


def _ask_anyio(here: Any) -> object:  # noqa: ANN401
    return here.extra(sys.modules["anyio.streams.tls"].TLSAttribute.ssl_object, None)  # noqa: S610 - not Django's


_TLS: dict[str, Callable[[Any], object]] = {
    "_ssl": attrgetter("owner"),  # what httpcore calls the TLS object
    "anyio": _ask_anyio,
    "trio": attrgetter("_ssl_object"),
    "urllib3": attrgetter("sslobj"),
}
"""The TLS object of a stream, in the objects of one package: it may stand above another one."""


def packages_of(here: object) -> set[str]:
    """Return the packages that define the class of an object, and its bases."""
    return {str(_attribute(each, "__module__")).partition(".")[0] for each in type(here).__mro__}


def _attribute(here: object, name: str) -> object:
    return _attempt(getattr, here, name)


def _attempt(ask: Callable[..., object], *args: object) -> object:
    # Code of others, of which nothing is known.
    try:
        return ask(*args)
    except Exception:  # noqa: BLE001
        return None

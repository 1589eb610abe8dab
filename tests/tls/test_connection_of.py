"""The way from what frameworks and libraries hand out to the connection, with their own classes."""

from __future__ import annotations

import contextlib
import io
import socketserver
import ssl
import wsgiref.validate
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast
from unittest import mock

import aiosmtpd.smtp
import asyncpg
import cheroot.makefile
import cheroot.server
import django.core.handlers.asgi
import django.core.handlers.wsgi
import flask
import gevent.pywsgi
import grpclib.protocol
import grpclib.server
import litestar
import pytest
import quart
import starlette.requests
import starlette.websockets
import tornado.http1connection
import tornado.httputil
import tornado.iostream
import tornado.web
import tornado.websocket
import waitress.channel
import werkzeug
import werkzeug.wsgi

import tests.helpers.django_site  # noqa: F401 - Django's settings, which a process has once
from meshid import Decision, NoPeer, PeerRejected, Reason, peer_of
from meshid.testing import CA
from meshid.tls.admitted_connection import AdmittedConnection
from meshid.tls.connection_of import MAX_OBJECTS, connection_of, find_in
from meshid.tls.connections import MeshSSLSocket
from tests.helpers.tls_peers import PATH, Memory, arriving, mesh_of, stranger

NAME = f"spiffe://prod.example.org{PATH}"
REFUSAL = PeerRejected(Decision(allowed=False, reason=Reason.REVOKED))


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA("prod.example.org")


@pytest.fixture(scope="module")
def tls(ca: CA) -> Iterator[MeshSSLSocket]:
    """The server's end of a connection."""
    context = mesh_of(ca).server_context()
    with (
        arriving(stranger(ca.issue(PATH))) as (plain, _),
        context.wrap_socket(plain, server_side=True) as admitted,
    ):
        yield cast("MeshSSLSocket", admitted)


def another(ca: CA) -> ssl.SSLObject:
    both = Memory(mesh_of(ca).server_context(), stranger(ca.issue("/ns/shop/sa/other")))
    both.shake_hands()
    return both.server


def foreign() -> ssl.SSLObject:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x")


# -- WSGI ---------------------------------------------------------------------


def environ(**more: object) -> dict[str, Any]:
    """Return a request's environ (PEP 3333)."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "443",
        **more,
    }


def of_waitress(tls: MeshSSLSocket) -> object:
    channel = mock.Mock(spec_set=["socket"], socket=tls)
    return waitress.channel.HTTPChannel.check_client_disconnected.__get__(channel)


@contextlib.contextmanager
def environs(tls: MeshSSLSocket) -> Iterator[dict[str, dict[str, object]]]:
    """Yield what tells the connection in the environ of each server."""
    with tls.makefile("rb") as reader, cheroot.makefile.StreamReader(tls, "rb") as of_cheroot:
        sized = cheroot.server.SizeCheckWrapper(of_cheroot, 3)
        yield {
            "gunicorn": {"gunicorn.socket": tls},
            "werkzeug": {"werkzeug.socket": tls},
            "waitress": {"waitress.client_disconnected": of_waitress(tls)},
            "wsgiref": {"wsgi.input": reader},
            "wsgiref, validated": {"wsgi.input": wsgiref.validate.InputWrapper(reader)},
            "django": {"wsgi.input": django.core.handlers.wsgi.LimitedStream(reader, 3)},
            "werkzeug, limited": {"wsgi.input": werkzeug.wsgi.LimitedStream(reader, 3)},
            "cheroot": {"wsgi.input": cheroot.server.KnownLengthRFile(sized, 3)},
            "gevent": {"wsgi.input": gevent.pywsgi.Input(reader, 3)},
        }


def test_a_wsgi_environ_has_the_peer(tls: MeshSSLSocket) -> None:
    with environs(tls) as each:
        found = {server: connection_of(environ(**more)) for server, more in each.items()}
    assert found == dict.fromkeys(found, tls)


# -- Handlers and streams, whose servers are in the table of frameworks ---------


class Transport:
    """A transport of asyncio's kind."""

    def __init__(self, tls: object) -> None:
        self._tls = tls

    def get_extra_info(self, name: str) -> object:
        return {"ssl_object": self._tls}.get(name)


def made(kind: type, **attributes: object) -> object:
    """Return an object of *kind* that has these attributes, and was not set up."""
    thing: object = object.__new__(kind)
    for name, value in attributes.items():
        setattr(thing, name, value)
    return thing


def of_tornado(tls: MeshSSLSocket) -> object:
    stream = made(tornado.iostream.SSLIOStream, socket=tls)
    connection = made(tornado.http1connection.HTTP1Connection, stream=stream)
    request = made(tornado.httputil.HTTPServerRequest, connection=connection)
    return made(tornado.web.RequestHandler, request=request)


HANDED_OUT: dict[str, Callable[[MeshSSLSocket], object]] = {
    "the TLS object of a socket": lambda tls: tls._sslobj,  # type: ignore[attr-defined]  # noqa: SLF001 - as httpcore has it
    "a handler of socketserver": lambda tls: made(socketserver.StreamRequestHandler, request=tls),
    "a handler of Tornado": of_tornado,
    "a WebSocket of Tornado": lambda tls: made(
        tornado.websocket.WebSocketHandler,
        ws_connection=made(
            tornado.websocket.WebSocketProtocol13, stream=made(tornado.iostream.SSLIOStream, socket=tls)
        ),
    ),
    "a peer of grpclib": lambda tls: grpclib.protocol.Peer(cast("Any", Transport(tls))),
    "a stream of grpclib": lambda tls: made(
        grpclib.server.Stream, peer=grpclib.protocol.Peer(cast("Any", Transport(tls)))
    ),
    "a connection of asyncpg": lambda tls: made(asyncpg.Connection, _transport=Transport(tls), _aborted=True),
    "a server of aiosmtpd": lambda tls: made(aiosmtpd.smtp.SMTP, transport=Transport(tls)),
}


@pytest.mark.parametrize("handed_out", HANDED_OUT.values(), ids=HANDED_OUT)
def test_what_a_library_hands_out_has_the_peer(
    handed_out: Callable[[MeshSSLSocket], object], tls: MeshSSLSocket
) -> None:
    assert connection_of(handed_out(tls)) is tls


# -- What our middleware has judged -------------------------------------------


class TestAJudgedRequest:
    def test_has_the_peer_that_was_judged_and_no_other(self, ca: CA, tls: MeshSSLSocket) -> None:
        judged = peer_of(another(ca))
        assert peer_of(environ(**{"meshid.peer": judged, "gunicorn.socket": tls})) is judged
        assert peer_of({"type": "http", "meshid.peer": judged}) is judged

    def test_has_none_once_its_connection_has_ended(self, ca: CA) -> None:
        connection = another(ca)
        scope = {"meshid.peer": peer_of(connection), "meshid.connection": connection}
        assert peer_of(scope) is scope["meshid.peer"]
        cast("AdmittedConnection", connection).end(REFUSAL)
        with pytest.raises(PeerRejected):
            peer_of(scope)

    def test_has_none_because_somebody_says_so(self) -> None:
        with pytest.raises(NoPeer):
            peer_of({"type": "http", "meshid.peer": "spiffe://prod.example.org/ns/shop/sa/web"})

    def test_on_a_public_route_may_have_none(self) -> None:
        with pytest.raises(NoPeer, match="dict is a request without a peer"):
            peer_of({"type": "http", "asgi": {}, "meshid.judge": object()})


def scope(**more: object) -> dict[str, Any]:
    """Return a request's scope (ASGI 3.0)."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
        **more,
    }


def of_flask(around: dict[str, Any]) -> object:
    context = flask.Flask("shop").request_context(around)
    # Its own proxy works in the context alone.
    return context.request


def of_quart(around: Any) -> object:  # noqa: ANN401 - of the right type
    nothing: Any = {}
    send = mock.AsyncMock()
    return quart.Request("GET", "https", "/", b"", nothing, "", "1.1", around, send_push_promise=send)


REQUESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a scope": lambda more: scope(**more),
    "starlette": lambda more: starlette.requests.Request(scope(**more)),
    "a websocket of starlette": lambda more: starlette.websockets.WebSocket(
        scope(**more | {"type": "websocket"}), mock.AsyncMock(), mock.AsyncMock()
    ),
    "litestar": lambda more: litestar.Request[Any, Any, Any](cast("Any", scope(**more))),
    "quart": lambda more: quart.Request(
        "GET",
        "https",
        "/",
        b"",
        cast("Any", {}),
        "",
        "1.1",
        cast("Any", scope(**more)),
        send_push_promise=mock.Mock(),
    ),
    "django, asgi": lambda more: django.core.handlers.asgi.ASGIRequest(scope(**more), io.BytesIO()),
    "an environ": lambda more: environ(**more),
    "flask": lambda more: of_flask(environ(**more)),
    "werkzeug": lambda more: werkzeug.Request(environ(**more)),
    "django, wsgi": lambda more: django.core.handlers.wsgi.WSGIRequest(environ(**more)),
}


class TestTheRequestOfAFramework:
    @pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)
    def test_has_the_peer_that_was_judged(
        self, request_of: Callable[[dict[str, Any]], object], tls: MeshSSLSocket
    ) -> None:
        judged = peer_of(tls)
        request = request_of({"meshid.peer": judged, "meshid.connection": tls})
        assert peer_of(request) is judged
        assert connection_of(request) is tls

    @pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)
    def test_says_which_middleware_is_missing(self, request_of: Callable[[dict[str, Any]], object]) -> None:
        with pytest.raises(NoPeer, match=r"put meshid\.http\.(ASGI|WSGI)Middleware around the application"):
            peer_of(request_of({}))

    def test_is_not_there_outside_of_it(self) -> None:
        with pytest.raises(NoPeer, match="LocalProxy is not a connection"):
            peer_of(flask.request)


# -- No guess, no end, no harm --------------------------------------------------


class TestNoGuess:
    def test_who_leads_to_two_connections_leads_to_none(self, ca: CA, tls: MeshSSLSocket) -> None:
        class Relay:
            transport = tls
            connection = another(ca)

        with pytest.raises(NoPeer):
            peer_of(Relay())

    def test_nor_who_leads_to_one_of_another_context_too(self, tls: MeshSSLSocket) -> None:
        class Relay:
            transport = tls
            connection = foreign()

        with pytest.raises(NoPeer):
            peer_of(Relay())

    def test_tls_within_tls_is_not_the_tls_around_it(self, tls: MeshSSLSocket) -> None:
        class Stream:
            transport = tls

            def get_extra_info(self, _: str) -> object:
                return foreign()

        with pytest.raises(NoPeer):
            peer_of(Stream())

    def test_two_ways_to_one_connection_are_one(self, tls: MeshSSLSocket) -> None:
        class Handler:
            request = connection = socket = tls

        assert connection_of(Handler()) is tls


class Hostile:
    """Raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> object:
        msg = f"there is no {name} outside of a request"
        raise RuntimeError(msg)


class Endless:
    """Leads on for ever."""

    def __getattr__(self, name: str) -> object:
        return Endless()


class HostileDict(dict[str, object]):
    """Raises whatever is asked of it, and has a request in it."""

    def get(self, *_: object) -> NoReturn:
        """Raise."""
        msg = "get"
        raise RuntimeError(msg)

    __contains__ = __getitem__ = __iter__ = keys = get


@pytest.mark.parametrize("kind", [Hostile, HostileDict, Endless, mock.MagicMock])
def test_whatever_an_object_does_there_is_only_no_peer(kind: type) -> None:
    with pytest.raises(NoPeer):
        peer_of(kind())


def test_the_way_to_a_connection_has_an_end(tls: MeshSSLSocket) -> None:
    class Link:
        def __init__(self, transport: object) -> None:
            self.transport = transport

    def chain(links: int) -> object:
        thing: object = tls
        for _ in range(links):
            thing = Link(thing)
        return thing

    assert connection_of(chain(MAX_OBJECTS - 1)) is tls
    assert connection_of(chain(MAX_OBJECTS)) is None


def test_a_way_without_an_end_may_lead_to_a_second_connection(tls: MeshSSLSocket) -> None:
    class Relay:
        transport = tls
        connection = Endless()

    assert connection_of(Relay()) is None


def test_circles_are_no_way(tls: MeshSSLSocket) -> None:
    class Round:
        transport: object = None
        socket: object = None

    here = Round()
    here.transport, here.socket = here, tls
    assert connection_of(here) is tls


# -- What other edges bring ---------------------------------------------------


class TestFinders:
    @pytest.fixture(autouse=True)
    def finders(self) -> Iterator[None]:
        with mock.patch.dict("meshid.tls.connection_of._FINDERS"):
            yield

    def test_an_edge_tells_where_its_connections_are(self, tls: MeshSSLSocket) -> None:
        class Call:
            inner = tls

        Call.__module__ = "otherlib.calls"
        assert connection_of(Call()) is None
        find_in("otherlib", lambda call: cast("Any", call).inner)
        assert connection_of(Call()) is tls

    def test_its_answer_is_the_last_word(self, tls: MeshSSLSocket) -> None:
        class Call:
            socket = tls

        Call.__module__ = "otherlib.calls"
        find_in("otherlib", lambda _: None)
        assert connection_of(Call()) is None
        find_in("otherlib", mock.Mock(side_effect=ValueError))
        assert connection_of(Call()) is None

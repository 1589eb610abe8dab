"""The way from what frameworks and libraries hand out to the connection, with their own classes."""

from __future__ import annotations

import contextlib
import io
import ssl
import wsgiref.validate
from collections.abc import Iterator
from typing import Any, cast
from unittest import mock

import cheroot.makefile
import cheroot.server
import django.core.handlers.wsgi
import gevent.pywsgi
import pytest
import waitress.channel
import werkzeug.wsgi

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


@pytest.mark.parametrize("kind", [Hostile, Endless, mock.MagicMock])
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

"""Forwarded certificates under WSGI, which joins headers and makes two names one: on real servers."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flask
import pytest
from typing_extensions import override
from waitress.server import create_server
from werkzeug.serving import WSGIRequestHandler as WerkzeugHandler
from werkzeug.serving import make_server as werkzeug_server

from meshid import BundleSet, InvalidForwarded, Mesh, MeshidError, Policy
from meshid.http import Forwarded
from meshid.testing import CA
from tests.helpers.forwarding import PROXIES, Pairs, passed, written, xfcc

HOST = "127.0.0.1"
TIMEOUT = 10

ROOT = CA("prod.example.org")
INTERMEDIATE = ROOT.intermediate()
LEAF = INTERMEDIATE.issue("/ns/checkout/sa/api")
VICTIM = INTERMEDIATE.issue("/ns/admin/sa/api")
STRANGER = CA("dev.example.org").issue("/ns/checkout/sa/api")

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "checkout-charges"
from = ["/ns/checkout/**"]
to = ["payments"]
http = ["POST /v1/charges"]
"""

for_each_proxy = pytest.mark.parametrize("proxy", PROXIES)


# -- Servers --------------------------------------------------------------------------------------

Serving = Callable[[WSGIApplication], AbstractContextManager[int]]


@contextlib.contextmanager
def waitress(app: WSGIApplication) -> Iterator[int]:
    server = create_server(app, host=HOST, port=0, asyncore_loop_timeout=0.05)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.effective_port
    finally:
        # Its loop ends when there is nothing left to watch.
        server.trigger.pull_trigger(server._map.clear)  # noqa: SLF001
        thread.join(TIMEOUT)
        server.close()
        server.trigger.close()


class QuietWerkzeug(WerkzeugHandler):
    @override
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class Quiet(WSGIRequestHandler):
    @override
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def werkzeug(app: WSGIApplication) -> Iterator[int]:
    server = werkzeug_server(HOST, 0, app, request_handler=QuietWerkzeug)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join(TIMEOUT)
        server.server_close()


@contextlib.contextmanager
def wsgiref(app: WSGIApplication) -> Iterator[int]:
    with make_server(HOST, 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(TIMEOUT)


class Recording:
    """A server and the environ of each request that it got."""

    def __init__(self) -> None:
        self.environs: list[WSGIEnvironment] = []
        self.port = 0

    def app(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        self.environs.append(dict(environ))
        start_response("204 No Content", [])
        return []

    def environ(self, headers: Pairs) -> WSGIEnvironment:
        """Send a request with these headers, as they are, and return what arrived."""
        assert ask(self.port, b"GET /", headers) == 204
        return self.environs.pop()


def ask(port: int, line: bytes, headers: Pairs) -> int:
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    with socket.create_connection((HOST, port), TIMEOUT) as connection:
        connection.sendall(line + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + lines + b"\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.close()
        return answer.status


def running(serving: Serving) -> Iterator[Recording]:
    recording = Recording()
    with serving(recording.app) as port:
        recording.port = port
        yield recording


@pytest.fixture(scope="module", params=[waitress, werkzeug], ids=["waitress", "werkzeug"])
def server(request: pytest.FixtureRequest) -> Iterator[Recording]:
    yield from running(request.param)


@pytest.fixture(scope="module")
def reference_server() -> Iterator[Recording]:
    yield from running(wsgiref)


def underscored(headers: Pairs) -> Pairs:
    return [(name.replace(b"-", b"_"), value) for name, value in headers]


# -- An environ -----------------------------------------------------------------------------------


@for_each_proxy
def test_the_chain_is_found_in_an_environ(server: Recording, proxy: str) -> None:
    chain = LEAF.chain[:1] if proxy == "traefik" else LEAF.chain
    environ = server.environ(written(proxy, chain))
    assert Forwarded(proxy).chain(environ) == passed(proxy, chain)
    assert Forwarded(proxy).chain(server.environ([])) == ()


@for_each_proxy
def test_a_header_that_a_server_joined_is_refused(server: Recording, proxy: str) -> None:
    own, forged = written(proxy, LEAF.chain[:1]), written(proxy, VICTIM.chain[:1])
    for headers in (own + forged, forged + own):
        with pytest.raises(InvalidForwarded, match=rf"(?i)^header {own[0][0].decode()}\b"):
            Forwarded(proxy).chain(server.environ(headers))


@for_each_proxy
def test_a_name_with_underscores_is_not_the_header(server: Recording, proxy: str) -> None:
    forged = underscored(written(proxy, VICTIM.chain))
    own = written(proxy, LEAF.chain[:1])
    assert Forwarded(proxy).chain(server.environ(forged)) == ()
    assert Forwarded(proxy).chain(server.environ(forged + own + forged)) == LEAF.chain[:1]


def test_of_a_server_that_keeps_underscores_only_the_proxy_can_tell(reference_server: Recording) -> None:
    """So is the documentation; whether an environ had them nobody can see."""
    forged = reference_server.environ(underscored(written("nginx", VICTIM.chain)))
    assert Forwarded("nginx").chain(forged) == VICTIM.chain[:1]


@for_each_proxy
def test_nothing_is_joined_to_what_a_proxy_writes(reference_server: Recording, proxy: str) -> None:
    own, forged = written(proxy, LEAF.chain), underscored(written(proxy, VICTIM.chain))
    for headers in (own + forged, forged + own):
        with pytest.raises(InvalidForwarded, match="header "):
            Forwarded(proxy).chain(reference_server.environ(headers))


def test_elements_of_several_envoys_are_not_read_from_an_environ(server: Recording) -> None:
    forged, own = ((b"x-forwarded-client-cert", xfcc(each.chain).encode()) for each in (VICTIM, LEAF))
    joined = (forged[0], forged[1] + b"," + own[1])
    forwarded = Forwarded("envoy", elements=2)
    assert forwarded.chain([joined]) == VICTIM.chain
    for headers in ([joined], [forged, own]):
        with pytest.raises(InvalidForwarded, match="with which a WSGI server may have joined two of them"):
            forwarded.chain(server.environ(headers))


def test_only_headers_are_read_of_an_environ() -> None:
    environ = {
        "wsgi.version": (1, 0),
        "X_CLIENT_CERT_PEM": "a",
        "x-client-cert-pem": "a",
        "SSL_CLIENT_CERT": "a",
    }
    assert Forwarded("nginx").chain(environ) == ()  # type: ignore[arg-type]


# -- Flask ----------------------------------------------------------------------------------------


def guard(app: flask.Flask, mesh: Mesh, forwarded: Forwarded) -> None:
    """Judge each request to *app*: what a user of Flask writes."""

    @app.before_request
    def judge() -> None:
        environ = flask.request.environ
        try:
            # As it was sent: what is not ASCII, servers read differently.
            target = environ["REQUEST_URI"].encode("latin-1").decode("ascii")
            request = f"{environ['REQUEST_METHOD']} {target}"
            flask.g.peer = mesh.admit(forwarded.chain(environ), request=request)
        except (MeshidError, UnicodeError):
            flask.abort(403)


@pytest.fixture(scope="module", params=[waitress, werkzeug], ids=["waitress", "werkzeug"])
def site(request: pytest.FixtureRequest) -> Iterator[int]:
    policy = Policy.from_toml(POLICY, environment="prod")
    mesh = Mesh(bundles=BundleSet([ROOT.bundle()]), policy=policy, service="payments")
    app = flask.Flask("site")
    app.add_url_rule("/<path:_>", view_func=lambda _: str(flask.g.peer.spiffe_id), methods=["GET", "POST"])
    guard(app, mesh, Forwarded("nginx", intermediates=INTERMEDIATE.pem))
    with request.param(app) as port:
        yield port


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        pytest.param(b"POST /v1/charges", written("nginx", LEAF.chain), 200, id="allowed"),
        pytest.param(b"POST /v1/charges?a=b", written("nginx", LEAF.chain), 200, id="a query"),
        pytest.param(b"GET /v1/charges", written("nginx", LEAF.chain), 403, id="another method"),
        pytest.param(b"POST /v1/refunds", written("nginx", LEAF.chain), 403, id="another path"),
        pytest.param(b"POST /v1/%2fcharges", written("nginx", LEAF.chain), 403, id="an encoded slash"),
        pytest.param(b"POST /v1/charges", written("nginx", VICTIM.chain), 403, id="another peer"),
        pytest.param(b"POST /v1/charges", written("nginx", STRANGER.chain), 403, id="a stranger"),
        pytest.param(
            b"POST /v1/charges", written("caddy", LEAF.chain), 403, id="the header of another proxy"
        ),
        pytest.param(b"POST /v1/charges", written("nginx", LEAF.chain) * 2, 403, id="the header twice"),
        pytest.param(b"POST /v1/charges", underscored(written("nginx", LEAF.chain)), 403, id="underscores"),
        pytest.param(b"POST /v1/charges", [], 403, id="no certificate"),
    ],
)
def test_flask_serves_only_what_is_allowed(site: int, line: bytes, headers: Pairs, status: int) -> None:
    assert ask(site, line, headers) == status


def test_flask_serves_no_path_that_is_not_ascii(site: int) -> None:
    # waitress says 400.
    assert ask(site, b"POST /v1/charges\xe9", written("nginx", LEAF.chain)) in {400, 403}

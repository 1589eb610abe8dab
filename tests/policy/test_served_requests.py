"""What a framework runs is what was judged: real requests to Flask under `wsgiref`, over TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flask
import pytest

from meshid import Mesh, peer_of
from meshid.testing import CA, Issued
from tests.helpers.tls_peers import HOST, TIMEOUT, mesh_of, policy

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "shop"
from = ["/ns/shop/**"]
to = ["payments"]
http = ["* /**"{more}]
[[deny]]
id = "no-admin"
from = ["/**"]
to = ["**"]
http = ["POST /admin/**", "* /caf\u00e9/**"]
"""

Judge = Callable[[Mesh, WSGIEnvironment], bool]


def judge_nothing(*_: object) -> bool:
    return True


def judge(mesh: Mesh, environ: WSGIEnvironment) -> bool:
    request = f"{environ['REQUEST_METHOD']} {environ['test.target']}"
    return bool(mesh.check(peer_of(environ["test.connection"]), request=request))


class Handler(WSGIRequestHandler):
    def get_environ(self) -> WSGIEnvironment:
        # The target as `http.server` has it: its octets, decoded as Latin-1.
        return {**super().get_environ(), "test.connection": self.connection, "test.target": self.path}

    def log_message(self, *_: object) -> None:
        pass


class Server(WSGIServer):
    context: ssl.SSLContext

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        plain, address = super().get_request()
        plain.settimeout(TIMEOUT)
        return self.context.wrap_socket(plain, server_side=True), address


class Site:
    """A Flask application, and what it ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.app = flask.Flask("site")
        self.app.add_url_rule("/<path:path>", view_func=self._run, methods=["GET", "POST", "PURGE"])

    def _run(self, path: str) -> str:
        self.ran.append(f"{flask.request.method} /{path}")
        return ""


def judging(app: WSGIApplication, mesh: Mesh, judge: Judge) -> WSGIApplication:
    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        if judge(mesh, environ):
            yield from app(environ, start_response)
        else:
            start_response("403 Forbidden", [("Content-Length", "0")])

    return serve


@contextlib.contextmanager
def serving(app: WSGIApplication, context: ssl.SSLContext) -> Iterator[int]:
    with Server((HOST, 0), Handler) as server:
        server.context = context
        server.set_app(app)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(TIMEOUT)


def status_of(port: int, client: Issued, line: bytes) -> int:
    context = client.client_context()
    with (
        socket.create_connection((HOST, port), TIMEOUT) as plain,
        context.wrap_socket(plain) as tls,
        tls.makefile("rb") as answer,
    ):
        tls.sendall(line + b" HTTP/1.0\r\nHost: payments\r\n\r\n")
        return int(answer.readline().split()[1])


def sent(line: bytes, judge: Judge, more: str = "") -> tuple[int, list[str]]:
    """Return the status of the answer to one request, and what the application ran."""
    authority, site = CA("prod.example.org"), Site()
    mesh = mesh_of(authority, policy=policy(POLICY.replace("{more}", more)))
    app = judging(site.app, mesh, judge)
    with serving(app, mesh.server_context(http=True)) as port:
        return status_of(port, authority.issue("/ns/shop/sa/web"), line), site.ran


@pytest.mark.parametrize(
    ("line", "run"),
    [
        pytest.param(b"POST /admin/drop", "POST /admin/drop", id="as it is denied"),
        pytest.param(b"post /admin/drop", "POST /admin/drop", id="a method in lower case"),
        pytest.param(b"pOsT /admin/drop", "POST /admin/drop", id="a method in both cases"),
        pytest.param("GET /café/bill".encode(), "GET /café/bill", id="octets above 0x7F"),
        pytest.param(b"GET /caf%C3%A9/bill", "GET /café/bill", id="percent-encoded"),
        pytest.param(b"PURGE /menu", "PURGE /menu", id="a method that nobody registered"),
    ],
)
def test_what_is_denied_is_not_run_however_it_is_spelled(line: bytes, run: str) -> None:
    assert sent(line, judge) == (403, [])
    # Left to itself, the framework runs it.
    assert sent(line, judge_nothing) == (200, [run])


@pytest.mark.parametrize("line", [b"GET /admin/list", b"GET /caf%C3%A8/bill", b"POST /orders"])
def test_what_is_allowed_is_run(line: bytes) -> None:
    status, ran = sent(line, judge)
    assert (status, len(ran)) == (200, 1)


def test_a_method_that_a_rule_names_is_run() -> None:
    assert sent(b"PURGE /menu", judge, more=', "PURGE /menu"') == (200, ["PURGE /menu"])

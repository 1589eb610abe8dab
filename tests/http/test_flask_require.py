"""`require` in Flask, behind the middleware and without it."""

from __future__ import annotations

from collections.abc import Iterator

import flask
import pytest

from meshid import NoPeer, peer_of
from meshid.http import WSGIMiddleware
from meshid.http.flask_require import require
from meshid.testing import CA
from tests.helpers.proxy_scene import Line
from tests.helpers.tls_peers import mesh_of, policy, stranger
from tests.helpers.wsgi_servers import werkzeug

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "all"
from = ["/ns/shop/**"]
to = ["payments"]
[[allow]]
id = "refunds"
from = ["/ns/shop/sa/desk"]
to = ["refunds"]
http = ["POST /v1/refunds/*", "GET /v1/slow/refunds", "GET /v1/*/café"]
"""

WEB, DESK = "/ns/shop/sa/web", "/ns/shop/sa/desk"
NAME = f"spiffe://prod.example.org{DESK}"

app = flask.Flask(__name__)


@app.post("/v1/refunds/<number>")
@require("refunds")
def refund(number: str) -> str:
    return f"{number} {peer_of(flask.request).spiffe_id}"


@app.get("/v1/slow/refunds")
@require("refunds")
async def slowly() -> str:
    return str(peer_of(flask.request).spiffe_id)


@app.get("/healthz")
@require("payments")
def healthz() -> str:
    raise AssertionError


blueprint = flask.Blueprint("office", __name__, url_prefix="/v1/office")
blueprint.before_request(require("refunds")(lambda: None))


@blueprint.get("/<name>")
def office(name: str) -> str:
    return name


app.register_blueprint(blueprint)


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA("prod.example.org")


@pytest.fixture(scope="module")
def port(ca: CA) -> Iterator[int]:
    mesh = mesh_of(ca, policy=policy(POLICY))
    with werkzeug(WSGIMiddleware(app, mesh, public=["GET /healthz"]), mesh.server_context()) as port:
        yield port


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/v1/refunds/7", f"7 {NAME}"),
        ("GET", "/v1/slow/refunds", NAME),
        ("GET", "/v1/office/caf%C3%A9", "café"),
    ],
    ids=["a view", "a coroutine", "a blueprint"],
)
def test_a_view_is_for_those_who_may_reach_its_target(
    port: int, ca: CA, method: str, path: str, said: str
) -> None:
    with Line(port, stranger(ca.issue(DESK))) as line:
        answer = line.ask(method, path)
        assert (answer.status, answer.body.decode()) == (200, said)
    with Line(port, stranger(ca.issue(WEB))) as line:
        answer = line.ask(method, path)
        assert answer.status == 403
        assert b"<title>403 Forbidden</title>" in answer.body


def test_a_public_request_without_a_peer_has_none_to_ask_about(ca: CA) -> None:
    mesh = mesh_of(ca, policy=policy(POLICY))
    with werkzeug(WSGIMiddleware(app, mesh, public=["GET /healthz"]), None) as port, Line(port, None) as line:
        assert line.ask("GET", "/healthz").status == 403


def test_without_the_middleware_no_view_is_called() -> None:
    app.testing = True
    with pytest.raises(NoPeer, match=r"put meshid\.http\.WSGIMiddleware"):
        app.test_client().post("/v1/refunds/7")


def test_a_mistake_is_said_when_it_is_made() -> None:
    with pytest.raises(TypeError, match="target"):
        require(7)  # type: ignore[arg-type]

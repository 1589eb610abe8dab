"""`require` in Django, under WSGI and ASGI, behind the middleware and without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.test import RequestFactory

from meshid import Mesh, NoPeer
from meshid.http import ASGIMiddleware, WSGIMiddleware
from meshid.http.django_require import require
from meshid.testing import CA
from tests.helpers.asgi_servers import SERVERS
from tests.helpers.django_site import refund
from tests.helpers.proxy_scene import Line
from tests.helpers.tls_peers import mesh_of, policy, stranger
from tests.helpers.wsgi_servers import django
from tests.http.test_flask_require import DESK, NAME, POLICY, WEB


def under_wsgi(mesh: Mesh) -> AbstractContextManager[int]:
    return django(WSGIMiddleware(get_wsgi_application(), mesh), mesh.server_context())


def under_asgi(mesh: Mesh) -> AbstractContextManager[int]:
    return SERVERS["uvicorn, h11"](ASGIMiddleware(get_asgi_application(), mesh), mesh.server_context())


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA("prod.example.org")


@pytest.fixture(scope="module", params=[under_wsgi, under_asgi], ids=["wsgi", "asgi"])
def port(request: pytest.FixtureRequest, ca: CA) -> Iterator[int]:
    serve: Callable[[Mesh], AbstractContextManager[int]] = request.param
    with serve(mesh_of(ca, policy=policy(POLICY))) as port:
        yield port


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/v1/refunds/7", f"7 {NAME}"),
        ("GET", "/v1/slow/refunds", NAME),
        ("GET", "/v1/office/caf%C3%A9", "café"),
    ],
    ids=["a view", "a coroutine", "a class"],
)
def test_a_view_is_for_those_who_may_reach_its_target(
    port: int, ca: CA, method: str, path: str, said: str
) -> None:
    with Line(port, stranger(ca.issue(DESK))) as line:
        answer = line.ask(method, path, [("Content-Length", "0")])
        assert (answer.status, answer.body.decode()) == (200, said)
    with Line(port, stranger(ca.issue(WEB))) as line:
        answer = line.ask(method, path, [("Content-Length", "0")])
        assert answer.status == 403
        assert b"<title>403 Forbidden</title>" in answer.body


def test_without_the_middleware_no_view_is_called() -> None:
    with pytest.raises(NoPeer, match=r"put meshid\.http\.WSGIMiddleware"):
        refund(RequestFactory().post("/v1/refunds/7"), number="7")


def test_a_mistake_is_said_when_it_is_made() -> None:
    with pytest.raises(TypeError, match="target"):
        require(7)  # type: ignore[arg-type]

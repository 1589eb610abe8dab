from __future__ import annotations

import contextlib
import http.client
import ssl
from wsgiref.simple_server import demo_app

import pytest

from meshid.http import ASGIMiddleware
from meshid.http.asgi import Receive, Scope, Send
from meshid.testing import CA, serving
from tests.helpers.tls_peers import PATH, TIMEOUT, mesh_of


class Application:
    """Says who asks, and what it went through."""

    def __init__(self, *, starts: bool = True) -> None:
        self.starts = starts
        self.lived: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for each in ("startup", "shutdown"):
                await receive()
                self.lived.append(each)
                how = "complete" if self.starts else "failed"
                await send({"type": f"lifespan.{each}.{how}"})
            return
        body = f"hello {scope['meshid.peer'].spiffe_id.path}".encode()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})


def asked(url: str, path: str, context: ssl.SSLContext) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection(url.removeprefix("https://"), timeout=TIMEOUT, context=context)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_an_application_is_served_as_in_production(prod_ca: CA) -> None:
    mesh, application = mesh_of(prod_ca), Application()
    with serving(ASGIMiddleware(application, mesh), mesh.server_context(http=True)) as url:
        assert application.lived == ["startup"]
        shop = prod_ca.issue(PATH).client_context()
        assert asked(url, "/charges", shop) == (200, f"hello {PATH}".encode())
        support = prod_ca.issue("/ns/support/sa/desk").client_context()
        assert asked(url, "/refunds", support)[0] == 403
        with pytest.raises((ssl.SSLError, ConnectionError)):
            asked(url, "/charges", CA("prod.example.org").issue(PATH).client_context())
    assert application.lived == ["startup", "shutdown"]


def test_one_that_does_not_start_is_a_failed_test(prod_ca: CA) -> None:
    mesh = mesh_of(prod_ca)
    app = ASGIMiddleware(Application(starts=False), mesh)
    with pytest.raises(RuntimeError, match="does not start"), serving(app, mesh.server_context(http=True)):
        pass


def test_what_it_cannot_serve_is_a_mistake_of_the_call(prod_ca: CA) -> None:
    mesh = mesh_of(prod_ca)
    with (
        pytest.raises(TypeError, match="as a WSGI application does, and this serves ASGI"),
        serving(
            demo_app,  # type: ignore[arg-type]
            mesh.server_context(),
        ),
    ):
        raise AssertionError
    with (
        pytest.raises(TypeError, match=r"context must be a context, such as .*, not Mesh"),
        serving(
            ASGIMiddleware(Application(), mesh),
            mesh,  # type: ignore[arg-type]
        ),
    ):
        raise AssertionError

"""Frameworks that route another path than they were given, behind the middleware."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock
from wsgiref.types import WSGIApplication

import pytest
from asgiref.wsgi import WsgiToAsgi
from fastapi import FastAPI
from flask import Blueprint, Flask
from litestar import Litestar, get
from litestar.params import FromPath
from quart import Quart
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from meshid import Mesh
from meshid.http import ASGIMiddleware, WSGIMiddleware
from meshid.http.asgi import AnyApp, Message
from meshid.http.routing_habits import RoutingHabits
from meshid.testing import CA, Issued
from tests.helpers.asgi_servers import Talk, under_uvicorn
from tests.helpers.tls_peers import Memory, stranger
from tests.helpers.wsgi_servers import werkzeug

DESK = "/ns/support/sa/desk"
"""May ask for ``GET /charges/*`` alone, and so not for all charges."""


@get("/charges")
async def all_charges() -> str:
    return "all"


@get("/charges/{number:str}")
async def charge(number: FromPath[str]) -> str:
    return number


def ask(app: AnyApp, path: str, root: str = "") -> tuple[int, bytes]:
    """Ask as a server does, in the call that has read the connection which was made last."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": root,
        "query_string": b"",
        "headers": [(b"host", b"payments")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "extensions": {},
        "state": {},
    }
    # asyncio.run() copies the context.
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]  # an Awaitable is enough for a server
    return sent[0]["status"], sent[1]["body"]


@pytest.fixture
def desk(mesh: Mesh, prod_ca: CA) -> Memory:
    both = Memory(mesh.server_context(http=True), stranger(prod_ca.issue(DESK)))
    both.shake_hands()
    return both


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_litestar_does_not_give_all_charges_to_who_may_read_one(mesh: Mesh, *, is_wrapped: bool) -> None:
    litestar: AnyApp = Litestar([all_charges, charge], openapi_config=None, logging_config=None)
    assert ask(litestar, "/charges/") == (200, b"all")  # as it routes without the middleware
    app = ASGIMiddleware(GZipMiddleware(litestar) if is_wrapped else litestar, mesh)
    assert ask(app, "/charges/7") == (200, b"7")
    for path in ("/charges", "/charges/", "/charges/7/", "/"):
        assert ask(app, path) == (403, b"forbidden\n"), path


@pytest.mark.usefixtures("desk")
def test_a_root_path_of_fastapi_is_given_to_the_server(mesh: Mesh) -> None:
    app = FastAPI()
    app.root_path = "/api"  # its argument is deprecated, and works
    app.get("/charges/{number}")(lambda number: number)
    with pytest.raises(ValueError, match=r"FastAPI\(root_path='/api'\) routes two paths as one"):
        ASGIMiddleware(GZipMiddleware(app), mesh)
    # Within it, there is one path for each route.
    app.add_middleware(ASGIMiddleware, mesh=mesh)
    assert ask(app, "/charges/7") == (403, b"forbidden\n")
    assert ask(app, "/api/charges/7") == (403, b"forbidden\n")


@pytest.mark.usefixtures("desk")
def test_so_is_that_of_a_fastapi_which_is_mounted(mesh: Mesh) -> None:
    inner = FastAPI()
    inner.root_path = "/api"
    inner.get("/charges/{number}")(lambda number: number)
    app = Starlette(routes=[Mount("/other", Starlette()), Mount("/", GZipMiddleware(inner))])
    assert ask(app, "/charges/7") == ask(app, "/api/charges/7") == (200, b'"7"')
    with pytest.raises(ValueError, match=r"FastAPI\(root_path='/api'\) routes two paths as one"):
        ASGIMiddleware(app, mesh)
    with pytest.raises(ValueError, match=r"FastAPI\(root_path='/api'\) routes two paths as one"):
        RoutingHabits(Starlette(routes=[Mount("/v1", routes=[Mount("/v2", app)])]))


def every() -> str:
    return "all"


def one(number: str) -> str:
    return number


def flask() -> Flask:
    app = Flask("payments")
    app.get("/charges")(every)
    app.get("/charges/<number>")(one)
    return app


def statuses(app: WSGIApplication, mesh: Mesh, who: Issued, *paths: bytes) -> list[int]:
    found: list[int] = []
    with werkzeug(app, mesh.server_context(http=True)) as port:
        for path in paths:
            # It closes each connection.
            with Talk(port, who) as talk:
                found.append(talk.ask(path)[0])
    return found


def map_is_lax(app: Flask | Quart) -> None:
    app.url_map.strict_slashes = False


def nothing_yet(_: Flask | Quart) -> None:
    """Only a route that is added later is lax."""


@pytest.mark.parametrize("prepare", [map_is_lax, nothing_yet])
@pytest.mark.parametrize("is_bound", [False, True])
def test_flask_does_not_give_all_charges_to_who_may_read_one(
    mesh: Mesh, prod_ca: CA, prepare: Callable[[Flask | Quart], None], *, is_bound: bool
) -> None:
    app = Flask("payments")
    prepare(app)
    behind = WSGIMiddleware(app.wsgi_app if is_bound else app, mesh)
    mounted = RoutingHabits(DispatcherMiddleware(Flask("front"), {"/v1": app}))
    assert not mounted.drops_last_slash("/v1/charges/")
    blueprint = Blueprint("charges", "charges", url_prefix="/charges")
    blueprint.get("", strict_slashes=None if prepare is map_is_lax else False)(every)
    blueprint.get("/<number>")(one)
    app.register_blueprint(blueprint)
    assert mounted.drops_last_slash("/v1/charges/")
    assert app.test_client().get("/charges/").text == "all"  # as it routes without the middleware
    paths = (b"/charges", b"/charges/", b"/charges//", b"/charges/7/", b"/charges/7")
    assert statuses(behind, mesh, prod_ca.issue(DESK), *paths) == [403, 403, 403, 403, 200]


@pytest.mark.parametrize("is_lax", [False, True])
def test_nothing_else_of_flask_is_refused(mesh: Mesh, prod_ca: CA, *, is_lax: bool) -> None:
    # Its slash belongs there.
    app = Flask("payments")
    app.get("/charges/", strict_slashes=not is_lax)(every)
    app.get("/charges/<number>")(one)
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, mesh)  # type: ignore[method-assign]
    paths = (b"/charges/7", b"/charges/", b"/charges/7/", b"/charges")
    assert statuses(app, mesh, prod_ca.issue(DESK), *paths) == [200, 200, 403, 403]


@pytest.mark.parametrize("is_bound", [False, True])
def test_quart_does_not_give_all_charges_to_who_may_read_one(
    mesh: Mesh, prod_ca: CA, *, is_bound: bool
) -> None:
    quart = Quart("payments")
    app = ASGIMiddleware(quart.asgi_app if is_bound else quart, mesh)

    map_is_lax(quart)
    quart.get("/charges")(every)
    quart.get("/charges/<number>")(one)
    serving = under_uvicorn(http="h11", loop="asyncio", lifespan="off")
    with serving(app, mesh.server_context(http=True)) as port, Talk(port, prod_ca.issue(DESK)) as talk:
        assert talk.ask(b"/charges/7") == (200, b"7")
        assert [talk.ask(path)[0] for path in (b"/charges", b"/charges/", b"/charges//")] == [403] * 3


@pytest.mark.usefixtures("desk")
def test_flask_behind_a_bridge_is_seen(mesh: Mesh) -> None:
    app = Flask("payments")
    map_is_lax(app)
    app.get("/charges")(every)
    bridge: AnyApp = WsgiToAsgi(app)  # type: ignore[no-untyped-call]  # it has no types
    assert ask(bridge, "/charges/") == (200, b"all")
    assert ask(ASGIMiddleware(bridge, mesh), "/charges/") == (403, b"forbidden\n")


def test_other_applications_route_what_they_are_given() -> None:
    class WrapsItself:
        @property
        def app(self) -> object:
            return self

    around_itself = Starlette()
    around_itself.routes.extend([Mount("/one", around_itself), Mount("/two", around_itself)])
    for app in (FastAPI(), around_itself, print, WrapsItself(), Mock(), flask(), Blueprint("x", "x")):
        habits = RoutingHabits(app)
        assert not habits.drops_last_slash("/charges/")
    assert not RoutingHabits(Litestar([], logging_config=None)).drops_last_slash("/")

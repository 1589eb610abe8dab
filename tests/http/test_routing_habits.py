"""Frameworks that route another path than they were given, behind the middleware."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from litestar import Litestar, get
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware

from meshid import Mesh
from meshid.http import ASGIMiddleware
from meshid.http.asgi import AnyApp, Message
from meshid.http.routing_habits import check_root_path, drops_last_slash
from meshid.testing import CA
from tests.helpers.tls_peers import Memory, stranger

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


def test_other_applications_route_what_they_are_given() -> None:
    class WrapsItself:
        @property
        def app(self) -> object:
            return self

    for app in (FastAPI(), Starlette(), print, WrapsItself()):
        check_root_path(app)
        assert not drops_last_slash(app)

"""`require` in FastAPI and Starlette, behind the middleware and without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from meshid import NoPeer, Peer, peer_of
from meshid.http import ASGIMiddleware
from meshid.http.starlette_require import require
from meshid.testing import CA
from tests.helpers.asgi_servers import SERVERS, Talk
from tests.helpers.tls_peers import HOST, TIMEOUT, mesh_of, policy, stranger

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
http = ["POST /v1/refunds", "GET /v1/ws", "GET /mounted/refunds"]
"""

EMPTY = b"Content-Length: 0\r\n"

app = FastAPI()


@app.post("/v1/refunds")
async def refund(peer: Annotated[Peer, Depends(require("refunds"))]) -> dict[str, str]:
    return {"peer": str(peer.spiffe_id)}


@app.get("/healthz", dependencies=[Depends(require("payments"))])
async def healthz() -> None: ...


@app.websocket("/v1/ws")
async def talk(websocket: WebSocket, peer: Annotated[Peer, Depends(require("refunds"))]) -> None:
    await websocket.accept()
    await websocket.send_text(str(peer.spiffe_id))
    await websocket.close()


async def mounted(request: Request) -> JSONResponse:
    peer = await require("refunds")(request)
    return JSONResponse({"peer": str(peer.spiffe_id)})


app.mount("/mounted", Starlette(routes=[Route("/refunds", mounted)]))


@pytest.fixture(scope="module")
def authority() -> CA:
    return CA("prod.example.org")


@pytest.fixture(scope="module")
def port(authority: CA) -> Iterator[int]:
    mesh = mesh_of(authority, policy=policy(POLICY))
    wrapped = ASGIMiddleware(app, mesh, public=["GET /healthz"])
    with SERVERS["uvicorn, h11"](wrapped, mesh.server_context(http=True)) as port:
        yield port


def test_a_peer_that_may_reach_the_target_as_well_is_returned(port: int, authority: CA) -> None:
    for account, status in (("desk", 200), ("web", 403)):
        with Talk(port, authority.issue(f"/ns/shop/sa/{account}")) as peer:
            for method, path in ((b"POST", b"/v1/refunds"), (b"GET", b"/mounted/refunds")):
                got, body = peer.ask(path, method=method, headers=EMPTY)
                assert got == status
                name = f"spiffe://prod.example.org/ns/shop/sa/{account}"
                assert (name in body.decode()) == (status == 200)


def test_a_websocket_is_closed_before_it_is_accepted(port: int, authority: CA) -> None:
    url = f"wss://{HOST}:{port}/v1/ws"
    with connect(url, ssl=stranger(authority.issue("/ns/shop/sa/desk")), open_timeout=TIMEOUT) as talk:
        assert talk.recv(TIMEOUT) == "spiffe://prod.example.org/ns/shop/sa/desk"
    with pytest.raises(InvalidStatus) as refused:
        connect(url, ssl=stranger(authority.issue("/ns/shop/sa/web")), open_timeout=TIMEOUT)
    assert refused.value.response.status_code == 403


def test_a_public_request_without_a_peer_is_refused(authority: CA) -> None:
    wrapped = ASGIMiddleware(app, mesh_of(authority), public=["GET /healthz"])
    with SERVERS["uvicorn, h11"](wrapped, None) as port, Talk(port, None, tls=False) as somebody:
        assert somebody.ask(b"/healthz")[0] == 403


def test_without_the_middleware_nobody_is_let_in() -> None:
    with pytest.raises(NoPeer, match=r"put meshid\.http\.ASGIMiddleware around"):
        asyncio.run(require("refunds")(HTTPConnection({"type": "http"})))
    with SERVERS["uvicorn, h11"](app, None) as port, Talk(port, None, tls=False) as somebody:
        assert somebody.ask(b"/v1/refunds", method=b"POST", headers=EMPTY)[0] == 500


def test_a_dependency_whose_parentheses_are_forgotten_lets_nobody_in() -> None:
    forgetful = FastAPI()

    @forgetful.get("/refunds")
    def refunds(_: Annotated[object, Depends(require)]) -> str:
        return "refunded"

    async def ask(query: str) -> int:
        transport = httpx.ASGITransport(forgetful, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get(f"/refunds{query}")).status_code

    for query in ("", "?target=refunds", "?target=payments"):
        assert asyncio.run(ask(query)) in {422, 500}


def test_a_request_of_a_test_client_is_told_of_the_middleware() -> None:
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": []})
    with pytest.raises(NoPeer, match=r"put meshid\.http\.ASGIMiddleware .* \(a test client has no peer"):
        peer_of(request)


def test_a_test_can_replace_it_by_its_target() -> None:
    async def anybody() -> Any:  # noqa: ANN401 - a Peer has no public constructor
        return SomePeer()

    app.dependency_overrides[require("refunds")] = anybody
    try:
        with SERVERS["uvicorn, h11"](app, None) as port, Talk(port, None, tls=False) as somebody:
            status, body = somebody.ask(b"/v1/refunds", method=b"POST", headers=EMPTY)
            assert (status, body) == (200, b'{"peer":"somebody"}')
    finally:
        app.dependency_overrides.clear()


class SomePeer:
    spiffe_id = "somebody"


def test_the_target_must_be_a_text() -> None:
    with pytest.raises(TypeError, match="target must be a str"):
        require(7)  # type: ignore[arg-type]

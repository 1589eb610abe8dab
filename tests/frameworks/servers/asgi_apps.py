"""The application in the idiom of each framework for ASGI."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.frameworks.application import LINES, PAUSE, asgi_app, noted


async def lines() -> AsyncIterator[bytes]:
    """Yield the lines of the stream."""
    for number in range(LINES):
        yield b"line %d\n" % number
        await asyncio.sleep(PAUSE)


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def charge(request: Request) -> JSONResponse:
        path = f"/v1/charges/{request.path_params['id']}"
        return JSONResponse({"peer": noted("GET", path, request.scope["meshid.peer"]), "path": path})

    async def post(request: Request) -> JSONResponse:
        body = await request.body()
        return JSONResponse(
            {"peer": noted("POST", "/v1/charges", request.scope["meshid.peer"]), "length": len(body)}
        )

    async def stream(request: Request) -> StreamingResponse:
        noted("GET", "/v1/stream", request.scope["meshid.peer"])
        return StreamingResponse(lines())

    return Starlette(
        routes=[
            Route("/v1/charges/{id:path}", charge),
            Route("/v1/charges", post, methods=["POST"]),
            Route("/v1/stream", stream),
        ]
    )


def fastapi() -> Any:
    from fastapi import FastAPI, Request
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    @app.get("/v1/charges/{number:path}")
    async def charge(number: str, request: Request) -> dict[str, str]:
        path = f"/v1/charges/{number}"
        return {"peer": noted("GET", path, request.scope["meshid.peer"]), "path": path}

    @app.post("/v1/charges")
    async def post(request: Request) -> dict[str, Any]:
        body = await request.body()
        return {"peer": noted("POST", "/v1/charges", request.scope["meshid.peer"]), "length": len(body)}

    @app.get("/v1/stream")
    async def stream(request: Request) -> StreamingResponse:
        noted("GET", "/v1/stream", request.scope["meshid.peer"])
        return StreamingResponse(lines())

    return app


def litestar() -> Any:
    from litestar import Litestar, Request, get, post
    from litestar.response import Stream

    @get("/v1/charges/{number:path}")
    async def charge(number: str, request: Request[Any, Any, Any]) -> dict[str, str]:
        path = f"/v1/charges{number}"
        return {"peer": noted("GET", path, request.scope["meshid.peer"]), "path": path}  # type: ignore[typeddict-item]

    @post("/v1/charges", status_code=200)
    async def posted(request: Request[Any, Any, Any]) -> dict[str, Any]:
        body = await request.body()
        return {"peer": noted("POST", "/v1/charges", request.scope["meshid.peer"]), "length": len(body)}  # type: ignore[typeddict-item]

    @get("/v1/stream")
    async def stream(request: Request[Any, Any, Any]) -> Stream:
        noted("GET", "/v1/stream", request.scope["meshid.peer"])  # type: ignore[typeddict-item]
        return Stream(lines())

    return Litestar([charge, posted, stream])


def quart() -> Any:
    from quart import Quart, Response, request

    app = Quart(__name__)

    @app.get("/v1/charges/<path:number>")
    async def charge(number: str) -> dict[str, str]:
        path = f"/v1/charges/{number}"
        return {"peer": noted("GET", path, request.scope["meshid.peer"]), "path": path}  # type: ignore[typeddict-item]

    @app.post("/v1/charges")
    async def post() -> dict[str, Any]:
        body = await request.get_data()
        return {"peer": noted("POST", "/v1/charges", request.scope["meshid.peer"]), "length": len(body)}  # type: ignore[typeddict-item]

    @app.get("/v1/stream")
    async def stream() -> Response:
        noted("GET", "/v1/stream", request.scope["meshid.peer"])  # type: ignore[typeddict-item]
        return Response(lines())

    return app


APPLICATIONS: dict[str, Callable[[], Any]] = {
    "": lambda: asgi_app,
    "starlette": starlette,
    "fastapi": fastapi,
    "litestar": litestar,
    "quart": quart,
}


def application(name: str) -> Any:
    """Return an application by the name of its framework."""
    return APPLICATIONS[name]()

"""aiohttp's server, on asyncio."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from meshid.http import aiohttp_middleware
from tests.frameworks import scene
from tests.frameworks.application import LINES, PAUSE, charge, noted, posted

routes = web.RouteTableDef()


@routes.get("/v1/charges/{id}")
async def get_charge(request: web.Request) -> web.Response:
    path = f"/v1/charges/{request.match_info['id']}"
    return web.Response(body=charge(path, request["meshid.peer"]))


@routes.post("/v1/charges")
async def post_charge(request: web.Request) -> web.Response:
    body = await request.read()
    return web.Response(body=posted(request.path, request["meshid.peer"], len(body)))


@routes.get("/healthz")
async def healthz(request: web.Request) -> web.Response:
    return web.Response(body=charge(request.path, request.get("meshid.peer")))


@routes.get("/v1/stream")
async def get_stream(request: web.Request) -> web.StreamResponse:
    noted("GET", request.path, request["meshid.peer"])
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(LINES):
        await response.write(b"line %d\n" % number)
        await asyncio.sleep(PAUSE)
    return response


@routes.get("/v1/ws")
async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        name = noted("WS", request.path, request["meshid.peer"])
        await socket.send_str(json.dumps({"peer": name, "text": message.data}))
    return socket


def serve(loop: asyncio.AbstractEventLoop | None = None) -> None:
    mesh = scene.mesh()
    app = web.Application(middlewares=[aiohttp_middleware(mesh, public=["GET /healthz"])])
    app.add_routes(routes)
    port = scene.free_port()
    scene.listening(port)
    context = mesh.server_context(http=True)
    web.run_app(app, host="127.0.0.1", port=port, ssl_context=context, print=None, loop=loop)


if __name__ == "__main__":
    serve()

"""What gunicorn loads for aiohttp."""

from __future__ import annotations

from aiohttp import web

from meshid.http import aiohttp_middleware
from tests.frameworks import scene
from tests.frameworks.application import charge

mesh = scene.mesh()
context = mesh.server_context(http=True)


async def answer(request: web.Request) -> web.Response:
    return web.Response(body=charge(request.path, request["meshid.peer"]))


app = web.Application(middlewares=[aiohttp_middleware(mesh)])
app.router.add_get("/v1/charges/{id}", answer)

"""What the worker of aiohttp loads."""

from __future__ import annotations

from aiohttp import web

from meshid.http import aiohttp_middleware
from tests.frameworks import scene
from tests.frameworks.application import noted


async def answer(request: web.Request) -> web.Response:
    """Note that a request has come; none ever does."""
    return web.Response(text=noted(request.method, request.path, request.get("meshid.peer")))


mesh = scene.mesh()
context = mesh.server_context(http=True)
app = web.Application(middlewares=[aiohttp_middleware(mesh, public=["GET /healthz"])])
app.router.add_route("*", "/{path:.*}", answer)

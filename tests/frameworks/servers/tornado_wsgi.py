"""Tornado's WSGI container, which hides the connection."""

from __future__ import annotations

import asyncio

from tornado.httpserver import HTTPServer
from tornado.wsgi import WSGIContainer

from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import wsgi_app

mesh = scene.mesh()
context = mesh.server_context(http=True)
app = WSGIMiddleware(wsgi_app, mesh, public=["GET /healthz"])


async def main() -> None:
    """Serve for ever."""
    server = HTTPServer(WSGIContainer(app), ssl_options=context)
    port = scene.free_port()
    server.listen(port, "127.0.0.1")
    scene.listening(port)
    await asyncio.Event().wait()


asyncio.run(main())

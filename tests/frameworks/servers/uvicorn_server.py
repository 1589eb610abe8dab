"""uvicorn, with any of its loops and protocols, and any application for ASGI."""

from __future__ import annotations

import uvicorn

from meshid.http import ASGIMiddleware
from tests.frameworks import scene
from tests.frameworks.servers.asgi_apps import application

options = scene.options()
app = application(options.pop("app", ""))
mesh = scene.mesh()
context = mesh.server_context(http=True, alpn=options.pop("alpn", ()))
port = scene.free_port()
scene.listening(port)
uvicorn.run(ASGIMiddleware(app, mesh), port=port, ssl_context_factory=lambda *_: context, **options)

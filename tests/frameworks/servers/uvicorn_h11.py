"""uvicorn, with h11 and asyncio."""

from __future__ import annotations

import uvicorn

from meshid.http import ASGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import asgi_app

mesh = scene.mesh()
context = mesh.server_context(http=True)
port = scene.free_port()
scene.listening(port)
uvicorn.run(
    ASGIMiddleware(asgi_app, mesh),
    port=port,
    http="h11",
    loop="asyncio",
    ssl_context_factory=lambda *_: context,
)

"""uvicorn with several processes: each has a mesh of its own."""

from __future__ import annotations

import ssl

import uvicorn

from meshid.http import ASGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import asgi_app

mesh = scene.mesh()
app = ASGIMiddleware(asgi_app, mesh)


def context(*_: object) -> ssl.SSLContext:
    """Return the context of this process."""
    return mesh.server_context(http=True)


if __name__ == "__main__":
    port = scene.free_port()
    scene.listening(port)
    uvicorn.run(f"{__spec__.name}:app", port=port, workers=2, ssl_context_factory=context)

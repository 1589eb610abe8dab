"""What gunicorn's workers for ASGI load."""

from __future__ import annotations

from meshid.http import ASGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import asgi_app

mesh = scene.mesh()
context = mesh.server_context(http=True)
app = ASGIMiddleware(asgi_app, mesh, public=["GET /healthz"])

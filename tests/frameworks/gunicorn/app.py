"""What gunicorn loads: once in each worker, or once before them with ``--preload``."""

from __future__ import annotations

from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import wsgi_app

mesh = scene.mesh()
context = mesh.server_context(http=True, alpn=scene.options().get("alpn", ()))
app = WSGIMiddleware(wsgi_app, mesh, public=["GET /healthz"])

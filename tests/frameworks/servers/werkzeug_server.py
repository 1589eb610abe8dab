"""werkzeug's server."""

from __future__ import annotations

from werkzeug.serving import run_simple

from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import wsgi_app

mesh = scene.mesh()
context = mesh.server_context(http=True)
app = WSGIMiddleware(wsgi_app, mesh, public=["GET /healthz"])
port = scene.free_port()
scene.listening(port)
run_simple("127.0.0.1", port, app, ssl_context=context, threaded=True)

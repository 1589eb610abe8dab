"""wsgiref: the listener is wrapped as a whole."""

from __future__ import annotations

from wsgiref.simple_server import make_server

from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import wsgi_app

mesh = scene.mesh()
context = mesh.server_context(http=True)
app = WSGIMiddleware(wsgi_app, mesh, public=["GET /healthz"])
server = make_server("127.0.0.1", 0, app)
server.socket = context.wrap_socket(server.socket, server_side=True)
scene.listening(server.server_port)
server.serve_forever()

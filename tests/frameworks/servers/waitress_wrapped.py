"""waitress, which has no TLS of its own: its listener is wrapped as a whole."""

from __future__ import annotations

import socket

import waitress

from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import wsgi_app

mesh = scene.mesh()
context = mesh.server_context(http=True)
app = WSGIMiddleware(wsgi_app, mesh, public=["GET /healthz"])
listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
scene.listening(listener.getsockname()[1])
waitress.serve(app, sockets=[listener], threads=32, url_scheme="https")

"""gevent's own HTTP server, in a process that it has patched."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

from gevent.pywsgi import WSGIServer

from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import wsgi_app

mesh = scene.mesh()
context = mesh.server_context(http=True)
app = WSGIMiddleware(wsgi_app, mesh, public=["GET /healthz"])
server = WSGIServer(("127.0.0.1", 0), app, ssl_context=context)
server.start()
scene.listening(int(server.address[1]))
server.serve_forever()

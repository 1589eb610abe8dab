"""cheroot, the server of CherryPy: its listener is wrapped as a whole."""

from __future__ import annotations

from cheroot.wsgi import Server

from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import wsgi_app

mesh = scene.mesh()
context = mesh.server_context(http=True)
app = WSGIMiddleware(wsgi_app, mesh, public=["GET /healthz"])


class MeshServer(Server):
    def bind(self, *family):
        super().bind(*family)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        return self.socket


server = MeshServer(("127.0.0.1", 0), app, numthreads=32)
server.prepare()
scene.listening(server.bind_addr[1])
server.serve()

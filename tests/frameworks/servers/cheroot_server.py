"""cheroot, the server of CherryPy: its listener is wrapped as a whole."""

from __future__ import annotations

import socket
from typing import Any

from cheroot.wsgi import Server

from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import wsgi_app

mesh = scene.mesh()
context = mesh.server_context(http=True)
app = WSGIMiddleware(wsgi_app, mesh, public=["GET /healthz"])


class MeshServer(Server):
    """A server with a listener of ours."""

    def bind(self, *family: Any) -> socket.socket:
        """Wrap it as soon as it is there."""
        super().bind(*family)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        return self.socket


server = MeshServer(("127.0.0.1", 0), app, numthreads=32)
server.prepare()
scene.listening(server.bind_addr[1])
server.serve()

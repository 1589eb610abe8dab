"""`socketserver`, with a thread for each connection."""

from __future__ import annotations

import socketserver

from typing_extensions import override

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import answered

mesh = scene.mesh()


class Handler(socketserver.StreamRequestHandler):
    @override
    def handle(self) -> None:
        for line in self.rfile:
            for some in answered(mesh, peer_of(self.request), line):
                self.wfile.write(some)


server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
server.socket = mesh.server_context(http=True).wrap_socket(server.socket, server_side=True)
scene.listening(server.server_address[1])
server.serve_forever()

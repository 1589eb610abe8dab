"""`http.server`, with a thread for each connection: the listener is wrapped as a whole."""

from __future__ import annotations

from http.server import ThreadingHTTPServer

from tests.frameworks import scene
from tests.frameworks.servers.judging_handler import Handler, mesh

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = mesh.server_context(http=True).wrap_socket(server.socket, server_side=True)
scene.listening(server.server_port)
server.serve_forever()

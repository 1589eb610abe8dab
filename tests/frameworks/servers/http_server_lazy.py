"""`http.server`, with the handshake in the thread of its connection."""

from __future__ import annotations

import socket
import sys
from http.server import ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from tests.frameworks import scene
from tests.frameworks.servers.judging_handler import Handler, mesh

context = mesh.server_context(http=True)


class Server(ThreadingHTTPServer):
    @override
    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        # Refused, ended or gone: the mesh has recorded it.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


server = Server(("127.0.0.1", 0), Handler)
scene.listening(server.server_port)
server.serve_forever()

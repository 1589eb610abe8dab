"""`xmlrpc.server`, with a thread for each connection; a call is a POST to a path that the policy names."""

from __future__ import annotations

from socketserver import ThreadingMixIn
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from typing_extensions import override

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import noted

mesh = scene.mesh()


class Handler(SimpleXMLRPCRequestHandler):
    protocol_version = "HTTP/1.1"
    rpc_paths = ("/v1/charges",)

    @override
    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        self.peer = peer_of(self.connection)
        if not mesh.check(self.peer, request=f"{self.command} {self.path}"):
            self.send_error(403)
            return False
        return True

    def _dispatch(self, method: str, params: tuple[str, ...]) -> dict[str, str]:
        # The handler's own: a function that is registered with the server does not learn who calls.
        return {"peer": noted(method, params[0], self.peer), "path": params[0]}


class Server(ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler, logRequests=False)
server.socket = mesh.server_context(http=True).wrap_socket(server.socket, server_side=True)
scene.listening(server.server_address[1])
server.serve_forever()

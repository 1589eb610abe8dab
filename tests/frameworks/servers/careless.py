"""`http.server` with one mistake, which the battery must find; `MISTAKE` says which."""

from __future__ import annotations

import os
import socket
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from typing_extensions import override

from meshid import Peer, peer_of
from tests.frameworks import scene
from tests.frameworks.servers.judging_handler import Handler, mesh

MISTAKE = os.environ["MISTAKE"]


class Careless(Handler):
    latest: ClassVar[Any] = None

    @override
    def parse_request(self) -> bool:
        if not BaseHTTPRequestHandler.parse_request(self):
            return False
        self.peer: Peer = None if MISTAKE == "plain" else peer_of(self.connection)  # type: ignore[assignment]
        if MISTAKE == "confused":
            Careless.latest = self.peer
            time.sleep(0.001)
            self.peer = Careless.latest
        path = unquote(self.path) if MISTAKE == "decoded" else self.path
        if MISTAKE not in {"plain", "unjudged"} and not mesh.check(
            self.peer, request=f"{self.command} {path}"
        ):
            self.send_error(403)
            return False
        return True


class Server(ThreadingHTTPServer):
    kept: ClassVar[list[socket.socket]] = []

    @override
    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if MISTAKE == "leaking":
            self.kept.append(connection.dup())
            return context.wrap_socket(connection, True, do_handshake_on_connect=False), address
        return connection, address


def plain() -> ssl.SSLContext:
    """Return a context that asks nobody for a certificate, and keeps the one that it began with."""
    context, own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Path(os.environ["MESHID_CREDENTIALS"])
    context.load_cert_chain(own / "tls.crt", own / "tls.key")
    return context


context = plain() if MISTAKE == "plain" else mesh.server_context(http=True)
server = Server(("127.0.0.1", 0), Careless)
if MISTAKE != "leaking":
    server.socket = context.wrap_socket(server.socket, server_side=True)
scene.listening(server.server_port)
server.serve_forever()

"""The application for `http.server`, and the mesh that judges its requests."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

from typing_extensions import override

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import charge, noted, posted, stream

mesh = scene.mesh()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @override
    def parse_request(self) -> bool:
        # Each request, whatever its method, comes through here before its handler is looked for.
        if not super().parse_request():
            return False
        self.peer = peer_of(self.connection)
        if not mesh.check(self.peer, request=f"{self.command} {self.path}"):
            self.send_error(403)
            return False
        return True

    def do_GET(self) -> None:
        if self.path == "/v1/stream":
            noted("GET", self.path, self.peer)
            self.send_response(200)
            self.end_headers()
            for line in stream():
                self.wfile.write(line)
        else:
            self.answer(charge(unquote(self.path.partition("?")[0]), self.peer))

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.answer(posted(self.path, self.peer, len(self.rfile.read(length))))

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

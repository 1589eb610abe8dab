"""CherryPy, with its own server: its listener is wrapped as a whole."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import cherrypy
from cheroot.wsgi import Server

from meshid import peer_of
from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import charge, noted, posted, stream


class Charges:
    """The service."""

    @cherrypy.expose
    def index(self) -> bytes:
        """Answer with the length of the body."""
        body = cherrypy.request.body.read()
        return posted("/v1/charges", peer_of(cherrypy.request.wsgi_environ), len(body))

    @cherrypy.expose
    def default(self, number: str, **_: str) -> bytes:
        """Answer with the path, as it was routed."""
        return charge(f"/v1/charges/{number}", peer_of(cherrypy.request.wsgi_environ))


class Version1:
    """Where it is."""

    charges = Charges()

    @cherrypy.expose
    def stream(self) -> Iterator[bytes]:
        """Answer for long."""
        noted("GET", "/v1/stream", peer_of(cherrypy.request.wsgi_environ))
        return stream()


mesh = scene.mesh()
context = mesh.server_context(http=True)


class MeshServer(Server):
    """A server with a listener of ours."""

    def bind(self, *family: Any) -> socket.socket:
        """Wrap it as soon as it is there."""
        super().bind(*family)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        return self.socket


port = scene.free_port()
cherrypy.tree.mount(
    Version1(), "/v1", {"/": {"tools.trailing_slash.on": False}, "/stream": {"response.stream": True}}
)
app = WSGIMiddleware(cherrypy.tree, mesh)
cherrypy.server.httpserver = MeshServer(("127.0.0.1", port), app, numthreads=32)
cherrypy.server.bind_addr = ("127.0.0.1", port)
cherrypy.config.update({"engine.autoreload.on": False})
scene.listening(port)
cherrypy.engine.signals.subscribe()
cherrypy.engine.start()
cherrypy.engine.block()

"""Daphne, which makes its endpoints from strings, with an endpoint of Twisted's that has our context."""

from __future__ import annotations

from daphne.server import Server, reactor

from meshid.http import ASGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import asgi_app

mesh = scene.mesh()
context = mesh.openssl_context(server_side=True, http=True)
server = Server(ASGIMiddleware(asgi_app, mesh), endpoints=["none: listen() has it"])
server.endpoints = []


def listen() -> None:
    port = reactor.listenSSL(0, server.http_factory, context, interface="127.0.0.1")
    scene.listening(port.getHost().port)


reactor.callWhenRunning(listen)
server.run()

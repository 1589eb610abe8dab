"""Flask, with its own server."""

from __future__ import annotations

import flask

from meshid import peer_of
from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import charge, noted, posted, stream

app = flask.Flask(__name__)


@app.get("/v1/charges/<number>")
def read(number: str) -> bytes:
    """Answer with the path, as it was routed."""
    return charge(f"/v1/charges/{number}", peer_of(flask.request))


@app.post("/v1/charges")
def write() -> bytes:
    """Answer with the length of the body."""
    return posted(flask.request.path, peer_of(flask.request), len(flask.request.data))


@app.get("/v1/stream")
def lines() -> flask.Response:
    """Answer for long."""
    noted("GET", flask.request.path, peer_of(flask.request))
    return flask.Response(stream())


mesh = scene.mesh()
context = mesh.server_context(http=True)
app.wsgi_app = WSGIMiddleware(app.wsgi_app, mesh)  # type: ignore[method-assign]  # as Flask says
port = scene.free_port()
scene.listening(port)
app.run(port=port, ssl_context=context)

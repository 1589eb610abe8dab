"""The threaded server of websockets."""

from __future__ import annotations

import json

from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import noted

mesh = scene.mesh()


def judge(connection: ServerConnection, request: Request) -> Response | None:
    if mesh.check(peer_of(connection), request=f"GET {request.path}"):
        return None
    return connection.respond(403, "forbidden\n")


def echo(connection: ServerConnection) -> None:
    for text in connection:
        name = noted("WS", str(text), peer_of(connection))
        connection.send(json.dumps({"peer": name, "text": text}))


context = mesh.server_context(http=True)
with serve(echo, "127.0.0.1", 0, ssl=context, process_request=judge) as server:
    scene.listening(server.socket.getsockname()[1])
    server.serve_forever()

"""A thread for each connection, by hand."""

from __future__ import annotations

import socket
import threading

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import answered

mesh = scene.mesh()
context = mesh.server_context(http=True)


def serve(plain: socket.socket) -> None:
    # In the thread of the connection: who says nothing holds up nobody else.
    try:
        with context.wrap_socket(plain, server_side=True) as connection, connection.makefile("rb") as lines:
            for line in lines:
                for some in answered(mesh, peer_of(connection), line):
                    connection.sendall(some)
    except OSError:
        pass  # refused, ended or gone: the mesh has recorded it


with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
    scene.listening(listener.getsockname()[1])
    while True:
        plain, _ = listener.accept()
        threading.Thread(target=serve, args=(plain,), daemon=True).start()

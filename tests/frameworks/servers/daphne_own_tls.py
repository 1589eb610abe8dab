"""Daphne with TLS of its own, as its command line has it: whoever connects over that has no peer."""

from __future__ import annotations

import os

from daphne.server import Server

from meshid.http import ASGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import asgi_app

port, tls = scene.free_port(), os.environ["MESHID_CREDENTIALS"]
endpoint = f"ssl:port={port}:interface=127.0.0.1:privateKey={tls}/tls.key:certKey={tls}/tls.crt"
scene.listening(port)
Server(ASGIMiddleware(asgi_app, scene.mesh()), endpoints=[endpoint]).run()

"""hypercorn, with any of its loops and protocols."""

from __future__ import annotations

import ssl

from hypercorn.config import Config
from hypercorn.run import run
from typing_extensions import override

from meshid.http import ASGIMiddleware
from tests.frameworks import scene
from tests.frameworks.servers.asgi_apps import application

options = scene.options()
mesh = scene.mesh()
context = mesh.server_context(http=True, alpn=options.get("alpn", ["http/1.1"]))
app = ASGIMiddleware(application(options.get("app", "")), mesh)


class MeshConfig(Config):
    @property
    @override
    def ssl_enabled(self) -> bool:
        return True

    @override
    def create_ssl_context(self) -> ssl.SSLContext:
        return context


if __name__ == "__main__":
    port = scene.free_port()
    config = MeshConfig()
    config.bind = [f"127.0.0.1:{port}"]
    config.worker_class = options.get("worker_class", "asyncio")
    config.application_path = f"{__spec__.name}:app"
    scene.listening(port)
    run(config)

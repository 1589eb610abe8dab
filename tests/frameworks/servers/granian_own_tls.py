"""granian, with its own TLS: it cannot take a context, and the middleware refuses what comes."""

from __future__ import annotations

import os
from pathlib import Path

from granian import Granian
from granian.constants import Interfaces

from meshid.http import ASGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import asgi_app

mesh = scene.mesh()
app = ASGIMiddleware(asgi_app, mesh)

if __name__ == "__main__":
    port, own = scene.free_port(), Path(os.environ["MESHID_CREDENTIALS"])
    scene.listening(port)
    Granian(
        f"{__spec__.name}:app",
        port=port,
        interface=Interfaces.ASGI,
        ssl_cert=own / "tls.crt",
        ssl_key=own / "tls.key",
        ssl_ca=own.parent / "prod.pem",
        ssl_client_verify=True,
    ).serve()

"""aiosmtpd, with TLS from the first octet.

Not with its `Controller`, which connects to itself when it starts, without a certificate.
"""

from __future__ import annotations

import asyncio
from ssl import SSLContext
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import charge

mesh = scene.mesh()
# SMTP has no requests that a policy could judge: the connection is judged, for a target of its own.
context = mesh.server_context(target="raw")


class Handler:
    async def handle_VRFY(self, server: SMTP, _: Session, __: Envelope, address: str) -> str:
        return "252 " + charge(address, peer_of(server)).decode()


async def serve(ssl: SSLContext | None = None, **options: Any) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(
        lambda: SMTP(Handler(), loop=loop, **options), "127.0.0.1", 0, ssl=ssl
    ) as server:
        scene.listening(server.sockets[0].getsockname()[1])
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(context))

"""The asyncio server of websockets."""

from __future__ import annotations

import asyncio
import json

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import noted

mesh = scene.mesh()


def judge(connection: ServerConnection, request: Request) -> Response | None:
    if mesh.check(peer_of(connection), request=f"GET {request.path}"):
        return None
    return connection.respond(403, "forbidden\n")


async def echo(connection: ServerConnection) -> None:
    async for text in connection:
        name = noted("WS", str(text), peer_of(connection))
        await connection.send(json.dumps({"peer": name, "text": text}))


async def main() -> None:
    context = mesh.server_context(http=True)
    async with serve(echo, "127.0.0.1", 0, ssl=context, process_request=judge) as server:
        scene.listening(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


asyncio.run(main())

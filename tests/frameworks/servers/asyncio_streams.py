"""`asyncio.start_server`."""

from __future__ import annotations

import asyncio

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import answering

mesh = scene.mesh()


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        peer = peer_of(writer)
        async for line in reader:
            async for answer in answering(mesh, peer, line):
                writer.write(answer)
                await writer.drain()
    except OSError:
        pass  # the peer has gone, or may no longer be there
    finally:
        writer.close()


async def main() -> None:
    context = mesh.server_context(http=True)
    async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context) as server:
        scene.listening(server.sockets[0].getsockname()[1])
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

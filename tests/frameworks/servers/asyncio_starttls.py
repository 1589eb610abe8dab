"""STARTTLS on streams, with `meshid.start_tls`."""

from __future__ import annotations

import asyncio

import meshid
from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import answering

mesh = scene.mesh()
context = mesh.server_context(http=True)


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        if await reader.readline() != b"STARTTLS\n":
            return
        writer.write(b"GO\n")
        await meshid.start_tls(reader, writer, context)
        peer = peer_of(writer)
        async for line in reader:
            async for answer in answering(mesh, peer, line):
                writer.write(answer)
                await writer.drain()
    except OSError:
        pass  # the peer has gone, is refused, or may no longer be there
    finally:
        writer.close()


async def main() -> None:
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        scene.listening(server.sockets[0].getsockname()[1])
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

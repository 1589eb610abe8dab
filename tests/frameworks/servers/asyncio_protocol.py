"""A protocol of asyncio's, with `loop.create_server`."""

from __future__ import annotations

import asyncio
from typing import cast

from typing_extensions import override

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import answering

mesh = scene.mesh()


class Lines(asyncio.Protocol):
    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer = cast("asyncio.Transport", transport), b""
        # Called after the handshake: there is always a peer.
        self.peer = peer_of(transport)
        self.lines = asyncio.Queue[bytes]()
        self.answers = asyncio.ensure_future(self.answer())

    @override
    def data_received(self, data: bytes) -> None:
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self.lines.put_nowait(line)

    @override
    def connection_lost(self, _: Exception | None) -> None:
        self.answers.cancel()

    async def answer(self) -> None:
        while True:
            line = await self.lines.get()
            async for answer in answering(mesh, self.peer, line):
                self.transport.write(answer)


async def main() -> None:
    loop, context = asyncio.get_running_loop(), mesh.server_context(http=True)
    async with await loop.create_server(Lines, "127.0.0.1", 0, ssl=context) as server:
        scene.listening(server.sockets[0].getsockname()[1])
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

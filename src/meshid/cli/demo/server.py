"""The server of the demo: an asyncio server with a `MeshContext`, and little of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from meshid.cli.demo.clients import HOST
from meshid.mesh import Mesh
from meshid.tls.connections import peer_of


class Server:
    """Says hello to each line of a peer that may be there, and asks again for each line.

    Attributes:
        mesh: Who may be there.
        port: Where it listens.
        received: Everything that the application has ever read, of whomever.
    """

    def __init__(self, mesh: Mesh) -> None:
        """Begin without a listener."""
        self.mesh = mesh
        self.port = 0
        self.received = b""
        self._conversations: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen on a free port; the listener is started once and never again."""
        context = self.mesh.server_context(resumption=True)
        listener = await asyncio.start_server(self._accept, HOST, 0, ssl=context)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listener.close()
            for conversation in self._conversations:
                conversation.cancel()
            # What went wrong in one of them is in what its client saw.
            await asyncio.gather(*self._conversations, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._conversations.append(asyncio.create_task(self._converse(reader, writer)))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            async for line in reader:
                self.received += line
                writer.write(self._answer(writer))
                await writer.drain()

    def _answer(self, writer: asyncio.StreamWriter) -> bytes:
        peer = peer_of(writer)
        decision = self.mesh.check(peer)
        return f"hello {peer.spiffe_id}\n".encode() if decision else f"refused: {decision.reason}\n".encode()

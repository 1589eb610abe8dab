"""anyio's `TLSListener`, on asyncio."""

from __future__ import annotations

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener, TLSStream

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import answering

mesh = scene.mesh()


async def handle(stream: TLSStream) -> None:
    peer, lines = peer_of(stream), BufferedByteReceiveStream(stream)
    try:
        while True:
            line = await lines.receive_until(b"\n", 65536)
            async for answer in answering(mesh, peer, line, anyio.sleep):
                await stream.send(answer)
    except (anyio.BrokenResourceError, anyio.IncompleteRead, anyio.EndOfStream, OSError):
        pass  # the peer has gone, or may no longer be there
    finally:
        await anyio.aclose_forcefully(stream)


async def main() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    secure = TLSListener(listener, mesh.server_context(http=True), standard_compatible=False)
    scene.listening(listener.extra(SocketAttribute.local_port))  # noqa: S610 - not Django's
    await secure.serve(handle)


if __name__ == "__main__":
    anyio.run(main)

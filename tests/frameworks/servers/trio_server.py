"""`trio.serve_ssl_over_tcp`."""

from __future__ import annotations

import trio

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import answering

mesh = scene.mesh()


async def handle(stream: trio.SSLStream[trio.SocketStream]) -> None:
    buffer = b""
    try:
        await stream.do_handshake()
        peer = peer_of(stream)
        async for data in stream:
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                async for answer in answering(mesh, peer, line, trio.sleep):
                    await stream.send_all(answer)
    except (trio.BrokenResourceError, OSError):
        pass  # the peer has gone, is refused, or may no longer be there
    finally:
        await trio.aclose_forcefully(stream)


async def main() -> None:
    context = mesh.server_context(http=True)
    port = scene.free_port()
    scene.listening(port)
    await trio.serve_ssl_over_tcp(handle, port, context, host="127.0.0.1", https_compatible=True)


trio.run(main)

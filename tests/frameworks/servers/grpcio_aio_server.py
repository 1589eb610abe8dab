"""`grpc.aio.server`: an interceptor, and the credentials that it has."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc

from meshid import peer_of
from meshid.grpc import PeerInterceptor
from tests.frameworks import application, scene


async def charges(message: bytes, context: Any) -> bytes:
    return application.charge(message.decode(), peer_of(context), "POST")


async def stream(message: bytes, context: Any) -> AsyncIterator[bytes]:
    application.noted("POST", message, peer_of(context))
    while True:
        yield b"line"
        await asyncio.sleep(0.05)


HANDLERS: dict[str, Any] = {
    "charges": grpc.unary_unary_rpc_method_handler(charges),
    "stream": grpc.unary_stream_rpc_method_handler(stream),
}


async def serve() -> None:
    interceptor = PeerInterceptor(scene.mesh())
    server = grpc.aio.server(interceptors=[interceptor])
    server.add_registered_method_handlers("v1", HANDLERS)
    port = server.add_secure_port("127.0.0.1:0", interceptor.server_credentials())
    await server.start()
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    scene.listening(port)
    await over.wait()
    await server.stop(0)


asyncio.run(serve())

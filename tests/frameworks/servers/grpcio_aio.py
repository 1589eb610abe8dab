"""`grpc.aio.server`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc import aio

from meshid import peer_of
from meshid.grpc import PeerInterceptor
from tests.frameworks import scene
from tests.frameworks.application import charge, noted
from tests.frameworks.servers.asgi_apps import lines

mesh = scene.mesh()


async def get(message: bytes, context: Any) -> bytes:
    return charge(message.decode(), peer_of(context))


async def list_(message: bytes, context: Any) -> AsyncIterator[bytes]:
    noted("GET", message, peer_of(context))
    async for line in lines():
        yield line


async def serve() -> None:
    interceptor = PeerInterceptor(mesh)
    server = aio.server(interceptors=[interceptor])
    handlers: Any = {
        "Get": grpc.unary_unary_rpc_method_handler(get),
        "List": grpc.unary_stream_rpc_method_handler(list_),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Charges", handlers)])
    port = server.add_secure_port("127.0.0.1:0", interceptor.server_credentials())
    await server.start()
    scene.listening(port)
    await server.wait_for_termination()


asyncio.run(serve())

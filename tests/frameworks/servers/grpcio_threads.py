"""`grpc.server`, which has a pool of threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from meshid import peer_of
from meshid.grpc import PeerInterceptor
from tests.frameworks import scene
from tests.frameworks.application import charge, noted, stream

mesh = scene.mesh()


def get(message: bytes, context: grpc.ServicerContext) -> bytes:
    return charge(message.decode(), peer_of(context))


def list_(message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    noted("GET", message, peer_of(context))
    yield from stream()


interceptor = PeerInterceptor(mesh)
server = grpc.server(ThreadPoolExecutor(32), interceptors=[interceptor])
handlers: Any = {
    "Get": grpc.unary_unary_rpc_method_handler(get),
    "List": grpc.unary_stream_rpc_method_handler(list_),
}
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Charges", handlers)])
port = server.add_secure_port("127.0.0.1:0", interceptor.server_credentials())
server.start()
scene.listening(port)
server.wait_for_termination()

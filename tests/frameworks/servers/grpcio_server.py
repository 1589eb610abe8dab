"""`grpc.server`: an interceptor, and the credentials that it has."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from meshid import peer_of
from meshid.grpc import PeerInterceptor
from tests.frameworks import application, scene


def charges(message: bytes, context: Any) -> bytes:
    return application.charge(message.decode(), peer_of(context), "POST")


def stream(message: bytes, context: Any) -> Iterator[bytes]:
    application.noted("POST", message, peer_of(context))
    while context.is_active():
        yield b"line"
        time.sleep(0.05)


HANDLERS: dict[str, Any] = {
    "charges": grpc.unary_unary_rpc_method_handler(charges),
    "stream": grpc.unary_stream_rpc_method_handler(stream),
}

interceptor = PeerInterceptor(scene.mesh())
server = grpc.server(ThreadPoolExecutor(32), interceptors=[interceptor])
server.add_registered_method_handlers("v1", HANDLERS)
port = server.add_secure_port("127.0.0.1:0", interceptor.server_credentials())
server.start()
scene.listening(port)
signal.signal(signal.SIGTERM, lambda *_: server.stop(0))
server.wait_for_termination()

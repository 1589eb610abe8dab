"""gRPC over HTTP/2: each request is a call of ``/shop.Charges/Get``, whose message is the path.

The messages are octets: JSON in the answers, so that no code has to be generated.
"""

from __future__ import annotations

import ssl
import struct

import h2.connection
from typing_extensions import override

from tests.frameworks.dialect_h2 import Http2, Http2Talk, begun
from tests.frameworks.dialects import Answer, answer_of

GET, LIST = "/shop.Charges/Get", "/shop.Charges/List"
_STATUS = {"0": 200, "7": 403, "12": 404, "16": 401}
"""OK, PERMISSION_DENIED, UNIMPLEMENTED and UNAUTHENTICATED, in the words of HTTP."""


class Grpc(Http2):
    """gRPC."""

    name = "grpc"
    has_paths = False

    @override
    def hello(self, path: str) -> bytes:
        """Return the preface and a call."""
        connection = begun()
        _call(connection, path)
        return connection.data_to_send()

    @override
    def talk(self, tls: ssl.SSLSocket) -> GrpcTalk:
        """Begin a conversation."""
        return GrpcTalk(tls)


def _call(connection: h2.connection.H2Connection, path: str) -> int:
    stream = connection.get_next_available_stream_id()
    method = GET if path.startswith("/v1/charges") else LIST if path == "/v1/stream" else "/shop.Refunds/Get"
    fields = [
        (":method", "POST"),
        (":path", method),
        (":scheme", "https"),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    connection.send_headers(stream, fields)
    connection.send_data(stream, framed(path.encode()), end_stream=True)
    return stream


def framed(message: bytes) -> bytes:
    """Return a message with its prefix: not compressed, and its length."""
    return struct.pack(">BI", 0, len(message)) + message


class GrpcTalk(Http2Talk):
    """gRPC on one connection."""

    @override
    def post_slowly(self, size: int) -> Answer:
        """Call with a longer message."""
        return self.ask("/v1/charges/" + "slow" * (size // 10))

    @override
    def _send(self, path: str) -> int:
        return _call(self.connection, path)

    @override
    def _answer(self, stream: int) -> Answer:
        self.wait(stream)
        came = self.coming[stream]
        return answer_of(_STATUS[came.trailers["grpc-status"]], came.body[5:])


GRPC = Grpc()

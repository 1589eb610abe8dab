"""gRPC over HTTP/2, with h2 over a raw TLS socket: a path is the message of a method ``/v1/charges``."""

from __future__ import annotations

import ssl
import time
from collections import defaultdict
from collections.abc import Sequence

import h2.connection
import h2.events
from typing_extensions import override

from tests.frameworks.dialect_h2 import Http2, Http2Talk, begun
from tests.frameworks.dialects import Answer, answer_of

_STATUS = {"0": 200, "7": 403, "12": 404, "16": 401}
"""Of HTTP, for those of gRPC; any other is 500."""

_PREFIX = 5
"""The octets before a message: whether it is compressed, and its length."""


class Grpc(Http2):
    """gRPC; what it names is a method, and never decoded."""

    name = "grpc"
    has_paths = False

    @override
    def hello(self, path: str) -> bytes:
        """Return the preface and a call."""
        connection = begun()
        _call(connection, path)
        return connection.data_to_send()

    @override
    def heard(self, came: bytes, path: str) -> str | None:
        """Return what was said; None as long as that is nothing about the call: a server greets everybody."""
        connection = begun()
        stream = _call(connection, path)
        connection.clear_outbound_data_buffer()
        for event in connection.receive_data(came):
            if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                if (status := _status_in(event)) is not None:
                    return "data" if status == 200 else str(status)
            elif isinstance(event, h2.events.DataReceived) and event.stream_id == stream:
                return "data"
        return None

    @override
    def talk(self, tls: ssl.SSLSocket) -> GrpcTalk:
        """Begin a conversation."""
        return GrpcTalk(tls)


def _status_in(event: h2.events.ResponseReceived | h2.events.TrailersReceived) -> int | None:
    fields = {str(name): str(value) for name, value in event.headers or ()}
    return _STATUS.get(fields["grpc-status"], 500) if "grpc-status" in fields else None


def _method(path: str) -> str:
    return "/v1/charges" if path.startswith("/v1/charges") else path


def _begin(connection: h2.connection.H2Connection, method: str) -> int:
    stream = connection.get_next_available_stream_id()
    fields = [
        (b":method", b"POST"),
        (b":path", method.encode("utf-8", "surrogateescape")),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    connection.send_headers(stream, fields)
    return stream


def _framed(text: str) -> bytes:
    message = text.encode("utf-8", "surrogateescape")
    return b"\0" + len(message).to_bytes(4, "big") + message


def _call(connection: h2.connection.H2Connection, path: str) -> int:
    stream = _begin(connection, _method(path))
    connection.send_data(stream, _framed(path), end_stream=True)
    return stream


class GrpcTalk(Http2Talk):
    """gRPC on one connection."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._statuses: dict[int, int] = defaultdict(int)
        super().__init__(tls)

    @override
    def ask_many(self, paths: Sequence[str]) -> list[Answer]:
        """Make all calls, each on a stream of its own, in one piece."""
        streams = [_call(self._connection, path) for path in paths]
        self._flush()
        return [self._answer(stream) for stream in streams]

    @override
    def post_slowly(self, size: int) -> Answer:
        """Make a call whose message comes in pieces."""
        stream = _begin(self._connection, "/v1/charges")
        message = _framed("/v1/charges/" + "s" * size)
        for at in range(0, len(message), 20):
            self._connection.send_data(stream, message[at : at + 20], end_stream=at + 20 >= len(message))
            self._flush()
            time.sleep(0.005)
        return self._answer(stream)

    @override
    def begin_stream(self) -> None:
        """Make a call, and wait for the first message."""
        stream = _call(self._connection, "/v1/stream")
        self._flush()
        while b"line" not in self._coming[stream].body:
            assert not self._coming[stream].has_ended
            self._read()

    @override
    def _answer(self, stream: int) -> Answer:
        super()._answer(stream)
        return answer_of(self._statuses[stream], self._coming[stream].body[_PREFIX:])

    @override
    def _take(self, event: h2.events.Event) -> None:
        super()._take(event)
        if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
            self._statuses[event.stream_id] = _status_in(event) or 500


GRPC_H2 = Grpc()

"""HTTP/2 (RFC 9113), with h2 over a raw TLS socket; requests that are sent together have a stream each."""

from __future__ import annotations

import socket
import ssl
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import attrs
import h2.config
import h2.connection
import h2.events

from tests.frameworks.dialects import Answer, answer_of

_CONFIGURATION = h2.config.H2Configuration(
    validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1"
)


class Http2:
    """HTTP/2."""

    name = "h2"
    alpn: Sequence[str] = ("h2",)
    has_paths = True
    has_stream = True

    def before_tls(self, plain: socket.socket) -> None:
        """Say nothing."""

    def hello(self, path: str) -> bytes:
        """Return the preface and a request."""
        connection = begun()
        _ask(connection, "GET", path, end=True)
        return connection.data_to_send()

    def talk(self, tls: ssl.SSLSocket) -> Http2Talk:
        """Begin a conversation."""
        return Http2Talk(tls)


def begun() -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection(_CONFIGURATION)
    connection.initiate_connection()
    return connection


def _ask(connection: h2.connection.H2Connection, method: str, path: str, *, end: bool) -> int:
    stream = connection.get_next_available_stream_id()
    fields = [
        (b":method", method.encode()),
        (b":path", path.encode("utf-8", "surrogateescape")),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
    ]
    connection.send_headers(stream, fields, end_stream=end)
    return stream


@attrs.define
class _Coming:
    """What has come on a stream."""

    status: int = 0
    body: bytes = b""
    trailers: dict[Any, Any] = attrs.field(factory=dict)
    has_ended: bool = False


class Http2Talk:
    """HTTP/2 on one connection."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        assert tls.selected_alpn_protocol() == "h2"
        self._tls = tls
        self.connection = begun()
        self.coming: dict[int, _Coming] = defaultdict(_Coming)
        self.flush()

    def ask(self, path: str) -> Answer:
        """Send a GET."""
        return self.ask_many([path])[0]

    def ask_many(self, paths: Sequence[str]) -> list[Answer]:
        """Send all, each on a stream of its own, in one piece."""
        streams = [self._send(path) for path in paths]
        self.flush()
        return [self._answer(stream) for stream in streams]

    def post_slowly(self, size: int) -> Answer:
        """Send a POST in ten pieces."""
        stream = _ask(self.connection, "POST", "/v1/charges", end=False)
        for number in range(10):
            self.connection.send_data(stream, b"x" * (size // 10), end_stream=number == 9)
            self.flush()
            time.sleep(0.005)
        return self._answer(stream)

    def begin_stream(self) -> None:
        """Send a GET, and wait for the first line."""
        stream = self._send("/v1/stream")
        self.flush()
        while b"line" not in self.coming[stream].body:
            assert self.coming[stream].status in {0, 200}
            self._read()

    def end_of_stream(self) -> int:
        """Read to the end of the stream or of the connection."""
        (stream,) = (number for number, each in self.coming.items() if not each.has_ended)
        try:
            while not self.coming[stream].has_ended:
                self._read()
        except OSError:
            pass
        return len(self.coming[stream].body)

    def _send(self, path: str) -> int:
        return _ask(self.connection, "GET", path, end=True)

    def _answer(self, stream: int) -> Answer:
        self.wait(stream)
        return answer_of(self.coming[stream].status, self.coming[stream].body)

    def wait(self, stream: int) -> None:
        while not self.coming[stream].has_ended:
            self._read()

    def _read(self) -> None:
        if not (came := self._tls.recv(65536)):
            _gone("EOF")
        for event in self.connection.receive_data(came):
            self._take(event)
        self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            fields = {str(name): str(value) for name, value in event.headers or ()}
            self.coming[event.stream_id].status = int(fields[":status"])
            self.coming[event.stream_id].trailers = dict(fields)
        elif isinstance(event, h2.events.TrailersReceived):
            self.coming[event.stream_id].trailers = dict(event.headers or ())
        elif isinstance(event, h2.events.DataReceived):
            self.coming[event.stream_id].body += event.data or b""
            self.connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.coming[event.stream_id].has_ended = True
        elif isinstance(event, h2.events.StreamReset):
            _gone(f"stream reset {event.error_code}")
        elif isinstance(event, h2.events.ConnectionTerminated):
            _gone(f"goaway {event.error_code}")

    def flush(self) -> None:
        if some := self.connection.data_to_send():
            self._tls.sendall(some)


def _gone(why: str) -> None:
    raise ConnectionAbortedError(why)


HTTP2 = Http2()

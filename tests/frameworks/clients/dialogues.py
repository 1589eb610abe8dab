"""What a server says to its client, protocol by protocol: just enough that the client is content.

Where a real server library can speak on a socket, it does: http.server, hyper-h2, websockets. The others
are recording endpoints: they know the few messages that the client of the row sends, and keep all bytes.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from io import BufferedReader
from typing import Any, cast
from xmlrpc.client import dumps

import attrs
import bson
import h2.config
import h2.connection
import h2.events
from typing_extensions import override
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.helpers.recording import Dialogue, Recorder

ANSWER = "hello"
PATH = "/v1/charges/7"


@attrs.frozen
class Speech:
    """What servers of a protocol say.

    Attributes:
        dialogue: What the right one says, inside of TLS.
        alpn: The protocols that it takes (RFC 7301).
        before_tls: What comes before TLS.
        greeting: What a server says first: a wrong one does, and then waits to be told something.
    """

    dialogue: Dialogue
    alpn: tuple[str, ...] = ()
    before_tls: Callable[[Recorder, socket.socket], None] | None = None
    greeting: bytes = b""

    def tempt(self, recorder: Recorder, tls: ssl.SSLSocket) -> None:
        """Be a wrong server, which would take anything."""
        tls.sendall(self.greeting)
        while chunk := tls.recv(65536):
            recorder.received += chunk


# -- HTTP ---------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(ANSWER.encode(), "text/plain")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(dumps((ANSWER,), methodresponse=True).encode(), "text/xml")

    def _answer(self, body: bytes, kind: str) -> None:
        cast("Recorder", self.server).requests.append(f"{self.command} {self.path}")
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _http11(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    _Handler(tls, tls.getpeername(), recorder)  # type: ignore[arg-type]  # it only passes the server on


def _http2(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    http2.initiate_connection()
    tls.sendall(http2.data_to_send())
    grpc: dict[int, bool] = {}
    while chunk := tls.recv(65536):
        for event in http2.receive_data(chunk):
            if isinstance(event, h2.events.RequestReceived):
                headers = dict(event.headers)
                grpc[event.stream_id] = headers.get(b"content-type", b"").startswith(b"application/grpc")
                recorder.requests.append(f"{headers[b':method'].decode()} {headers[b':path'].decode()}")
            elif isinstance(event, h2.events.StreamEnded):
                _answer_http2(http2, event.stream_id, is_grpc=grpc.pop(event.stream_id))
        tls.sendall(http2.data_to_send())


def _answer_http2(http2: h2.connection.H2Connection, stream: int, *, is_grpc: bool) -> None:
    body = ANSWER.encode()
    if is_grpc:
        http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc+octets")])
        http2.send_data(stream, struct.pack(">BI", 0, len(body)) + body)
        http2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
    else:
        http2.send_headers(stream, [(":status", "200")])
        http2.send_data(stream, body, end_stream=True)


def _websocket(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    websocket = ServerProtocol()
    while chunk := tls.recv(65536):
        websocket.receive_data(chunk)
        for event in websocket.events_received():
            if isinstance(event, Request):
                websocket.send_response(websocket.accept(event))
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                recorder.requests.append(bytes(event.data).decode())
                websocket.send_text(ANSWER.encode())
        for data in websocket.data_to_send():
            # An empty one is its end.
            if not data:
                return
            tls.sendall(data)


# -- Lines --------------------------------------------------------------------


def _lines(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    with tls.makefile("rb") as lines:
        for line in lines:
            recorder.requests.append(line.decode().rstrip())
            tls.sendall(f"{ANSWER}\n".encode())


def _starttls(recorder: Recorder, plain: socket.socket) -> None:
    recorder.plain += plain.recv(64)
    plain.sendall(b"go ahead\n")


def _smtp(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    tls.sendall(b"220 mail\r\n")
    _smtp_commands(recorder, tls)


def _smtp_commands(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    with tls.makefile("rb") as lines:
        for line in lines:
            command = line.decode().split()[0].upper()
            recorder.requests.append(command)
            tls.sendall(b"221 bye\r\n" if command == "QUIT" else f"250 {ANSWER}\r\n".encode())


def _smtp_before_tls(recorder: Recorder, plain: socket.socket) -> None:
    plain.sendall(b"220 mail\r\n")
    for answer in (b"250-mail\r\n250 STARTTLS\r\n", b"220 go ahead\r\n"):
        recorder.plain += plain.recv(512)
        plain.sendall(answer)


# -- Databases and brokers ----------------------------------------------------


def _redis(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    with tls.makefile("rb") as lines:
        while head := lines.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int(lines.readline()[1:])
                words.append(lines.read(size + 2)[:-2].decode())
            recorder.requests.append(" ".join(words))
            tls.sendall(
                {
                    # The version of the protocol (RESP3), as a map.
                    "HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n",
                    "GET": f"${len(ANSWER)}\r\n{ANSWER}\r\n".encode(),
                }.get(words[0], b"+OK\r\n")
            )


def _postgres(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    with tls.makefile("rb") as stream:
        (size,) = struct.unpack(">I", stream.read(4))
        recorder.received += stream.read(size - 4)
        ready = _of_postgres(b"Z", b"I")
        version = _of_postgres(b"S", b"server_version\x0016.0\x00")
        tls.sendall(_of_postgres(b"R", struct.pack(">I", 0)) + version + ready)
        while head := stream.read(5):
            kind, size = struct.unpack(">cI", head)
            recorder.requests.append((kind + b" " + stream.read(size - 4).rstrip(b"\x00")).decode())
            if kind == b"Q":
                tls.sendall(_of_postgres(b"C", f"{ANSWER}\x00".encode()) + ready)


def _of_postgres(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def _ssl_request(recorder: Recorder, plain: socket.socket) -> None:
    recorder.plain += plain.recv(8)
    plain.sendall(b"S")


def _mongo(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    with tls.makefile("rb") as stream:
        while head := stream.read(16):
            size, request, _, code = struct.unpack("<iiii", head)
            body = stream.read(size - 16)
            # OP_QUERY has a name and two numbers before its document; OP_MSG one octet.
            start = body.index(b"\x00", 4) + 9 if code == 2004 else 5
            (length,) = struct.unpack_from("<i", body, start)
            command: dict[str, Any] = bson.decode(body[start : start + length])
            recorder.requests.append(next(iter(command)))
            answer = bson.encode(
                {
                    "ok": 1.0,
                    "answer": ANSWER,
                    "isWritablePrimary": True,
                    "helloOk": True,
                    "minWireVersion": 0,
                    "maxWireVersion": 25,
                    "maxBsonObjectSize": 1 << 24,
                    "maxMessageSizeBytes": 1 << 25,
                    "maxWriteBatchSize": 1000,
                }
            )
            reply = (
                struct.pack("<iqii", 0, 0, 0, 1) + answer
                if code == 2004
                else b"\x00\x00\x00\x00\x00" + answer
            )
            opcode = 1 if code == 2004 else 2013
            tls.sendall(struct.pack("<iiii", 16 + len(reply), 1, request, opcode) + reply)


def _mqtt(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    with tls.makefile("rb") as stream:
        while first := stream.read(1):
            body = stream.read(_length(stream))
            kind = first[0] >> 4
            recorder.requests.append(str(kind))
            if kind == 1:  # CONNECT: CONNACK
                tls.sendall(b"\x20\x02\x00\x00")
            elif kind == 3:  # PUBLISH with QoS 1: PUBACK, with the same number
                topic = struct.unpack(">H", body[:2])[0]
                tls.sendall(b"\x40\x02" + body[2 + topic : 4 + topic])


def _length(stream: BufferedReader) -> int:
    """Read a variable byte integer (MQTT 3.1.1 section 2.2.3)."""
    value, shift = 0, 0
    while True:
        byte = stream.read(1)[0]
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value


def _kafka(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    with tls.makefile("rb") as stream:
        while head := stream.read(4):
            message = stream.read(struct.unpack(">i", head)[0])
            key, version, correlation = struct.unpack_from(">hhi", message)
            recorder.requests.append(f"api {key} version {version}")
            body = _of_kafka(key, tls.getsockname()[1])
            tls.sendall(struct.pack(">ii", len(body) + 4, correlation) + body)


def _of_kafka(key: int, port: int) -> bytes:
    if key == 18:  # ApiVersions: none but itself and Metadata
        return struct.pack(">hi", 0, 2) + struct.pack(">hhh", 18, 0, 0) + struct.pack(">hhh", 3, 0, 0)
    host = b"localhost"  # Metadata, version 0: one broker, which is us, and no topics
    return struct.pack(">iih", 1, 1, len(host)) + host + struct.pack(">ii", port, 0)


HTTP = Speech(_http11)
HTTP2 = Speech(_http2, alpn=("h2",))
WEBSOCKET = Speech(_websocket)
LINES = Speech(_lines)
STARTTLS = Speech(_lines, before_tls=_starttls)
SMTP = Speech(_smtp, greeting=b"220 mail\r\n")
SMTP_STARTTLS = Speech(_smtp_commands, before_tls=_smtp_before_tls)
REDIS = Speech(_redis)
POSTGRES = Speech(_postgres, before_tls=_ssl_request)
POSTGRES_DIRECT = Speech(_postgres)
MONGO = Speech(_mongo)
MQTT = Speech(_mqtt)
KAFKA = Speech(_kafka)

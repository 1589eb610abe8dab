"""What a client speaks to the servers, over a raw TLS socket: no library may hide a fault.

Another dialect has a class with the methods of `Dialect`, and one for its `Talk`.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Protocol

import attrs

from tests.helpers.tls_peers import HOST, TIMEOUT


@attrs.frozen
class Answer:
    """What a server said to one request.

    Attributes:
        status: The status: 200, 403 and so on, in any dialect.
        peer: The name that the application saw; empty if it said none.
        path: The path, or the text, that the application saw.
        length: How many octets of a body the application read.
    """

    status: int
    peer: str = ""
    path: str = ""
    length: int = 0


class Talk(Protocol):
    """A conversation on one connection; all methods raise an OSError when the connection ends."""

    def ask(self, path: str) -> Answer:
        """Ask for a path, or send it as a text."""

    def ask_many(self, paths: Sequence[str]) -> list[Answer]:
        """Ask for several, all before the first answer is read, if the dialect can."""

    def post_slowly(self, size: int) -> Answer:
        """Send a body in pieces, with pauses; ask anything if the dialect has no bodies."""

    def begin_stream(self) -> None:
        """Ask for the stream, and wait for its first line."""

    def end_of_stream(self) -> int:
        """Read to the end, with or without an error; return how many octets came."""


class Dialect(Protocol):
    """A protocol.

    Attributes:
        name: Its name.
        alpn: What the client offers (RFC 7301).
        has_paths: Whether its requests have a path, which somebody could read differently.
        has_stream: Whether a server can send for long.
    """

    name: str
    alpn: Sequence[str]
    has_paths: bool
    has_stream: bool

    def before_tls(self, plain: socket.socket) -> None:
        """Say what comes before TLS, as STARTTLS does."""

    def hello(self, path: str) -> bytes:
        """Return a whole request, as the first octets of a connection."""

    def talk(self, tls: ssl.SSLSocket) -> Talk:
        """Begin a conversation, on a connection whose handshake is over."""


def connect(
    dialect: Dialect, port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    """Connect and shake hands; in TLS 1.3 the server has not judged by then."""
    plain = socket.create_connection((HOST, port), TIMEOUT)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        dialect.before_tls(plain)
        return context.wrap_socket(plain, server_hostname="localhost", session=session)
    except BaseException:
        plain.close()
        raise


class Http11:
    """HTTP/1.1 (RFC 9112)."""

    name = "http/1.1"
    alpn: Sequence[str] = ()
    has_paths = True
    has_stream = True

    def before_tls(self, plain: socket.socket) -> None:
        """Say nothing."""

    def hello(self, path: str) -> bytes:
        """Return a request."""
        return _request("GET", path)

    def talk(self, tls: ssl.SSLSocket) -> Http11Talk:
        """Begin a conversation."""
        return Http11Talk(tls)


def _request(method: str, path: str, *fields: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


class Http11Talk:
    """HTTP/1.1 on one connection, kept as long as the server keeps it."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self.tls = tls
        self._came = reader_of(tls)

    def ask(self, path: str) -> Answer:
        """Send a GET."""
        self.tls.sendall(_request("GET", path))
        return self._answer()

    def ask_many(self, paths: Sequence[str]) -> list[Answer]:
        """Send all in one piece (RFC 9112 section 9.3.2)."""
        self.tls.sendall(b"".join(_request("GET", path) for path in paths))
        return [self._answer() for _ in paths]

    def post_slowly(self, size: int) -> Answer:
        """Send a POST in ten pieces."""
        self.tls.sendall(_request("POST", "/v1/charges", f"Content-Length: {size}"))
        for _ in range(10):
            time.sleep(0.005)
            self.tls.sendall(b"x" * (size // 10))
        return self._answer()

    def begin_stream(self) -> None:
        """Send a GET, and read the first line."""
        self.tls.sendall(_request("GET", "/v1/stream"))
        status, _ = self._head()
        assert status == 200
        while b"line" not in self._came.readline():
            pass

    def end_of_stream(self) -> int:
        """Read to the end."""
        return octets_to_the_end(self._came)

    def _head(self) -> tuple[int, dict[str, str]]:
        first = self._came.readline()
        if not first:
            msg = "EOF"
            raise ConnectionAbortedError(msg)
        fields = {}
        while line := self._came.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        return int(first.split()[1]), fields

    def _answer(self) -> Answer:
        status, fields = self._head()
        body = self._body(fields)
        return answer_of(status, body)

    def _body(self, fields: dict[str, str]) -> bytes:
        if "chunked" in fields.get("transfer-encoding", ""):
            body = b""
            while size := int(self._came.readline().split(b";")[0], 16):
                body += self._came.read(size)
                self._came.readline()
            self._came.readline()
            return body
        if "content-length" in fields:
            return self._came.read(int(fields["content-length"]))
        return self._came.read()


def answer_of(status: int, body: bytes) -> Answer:
    """Return the answer with a body in JSON, or without one."""
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    return Answer(
        status,
        str(said.get("peer", "")),
        str(said.get("path", said.get("text", ""))),
        int(said.get("length", 0)),
    )


class Lines:
    """A line for each request and for each answer: ``GET /v1/charges/1``, and JSON."""

    name = "lines"
    alpn: Sequence[str] = ()
    has_paths = False
    has_stream = True

    def before_tls(self, plain: socket.socket) -> None:
        """Say nothing."""

    def hello(self, path: str) -> bytes:
        """Return a request."""
        return f"GET {path}\n".encode()

    def talk(self, tls: ssl.SSLSocket) -> LinesTalk:
        """Begin a conversation."""
        return LinesTalk(tls)


class LinesTalk:
    """Lines on one connection."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls
        self._came = reader_of(tls)

    def ask(self, path: str) -> Answer:
        """Send a line."""
        return self.ask_many([path])[0]

    def ask_many(self, paths: Sequence[str]) -> list[Answer]:
        """Send all in one piece."""
        self._tls.sendall(b"".join(f"GET {path}\n".encode() for path in paths))
        return [self._answer() for _ in paths]

    def post_slowly(self, size: int) -> Answer:
        """Send a line in pieces."""
        for piece in ("GET /v1/", "charges/", "slow" * (size // 10)):
            self._tls.sendall(piece.encode())
            time.sleep(0.005)
        self._tls.sendall(b"\n")
        return self._answer()

    def begin_stream(self) -> None:
        """Ask for the stream, and read its first line."""
        self._tls.sendall(b"GET /v1/stream\n")
        assert self._came.readline().startswith(b"line")

    def end_of_stream(self) -> int:
        """Read to the end."""
        return octets_to_the_end(self._came)

    def _answer(self) -> Answer:
        if not (line := self._came.readline()):
            msg = "EOF"
            raise ConnectionAbortedError(msg)
        return answer_of(json.loads(line).get("status", 200), line)


def reader_of(tls: ssl.SSLSocket) -> io.BufferedReader:
    """Return a reader that does not keep the socket open, as `makefile` does."""
    return io.BufferedReader(socket.SocketIO(tls, "r"))


def octets_to_the_end(stream: io.BufferedReader) -> int:
    """Read to the end, or to an error; return how many octets came."""
    count = 0
    with contextlib.suppress(OSError):
        while came := stream.read1(4096):
            count += len(came)
    return count


HTTP11 = Http11()
LINES = Lines()

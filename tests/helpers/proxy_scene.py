"""What stands around a proxy: certificates, a policy, an upstream that records, an authorizer, clients."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import attrs
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import uvicorn
from cryptography import x509

from meshid import BundleSet, Mesh, Policy, Revocations
from meshid.http.asgi import App, Receive, Scope, Send
from meshid.testing import CA, Issued
from tests.helpers.tls_peers import (
    HOST,
    TIMEOUT,
    Heard,
    Service,
    Started,
    mesh_of,
    running,
    stranger,
    threaded_server,
)

CHECKOUT = "/ns/checkout/sa/api"
CHECKOUT_ID = f"spiffe://prod.example.org{CHECKOUT}"

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["dev.example.org"]
[[allow]]
id = "public"
from = ["/**", "spiffe://dev.example.org/**"]
to = ["payments"]
http = ["GET /public"]
[[allow]]
id = "charges"
from = ["/ns/checkout/sa/api"]
to = ["payments"]
http = ["POST /v1/charges", "GET /v1/charges/*"]
"""

CLOSED = 'version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]'
"""A policy that allows nobody anything."""


class Clients:
    """The certificates of all cases.

    Attributes:
        prod: The root.
        issuing: The intermediate below it.
        below: The intermediate below that.
        named: Each case's certificate with its key and its chain, or None.
    """

    def __init__(self) -> None:
        self.prod = CA("prod.example.org")
        self.issuing = self.prod.intermediate()
        self.below = self.issuing.intermediate()
        self.dev = CA("dev.example.org")
        past = datetime.now(UTC) - timedelta(hours=1)
        checkout = self.issuing.issue(CHECKOUT)
        self.named: dict[str, Issued | None] = {
            "checkout": checkout,
            "checkout, the leaf alone": Issued(checkout.certificate, checkout.key, ()),
            "checkout, of the root itself": self.prod.issue(CHECKOUT),
            "checkout, deep": self.below.issue(CHECKOUT),
            "web": self.issuing.issue("/ns/web/sa/front"),
            "forged": self.dev.issue(CHECKOUT_ID),
            "expired": self.issuing.issue(CHECKOUT, not_after=past),
            "federated": self.dev.issue("/ns/web/sa/front"),
            "of an unknown trust domain": CA("other.example").issue(CHECKOUT),
            "none": None,
        }

    def issued(self, name: str) -> Issued:
        """Return a case that has a certificate."""
        found = self.named[name]
        assert found is not None
        return found

    @property
    def intermediates(self) -> bytes:
        """The intermediates as PEM."""
        return self.issuing.pem + self.below.pem


# -- The upstream -------------------------------------------------------------


@attrs.frozen
class Received:
    """A request exactly as the upstream received it.

    Attributes:
        line: The request line, without its end.
        headers: The headers, their names in lower case, in the order in which they came.
        body: The body.
    """

    line: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def method(self) -> bytes:
        return self.line.partition(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.line.split(b" ")[1]

    def all(self, name: str) -> list[bytes]:
        """Return the values of all headers of this name."""
        return [value for each, value in self.headers if each == name.encode()]


class Upstream:
    """A plain HTTP/1.1 service that answers everything with 200, and records it.

    Attributes:
        port: Its port on the loopback.
        extra: Lines that are added to each answer's headers.
    """

    def __init__(self) -> None:
        self.port = 0
        self.extra: tuple[bytes, ...] = ()
        self._lock = threading.Lock()
        self._received: list[Received] = []

    def taken(self) -> list[Received]:
        """Return the requests since the last call."""
        with self._lock:
            received, self._received = self._received, []
        return received

    def handle(self, _: Service, plain: socket.socket) -> None:
        plain.settimeout(10 * TIMEOUT)
        with plain.makefile("rb") as lines:
            while line := lines.readline():
                headers = tuple(_headers_of(lines))
                body = _body_of(lines, dict(headers))
                with self._lock:
                    self._received.append(Received(line.rstrip(b"\r\n"), headers, body))
                head = (b"HTTP/1.1 200 OK", b"Content-Length: 7", *self.extra, b"", b"")
                plain.sendall(b"\r\n".join(head) + b"served\n")


def _headers_of(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for line in lines:
        if line in {b"\r\n", b"\n"}:
            return
        name, _, value = line.partition(b":")
        yield name.strip().lower(), value.strip()


def _body_of(lines: object, headers: Mapping[bytes, bytes]) -> bytes:
    read, readline = lines.read, lines.readline  # type: ignore[attr-defined]
    if headers.get(b"transfer-encoding") == b"chunked":
        body = b""
        while size := int(readline().split(b";")[0], 16):
            body += read(size)
            readline()
        readline()
        return body
    whole: bytes = read(int(headers.get(b"content-length", b"0")))
    return whole


@contextlib.contextmanager
def recording_upstream() -> Iterator[Upstream]:
    """Run an upstream until the end of the block; the proxy must end first."""
    upstream = Upstream()
    with threaded_server(upstream.handle) as service:
        upstream.port = service.port
        yield upstream


# -- The authorizer -----------------------------------------------------------


@contextlib.contextmanager
def serving_app(app: App, where: Path) -> Iterator[None]:
    """Serve an ASGI application on the Unix socket *where*, in a thread of its own."""

    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_keep_alive=60))

    def stop() -> None:
        # Proxies keep their connections: waiting for them to end would be for ever.
        server.force_exit = server.should_exit = True

    def run(_: Service, started: Started) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(where))
            # Who connects now waits in the backlog until the server has started.
            listener.listen(128)
            started.put(stop)
            asyncio.run(server.serve(sockets=[listener]))

    try:
        with running(run):
            yield
    finally:
        where.unlink(missing_ok=True)


async def always_yes(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every question with yes: it shows what a configuration does without a judge."""
    del scope, receive
    headers = [(b"content-length", b"0"), (b"x-meshid-peer", b"anybody")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


NO_VERDICTS: dict[str, bytes] = {
    "nonsense": b"nonsense\r\n\r\n",
    "no answer": b"",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: /public\r\nContent-Length: 0\r\n\r\n",
    "a wrong request": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "not found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "an error": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "half a yes": b"HTTP/1.1 200 OK\r\nX-Meshid-Peer: ",
    "a yes to come": b"HTTP/1.1 100 Continue\r\n\r\n",
}
"""What an authorizer may send that is no verdict."""


@contextlib.contextmanager
def saying(answer: bytes | None, where: Path) -> Iterator[None]:
    """Send *answer* to whoever asks on the Unix socket *where*, and close; None says nothing, and waits."""
    waiting: list[socket.socket] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                asking, _ = listener.accept()
                asking.settimeout(TIMEOUT)
                if answer is None:
                    waiting.append(asking)
                    continue
                with asking, contextlib.suppress(ConnectionError):
                    asking.recv(65536)
                    asking.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where))
        listener.listen(16)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(TIMEOUT)
            where.unlink()
            for each in waiting:
                each.close()
    assert not thread.is_alive()


# -- All of it ----------------------------------------------------------------


class Scene:
    """What stands around a proxy.

    Attributes:
        folder: A folder that nobody else can enter.
        clients: The certificates.
        heard: The audit events.
        mesh: The mesh of the service ``payments``; it trusts the roots of prod and dev alone.
        upstream: What the proxy protects.
        socket: Where the authorizer listens.
    """

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.folder = folder
        self.upstream = upstream
        self.clients = Clients()
        self.heard = Heard()
        self.mesh: Mesh = mesh_of(
            self.clients.prod,
            bundles=BundleSet([self.clients.prod.bundle(), self.clients.dev.bundle()]),
            policy=policy_of(POLICY),
            audit=self.heard,
        )
        self.socket = folder / "authorizer.sock"
        self._write_files()

    def _write_files(self) -> None:
        web = CA("web.example")
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]
        )
        server = web.issue(uris=[], extra=[(names, False)])
        files = {
            "server.pem": server.chain_pem,
            "server.key": server.key_pem,
            "server-both.pem": server.chain_pem + server.key_pem,
            "web.pem": web.pem,
            "root.pem": self.clients.prod.pem,
            "roots.pem": self.clients.prod.pem + self.clients.dev.pem,
            "intermediate.pem": self.clients.issuing.pem,
            "intermediates.pem": self.clients.intermediates,
        }
        for name, content in files.items():
            (self.folder / name).write_bytes(content)

    def values(self, port: int) -> dict[str, object]:
        """Return what is filled into the documented configurations."""
        return {
            "LISTEN": f"{HOST}:{port}",
            "ADDRESS": HOST,
            "PORT": port,
            "UPSTREAM": f"{HOST}:{self.upstream.port}",
            "UPSTREAM_PORT": self.upstream.port,
            "AUTHORIZER_SOCKET": self.socket,
            "CERTIFICATE": self.folder / "server.pem",
            "KEY": self.folder / "server.key",
            "CERTIFICATE_AND_KEY": self.folder / "server-both.pem",
            "ROOT": self.folder / "root.pem",
            "ROOTS": self.folder / "roots.pem",
            "ANY_CA": self.folder / "root.pem",
            "INTERMEDIATE": self.folder / "intermediate.pem",
            "INTERMEDIATES": self.folder / "intermediates.pem",
        }

    def restore(self) -> None:
        """Put the policy, the trust and the revocations back, and forget what was heard and received."""
        self.mesh.publish(
            bundles=BundleSet([self.clients.prod.bundle(), self.clients.dev.bundle()]),
            policy=policy_of(POLICY),
            revocations=Revocations(),
        )
        self.heard.of_handshakes()
        self.upstream.taken()

    def files_of(self, name: str) -> tuple[Path, Path]:
        """Write a case's chain and key, and return where, for programs that want files."""
        issued = self.clients.issued(name)
        chain, key = self.folder / "client.pem", self.folder / "client.key"
        chain.write_bytes(issued.chain_pem)
        key.write_bytes(issued.key_pem)
        return chain, key

    def context(self, name: str, *alpn: str) -> ssl.SSLContext:
        """Return the context of a client that presents the certificate of this case."""
        context = stranger(self.clients.named[name])
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


@contextlib.contextmanager
def proxy_scene(folder: Path) -> Iterator[Scene]:
    """Yield a scene whose upstream runs; nobody serves the authorizer yet."""
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    with recording_upstream() as upstream:
        yield Scene(folder, upstream)


def policy_of(toml: str) -> Policy:
    return Policy.from_toml(toml, environment="prod")


# -- Clients ------------------------------------------------------------------


@attrs.frozen
class Answer:
    """An answer; status 0 if the connection was closed, or the stream reset, instead.

    Attributes:
        status: The status.
        headers: The headers, their names in lower case; of equal ones the last.
        body: The body.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""


NO_ANSWER = Answer(0)


class Line:
    """One connection that speaks HTTP/1.1, byte by byte as a test says it; plain if *context* is None."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext | None,
        session: ssl.SSLSession | None = None,
        host: str = "localhost",
    ) -> None:
        self._host = host
        plain = socket.create_connection((HOST, port), TIMEOUT)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket: socket.socket = plain
        if context is not None:
            try:
                self.socket = context.wrap_socket(plain, server_hostname=host, session=session)
            except OSError:
                plain.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def tls(self) -> ssl.SSLSocket:
        assert isinstance(self.socket, ssl.SSLSocket)
        return self.socket

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """Read one answer."""
        response = http.client.HTTPResponse(self.socket, method=method)
        try:
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        except (http.client.HTTPException, ConnectionError, ssl.SSLError):
            return NO_ANSWER
        finally:
            response.close()

    def ask(
        self,
        method: str | bytes,
        target: str | bytes,
        headers: Sequence[tuple[str | bytes, str | bytes]] = (),
        body: bytes = b"",
    ) -> Answer:
        """Send one request, raw, and return its answer."""
        lines = [b"%b %b HTTP/1.1" % (_raw(method), _raw(target)), b"Host: " + _raw(self._host)]
        lines += [b"%b: %b" % (_raw(name), _raw(value)) for name, value in headers]
        if body and not {_raw(name).lower() for name, _ in headers} & {
            b"content-length",
            b"transfer-encoding",
        }:
            lines.append(b"Content-Length: %d" % len(body))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.send(b"\r\n".join([*lines, b"", b""]) + body)
        return self.answer("HEAD" if _raw(method) == b"HEAD" else "GET")


class Line2:
    """One connection that speaks HTTP/2 and sends whatever header fields a test gives it."""

    is_negotiated: bool = True

    def __init__(self, port: int, context: ssl.SSLContext, host: str = "localhost") -> None:
        if self.is_negotiated:
            context.set_alpn_protocols(["h2"])
        self._line = Line(port, context, host=host)
        assert self._line.tls.selected_alpn_protocol() == ("h2" if self.is_negotiated else None)
        configuration = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1"
        )
        self._connection = h2.connection.H2Connection(configuration)
        self._connection.initiate_connection()
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.socket.close()

    def _flush(self) -> None:
        self._line.send(self._connection.data_to_send())

    def ask(
        self,
        method: str | bytes,
        target: str | bytes,
        headers: Sequence[tuple[str | bytes, str | bytes]] = (),
        body: bytes = b"",
    ) -> Answer:
        """Send one request, raw, and return its answer; *headers* may hold pseudo-header fields, too."""
        given = {_lower(name) for name, _ in headers}
        pseudo: list[tuple[str | bytes, str | bytes]] = [
            (":method", method),
            (":path", target),
            (":scheme", "https"),
            (":authority", "localhost"),
        ]
        fields = [(_raw(name), _raw(value)) for name, value in pseudo if _raw(name) not in given]
        fields += [(_lower(name), _raw(value)) for name, value in headers]
        stream = self._connection.get_next_available_stream_id()
        try:
            self._connection.send_headers(stream, fields, end_stream=not body)
            return self._answer(stream, body)
        except (ConnectionError, ssl.SSLError, h2.exceptions.ProtocolError):
            return NO_ANSWER

    def _send_some(self, stream: int, body: bytes) -> bytes:
        """Send what the server will take now, and return the rest (RFC 9113 section 5.2)."""
        while body and (room := self._connection.local_flow_control_window(stream)):
            size = min(room, len(body), self._connection.max_outbound_frame_size)
            self._connection.send_data(stream, body[:size], end_stream=size == len(body))
            body = body[size:]
        self._flush()
        return body

    def _answer(self, stream: int, rest: bytes) -> Answer:
        status, headers, body = 0, dict[str, str](), b""
        rest = self._send_some(stream, rest)
        while data := self._line.socket.recv(65536):
            for event in self._connection.receive_data(data):
                if isinstance(event, h2.events.ConnectionTerminated) and event.error_code:
                    return NO_ANSWER
                if getattr(event, "stream_id", None) != stream:
                    continue
                if isinstance(event, h2.events.ResponseReceived):
                    headers = {str(name): str(value) for name, value in event.headers or ()}
                    status = int(headers[":status"])
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data or b""
                elif isinstance(event, h2.events.StreamReset):
                    return Answer(status, headers, body)
                elif isinstance(event, h2.events.StreamEnded):
                    self._flush()
                    return Answer(status, headers, body)
            rest = self._send_some(stream, rest)
        return NO_ANSWER


def _raw(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def _lower(name: str | bytes) -> bytes:
    """Return a field's name in lower case, as HTTP/2 wants it; bytes are sent as they are."""
    return name.lower().encode("latin-1") if isinstance(name, str) else name


SPEAKING: dict[str, type[Line | Line2]] = {"HTTP/1.1": Line, "HTTP/2": Line2}

"""Common listeners: none is restarted, and none knows about meshid."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import http.server
import logging
import queue
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from OpenSSL import SSL
from typing_extensions import override
from waitress.server import create_server as waitress_server
from werkzeug.serving import WSGIRequestHandler as WerkzeugHandler
from werkzeug.serving import make_server as werkzeug_server

from meshid import Mesh, PeerRejected, Reason, peer_of
from meshid.certificates.reading import to_pem
from meshid.testing import CA, Issued
from tests.helpers.tls_peers import (
    HELLO,
    HOST,
    PATH,
    SERVERS,
    TIMEOUT,
    Heard,
    Serving,
    client_hello,
    credentials,
    knock,
    mesh_of,
    stranger,
)

UNKNOWN = "/ns/unknown/sa/web"
NAME = f"spiffe://prod.example.org{PATH}"


@contextlib.contextmanager
def running(server: socketserver.BaseServer) -> Iterator[int]:
    """Serve in a thread until the end of the block; yield the port."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        assert isinstance(server.server_address, tuple)
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(TIMEOUT)
        assert not thread.is_alive()


class Greeter(http.server.BaseHTTPRequestHandler):
    timeout = TIMEOUT

    def do_GET(self) -> None:
        body = str(peer_of(self.connection).spiffe_id).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def get(port: int, context: ssl.SSLContext) -> tuple[bytes, bytes | None]:
    """Return an HTTP server's answer and the leaf that it presented."""
    connection = http.client.HTTPSConnection(HOST, port, context=context, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        presented = connection.sock.getpeercert(binary_form=True)
        return connection.getresponse().read(), presented


# -- Servers whose listening socket is wrapped as a whole -----------------------


def hello_world(_: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Length", str(len(HELLO)))])
    return [HELLO]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def wrapped(kind: type[socketserver.TCPServer]) -> Listening:
    """Return a server of the standard library, which answers with the name of the peer."""

    @contextlib.contextmanager
    def serve(context: ssl.SSLContext) -> Iterator[int]:
        server = kind((HOST, 0), Greeter)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        with running(server) as port:
            yield port

    return serve


@contextlib.contextmanager
def wsgiref(context: ssl.SSLContext) -> Iterator[int]:
    server = make_server(HOST, 0, hello_world, handler_class=Quiet)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with running(server) as port:
        yield port


class QuietWerkzeug(WerkzeugHandler):
    @override
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def werkzeug(*, threaded: bool) -> Listening:
    @contextlib.contextmanager
    def serve(context: ssl.SSLContext) -> Iterator[int]:
        server = werkzeug_server(
            HOST, 0, hello_world, threaded=threaded, ssl_context=context, request_handler=QuietWerkzeug
        )
        with running(server) as port:
            yield port

    return serve


def waitress(*, poll: bool) -> Listening:
    @contextlib.contextmanager
    def serve(context: ssl.SSLContext) -> Iterator[int]:
        # Its descriptor is asked for once, before it listens.
        listener = socket.socket()
        listener.bind((HOST, 0))
        tls = context.wrap_socket(listener, server_side=True)
        server = waitress_server(
            hello_world, sockets=[tls], asyncore_loop_timeout=0.05, asyncore_use_poll=poll
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield tls.getsockname()[1]
        finally:
            # Its loop ends when there is nothing left to watch.
            server.trigger.pull_trigger(server._map.clear)  # noqa: SLF001
            thread.join(TIMEOUT)
            assert not thread.is_alive()
            server.close()
            server.trigger.close()

    return serve


class Listening(Protocol):
    """A kind of HTTP server with a listener of its own."""

    def __call__(self, context: ssl.SSLContext) -> contextlib.AbstractContextManager[int]: ...


LISTENERS: dict[str, Listening] = {
    "http": wrapped(http.server.HTTPServer),
    "http-threads": wrapped(http.server.ThreadingHTTPServer),
    "socketserver": wrapped(socketserver.TCPServer),
    "socketserver-threads": wrapped(socketserver.ThreadingTCPServer),
    "wsgiref": wsgiref,
    "werkzeug": werkzeug(threaded=False),
    "werkzeug-threads": werkzeug(threaded=True),
    "waitress-select": waitress(poll=False),
    "waitress-poll": waitress(poll=True),
}


@pytest.mark.parametrize("serve", LISTENERS.values(), ids=LISTENERS)
class TestAServerWithAWrappedListener:
    def test_serves_a_good_client_whatever_others_do_not_say(
        self, serve: Listening, mesh: Mesh, prod_ca: CA
    ) -> None:
        good = stranger(prod_ca.issue(PATH))
        with contextlib.ExitStack() as clients, serve(mesh.server_context()) as port:
            for sent in (b"", b"", client_hello(), client_hello()[:20]):
                client = clients.enter_context(socket.create_connection((HOST, port), TIMEOUT))
                client.sendall(sent)
            for _ in range(2):
                began = time.monotonic()
                assert get(port, good)[0] in {NAME.encode(), HELLO}
                assert time.monotonic() - began < TIMEOUT / 2

    def test_never_sees_who_is_refused(  # noqa: PLR0913, PLR0917  # fixtures
        self,
        serve: Listening,
        mesh: Mesh,
        prod_ca: CA,
        heard: Heard,
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with serve(mesh.server_context()) as port:
            for _ in range(2):
                with pytest.raises(OSError, match=r".*"):
                    get(port, stranger(prod_ca.issue(UNKNOWN)))
                assert get(port, stranger(prod_ca.issue(PATH)))[0] in {NAME.encode(), HELLO}
                assert {heard.reason(), heard.reason()} == {Reason.NO_RULE, Reason.ALLOWED}
        assert capfd.readouterr() == ("", "")
        # One line for each, of ours.
        assert [each.name for each in caplog.records if each.levelno >= logging.WARNING] == [
            "meshid.audit"
        ] * 2

    def test_presents_new_credentials(self, serve: Listening, mesh: Mesh, prod_ca: CA) -> None:
        with serve(mesh.server_context()) as port:
            for _ in range(2):
                new = credentials(prod_ca)
                mesh.publish(credentials=new)
                assert get(port, stranger(prod_ca.issue(PATH)))[1] == new.chain[0]


@pytest.mark.parametrize("serve", [SERVERS["blocking"], SERVERS["lazy"]], ids=["blocking", "lazy"])
def test_a_client_without_nodelay_does_not_wait_for_a_late_acknowledgement(
    serve: Serving, mesh: Mesh, prod_ca: CA
) -> None:
    client, seconds = stranger(prod_ca.issue(PATH)), []
    with serve(mesh.server_context()) as service:
        for _ in range(10):
            plain = socket.create_connection((HOST, service.port), TIMEOUT)
            began = time.perf_counter()
            with client.wrap_socket(plain) as tls:
                tls.sendall(HELLO)
                assert tls.recv(1024) == f"{NAME}\n".encode()
                seconds.append(time.perf_counter() - began)
    # The kernel delays an acknowledgement by 40 ms at least.
    assert min(seconds) < 0.03


class TestThreadsWithALazyHandshake:
    def test_a_peer_is_known_before_its_first_byte_is_read(
        self, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        context, seen = mesh.server_context(), queue.SimpleQueue[bytes]()
        failures: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline()
                seen.put(line)
                self.wfile.write(f"{peer_of(self.request).spiffe_id}\n".encode())

        class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
            def get_request(self) -> tuple[socket.socket, object]:
                plain, address = super().get_request()
                plain.settimeout(TIMEOUT)
                tls = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                return tls, address

            def handle_error(self, *_: object) -> None:
                failures.put(sys.exception())

        with running(Server((HOST, 0), Handler)) as port:
            assert knock(port, stranger(prod_ca.issue(UNKNOWN))).answer == b""
            refusal = failures.get(timeout=TIMEOUT)
            assert isinstance(refusal, PeerRejected)
            assert seen.empty()
            assert knock(port, stranger(prod_ca.issue(PATH))).answer == f"{NAME}\n".encode()
        assert [heard.reason(), heard.reason()] == [Reason.NO_RULE, Reason.ALLOWED]


class TestAsyncio:
    """One loop, a mesh at both ends."""

    def test_streams_at_both_ends(self, mesh: Mesh, prod_ca: CA) -> None:
        peers: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peers.append(str(peer_of(writer).spiffe_id))
            writer.write(await reader.readline())
            writer.close()

        async def talk() -> bytes:
            async with await asyncio.start_server(serve, HOST, 0, ssl=mesh.server_context()) as server:
                port = server.sockets[0].getsockname()[1]
                reader, writer = await asyncio.open_connection(HOST, port, ssl=client_of(prod_ca))
                peers.append(str(peer_of(writer.transport).spiffe_id))
                writer.write(HELLO)
                answer = await asyncio.wait_for(reader.read(), TIMEOUT)
                writer.close()
                await writer.wait_closed()
                return answer

        assert asyncio.run(talk()) == HELLO
        assert peers == ["spiffe://prod.example.org/ns/pay/sa/payments", NAME]

    @pytest.mark.parametrize("path", [PATH, UNKNOWN])
    def test_start_tls_on_a_connection_that_began_in_plain_text(
        self, path: str, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        seen: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            with contextlib.suppress(PeerRejected):
                await writer.start_tls(mesh.server_context())
                seen.append(await reader.readline())
                writer.write(f"{peer_of(writer).spiffe_id}\n".encode())
            writer.close()

        async def talk() -> bytes:
            async with await asyncio.start_server(serve, HOST, 0) as server:
                port = server.sockets[0].getsockname()[1]
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(b"STARTTLS\n")
                assert await reader.readline() == b"STARTTLS\n"
                answer = b""
                with contextlib.suppress(OSError):
                    await writer.start_tls(stranger(prod_ca.issue(path)))
                    writer.write(HELLO)
                    answer = await asyncio.wait_for(reader.read(), TIMEOUT)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                return answer

        answer = asyncio.run(talk())
        admitted = path == PATH
        assert (answer, seen) == ((f"{NAME}\n".encode(), [HELLO]) if admitted else (b"", []))
        assert heard.reason() is (Reason.ALLOWED if admitted else Reason.NO_RULE)


def client_of(authority: CA) -> ssl.SSLContext:
    mesh = mesh_of(authority, credentials=authority.issue(PATH).svid)
    return mesh.client_context(["/ns/pay/sa/payments"])


# -- Clients with another TLS library -----------------------------------------


def knock_with_pyopenssl(port: int, client: Issued, _: Path) -> bytes:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.use_certificate(client.certificate)
    context.use_privatekey(client.key)  # type: ignore[arg-type]  # of the kinds that it knows
    for intermediate in client.intermediates:
        context.add_extra_chain_cert(intermediate)
    with socket.create_connection((HOST, port), TIMEOUT) as plain:
        plain.settimeout(None)
        connection = SSL.Connection(context, plain)
        connection.set_connect_state()
        try:
            connection.do_handshake()
            connection.sendall(HELLO)
            return connection.recv(1024)
        except SSL.Error:
            return b""


def knock_with_s_client(port: int, client: Issued, directory: Path) -> bytes:
    (directory / "leaf.pem").write_bytes(to_pem(client.chain[:1]) + client.key_pem)
    (directory / "chain.pem").write_bytes(to_pem(client.chain[1:]))
    command = shutil.which("openssl")
    assert command is not None
    options = ["-cert", str(directory / "leaf.pem"), "-cert_chain", str(directory / "chain.pem")]
    with subprocess.Popen(
        [command, "s_client", "-connect", f"{HOST}:{port}", "-quiet", "-no_ign_eof", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(HELLO)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.flush()
        answer = process.stdout.readline()
        process.kill()
    return answer


@pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)
@pytest.mark.parametrize("knock_with", [knock_with_pyopenssl, knock_with_s_client])
def test_clients_with_other_tls_libraries_are_admitted_and_refused(  # noqa: PLR0913, PLR0917  # fixtures
    knock_with: Callable[[int, Issued, Path], bytes],
    serve: Serving,
    mesh: Mesh,
    prod_ca: CA,
    heard: Heard,
    tmp_path: Path,
) -> None:
    issuing = prod_ca.intermediate()
    with serve(mesh.server_context()) as service:
        assert knock_with(service.port, issuing.issue(UNKNOWN), tmp_path) == b""
        assert service.seen == []
        assert knock_with(service.port, issuing.issue(PATH), tmp_path) == f"{NAME}\n".encode()
    assert [heard.reason(), heard.reason()] == [Reason.NO_RULE, Reason.ALLOWED]

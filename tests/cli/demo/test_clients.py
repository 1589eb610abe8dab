"""The clients of the demo say what they saw: against servers that know nothing of meshid."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from meshid.certificates.reading import to_der
from meshid.cli.demo import clients
from meshid.cli.demo.clients import CLOSED, BlockingClient, Client, visit
from meshid.testing import CA, Issued

PROD = CA("prod.example.org")


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection in a thread, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # the client gave up before it connected
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def context_of_server(trusted: CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    PROD.issue("/server").load_into(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=to_der(trusted.certificate))
    return context


def tls(answer: bytes, trusted: CA = PROD) -> Callable[[socket.socket], None]:
    """Return a TLS server that answers each greeting with *answer*."""
    context = context_of_server(trusted)

    def serve(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as connection:
            try:
                connection.do_handshake()
            except ssl.SSLError:
                # If it were closed before all was read, it would be reset, which could overtake the alert.
                while socket.socket.recv(connection, 10_000):
                    pass
                return
            connection.recv(100)
            connection.sendall(answer)
            connection.recv(100)

    return serve


def silent_until(gone: threading.Event) -> Callable[[socket.socket], None]:
    def serve(_: socket.socket) -> None:
        gone.wait(30)

    return serve


def answer_in_plain_text(plain: socket.socket) -> None:
    plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with contextlib.suppress(OSError):
        plain.recv(10_000)


def reset(plain: socket.socket) -> None:
    # A reset before the client has begun makes `ssl.SSLSocket` itself forget to close.
    plain.recv(100)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.fixture(params=list(Client))
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)


def see(client: Client, serve: Callable[[socket.socket], None], credentials: Issued | None = None) -> str:
    with serving(serve) as port:
        return asyncio.run(visit(client, port, credentials))


class TestEachKind:
    def test_sees_what_it_was_served(self, client: Client) -> None:
        assert see(client, tls(b"hello you\n"), PROD.issue("/x")) == "served: hello you"

    def test_sees_any_other_answer_as_it_is(self, client: Client) -> None:
        assert see(client, tls(b"refused: expired\n"), PROD.issue("/x")) == "refused: expired"

    def test_escapes_an_answer_that_is_not_text(self, client: Client) -> None:
        assert see(client, tls(b"\x1b[2J\xff\n"), PROD.issue("/x")) == "\\x1b[2J\ufffd"

    def test_sends_its_intermediates(self, client: Client) -> None:
        issued = PROD.intermediate().intermediate().issue("/x")
        assert len(issued.intermediates) == 2
        assert see(client, tls(b"hello you\n"), issued) == "served: hello you"

    def test_sees_the_alert_of_a_server_that_refuses_its_certificate(self, client: Client) -> None:
        stranger = CA("elsewhere.example", subject="CN=elsewhere").issue("/x")
        assert see(client, tls(b"hello you\n"), stranger) == "alert: unknown ca"

    def test_sees_the_alert_of_a_server_that_wants_a_certificate(self, client: Client) -> None:
        assert see(client, tls(b"hello you\n")) == "alert: certificate required"

    @pytest.mark.parametrize("serve", [lambda _: None, reset], ids=["close", "reset"])
    def test_sees_a_connection_that_closes(
        self, serve: Callable[[socket.socket], None], client: Client
    ) -> None:
        assert see(client, serve) == CLOSED

    def test_does_not_wait_for_ever(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clients, "TIMEOUT", 0.3)
        gone = threading.Event()

        async def seen(port: int) -> str:
            try:
                return await visit(client, port, None)
            finally:
                gone.set()

        with serving(silent_until(gone)) as port:
            assert asyncio.run(seen(port)) == "no answer for 0 s"


@pytest.mark.parametrize("kind", [Client.ASYNCIO, Client.BLOCKING])
def test_a_server_without_tls_is_not_taken_for_one_that_refuses(kind: Client) -> None:
    assert see(kind, answer_in_plain_text).startswith("SSLError: ")


def test_a_blocking_client_offers_its_session_and_sees_whether_it_was_taken() -> None:
    client = BlockingClient(PROD.issue("/x"))
    context = context_of_server(PROD)
    reused = []

    def serve(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as connection:
            reused.append(connection.session_reused)
            connection.recv(100)
            connection.sendall(b"hello you\n")
            connection.recv(100)

    seen = []
    for _ in range(2):
        with serving(serve) as port:
            seen.append((asyncio.run(client.visit(port)), client.resumed))
    assert seen == [("served: hello you", False), ("served: hello you", True)]
    assert reused == [False, True]

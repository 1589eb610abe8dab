"""A TLS server that keeps what its clients send, before TLS and inside of it; and a proxy between them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from tests.helpers.tls_peers import TIMEOUT, Service, threaded_server

HTTP_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

Dialogue = Callable[["Recorder", ssl.SSLSocket], None]
"""Serves one client, inside of TLS, until it has gone."""


class Recorder:
    """What a server got.

    Attributes:
        context: The context of the next connections.
        port: Where it listens.
        connections: How many there were; each begins a handshake.
        plain: What came before TLS, where the protocol has such a beginning.
        received: What came inside of TLS.
        requests: What the dialogue has made of it: a line for each request.
        presented: What each client presented, as DER; None for nothing.
        open: The connections that are open.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.port = 0
        self.connections = 0
        self.plain = b""
        self.received = b""
        self.requests: list[str] = []
        self.presented: list[bytes | None] = []
        self.open: list[ssl.SSLSocket] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address for a client of HTTP."""
        return f"https://localhost:{self.port}"

    def hang_up(self) -> None:
        """End all open connections, as a server does that keeps none for long."""
        with self._lock:
            for tls in self.open:
                with contextlib.suppress(OSError):
                    tls.shutdown(socket.SHUT_RDWR)

    def serve(
        self,
        plain: socket.socket,
        before_tls: Callable[[Recorder, socket.socket], None] | None,
        dialogue: Dialogue,
    ) -> None:
        """Serve one connection."""
        self.connections += 1
        if before_tls is not None:
            before_tls(self, plain)
        with self.context.wrap_socket(plain, server_side=True) as tls:
            with self._lock:
                self.presented.append(tls.getpeercert(binary_form=True))
                self.open.append(tls)
            try:
                dialogue(self, tls)
            finally:
                with self._lock:
                    self.open.remove(tls)


def http_dialogue(recorder: Recorder, tls: ssl.SSLSocket) -> None:
    """Answer each request that has no body."""
    while chunk := tls.recv(65536):
        recorder.received += chunk
        tls.sendall(HTTP_ANSWER)


@contextlib.contextmanager
def recording(
    context: ssl.SSLContext,
    dialogue: Dialogue = http_dialogue,
    before_tls: Callable[[Recorder, socket.socket], None] | None = None,
) -> Iterator[Recorder]:
    """Serve until the end of the block; then each client must have gone."""
    recorder = Recorder(context)
    with threaded_server(lambda _, plain: recorder.serve(plain, before_tls, dialogue)) as service:
        recorder.port = service.port
        yield recorder
        recorder.hang_up()


# -- A proxy ------------------------------------------------------------------


class ConnectProxy:
    """A proxy for CONNECT (RFC 9110 section 9.3.6).

    Attributes:
        port: Where it listens.
        asked: The lines that it was asked by.
    """

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []

    def serve(self, _: Service, client: socket.socket) -> None:
        """Connect to whom the client names, on the loopback, and pass bytes on both ways."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        self.asked.append(head.partition(b"\r\n")[0].decode())
        port = int(head.split()[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as server:
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=_pass_on, args=(server, client))
            back.start()
            _pass_on(client, server)
            back.join(TIMEOUT)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    # Either way it is over, so that no end waits for the other.
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def connect_proxy() -> Iterator[ConnectProxy]:
    """Run a proxy until the end of the block."""
    proxy = ConnectProxy()
    with threaded_server(proxy.serve) as service:
        proxy.port = service.port
        yield proxy

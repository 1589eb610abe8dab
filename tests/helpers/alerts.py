"""One end of a connection that tells what arrived on the wire: each alert, and how TCP ended."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import attrs

from meshid.testing import Issued
from tests.helpers.tls_peers import HELLO, HOST, TIMEOUT, Service, stranger, threaded_server

_ALERT = 21
"""RFC 8446 section 5.1, and RFC 5246 section 6.2.1."""

_RECORD = 65536

_T = TypeVar("_T")

Version = Literal["TLSv1.3", "TLSv1.2"]
VERSIONS: tuple[Version, ...] = ("TLSv1.3", "TLSv1.2")
Ending = Literal["eof", "reset", "silence"]

NAMES = {
    0: "close_notify",
    40: "handshake_failure",
    42: "bad_certificate",
    48: "unknown_ca",
    70: "protocol_version",
    80: "internal_error",
    116: "certificate_required",
}
"""The descriptions that a test here may meet (RFC 8446 section 6)."""


@attrs.frozen
class Seen:
    """What one end of a connection got.

    Attributes:
        alerts: The names of the alerts, in order; one without a name here is its number.
        ending: How TCP ended: ``silence`` if it did not within `TIMEOUT`.
        answer: The application data.
        error: What OpenSSL said, as its mnemonic.
        agreed: Whether the handshake was over for this end.
        session: The TLS session, to offer it again.
        resumed: Whether a session was resumed.
    """

    alerts: tuple[str, ...]
    ending: Ending
    answer: bytes = b""
    error: str | None = None
    agreed: bool = False
    session: ssl.SSLSession | None = None
    resumed: bool = False


class WireEnd:
    """A client or a server on memory BIOs, so that every byte of the socket passes through here.

    Args:
        context: Its context. It gets a message callback, so that no other end may use it.
        plain: A connected socket; it is left open.
        server_side: Whether it is the server.
        session: A session that a client offers.
        lingers: Whether it waits for the other end to hang up first.

    Attributes:
        has_agreed: Set when its handshake is over.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        plain: socket.socket,
        *,
        server_side: bool = False,
        session: ssl.SSLSession | None = None,
        lingers: bool = False,
    ) -> None:
        self.has_agreed = threading.Event()
        self._lingers = lingers
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._alerts: list[str] = []
        self._ending: Ending | None = None
        context._msg_callback = self._note  # type: ignore[attr-defined]  # noqa: SLF001 - shows alerts as they arrive
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, session=session)

    def _note(
        self, _: object, direction: str, __: object, content_type: int, ___: object, data: bytes
    ) -> None:
        if direction == "read" and content_type == _ALERT:
            self._alerts.append(NAMES.get(data[1], str(data[1])))

    def talk(self, hello: bytes = HELLO) -> Seen:
        """Run the handshake, send *hello* with the last flight, read one line or to the end, and hang up."""
        answer, error = b"", None
        try:
            self._run(self._tls.do_handshake, flush=False)
            self.has_agreed.set()
            if hello:
                self._tls.write(hello)
            self.flush()
            while not answer.endswith(b"\n") and (data := self._run(lambda: self._tls.read(_RECORD))):
                answer += data
        except ssl.SSLError as broken:
            # What OpenSSL says of an alert, or that TCP ended without close_notify.
            error = str(broken.reason)
        except TimeoutError:
            self._ending = "silence"
        agreed = self.has_agreed.is_set()
        session = self._tls.session if agreed else None
        return Seen(
            tuple(self._alerts), self._end(), answer, error, agreed, session, bool(self._tls.session_reused)
        )

    def _run(self, call: Callable[[], _T], *, flush: bool = True) -> _T:
        while True:
            try:
                result = call()
            except ssl.SSLWantReadError:
                self.flush()
                self._receive()
            except ssl.SSLError:
                self.flush()
                raise
            else:
                if flush:
                    self.flush()
                return result

    def flush(self) -> None:
        """Send what OpenSSL has written."""
        # A server that has hung up: what it sent before may still be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._plain.sendall(self._outgoing.read())

    def _receive(self) -> None:
        if data := self._arrived():
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _arrived(self) -> bytes:
        try:
            data = self._plain.recv(_RECORD)
        except ConnectionError:
            self._ending = "reset"
            return b""
        if not data:
            self._ending = "eof"
        return data

    def _end(self) -> Ending:
        if not self._lingers:
            with contextlib.suppress(OSError):
                self._plain.shutdown(socket.SHUT_WR)
        try:
            while self._ending is None:
                self._arrived()
        except TimeoutError:
            self._ending = "silence"
        assert self._ending is not None
        return self._ending


def client_of(version: Version, credentials: Issued | None = None) -> ssl.SSLContext:
    """Return the context of a client that accepts any server, with one version of TLS."""
    context = stranger(credentials)
    context.minimum_version = context.maximum_version = _number(version)
    return context


def _number(version: Version) -> ssl.TLSVersion:
    return ssl.TLSVersion.TLSv1_3 if version == "TLSv1.3" else ssl.TLSVersion.TLSv1_2


def visit(
    port: int,
    context: ssl.SSLContext,
    hello: bytes = HELLO,
    *,
    session: ssl.SSLSession | None = None,
    lingers: bool = False,
) -> Seen:
    """Knock, and tell what came back.

    *hello* leaves with the client's last flight, as with clients that do not wait: a server
    that closes without having read it resets the connection.
    """
    with socket.create_connection((HOST, port), TIMEOUT) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return WireEnd(context, plain, session=session, lingers=lingers).talk(hello)


# -- The other direction ----------------------------------------------------------


@contextlib.contextmanager
def wire_server(presented: Issued, version: Version) -> Iterator[tuple[int, list[Seen]]]:
    """Yield a port, and what each client sent to it; complete when the block has ended."""
    seen: list[Seen] = []
    lock = threading.Lock()

    def listen(_: Service, plain: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = _number(version)
        presented.load_into(context)
        told = WireEnd(context, plain, server_side=True).talk(b"")
        with lock:
            seen.append(told)

    with threaded_server(listen) as service:
        yield service.port, seen

"""Servers and clients of pyOpenSSL, with contexts of ours."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import cast

from OpenSSL import SSL

from meshid import PeerRejected
from meshid.tls.pyopenssl.openssl_connection import MeshConnection
from tests.helpers.tls_peers import HOST, TIMEOUT, Service, threaded_server

_RECORD = 65536


def connection_of(context: SSL.Context, sock: socket.socket | None = None) -> MeshConnection:
    """Make a connection as a user does."""
    return cast("MeshConnection", SSL.Connection(context, sock))


def openssl_server(context: SSL.Context) -> contextlib.AbstractContextManager[Service]:
    """Answer each line with the name of its peer; the handshake runs inside the first `recv()`."""

    def handle(service: Service, plain: socket.socket) -> None:
        # pyOpenSSL does not wait on a socket with a timeout.
        plain.settimeout(None)
        tls = connection_of(context, plain)
        tls.set_accept_state()
        try:
            while line := tls.recv(_RECORD):
                tls.sendall(service.answer(line, tls))
        except SSL.Error as error:
            service.raised.put(error)

    return threaded_server(handle)


def greet_openssl(port: int, context: SSL.Context) -> bytes:
    """Connect and return the greeting; it is empty if the server was refused."""
    with socket.create_connection((HOST, port), TIMEOUT) as plain:
        plain.settimeout(None)
        tls = connection_of(context, plain)
        tls.set_connect_state()
        try:
            return tls.recv(_RECORD)
        except PeerRejected:
            return b""


class OpenSSLMemory:
    """A server or client of ours on memory BIOs, and the other end, of the `ssl` module."""

    def __init__(
        self,
        ours: SSL.Context,
        theirs: ssl.SSLContext,
        *,
        we_serve: bool = True,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.ours = connection_of(ours)
        if we_serve:
            self.ours.set_accept_state()
        else:
            self.ours.set_connect_state()
        self.to_them, self.from_them = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.theirs = theirs.wrap_bio(self.to_them, self.from_them, server_side=not we_serve, session=session)

    def shake_hands(self) -> None:
        """Run the handshake; when ours raises, the other end has got its alert."""
        for _ in range(4):
            self.they_step()
            self.deliver()
            self.we_step()

    def they_step(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.theirs.do_handshake()

    def we_step(self) -> None:
        try:
            with contextlib.suppress(SSL.WantReadError):
                self.ours.do_handshake()
        finally:
            self.fetch()

    def deliver(self) -> None:
        """Give ours what the other end has sent."""
        if data := self.from_them.read():
            self.ours.bio_write(data)

    def fetch(self) -> None:
        """Give the other end what ours has sent."""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                self.to_them.write(self.ours.bio_read(_RECORD))

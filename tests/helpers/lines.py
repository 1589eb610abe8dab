"""Open connections that have said hello and are idle, and how each of them ends."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator

from meshid import Mesh
from tests.helpers.tls_peers import HELLO, HOST, TIMEOUT, admission_of


@contextlib.contextmanager
def line(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """Yield a connection that has said hello, has its answer, and is idle now."""
    with socket.create_connection((HOST, port), TIMEOUT) as plain, context.wrap_socket(plain) as tls:
        tls.sendall(HELLO)
        assert tls.recv(1024).startswith(b"spiffe://")
        yield tls


def goes_on(tls: ssl.SSLSocket) -> bool:
    """Say hello again."""
    tls.sendall(HELLO)
    return tls.recv(1024).startswith(b"spiffe://")


def is_ended(tls: ssl.SSLSocket) -> bool:
    """Wait for the end without sending anything."""
    try:
        return tls.recv(1024) == b""
    except ConnectionError:
        return True


def sweep(mesh: Mesh) -> None:
    """Do what a mesh with sources does each second."""
    admission = admission_of(mesh)
    admission.tell(admission.sweep(admission.clock()))

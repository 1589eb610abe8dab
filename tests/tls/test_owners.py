"""Who reads and writes for an SSL object is found, whatever the loop."""

from __future__ import annotations

import contextlib
import socket
import ssl
import statistics
import sys
import time

import pytest

from meshid import Mesh
from meshid.testing import CA
from meshid.tls.connections import MeshSSLObject
from meshid.tls.owners import Owner
from tests.helpers.lines import is_ended, line
from tests.helpers.loops import LOOPS
from tests.helpers.tls_peers import HELLO, HOST, PATH, TIMEOUT, Heard, Serving, admission_of, stranger

EACH_LOOP = pytest.mark.parametrize("serve", LOOPS.values(), ids=LOOPS)


def owner(mesh: Mesh) -> Owner:
    """Return the owner of the only open connection."""
    (entry,) = admission_of(mesh).connections.now()
    connection = entry.connection()
    assert isinstance(connection, MeshSSLObject)
    assert connection.owner is not None
    return connection.owner


@EACH_LOOP
def test_it_ends_an_idle_connection_at_once_and_knows_that_it_has_ended(
    serve: Serving, mesh: Mesh, prod_ca: CA
) -> None:
    with serve(mesh.server_context()) as service, line(service.port, stranger(prod_ca.issue(PATH))) as tls:
        found = owner(mesh)
        assert found.is_open
        assert found.peername == tls.getsockname()
        before = time.monotonic()
        found.close(ConnectionAbortedError())
        assert is_ended(tls)
        assert time.monotonic() - before < 1
        service.refusal()
    assert not found.is_open
    found.close(ConnectionAbortedError())


@EACH_LOOP
def test_a_stranger_that_is_refused_has_an_address(serve: Serving, mesh: Mesh, heard: Heard) -> None:
    forged = stranger(CA("prod.example.org").issue(PATH))
    with serve(mesh.server_context()) as service, socket.create_connection((HOST, service.port)) as plain:
        at = plain.getsockname()
        with contextlib.suppress(OSError), forged.wrap_socket(plain) as tls:
            tls.recv(1)
        event = heard.next()
        assert (event.decision.allowed, event.connection.address, event.connection.port) == (False, *at)


@EACH_LOOP
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can be told to acknowledge at once")
def test_a_client_that_holds_back_its_request_does_not_wait(serve: Serving, mesh: Mesh, prod_ca: CA) -> None:
    """It has no `TCP_NODELAY`, so it waits until its last handshake message is acknowledged."""
    client = stranger(prod_ca.issue(PATH))
    with serve(mesh.server_context()) as service:
        took = [_first_answer(service.port, client) for _ in range(9)]
    # 40 ms without it, and 1 ms with it, if the machine has nothing else to do.
    assert statistics.median(took) < 0.03


def _first_answer(port: int, client: ssl.SSLContext) -> float:
    with socket.create_connection((HOST, port), TIMEOUT) as plain, client.wrap_socket(plain) as tls:
        before = time.monotonic()
        tls.sendall(HELLO)
        assert tls.recv(1024)
        return time.monotonic() - before

"""Which connection a call is about: the server's end that was read last, in this context."""

from __future__ import annotations

import contextvars
import gc
import ssl

from meshid import Mesh
from meshid.testing import CA
from meshid.tls.connection_of_call import connection_of_call
from tests.helpers.tls_peers import HELLO, PATH, Memory, stranger


def about() -> object:
    return connection_of_call()


def in_a_context_of_its_own() -> contextvars.Context:
    """Other tests of this process have read connections in the context that they share."""
    return contextvars.Context()


def test_the_call_that_ends_the_handshake_is_about_its_connection(mesh: Mesh, prod_ca: CA) -> None:
    def ends() -> None:
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
        assert about() is None
        both.shake_hands()
        assert about() is both.server

    in_a_context_of_its_own().run(ends)


def test_each_read_is_about_its_connection_and_a_context_keeps_what_it_was_given(
    mesh: Mesh, prod_ca: CA
) -> None:
    one, other = (Memory(mesh.server_context(), stranger(prod_ca.issue(PATH))) for _ in range(2))
    one.shake_hands()
    other.shake_hands()
    task = contextvars.copy_context()
    one.client.write(HELLO)
    one.to_server.write(one.sent.read())

    def reads() -> bytes:
        buffer = bytearray(3)
        assert one.server.read(2, buffer) == 2  # type: ignore[comparison-overlap]  # into a buffer, a number
        assert about() is one.server
        return bytes(buffer[:2]) + one.server.read()

    assert contextvars.copy_context().run(reads) == HELLO
    assert task.run(about) is other.server


def test_nothing_is_about_a_connection_that_is_gone_nor_about_one_of_a_client(
    mesh: Mesh, prod_ca: CA
) -> None:
    def ends() -> None:
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
        both.shake_hands()
        gone = both.server
        del both
        assert about() is gone
        del gone
        gc.collect()
        assert about() is None

    in_a_context_of_its_own().run(ends)

    def asks() -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        prod_ca.issue("/ns/pay/sa/payments").load_into(server)
        both = Memory(server, mesh.client_context("/ns/pay/sa/payments"))
        both.shake_hands()
        both.server.write(HELLO)
        assert both.client.read() == HELLO
        assert about() is None

    in_a_context_of_its_own().run(asks)

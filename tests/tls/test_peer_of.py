"""`peer_of` finds the peer in whatever a framework hands to the application."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from meshid import Decision, Mesh, NoPeer, Peer, PeerRejected, Reason, peer_of
from meshid.testing import CA
from meshid.tls.admitted_connection import AdmittedConnection
from tests.helpers.tls_peers import HELLO, HOST, PATH, TIMEOUT, Memory, arriving, stranger

NAME = f"spiffe://prod.example.org{PATH}"


def test_an_ssl_socket_has_the_peer(mesh: Mesh, prod_ca: CA) -> None:
    with (
        arriving(stranger(prod_ca.issue(PATH))) as (plain, visit),
        mesh.server_context().wrap_socket(plain, server_side=True) as tls,
    ):
        assert str(peer_of(tls).spiffe_id) == NAME
        tls.sendall(HELLO)
        visit.result(TIMEOUT)


def test_an_ssl_object_has_the_peer(mesh: Mesh, prod_ca: CA) -> None:
    both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
    both.shake_hands()
    assert str(peer_of(both.server).spiffe_id) == NAME


def test_a_connection_that_ends_while_it_is_asked_had_a_peer(
    mesh: Mesh, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
    memory.shake_hands()
    ask, peer = AdmittedConnection.raise_if_ended, peer_of(memory.server)

    def ends_afterwards(connection: AdmittedConnection) -> None:
        """As another thread may end it at this moment."""
        ask(connection)
        connection.end(PeerRejected(Decision(allowed=False, reason=Reason.REVOKED)))

    with monkeypatch.context() as patch:
        patch.setattr(AdmittedConnection, "raise_if_ended", ends_afterwards)
        assert peer_of(memory.server) is peer
    with pytest.raises(PeerRejected):
        peer_of(memory.server)


def test_a_stream_writer_and_its_transport_have_the_peer(mesh: Mesh, prod_ca: CA) -> None:
    peers: list[Peer] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.extend(map(peer_of, (writer, writer.transport, writer.get_extra_info("ssl_object"))))
        writer.write(HELLO)
        writer.close()

    async def visit() -> None:
        async with await asyncio.start_server(serve, HOST, 0, ssl=mesh.server_context()) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(HOST, port, ssl=stranger(prod_ca.issue(PATH)))
            assert await asyncio.wait_for(reader.readline(), TIMEOUT) == HELLO
            writer.close()
            await writer.wait_closed()

    asyncio.run(visit())
    assert [str(peer.spiffe_id) for peer in peers] == [NAME] * 3


class TestThereIsNoPeer:
    def test_before_the_handshake_is_over(self, mesh: Mesh, prod_ca: CA) -> None:
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
        with pytest.raises(NoPeer, match="the handshake is not over"):
            peer_of(both.server)

    def test_after_a_refusal(self, mesh: Mesh, dev_ca: CA) -> None:
        both = Memory(mesh.server_context(), stranger(dev_ca.issue(PATH)))
        with pytest.raises(PeerRejected):
            both.shake_hands()
        with pytest.raises(PeerRejected):
            peer_of(both.server)

    def test_on_a_connection_without_tls(self) -> None:
        async def visit() -> None:
            async with await asyncio.start_server(lambda _, writer: writer.close(), HOST, 0) as server:
                port = server.sockets[0].getsockname()[1]
                _, writer = await asyncio.open_connection(HOST, port)
                with pytest.raises(NoPeer, match="StreamWriter is not a connection of a MeshContext"):
                    peer_of(writer)
                writer.close()
                await writer.wait_closed()

        asyncio.run(visit())

    @pytest.mark.parametrize(
        "thing",
        [
            None,
            "spiffe://prod.example.org/x",
            object(),
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
                ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x"
            ),
        ],
        ids=lambda thing: type(thing).__name__,
    )
    def test_in_anything_else(self, thing: object) -> None:
        with pytest.raises(NoPeer, match=f"^{type(thing).__name__} is not a connection of a MeshContext"):
            peer_of(thing)

    def test_in_a_plain_socket(self) -> None:
        with socket.socket() as plain, pytest.raises(NoPeer, match="socket is not a connection"):
            peer_of(plain)

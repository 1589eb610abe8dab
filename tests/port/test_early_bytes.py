"""What a plain client has sent before the port takes its connection arrives whole, and so does its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from meshid.port import MeshPort
from meshid.testing import CA
from tests.helpers.tls_peers import HOST, PATH, TIMEOUT, mesh_of, threaded_server

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def answer_at_the_end(_: object, plain: socket.socket) -> None:
    """Answer with all that has come, when nothing more is to come."""
    received = b""
    while data := plain.recv(1 << 16):
        received += data
    plain.sendall(received)


@pytest.mark.parametrize("data", [b"", bytes(range(256)) * 100], ids=["its end alone", "bytes and its end"])
@pytest.mark.parametrize("loop", LOOPS)
def test_it_arrives_whole(loop: str, data: bytes, prod_ca: CA) -> None:
    """uvloop begins to read when the connection is made, although the port has paused that."""

    async def serve(upstream: int, listener: socket.socket, client: socket.socket) -> bytes:
        mesh = mesh_of(prod_ca, credentials=prod_ca.issue(PATH).svid)
        async with MeshPort(mesh_of(prod_ca), f"{HOST}:{upstream}") as server:
            port = MeshPort(mesh, f"{HOST}:{server.addresses[0][1]}", client=True, expect="/ns/pay/**")  # type: ignore[index]
            await port.start([listener])
            try:
                return await asyncio.to_thread(read_all, client)
            finally:
                await port.close()

    with (
        threaded_server(answer_at_the_end) as service,
        socket.create_server((HOST, 0)) as listener,
        socket.create_connection(listener.getsockname(), TIMEOUT) as client,
        asyncio.Runner(loop_factory=LOOPS[loop]) as runner,
    ):
        # All of it is there when the connection is accepted.
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert runner.run(serve(service.port, listener.dup(), client)) == data


def read_all(client: socket.socket) -> bytes:
    received = b""
    while data := client.recv(1 << 16):
        received += data
    return received

"""Who reads and writes for an SSL object is found, whatever the loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import statistics
import sys
import time
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread
import pytest
import trio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from meshid import ConnectionEnded, Decision, Mesh, Reason, Revocations
from meshid.testing import CA
from meshid.tls import uvloop_transports
from meshid.tls.connections import MeshSSLObject
from meshid.tls.owners import HiddenOwner, Owner, SocketOwner, TransportOwner, acknowledge, owner_of
from meshid.tls.uvloop_transports import RECENT, Transport, transports_of
from tests.helpers.lines import is_ended, line
from tests.helpers.loops import LOOPS, new_uvloop
from tests.helpers.tls_peers import (
    CLOSED_POLICY,
    HELLO,
    HOST,
    PATH,
    TIMEOUT,
    Heard,
    Memory,
    Serving,
    admission_of,
    stranger,
)

EACH_LOOP = pytest.mark.parametrize("serve", LOOPS.values(), ids=LOOPS)


def only_connection(mesh: Mesh) -> MeshSSLObject:
    (entry,) = admission_of(mesh).connections.now()
    connection = entry.connection()
    assert isinstance(connection, MeshSSLObject)
    return connection


def owner(mesh: Mesh) -> Owner:
    """Return the owner of the only open connection."""
    found = only_connection(mesh).owner
    assert found is not None
    return found


@EACH_LOOP
def test_it_ends_an_idle_connection_at_once_and_knows_that_it_has_ended(
    serve: Serving, mesh: Mesh, prod_ca: CA
) -> None:
    with serve(mesh.server_context()) as service, line(service.port, stranger(prod_ca.issue(PATH))) as tls:
        found = owner(mesh)
        assert found.is_open
        assert found.peername == tls.getsockname()
        before = time.monotonic()
        # Not its owner's `close()` alone: the client may answer that with an orderly end.
        only_connection(mesh).end(ConnectionEnded(Decision(allowed=False, reason=Reason.DENY_LISTED)))
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


# -- uvloop, on a connection that was plain before ------------------------------


async def _start_tls(mesh: Mesh, client: ssl.SSLContext, removal: Revocations) -> Owner:
    """Serve one client, which says hello, and is removed when it is idle; return the server's owner."""
    loop, context = asyncio.get_running_loop(), mesh.server_context()
    owners: list[Owner] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        # As if another one had begun TLS meanwhile.
        transports = transports_of(loop)
        assert transports is not None
        transports.of_new(ssl.MemoryBIO())
        writer.write(b"go\n")
        await writer.start_tls(context)
        writer.write(await reader.readline())
        owners.append(owner(mesh))
        with pytest.raises(ConnectionEnded):
            await reader.read()
        writer.close()

    def visit(port: int) -> None:
        with socket.create_connection((HOST, port), TIMEOUT) as plain:
            plain.sendall(b"start\n")
            assert plain.recv(10) == b"go\n"
            with client.wrap_socket(plain) as tls:
                tls.sendall(HELLO)
                assert tls.recv(10) == HELLO
                mesh.publish(revocations=removal)
                assert is_ended(tls)

    async with await asyncio.start_server(handle, HOST, 0) as server:
        await loop.run_in_executor(None, visit, server.sockets[0].getsockname()[1])
    return owners[0]


@pytest.mark.parametrize(
    ("recent", "kind", "is_known"),
    [(RECENT, TransportOwner, True), (0, HiddenOwner, False)],
    ids=["recent", "old"],
)
def test_on_uvloop_a_connection_that_was_plain_before_ends_too(  # noqa: PLR0913, PLR0917  # a table
    recent: int,
    kind: type[Owner],
    is_known: bool,  # noqa: FBT001 - a column
    mesh: Mesh,
    prod_ca: CA,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uvloop_transports, "RECENT", recent)
    denied = Revocations(deny=[f"spiffe://prod.example.org{PATH}"])
    with asyncio.Runner(loop_factory=new_uvloop) as runner:
        found = runner.run(_start_tls(mesh, stranger(prod_ca.issue(PATH)), denied))
    assert isinstance(found, kind)
    assert (found.peername is not None) is is_known


def test_on_uvloop_an_object_that_nobody_drives_ends_with_the_next_byte(mesh: Mesh, prod_ca: CA) -> None:
    async def shake_hands() -> Memory:
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
        both.shake_hands()
        return both

    with asyncio.Runner(loop_factory=new_uvloop) as runner:
        both = runner.run(shake_hands())
    found = owner(mesh)
    assert isinstance(found, HiddenOwner)
    assert not found.send(b"")
    mesh.publish(policy=CLOSED_POLICY)
    with pytest.raises(ConnectionEnded):
        both.server.read()


# -- Streams on top of others ---------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("depth", [1, 2])
def test_anyio_below_tls_in_tls_and_on_a_unix_socket(
    backend: str, depth: int, mesh: Mesh, prod_ca: CA, tmp_path: Path
) -> None:
    """A Unix socket has another owner on asyncio, and no address."""
    client, context = stranger(prod_ca.issue(PATH)), mesh.server_context()

    async def wrapped(stream: ByteStream, tls: ssl.SSLContext, *, server_side: bool) -> ByteStream:
        for _ in range(depth):
            stream = await TLSStream.wrap(
                stream, ssl_context=tls, server_side=server_side, standard_compatible=False
            )
        return stream

    async def handle(plain: ByteStream) -> None:
        async with plain:
            stream = await wrapped(plain, context, server_side=True)
            await stream.send(HELLO)
            # What it read last has come to its end, or was ended.
            with contextlib.suppress(OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()

    async def visit() -> None:
        async with (
            await anyio.create_unix_listener(tmp_path / "s") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, handle)
            async with await anyio.connect_unix(tmp_path / "s") as plain:
                stream = await wrapped(plain, client, server_side=False)
                assert await stream.receive() == HELLO
                assert len(admission_of(mesh).connections) == depth
                await anyio.to_thread.run_sync(lambda: mesh.publish(policy=CLOSED_POLICY))
                with (
                    anyio.fail_after(TIMEOUT),
                    pytest.raises((OSError, anyio.BrokenResourceError, anyio.EndOfStream)),
                ):
                    await stream.receive()
            group.cancel_scope.cancel()

    anyio.run(visit, backend=backend)


# -- What an owner does ---------------------------------------------------------


def test_a_class_that_has_changed_is_an_unknown_owner() -> None:
    """Its connection ends with the next byte, and its handshakes go on."""
    calling = type("SSLProtocol", (), {"__module__": "asyncio.sslproto"})()

    def do_handshake(self: object) -> Owner | None:
        assert self is calling
        return owner_of(sys._getframe(), None)  # noqa: SLF001 - as `do_handshake` does

    assert do_handshake(calling) is None


class TestSending:
    def test_a_transport_sends_in_the_thread_of_its_loop(self) -> None:
        async def send() -> bytes:
            received = asyncio.Queue[bytes]()

            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await received.put(await reader.read())
                writer.close()

            async with await asyncio.start_server(handle, HOST, 0) as server:
                _, writer = await asyncio.open_connection(HOST, server.sockets[0].getsockname()[1])
                transport = cast("Transport", writer.transport)
                found = TransportOwner(transport, asyncio.get_running_loop())
                assert found.send(b"alert")
                assert not await asyncio.to_thread(found.send, b"another")
                writer.close()
                return await received.get()

        assert asyncio.run(send()) == b"alert"

    def test_a_socket_sends_if_it_takes_all(self) -> None:
        one, other = socket.socketpair()
        with other:
            with one:
                one.setblocking(False)
                found = SocketOwner(one)
                assert found.send(b"alert")
                assert other.recv(10) == b"alert"
                while found.send(bytes(1024)):
                    pass
            assert not found.send(b"alert")

    def test_it_is_known_who_is_not_connected(self) -> None:
        with socket.socket() as alone:
            assert SocketOwner(alone).peername is None

    def test_what_cannot_be_told_to_acknowledge_is_left_alone(self) -> None:
        acknowledge(None)
        one, other = socket.socketpair()
        with one, other:
            acknowledge(one)


def test_who_writes_on_trio_after_the_end_has_lost_a_connection() -> None:
    """And has not made a mistake: that would be a `ClosedResourceError`, which no server expects."""

    async def write() -> None:
        one, other = trio.socket.socketpair()
        with other:
            stream = trio.SocketStream(one)
            SocketOwner(cast("socket.socket", one)).close(
                ConnectionEnded(Decision(allowed=False, reason=Reason.DENY_LISTED))
            )
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"answer")
            await stream.aclose()

    trio.run(write)

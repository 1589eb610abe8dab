"""STARTTLS: what came in plaintext is never read as from the admitted peer, on any path."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import attrs
import pytest
import uvloop

from meshid import HandshakeTimeout, Mesh, NoPeer, PeerRejected, Reason, Revocations, peer_of, start_tls
from meshid.testing import CA
from tests.helpers.tls_peers import HELLO, HOST, PATH, TIMEOUT, Heard, mesh_of, stranger

NAME = f"spiffe://prod.example.org{PATH}"
SERVER = "/ns/pay/sa/payments"
COMMAND, ANSWER, EVIL = b"STARTTLS\r\n", b"220 go ahead\r\n", b"DELETE everything\r\n"

EACH_LOOP = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
T = TypeVar("T")
NewLoop = Callable[[], asyncio.AbstractEventLoop]


def run(new_loop: NewLoop, scene: Callable[[], Awaitable[None]]) -> None:
    """Play a scene in a new loop; nothing in it may be left to the loop's handler of exceptions."""
    failures: list[dict[str, object]] = []

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, failure: failures.append(failure))
        async with asyncio.timeout(TIMEOUT):
            await scene()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(play())
    assert failures == []


@attrs.define
class Pair:
    """An accepted connection, and the socket at its other end, on which nothing was sent yet."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    other: socket.socket

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.other, data)

    async def hear(self, size: int = 65536) -> bytes:
        """Return what the other end gets; nothing if it was closed."""
        with suppress(ConnectionError):
            return await asyncio.get_running_loop().sock_recv(self.other, size)
        return b""

    async def is_closed(self) -> bool:
        """Tell whether the other end sees the end, and nobody here reads anything or waits for ever."""
        while await self.hear():
            pass
        with pytest.raises(OSError):  # noqa: PT011 - which one is asked where it matters
            await self.reader.read()
        with suppress(OSError):
            await self.writer.wait_closed()
        with pytest.raises(NoPeer):
            peer_of(self.writer)
        return self.writer.is_closing()


@asynccontextmanager
async def accepted() -> AsyncIterator[Pair]:
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set_result((reader, writer))

    async with await asyncio.start_server(accept, HOST, 0) as server:
        with socket.socket() as other:
            other.setblocking(False)
            await loop.sock_connect(other, server.sockets[0].getsockname())
            reader, writer = await arrived
            try:
                yield Pair(reader, writer, other)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()


@asynccontextmanager
async def asked(said: bytes = COMMAND) -> AsyncIterator[Pair]:
    """Yield a server's connection on which the command was *said* and read, and has its answer."""
    async with accepted() as pair:
        await pair.say(said)
        assert await pair.reader.readline() == COMMAND
        pair.writer.write(ANSWER)
        yield pair


async def visited(pair: Pair, context: ssl.SSLContext, *, skip: int = 0) -> bytes:
    """Be the client that has asked for TLS: return the answer to `HELLO`, nothing if it was refused.

    It skips so many bytes of plaintext after the answer to its command.
    """
    assert await pair.hear(len(ANSWER)) == ANSWER
    while skip:
        skip -= len(await pair.hear(skip))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)

    async def do(step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await pair.say(outgoing.read())
                if not incoming.write(await pair.hear()):
                    raise ConnectionResetError from None
            else:
                await pair.say(outgoing.read())
                return result

    try:
        await do(tls.do_handshake)
        await do(partial(tls.write, HELLO))
        answer = await do(tls.read)
        pair.other.shutdown(socket.SHUT_RDWR)
    except OSError:
        return b""
    return answer


def both_trust(authority: CA) -> Mesh:
    return mesh_of(authority, credentials=authority.issue(PATH).svid)


# -- The upgrade ----------------------------------------------------------------------------------


@EACH_LOOP
def test_the_pair_carries_tls_afterwards_and_knows_its_peer(
    new_loop: NewLoop, mesh: Mesh, prod_ca: CA
) -> None:
    async def scene() -> None:
        async with asked() as pair:
            visit = asyncio.create_task(visited(pair, stranger(prod_ca.issue(PATH))))
            await start_tls(pair.reader, pair.writer, mesh.server_context())
            assert str(peer_of(pair.writer).spiffe_id) == NAME
            assert await pair.reader.readline() == HELLO
            pair.writer.write(b"welcome\n")
            await pair.writer.drain()
            assert await visit == b"welcome\n"

    run(new_loop, scene)


@EACH_LOOP
def test_an_upgraded_connection_has_its_address_and_ends_when_its_peer_is_denied(
    new_loop: NewLoop, mesh: Mesh, prod_ca: CA, heard: Heard
) -> None:
    async def scene() -> None:
        async with asked() as pair:
            visit = asyncio.create_task(visited(pair, stranger(prod_ca.issue(PATH))))
            await start_tls(pair.reader, pair.writer, mesh.server_context())
            assert await pair.reader.readline() == HELLO
            mesh.publish(revocations=Revocations(deny=[NAME]))
            with pytest.raises(PeerRejected) as caught:
                await pair.reader.readline()
            assert caught.value.reason is Reason.DENY_LISTED
            assert await visit == b""
            for event in (heard.next(), heard.next()):
                connection = event.connection
                assert (connection.address, connection.port) == pair.other.getsockname()

    run(new_loop, scene)


@EACH_LOOP
@pytest.mark.parametrize("accepts", [True, False], ids=["accepting", "connecting"])
def test_the_context_says_who_is_server_and_not_who_has_connected(
    new_loop: NewLoop, *, accepts: bool, mesh: Mesh, prod_ca: CA, caplog: pytest.LogCaptureFixture
) -> None:
    ours = both_trust(prod_ca)
    contexts = [mesh.server_context(), ours.client_context(expect=SERVER)]
    here, there = contexts if accepts else contexts[::-1]

    async def scene() -> None:
        async with accepted() as pair:
            reader, writer = await asyncio.open_connection(sock=pair.other.dup())
            await asyncio.gather(start_tls(pair.reader, pair.writer, here), start_tls(reader, writer, there))
            names = {str(peer_of(pair.writer).spiffe_id), str(peer_of(writer).spiffe_id)}
            assert names == {NAME, f"spiffe://prod.example.org{SERVER}"}
            writer.write(HELLO)
            assert await pair.reader.readline() == HELLO
            writer.close()
            await writer.wait_closed()
            assert await pair.reader.read() == b""

    run(new_loop, scene)
    assert caplog.records == [], "asyncio complains of a protocol that does not know that it is over TLS"


@EACH_LOOP
def test_an_answer_that_is_still_being_sent_goes_out_before_tls(
    new_loop: NewLoop, mesh: Mesh, prod_ca: CA
) -> None:
    """More of it than a socket holds, so that asyncio has told the writer to pause."""
    rest = bytes(8 * 1024 * 1024)

    async def scene() -> None:
        async with asked() as pair:
            pair.writer.write(rest)
            upgrade = asyncio.create_task(start_tls(pair.reader, pair.writer, mesh.server_context()))
            visit = asyncio.create_task(visited(pair, stranger(prod_ca.issue(PATH)), skip=len(rest)))
            await upgrade
            assert await pair.reader.readline() == HELLO
            pair.writer.write(b"welcome\n")
            await pair.writer.drain()
            assert await visit == b"welcome\n"

    run(new_loop, scene)


@EACH_LOOP
def test_a_server_is_asked_for_by_its_name(new_loop: NewLoop, prod_ca: CA) -> None:
    asked_for: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    prod_ca.issue(SERVER).load_into(context)
    context.sni_callback = lambda _, name, __: asked_for.append(name)

    async def scene() -> None:
        async with accepted() as pair:
            reader, writer = await asyncio.open_connection(sock=pair.other.dup())
            serving = asyncio.create_task(pair.writer.start_tls(context))
            ours = both_trust(prod_ca).client_context(expect=SERVER)
            await start_tls(reader, writer, ours, server_hostname="pay.example")
            await serving
            writer.close()
            await writer.wait_closed()

    run(new_loop, scene)
    assert asked_for == ["pay.example"]


@EACH_LOOP
def test_tls_inside_tls_has_the_peer_of_the_inner_one(new_loop: NewLoop, mesh: Mesh, prod_ca: CA) -> None:
    """As through a proxy that speaks TLS itself."""

    async def scene() -> None:
        outer = mesh.server_context()
        async with accepted() as pair:
            client = both_trust(prod_ca).client_context(expect=SERVER)
            reader, writer = await asyncio.open_connection(sock=pair.other.dup())
            for _ in range(2):
                await asyncio.gather(
                    start_tls(pair.reader, pair.writer, outer), start_tls(reader, writer, client)
                )
            assert str(peer_of(pair.writer).spiffe_id) == NAME
            writer.write(HELLO)
            assert await pair.reader.readline() == HELLO
            writer.close()
            await writer.wait_closed()

    run(new_loop, scene)


# -- Plaintext before the handshake ---------------------------------------------------------------


async def refused(pair: Pair, mesh: Mesh) -> PeerRejected:
    with pytest.raises(PeerRejected) as caught:
        await start_tls(pair.reader, pair.writer, mesh.server_context())
    return caught.value


@EACH_LOOP
@pytest.mark.parametrize("size", range(1, len(EVIL) + 1))
def test_plaintext_that_came_with_the_command_is_refused_however_much_there_is(
    new_loop: NewLoop, size: int, mesh: Mesh, heard: Heard
) -> None:
    """The attack: one segment, and a handshake with the real client that would succeed."""

    async def scene() -> None:
        async with asked(COMMAND + EVIL[:size]) as pair:
            error = await refused(pair, mesh)
            assert error.reason is Reason.PLAINTEXT_BEFORE_TLS
            assert error.detail == f"{size} bytes waited to be read when the TLS handshake was to begin"
            event = heard.next()
            assert (event.decision, event.connection.address, event.connection.port) == (
                error.decision,
                *pair.other.getsockname(),
            )
            assert event.decision.target == "payments"
            assert await pair.is_closed()

    run(new_loop, scene)


@EACH_LOOP
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("split", range(0, len(EVIL) + 1, 6))
def test_plaintext_that_comes_just_after_the_command_is_refused_whenever_the_loop_reads_it(
    new_loop: NewLoop, turns: int, split: int, mesh: Mesh, prod_ca: CA
) -> None:
    """Part of it is read before the handshake begins, part of it is still in the kernel, or all of it is."""

    async def scene() -> None:
        async with asked() as pair:
            await pair.say(EVIL[:split])
            for _ in range(turns):
                await asyncio.sleep(0)
            await pair.say(EVIL[split:])
            visit = asyncio.create_task(visited(pair, stranger(prod_ca.issue(PATH))))
            with pytest.raises(ssl.SSLError) as caught:
                await start_tls(pair.reader, pair.writer, mesh.server_context())
            is_told = getattr(caught.value, "reason", None)
            assert is_told in {Reason.PLAINTEXT_BEFORE_TLS, "WRONG_VERSION_NUMBER"}
            assert await visit == b""
            assert await pair.is_closed()

    run(new_loop, scene)


@EACH_LOOP
def test_plaintext_that_comes_while_the_answer_is_being_sent_is_refused(
    new_loop: NewLoop, mesh: Mesh
) -> None:
    async def scene() -> None:
        async with asked() as pair:
            pair.writer.write(bytes(8 * 1024 * 1024))
            upgrade = asyncio.create_task(refused(pair, mesh))
            await asyncio.sleep(0)
            assert not upgrade.done()
            await pair.say(EVIL)
            while await pair.hear():
                pass
            assert (await upgrade).reason is Reason.PLAINTEXT_BEFORE_TLS

    run(new_loop, scene)


@EACH_LOOP
def test_a_client_refuses_what_the_server_said_after_its_answer(new_loop: NewLoop, prod_ca: CA) -> None:
    async def scene() -> None:
        async with accepted() as pair:
            await pair.say(ANSWER + EVIL)
            assert await pair.reader.readline() == ANSWER
            client = both_trust(prod_ca).client_context(expect=SERVER)
            with pytest.raises(PeerRejected) as caught:
                await start_tls(pair.reader, pair.writer, client)
            assert caught.value.reason is Reason.PLAINTEXT_BEFORE_TLS
            assert await pair.is_closed()

    run(new_loop, scene)


@EACH_LOOP
def test_a_refusal_is_final(new_loop: NewLoop, mesh: Mesh) -> None:
    async def scene() -> None:
        async with asked(COMMAND + EVIL) as pair:
            first = await refused(pair, mesh)
            for again in (pair.reader.readline(), pair.reader.read(1), pair.writer.drain()):
                with pytest.raises(PeerRejected) as caught:
                    await again
                assert caught.value is first
            assert await refused(pair, mesh) is first

    run(new_loop, scene)


@EACH_LOOP
def test_the_start_tls_of_asyncio_reads_plaintext_as_from_the_admitted_peer(
    new_loop: NewLoop, mesh: Mesh, prod_ca: CA
) -> None:
    """Why ours is there. If this fails, asyncio has mended it."""

    async def scene() -> None:
        async with asked(COMMAND + EVIL) as pair:
            visit = asyncio.create_task(visited(pair, stranger(prod_ca.issue(PATH))))
            await pair.writer.start_tls(mesh.server_context())
            assert str(peer_of(pair.writer).spiffe_id) == NAME
            assert await pair.reader.readline() == EVIL
            pair.writer.write(b"done\n")
            await pair.writer.drain()
            assert await visit == b"done\n"

    run(new_loop, scene)


# -- Nothing is left half upgraded ----------------------------------------------------------------


@EACH_LOOP
def test_a_peer_that_may_not_be_there_is_refused_and_the_pair_is_closed(
    new_loop: NewLoop, mesh: Mesh, prod_ca: CA, heard: Heard
) -> None:
    async def scene() -> None:
        async with asked() as pair:
            visit = asyncio.create_task(visited(pair, stranger(prod_ca.issue("/ns/other/sa/x"))))
            error = await refused(pair, mesh)
            assert error.reason is Reason.NO_RULE
            assert await visit == b""
            assert await pair.is_closed()
            assert await refused(pair, mesh) is error

    run(new_loop, scene)
    assert heard.of_handshakes() == [Reason.NO_RULE]


@EACH_LOOP
def test_a_handshake_that_is_cancelled_leaves_nobody_waiting(new_loop: NewLoop, mesh: Mesh) -> None:
    async def scene() -> None:
        async with asked() as pair:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await start_tls(pair.reader, pair.writer, mesh.server_context())
            with pytest.raises(ConnectionAbortedError, match="start_tls was cancelled"):
                await pair.reader.readline()
            assert await pair.is_closed()

    run(new_loop, scene)


@EACH_LOOP
def test_a_handshake_has_the_deadline_of_its_context(new_loop: NewLoop, mesh: Mesh) -> None:
    async def scene() -> None:
        async with asked() as pair:
            context = mesh.server_context(handshake_timeout=0.05)
            with pytest.raises(HandshakeTimeout):
                await start_tls(pair.reader, pair.writer, context)
            assert await pair.is_closed()

    run(new_loop, scene)


@EACH_LOOP
def test_a_handshake_that_the_other_end_leaves_fails(new_loop: NewLoop, mesh: Mesh) -> None:
    async def scene() -> None:
        async with asked() as pair:
            upgrade = asyncio.create_task(start_tls(pair.reader, pair.writer, mesh.server_context()))
            assert await pair.hear() == ANSWER
            pair.other.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionResetError):
                await upgrade
            assert await pair.is_closed()

    run(new_loop, scene)


@EACH_LOOP
def test_a_connection_that_is_closed_here_in_the_handshake_is_not_taken_for_an_upgraded_one(
    new_loop: NewLoop, mesh: Mesh
) -> None:
    async def scene() -> None:
        async with asked() as pair:
            upgrade = asyncio.create_task(start_tls(pair.reader, pair.writer, mesh.server_context()))
            assert await pair.hear() == ANSWER
            pair.writer.transport.abort()
            with pytest.raises(ConnectionError):
                await upgrade
            assert await pair.is_closed()

    run(new_loop, scene)


@EACH_LOOP
def test_a_connection_that_is_being_closed_is_not_upgraded(new_loop: NewLoop, mesh: Mesh) -> None:
    """The other end reads nothing, so it would last until the handshake takes too long."""

    async def scene() -> None:
        async with asked() as pair:
            pair.writer.transport.set_write_buffer_limits(high=1 << 30)
            pair.writer.write(bytes(8 * 1024 * 1024))
            pair.writer.close()
            with pytest.raises(ConnectionResetError, match="closed before the TLS handshake"):
                await start_tls(pair.reader, pair.writer, mesh.server_context())
            assert await pair.is_closed()

    run(new_loop, scene)


@EACH_LOOP
@pytest.mark.parametrize("end", ["here", "there"])
def test_a_connection_that_has_ended_before_is_not_upgraded(new_loop: NewLoop, end: str, mesh: Mesh) -> None:
    async def scene() -> None:
        async with asked() as pair:
            if end == "here":
                pair.writer.close()
            else:
                pair.other.shutdown(socket.SHUT_WR)
                assert await pair.reader.read() == b""
            with pytest.raises(ConnectionResetError):
                await start_tls(pair.reader, pair.writer, mesh.server_context())
            assert await pair.is_closed()

    run(new_loop, scene)


# -- Mistakes of the calling code -----------------------------------------------------------------


def test_what_is_wrong_in_the_call_is_said_and_changes_nothing(mesh: Mesh, prod_ca: CA) -> None:
    server = mesh.server_context()
    plain = stranger()
    text: Any = "pay.example"
    none: Any = None

    async def scene() -> None:
        async with asked() as pair, accepted() as another:
            reader, writer = pair.reader, pair.writer
            not_ours: Any = plain
            for call, message in [
                (start_tls(none, writer, server), "reader must be a StreamReader, not NoneType"),
                (start_tls(reader, text, server), "writer must be a StreamWriter, not str"),
                (start_tls(reader, writer, not_ours), "context must be a MeshContext, not SSLContext"),
                (
                    start_tls(reader, writer, server, server_hostname=not_ours),
                    "server_hostname must be a str",
                ),
            ]:
                with pytest.raises(TypeError, match=message):
                    await call
            for call, message in [
                (start_tls(another.reader, writer, server), "not of one connection"),
                (start_tls(reader, writer, server, server_hostname=text), "this one is of a server"),
            ]:
                with pytest.raises(ValueError, match=message):
                    await call
            visit = asyncio.create_task(visited(pair, stranger(prod_ca.issue(PATH))))
            await start_tls(reader, writer, server)
            assert await reader.readline() == HELLO
            writer.write(b"welcome\n")
            assert await visit == b"welcome\n"

    run(asyncio.new_event_loop, scene)


def test_a_transport_that_cannot_carry_tls_is_a_type_error(mesh: Mesh) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        ends = socket.socketpair()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        file = ends[0].makefile("wb", buffering=0)
        transport, _ = await loop.connect_write_pipe(lambda: protocol, file)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        for each in ends:
            each.close()
        with pytest.raises(TypeError, match="not supported by start_tls"):
            await start_tls(reader, writer, mesh.server_context())
        with suppress(OSError, TypeError):
            await writer.wait_closed()

    run(asyncio.new_event_loop, scene)

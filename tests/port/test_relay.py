"""Bytes go through a port both ways, ends are passed on as ends, and what is cut off is reset."""

from __future__ import annotations

import gc
import select
import socket
import ssl
import subprocess
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshid import Mesh, Revocations
from meshid.port import tls_side
from meshid.port.sides import HIGH_WATER, READ_BYTES, PlainSide, Side
from meshid.port.tls_end import RECORD
from meshid.port.tls_side import TlsSide
from meshid.testing import CA
from tests.helpers.alerts import VERSIONS, Version, client_of
from tests.helpers.mounted import eventually
from tests.helpers.ports import (
    MAKERS,
    Line,
    Running,
    Upstream,
    connect,
    joined,
    port_of,
    running_port,
    tcp_upstream,
    unix_upstream,
)
from tests.helpers.tls_peers import CLOSED_POLICY, HOST, PATH, TIMEOUT, admission_of, mesh_of, stranger

BULK = bytes(range(256)) * 4096
"""1 MiB: more than a port holds of one connection."""

EACH_LOOP = pytest.mark.parametrize("loop", MAKERS)
EACH_VERSION = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def client(prod_ca: CA) -> ssl.SSLContext:
    """The context of a client that is admitted."""
    return stranger(prod_ca.issue(PATH))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with tcp_upstream() as found:
        yield found


@pytest.fixture
def running(mesh: Mesh, upstream: Upstream) -> Iterator[Running]:
    with running_port(port_of(mesh, upstream)) as found:
        yield found


def sides(running: Running) -> tuple[TlsSide, Side]:
    relay = running.relay()
    assert eventually(lambda: relay.front.other is not None)
    assert relay.back is not None
    assert isinstance(relay.front, TlsSide)
    return relay.front, relay.back


# -- Bytes ----------------------------------------------------------------------


@EACH_LOOP
@EACH_VERSION
def test_bytes_go_both_ways_and_ends_are_passed_on(
    loop: str, version: Version, mesh: Mesh, prod_ca: CA, upstream: Upstream
) -> None:
    port = port_of(mesh, upstream, minimum_version=ssl.TLSVersion.TLSv1_2)
    context = client_of(version, prod_ca.issue(PATH))
    with running_port(port, MAKERS[loop]) as running:
        with joined(running, upstream, context) as (client, service):
            client.send(b"hello\n")
            assert service.receive(6) == b"hello\n"
            service.send(b"hi\n")
            assert client.receive(3) == b"hi\n"
            assert len(port) == 1
            # The client's half ends while there is more under way than the port holds.
            client.end()
            assert service.rest() == (b"", "end")
            service.send(BULK)
            assert client.receive(len(BULK)) == BULK
            service.end()
            assert client.rest() == (b"", "end")
        assert running.is_empty()
    figures = port.figures()
    assert (figures.connections, figures.handshakes, figures.admitted) == (0, 0, 1)
    assert (figures.bytes_in, figures.bytes_out) == (6, 3 + len(BULK))


@EACH_LOOP
def test_the_upstream_ends_first_and_the_client_goes_on(
    loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    port = port_of(mesh, upstream)
    with running_port(port, MAKERS[loop]) as running, joined(running, upstream, client) as (ours, service):
        service.send(BULK)
        service.end()
        assert ours.rest() == (BULK, "end")
        ours.send(BULK)
        assert service.receive(len(BULK)) == BULK
        # The last words and the end in one go.
        ours.send(b"bye")
        ours.end()
        assert service.rest() == (b"bye", "end")
        assert running.is_empty()


@EACH_LOOP
def test_what_follows_an_end_is_not_read(
    loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    port = port_of(mesh, upstream)
    with running_port(port, MAKERS[loop]) as running, joined(running, upstream, client) as (ours, service):
        ours.end()
        ours.plain.sendall(bytes(100))
        assert service.rest() == (b"", "end")
        ours.plain.sendall(bytes(100))
        service.send(b"hi\n")
        assert ours.receive(3) == b"hi\n"


def test_records_of_any_size_go_through(running: Running, upstream: Upstream, client: ssl.SSLContext) -> None:
    # As if many were there at once: what was decrypted is passed on when the buffer is full.
    running.hub.buffers.plain = memoryview(bytearray(RECORD + 1))
    with joined(running, upstream, client) as (ours, service):
        for size in (1, RECORD, RECORD - 1, 3 * RECORD + 5):
            ours.send(BULK[:size])
            assert service.receive(size) == BULK[:size]
        ours.send(BULK)
        assert service.receive(len(BULK)) == BULK


@pytest.mark.parametrize("said", [b"hello", b""], ids=["some", "nothing"])
def test_what_a_plain_client_says_early_is_not_lost(said: bytes, prod_ca: CA, tmp_path: Path) -> None:
    """uvloop reads once before it pauses; here that is done by hand, for as long as there is no upstream."""
    ours = mesh_of(prod_ca, credentials=prod_ca.issue(PATH).svid)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    prod_ca.issue("/ns/pay/sa/payments").load_into(context)
    with unix_upstream(tmp_path / "s", 0) as upstream, socket.socket(socket.AF_UNIX) as first:
        first.connect(str(tmp_path / "s"))
        port = port_of(ours, upstream, client=True, expect="/ns/pay/sa/payments")
        with running_port(port) as running, Line(connect(running)):
            assert eventually(lambda: len(port) == 1 and running.relay().front.is_connected)
            front = running.relay().front
            assert isinstance(front, PlainSide)

            def read() -> None:
                running.hub.buffers.wire[: len(said)] = said
                if said:
                    front.buffer_updated(len(said))
                front.eof_received()

            running.ask(read)
            with (
                upstream.take(),
                upstream.take() as service,
                context.wrap_socket(service.plain, server_side=True) as tls,
            ):
                assert tls.recv(100) == said
                if said:
                    assert tls.recv(100) == b""


@EACH_LOOP
def test_a_unix_socket_is_an_upstream(loop: str, mesh: Mesh, client: ssl.SSLContext, tmp_path: Path) -> None:
    with (
        unix_upstream(tmp_path / "s") as upstream,
        running_port(port_of(mesh, upstream), MAKERS[loop]) as running,
        joined(running, upstream, client) as (ours, service),
    ):
        ours.send(b"hello\n")
        assert service.receive(6) == b"hello\n"
        service.send(b"hi\n")
        service.end()
        assert ours.rest() == (b"hi\n", "end")


@EACH_LOOP
@pytest.mark.parametrize("size", [5, READ_BYTES // 2], ids=["little", "much"])
def test_what_comes_with_the_end_of_the_handshake_waits_for_the_upstream(  # fixtures
    loop: str, size: int, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    early = BULK[:size]
    with (
        running_port(port_of(mesh, upstream), MAKERS[loop]) as running,
        Line(connect(running), client) as ours,
    ):
        ours.shake_hands(early)
        with upstream.take() as service:
            # Nothing follows that would push it.
            assert service.receive(size) == early
            ours.end()
            assert service.rest() == (b"", "end")


def test_both_connections_send_at_once_and_notice_who_has_vanished(
    running: Running, upstream: Upstream, client: ssl.SSLContext
) -> None:
    with joined(running, upstream, client):
        for side in sides(running):
            sock = side._transport.get_extra_info("socket")  # type: ignore[union-attr]  # noqa: SLF001
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


# -- Back-pressure ----------------------------------------------------------------


@EACH_LOOP
@pytest.mark.parametrize("way", ["in", "out"])
def test_who_does_not_read_stops_who_writes(
    loop: str, way: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    port = port_of(mesh, upstream)
    with running_port(port, MAKERS[loop]) as running, joined(running, upstream, client) as (ours, service):
        front, back = sides(running)
        writer, reader, stopped = (ours, service, front) if way == "in" else (service, ours, back)
        # More than the kernel takes at both ends.
        said = BULK * 32
        writing = threading.Thread(target=writer.send, args=(said,))
        writing.start()
        assert eventually(lambda: not stopped._transport.is_reading())  # type: ignore[union-attr]  # noqa: SLF001
        # It may have been written by now, if there was more room in the kernel.
        assert front.waiting + back.waiting <= HIGH_WATER + 2 * READ_BYTES
        assert reader.receive(len(said)) == said
        writing.join(TIMEOUT)
        writer.send(b"more")
        assert reader.receive(4) == b"more"


# -- What is cut off --------------------------------------------------------------


@EACH_LOOP
@EACH_VERSION
def test_tcp_that_ends_without_tls_is_no_end(
    loop: str, version: Version, mesh: Mesh, prod_ca: CA, upstream: Upstream
) -> None:
    port = port_of(mesh, upstream, minimum_version=ssl.TLSVersion.TLSv1_2)
    context = client_of(version, prod_ca.issue(PATH))
    with running_port(port, MAKERS[loop]) as running:
        with joined(running, upstream, context) as (client, service):
            client.send(b"half a requ")
            assert service.receive(11) == b"half a requ"
            client.plain.shutdown(socket.SHUT_WR)
            assert service.rest() == (b"", "reset")
            assert client.rest() == (b"", "reset")
        assert running.is_empty()


@EACH_LOOP
@pytest.mark.parametrize("who", ["client", "service"])
def test_a_reset_is_passed_on(
    loop: str, who: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    with running_port(port_of(mesh, upstream), MAKERS[loop]) as running:
        with joined(running, upstream, client) as (ours, service):
            one, other = (ours, service) if who == "client" else (service, ours)
            one.reset()
            assert other.rest() == (b"", "reset")
        assert running.is_empty()


def test_a_record_that_was_tampered_with_cuts_off_both(
    running: Running, upstream: Upstream, client: ssl.SSLContext
) -> None:
    with joined(running, upstream, client) as (ours, service):
        ours.plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert service.rest() == (b"", "reset")
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            ours.receive(1)


@EACH_LOOP
def test_a_peer_that_is_revoked_is_cut_off_at_once(
    loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    """Both are idle, so that nothing but the review can be the cause."""
    with running_port(port_of(mesh, upstream), MAKERS[loop]) as running:
        with joined(running, upstream, client) as (ours, service):
            ours.send(b"half a requ")
            assert service.receive(11) == b"half a requ"
            sides(running)
            mesh.publish(revocations=Revocations(deny=[f"spiffe://prod.example.org{PATH}"]))
            assert service.rest() == (b"", "reset")
            assert ours.rest() == (b"", "reset")
        assert running.is_empty()
    assert mesh.open_connections == 0


def test_a_peer_that_is_revoked_writes_and_reads_no_more(
    running: Running, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    """Even if its owner could not be told: each record asks."""
    for way in ("in", "out"):
        with joined(running, upstream, client) as (ours, service):
            front, _ = sides(running)
            running.ask(lambda: setattr(front.tls.connection, "owner", None))  # noqa: B023
            before = mesh.snapshot.policy
            mesh.publish(policy=CLOSED_POLICY)
            (ours if way == "in" else service).send(b"more")
            assert service.rest() == (b"", "reset")
            assert ours.rest() == (b"", "reset")
            mesh.publish(policy=before)
        assert running.is_empty()


def test_a_connection_that_has_gone_can_be_ended(
    running: Running, upstream: Upstream, client: ssl.SSLContext
) -> None:
    """A review, a timer or another thread may come late."""
    with joined(running, upstream, client) as (ours, service):
        relay, front = running.relay(), sides(running)[0]
        ours.reset()
        service.rest()
    assert running.is_empty()
    front.close(ConnectionAbortedError())
    assert not front.send(b"from another thread")
    assert running.ask(lambda: front.send(b"too late"))
    assert not front.is_open
    assert front.waiting == 0
    late = [front.pause, front.resume, front.finish, front.abort, front.acknowledge]
    later = [front._write_eof, front._hang_up]  # noqa: SLF001 - as a timer does
    for each in (relay.abort, *late, *later):
        running.ask(each)


def test_a_connection_to_the_upstream_that_comes_late_is_cut_off(
    running: Running, upstream: Upstream, client: ssl.SSLContext
) -> None:
    with joined(running, upstream, client) as (ours, service):
        relay, (_, back) = running.relay(), sides(running)

        def be_late() -> None:
            relay.is_over = True
            relay.ready(back)

        running.ask(be_late)
        assert service.rest() == (b"", "reset")
        ours.reset()
    assert running.is_empty()


@EACH_LOOP
def test_a_client_that_is_cut_off_before_it_is_connected_is_closed_at_once(
    loop: str, mesh: Mesh, upstream: Upstream
) -> None:
    """Else the port waits until the time for a handshake is over."""
    with (
        running_port(port_of(mesh, upstream, handshake_timeout=2 * TIMEOUT), MAKERS[loop]) as running,
        socket.create_server((HOST, 0)) as listener,
        Line(socket.create_connection(listener.getsockname())) as silent,
    ):
        accepted, _ = listener.accept()

        def take_and_cut_off() -> None:
            running.hub.serve(accepted)
            front = running.relay().front
            running.hub.cut_off()
            # The end of its time for the handshake may come as late.
            assert isinstance(front, TlsSide)
            front._end(TimeoutError())  # noqa: SLF001 - as another thread does

        running.ask(take_and_cut_off)
        assert silent.rest() == (b"", "reset")
        assert running.is_empty()
        assert running.port.figures().broken_off == 0


@EACH_LOOP
def test_a_connection_that_has_gone_is_freed_at_once(
    loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    """Not when the collector runs: a port that makes thousands a second would hold them until then."""
    with running_port(port_of(mesh, upstream), MAKERS[loop]) as running:
        gc.collect()
        gc.disable()
        try:
            with joined(running, upstream, client) as (ours, service):
                front, back = sides(running)
                kept = [weakref.ref(each) for each in (front, back, front.tls.connection, running.relay())]
                del front, back
                ours.end()
                service.end()
                assert ours.rest() == service.rest() == (b"", "end")
            assert running.is_empty()
            assert eventually(lambda: [each() for each in kept] == [None] * 4)
        finally:
            gc.enable()
    assert len(admission_of(mesh).connections) == 0


# -- Time -------------------------------------------------------------------------


@EACH_LOOP
@pytest.mark.parametrize("who", ["client", "service"])
def test_half_a_connection_may_be_idle_for_so_long(
    loop: str, who: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    port = port_of(mesh, upstream, half_close_timeout=0.3)
    with running_port(port, MAKERS[loop]) as running, joined(running, upstream, client) as (ours, service):
        one, other = (ours, service) if who == "client" else (service, ours)
        one.end()
        assert other.rest() == (b"", "end")
        # Each byte is a new beginning.
        for _ in range(4):
            other.send(b"x")
            assert one.receive(1) == b"x"
        assert one.rest() == (b"", "reset")
        assert running.is_empty()


def test_any_connection_may_be_idle_for_so_long_if_that_is_asked_for(
    mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    port = port_of(mesh, upstream, idle_timeout=0.3, half_close_timeout=TIMEOUT)
    with running_port(port) as running:
        with joined(running, upstream, client) as (ours, service):
            assert ours.rest() == service.rest() == (b"", "reset")
        with joined(running, upstream, client) as (ours, service):
            # It does not get longer by closing a half.
            ours.end()
            assert service.rest() == (b"", "end")
            assert ours.rest() == (b"", "reset")


def test_half_a_connection_has_its_own_time(mesh: Mesh, upstream: Upstream, client: ssl.SSLContext) -> None:
    port = port_of(mesh, upstream, idle_timeout=3600.0, half_close_timeout=0.2)
    with running_port(port) as running, joined(running, upstream, client) as (ours, service):
        ours.end()
        assert service.rest() == (b"", "end")
        assert ours.rest() == (b"", "reset")


def test_who_reads_slowly_is_not_idle(mesh: Mesh, upstream: Upstream, client: ssl.SSLContext) -> None:
    port = port_of(mesh, upstream, idle_timeout=3600.0)
    with running_port(port) as running, joined(running, upstream, client) as (ours, service):
        front, _ = sides(running)
        service.plain.setblocking(False)
        # Until nothing moves any more: a pause may be followed by more room in the kernel.
        while select.select([], [service.plain], [], 1.0)[1]:
            service.plain.send(BULK)
        relay = running.relay()

        def look(seconds: float) -> None:
            relay._read_at -= seconds  # noqa: SLF001 - as if so much time had gone by
            relay._look(3600.0)  # noqa: SLF001

        waiting = front.waiting
        assert waiting > 0
        running.ask(lambda: look(4000.0))
        assert len(port) == 1
        # Nothing was written since.
        running.ask(lambda: look(4000.0))
        assert ours.rest()[1] in {"reset", "truncated"}
        assert running.is_empty()


# -- A client that renegotiates -----------------------------------------------------


def test_a_client_that_renegotiates_is_told_that_it_cannot(
    mesh: Mesh, prod_ca: CA, upstream: Upstream, tmp_path: Path
) -> None:
    """TLS 1.2 has it, and with the alert the client does not wait for ever (RFC 5246 section 7.2.2)."""
    leaf = prod_ca.issue(PATH).svid
    (tmp_path / "leaf.pem").write_bytes(leaf.chain_pem() + leaf.key_pem())
    port = port_of(mesh, upstream, minimum_version=ssl.TLSVersion.TLSv1_2)
    with running_port(port) as running:
        address = f"{HOST}:{running.number}"
        asking = subprocess.Popen(
            ["openssl", "s_client", "-tls1_2", "-connect", address, "-cert", str(tmp_path / "leaf.pem")],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with asking, upstream.take():
            said, _ = asking.communicate(b"R\n", timeout=TIMEOUT)
        assert b"no renegotiation" in said


def test_answers_to_key_updates_do_not_pile_up(
    mesh: Mesh, upstream: Upstream, prod_ca: CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for many, and reads nothing, is cut off when too many wait; here, at the first."""
    monkeypatch.setattr(tls_side, "MOST_WAITING", -1)
    leaf = prod_ca.issue(PATH).svid
    (tmp_path / "leaf.pem").write_bytes(leaf.chain_pem() + leaf.key_pem())
    with running_port(port_of(mesh, upstream)) as running:
        address = f"{HOST}:{running.number}"
        asking = subprocess.Popen(
            ["openssl", "s_client", "-connect", address, "-cert", str(tmp_path / "leaf.pem")],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with asking, upstream.take() as service:
            assert asking.stdin is not None
            assert asking.stdout is not None
            # OpenSSL gives its answer to one when the next one comes.
            for _ in range(2):
                asking.stdin.write(b"K\n")
                asking.stdin.flush()
                assert any(b"KEYUPDATE" in line for line in asking.stdout)
            assert service.rest() == (b"", "reset")
            asking.kill()

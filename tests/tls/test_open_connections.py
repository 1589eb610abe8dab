"""An open connection ends when its peer may no longer be there, and no other does."""

from __future__ import annotations

import asyncio
import gc
import queue
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshid import BundleSet, Mesh, Peer, PeerRejected, Reason, Revocations, TrustBundle, peer_of
from meshid.admission.ended import Ended
from meshid.admission.open_connections import Connection
from meshid.audit.connection_info import ConnectionInfo
from meshid.testing import CA
from meshid.tls.admitted_connection import AdmittedConnection
from tests.helpers.lines import is_ended, line, sweep
from tests.helpers.loops import EVERYWHERE, tells
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
    asyncio_server,
    knock,
    mesh_of,
    presenting_server,
    stranger,
)
from tests.helpers.world import HOUR, Clock

EACH_SERVER = pytest.mark.parametrize("serve", EVERYWHERE.values(), ids=EVERYWHERE)
OTHER = "/ns/shop/sa/other"


@EACH_SERVER
def test_an_idle_connection_ends_when_its_peer_is_denied_and_others_go_on(
    serve: Serving, mesh: Mesh, prod_ca: CA, heard: Heard
) -> None:
    bad, good = prod_ca.issue(PATH), prod_ca.issue(OTHER)
    with (
        serve(mesh.server_context()) as service,
        line(service.port, stranger(bad)) as ending,
        line(service.port, stranger(good)) as going_on,
    ):
        name = f"spiffe://prod.example.org{PATH}"
        mesh.publish(revocations=Revocations(deny=[name]))
        assert is_ended(ending)
        assert tells(service.refusal(), Reason.DENY_LISTED, serve)
        going_on.sendall(HELLO)
        assert going_on.recv(1024).endswith(b"other\n")
        assert [heard.next().call for _ in range(3)] == ["admit", "admit", "review"]
        assert heard.is_quiet()
        mesh.publish(policy=CLOSED_POLICY)
        assert is_ended(going_on)


def test_a_client_ends_its_connection_to_a_server_that_is_denied(mesh: Mesh, prod_ca: CA) -> None:
    """It is waiting in `recv()`, and wakes up."""
    reading = threading.Event()
    context = mesh.client_context(expect=["/ns/pay/**"])

    def wait(tls: ssl.SSLSocket) -> Reason:
        reading.set()
        with pytest.raises(PeerRejected) as caught:
            tls.recv(1024)
        return caught.value.reason

    with (
        presenting_server(prod_ca.issue("/ns/pay/sa/ledger")) as port,
        socket.create_connection((HOST, port), TIMEOUT) as plain,
        context.wrap_socket(plain) as tls,
        ThreadPoolExecutor(1) as pool,
    ):
        assert tls.recv(1024) == HELLO
        waiting = pool.submit(wait, tls)
        assert reading.wait(TIMEOUT)
        mesh.publish(bundles=BundleSet([CA("prod.example.org", subject="CN=new").bundle()]), credentials=None)
        assert waiting.result(TIMEOUT) is Reason.UNKNOWN_AUTHORITY


def test_an_asyncio_client_as_well(prod_ca: CA) -> None:
    server, client = mesh_of(prod_ca), mesh_of(prod_ca)

    async def visit(port: int) -> Reason:
        context = client.client_context(expect=["/ns/pay/**"])
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
        writer.write(HELLO)
        await reader.readline()
        client.publish(revocations=Revocations(deny=["spiffe://prod.example.org/ns/pay/**"]))
        with pytest.raises(PeerRejected) as caught:
            await asyncio.wait_for(reader.read(), TIMEOUT)
        writer.close()
        return caught.value.reason

    with asyncio_server(server.server_context()) as service:
        server.publish(
            policy=type(CLOSED_POLICY).from_toml(
                'version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]\n'
                '[[allow]]\nid = "a"\nfrom = ["/**"]\nto = ["**"]\n',
                "prod",
            )
        )
        assert asyncio.run(visit(service.port)) is Reason.DENY_LISTED


def test_without_a_known_owner_it_ends_with_the_next_byte(mesh: Mesh, prod_ca: CA) -> None:
    both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
    both.shake_hands()
    both.client.write(HELLO)
    both.to_server.write(both.sent.read())
    mesh.publish(policy=CLOSED_POLICY)
    for call in (both.server.read, lambda: both.server.write(HELLO)):
        with pytest.raises(PeerRejected):
            call()


def test_a_review_ends_it_when_its_peer_has_expired(mesh: Mesh, prod_ca: CA, clock: Clock) -> None:
    both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
    both.shake_hands()
    sweep(mesh)
    assert admission_of(mesh).connections.now() != []
    clock.now += 2 * HOUR
    sweep(mesh)
    assert admission_of(mesh).connections.now() == []
    with pytest.raises(PeerRejected) as caught:
        both.server.read()
    assert caught.value.reason is Reason.EXPIRED


def test_its_peer_is_the_one_of_the_last_decision() -> None:
    """`peer_of` returns the path and the dates that hold now, not those of the handshake."""
    cross_signed, lasting = CA("prod.example.org"), CA("prod.example.org")
    issuing = cross_signed.intermediate()
    mesh = mesh_of(cross_signed)
    both = Memory(mesh.server_context(), stranger(issuing.issue(PATH)))
    both.shake_hands()
    at_first = peer_of(both.server)
    # The same authority, which is a trust anchor itself from now on.
    mesh.publish(bundles=BundleSet([TrustBundle.from_pem("prod.example.org", issuing.pem + lasting.pem)]))
    now = peer_of(both.server)
    assert (len(at_first.chain), len(now.chain)) == (3, 2)
    assert now.chain == at_first.chain[:2]


def test_on_revoked_is_called_and_cannot_stop_it(prod_ca: CA, caplog: pytest.LogCaptureFixture) -> None:
    told: queue.SimpleQueue[tuple[Peer, Reason, Connection]] = queue.SimpleQueue()

    def on_revoked(peer: Peer, rejection: PeerRejected, connection: Connection) -> None:
        told.put((peer, rejection.reason, connection))
        msg = "a mistake of the application"
        raise RuntimeError(msg)

    plain = mesh_of(prod_ca)
    mesh = Mesh(
        credentials=plain.snapshot.credentials,
        bundles=plain.snapshot.bundles,
        policy=plain.snapshot.policy,
        service="payments",
        on_revoked=on_revoked,
    )
    both = [Memory(mesh.server_context(), stranger(prod_ca.issue(path))) for path in (PATH, OTHER)]
    for each in both:
        each.shake_hands()
    mesh.publish(policy=CLOSED_POLICY)
    heard = [told.get(timeout=TIMEOUT) for _ in both]
    assert [(str(peer.spiffe_id.path), reason) for peer, reason, _ in heard] == [
        (PATH, Reason.NO_RULE),
        (OTHER, Reason.NO_RULE),
    ]
    assert [id(connection) for *_, connection in heard] == [id(each.server) for each in both]
    assert caplog.text.count("on_revoked failed") == 2


def test_a_publication_during_the_handshake_counts_for_it(
    prod_ca: CA, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = mesh_of(prod_ca, audit=heard)
    both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
    add = admission_of(mesh).connections.add

    def publish_first(*args: object) -> object:
        monkeypatch.undo()
        mesh.publish(policy=CLOSED_POLICY)
        return add(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(admission_of(mesh).connections, "add", publish_first)
    with pytest.raises(PeerRejected) as caught:
        both.shake_hands()
    assert caught.value.reason is Reason.NO_RULE
    assert [heard.next().call, heard.next().call] == ["admit", "review"]


class TestOnlyWhatIsOpenIsKnown:
    @EACH_SERVER
    def test_a_connection_that_was_closed_is_forgotten(
        self, serve: Serving, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        client = stranger(prod_ca.issue(PATH))
        with serve(mesh.server_context()) as service:
            for _ in range(3):
                knock(service.port, client)
                assert heard.reason() is Reason.ALLOWED
            ended = time.monotonic() + TIMEOUT
            while len(admission_of(mesh).connections) and time.monotonic() < ended:
                time.sleep(0.01)
            assert len(admission_of(mesh).connections) == 0
        mesh.publish(policy=CLOSED_POLICY)
        assert heard.is_quiet()

    def test_none_is_kept_alive(self, mesh: Mesh, prod_ca: CA) -> None:
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
        both.shake_hands()
        assert len(admission_of(mesh).connections) == 1
        del both
        gc.collect()
        assert len(admission_of(mesh).connections._entries) == 0  # noqa: SLF001 - a dead entry shows nowhere else

    def test_one_that_disappears_during_a_review_is_skipped(self, mesh: Mesh, prod_ca: CA) -> None:
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
        both.shake_hands()
        (live,) = admission_of(mesh).connections.now()
        del both
        gc.collect()
        assert admission_of(mesh)._review([live], None) == Ended()  # noqa: SLF001 - it is found between two steps

    def test_one_whose_loop_has_ended_is_skipped(self, mesh: Mesh, prod_ca: CA) -> None:
        kept: list[ssl.SSLObject] = []

        async def visit() -> None:
            async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                kept.append(writer.get_extra_info("ssl_object"))
                writer.close()
                await writer.wait_closed()

            async with await asyncio.start_server(handle, HOST, 0, ssl=mesh.server_context()) as server:
                port = server.sockets[0].getsockname()[1]
                await asyncio.to_thread(knock, port, stranger(prod_ca.issue(PATH)))

        asyncio.run(visit())
        gc.collect()
        (connection,) = kept
        rejection = PeerRejected(mesh.check(mesh.admit(prod_ca.issue(PATH).chain)))
        connection.end(rejection)  # type: ignore[attr-defined]
        with pytest.raises(PeerRejected):
            connection.read()


@EACH_SERVER
def test_the_event_has_what_is_known_about_the_connection(
    serve: Serving, mesh: Mesh, prod_ca: CA, heard: Heard
) -> None:
    context = stranger(prod_ca.issue(PATH))
    context.set_alpn_protocols(["h2"])
    with serve(mesh.server_context(alpn=["h2"])) as service, line(service.port, context) as tls:
        at, port = tls.getsockname()
        admitted = heard.next().connection
        assert (admitted.address, admitted.port) == (at, port) == (HOST, port)
        assert (admitted.version, admitted.protocol, admitted.resumed) == ("TLSv1.3", "h2", False)
        assert admitted.cipher == tls.cipher()[0]  # type: ignore[index]  # there is one
        mesh.publish(policy=CLOSED_POLICY)
        assert is_ended(tls)
        ended = heard.next()
        assert (ended.call, ended.connection.address) == ("review", HOST)


def test_less_is_known_about_a_connection_that_has_gone(mesh: Mesh, prod_ca: CA) -> None:
    context = mesh.server_context()
    one, other = socket.socketpair()
    with one, context.wrap_socket(other, server_side=True, do_handshake_on_connect=False) as tls:
        assert isinstance(tls, AdmittedConnection)
        assert tls.info() == ConnectionInfo(resumed=False)
    assert tls.info() == ConnectionInfo()
    both = Memory(context, stranger(prod_ca.issue(PATH)))
    assert isinstance(both.server, AdmittedConnection)
    assert both.server.info() == ConnectionInfo(resumed=False)

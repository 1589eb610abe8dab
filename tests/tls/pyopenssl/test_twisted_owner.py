"""Twisted's TLS transport with a context of ours, without a reactor; tests/frameworks has a real one."""

# mypy: allow-untyped-calls
from __future__ import annotations

import contextlib
import gc
import ssl
import sys
import weakref
from typing import Any, cast

import pytest
from OpenSSL import SSL
from twisted.internet import endpoints
from twisted.internet import reactor as the_reactor
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from typing_extensions import override

from meshid import ConnectionEnded, HandshakeTimeout, Mesh, NoPeer, PeerRejected, Revocations, peer_of
from meshid.testing import CA, Issued
from meshid.tls import handshakes
from meshid.tls.pyopenssl.openssl_connection import MeshConnection
from meshid.tls.pyopenssl.twisted_owner import twisted_owner_of
from tests.helpers.tls_peers import HELLO, PATH, Heard, stranger

NAME = f"spiffe://prod.example.org{PATH}"
reactor: Any = the_reactor


class Noting(Protocol):
    """Notes what arrives, and why the connection was lost."""

    def __init__(self) -> None:
        self.came = b""
        self.reason: BaseException | None = None

    @override
    def dataReceived(self, data: bytes) -> None:
        self.came += data
        self.peer = peer_of(self)

    @override
    def connectionLost(self, reason: Failure = Failure(ValueError())) -> None:  # noqa: B008
        self.reason = reason.value


class Aborting(StringTransport):
    """A TCP connection that tells its protocol of its end, as a reactor's does."""

    above: TLSMemoryBIOProtocol | None = None

    @override
    def abortConnection(self) -> None:
        super().abortConnection()
        protocol, self.above = self.above, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionAbortedError()))


class Wired:
    """A server of Twisted's, and a client of the `ssl` module."""

    def __init__(self, context: SSL.Context, client: Issued | None, peer: object = None) -> None:
        self.protocol = Noting()
        factory = Factory.forProtocol(lambda: self.protocol)
        wrapper = TLSMemoryBIOFactory(cast("Any", context), False, cast("Any", factory))
        self.transport = Aborting(peerAddress=peer or IPv4Address("TCP", "192.0.2.7", 4711))
        self.tls = wrapper.buildProtocol(None)
        self.transport.above = self.tls
        self.tls.makeConnection(self.transport)
        self.to_client, self.from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = stranger(client).wrap_bio(self.to_client, self.from_client)

    @property
    def connection(self) -> MeshConnection:
        return cast("MeshConnection", self.tls.getHandle())

    def shake_hands(self) -> None:
        for _ in range(3):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.carry()

    def carry(self) -> None:
        if data := self.from_client.read():
            self.tls.dataReceived(data)
        self.to_client.write(self.transport.value())
        self.transport.clear()


@pytest.fixture
def context(mesh: Mesh) -> SSL.Context:
    return mesh.openssl_context(server_side=True)


def test_it_is_what_twisted_takes_for_a_server_or_a_client(mesh: Mesh, context: SSL.Context) -> None:
    client = mesh.openssl_context(server_side=False, expect=PATH)
    assert IOpenSSLServerConnectionCreator.providedBy(context)
    assert not IOpenSSLClientConnectionCreator.providedBy(context)
    assert IOpenSSLClientConnectionCreator.providedBy(client)
    assert not IOpenSSLServerConnectionCreator.providedBy(client)
    endpoints.wrapClientTLS(cast("Any", client), cast("Any", None))
    assert isinstance(cast("Any", client).clientConnectionForTLS(None), MeshConnection)


def test_an_admitted_peer_is_heard_and_known_by_protocol_and_transport(
    context: SSL.Context, prod_ca: CA, heard: Heard
) -> None:
    wired = Wired(context, prod_ca.issue(PATH))
    wired.shake_hands()
    wired.client.write(HELLO)
    wired.carry()
    assert wired.protocol.came == HELLO
    assert str(wired.protocol.peer.spiffe_id) == NAME
    assert peer_of(wired.protocol.transport) is peer_of(wired.connection) is wired.protocol.peer
    info = heard.next().connection
    assert (info.address, info.port) == ("192.0.2.7", 4711)


def test_a_refused_peer_gets_the_alert_and_its_protocol_the_reason(context: SSL.Context, prod_ca: CA) -> None:
    wired = Wired(context, prod_ca.issue("/ns/unknown/sa/web"))
    wired.shake_hands()
    with pytest.raises(ssl.SSLError, match="ALERT_UNKNOWN_CA"):
        wired.client.read()
    assert wired.transport.disconnecting
    wired.tls.connectionLost(Failure(ConnectionAbortedError()))
    assert isinstance(wired.protocol.reason, PeerRejected)
    assert wired.protocol.came == b""


class TestTheEnd:
    def test_of_an_idle_connection_is_in_the_reactors_thread(
        self, context: SSL.Context, mesh: Mesh, prod_ca: CA
    ) -> None:
        wired = Wired(context, prod_ca.issue(PATH))
        wired.shake_hands()
        assert mesh.open_connections == 1
        mesh.publish(revocations=Revocations(deny=[NAME]))
        assert (mesh.open_connections, wired.protocol.reason) == (0, None)
        reactor.runUntilCurrent()
        assert isinstance(wired.protocol.reason, ConnectionEnded)
        assert wired.transport.value() == b""

    def test_comes_before_what_the_peer_says_next(
        self, context: SSL.Context, mesh: Mesh, prod_ca: CA
    ) -> None:
        wired = Wired(context, prod_ca.issue(PATH))
        wired.shake_hands()
        wired.to_client.read()
        mesh.publish(revocations=Revocations(deny=[NAME]))
        wired.client.write(HELLO)
        wired.carry()
        cast("Any", wired.protocol.transport).write(HELLO)
        assert wired.protocol.came == b""
        assert wired.to_client.read() == b""
        reactor.runUntilCurrent()
        assert isinstance(wired.protocol.reason, ConnectionEnded)

    def test_of_a_slow_handshake(self, context: SSL.Context, prod_ca: CA) -> None:
        wired = Wired(context, prod_ca.issue(PATH))
        wired.connection.end(handshakes.error_of("too slow"))
        reactor.runUntilCurrent()
        assert isinstance(wired.protocol.reason, HandshakeTimeout)

    def test_of_a_connection_that_is_gone_does_nothing(
        self, context: SSL.Context, mesh: Mesh, prod_ca: CA
    ) -> None:
        wired = Wired(context, prod_ca.issue(PATH))
        wired.shake_hands()
        connection = wired.connection
        wired.tls.connectionLost(Failure(ConnectionAbortedError()))
        assert mesh.open_connections == 0
        with pytest.raises(NoPeer):
            peer_of(wired.protocol.transport)
        gone = weakref.ref(wired.tls)
        connection.set_app_data(None)
        del wired
        gc.collect()
        assert gone() is None
        connection.end(handshakes.error_of("late"))
        assert not connection.is_open


def test_what_is_not_there_is_not_needed(
    context: SSL.Context, mesh: Mesh, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    wired = Wired(context, prod_ca.issue(PATH))
    wired.shake_hands()
    for name in ("twisted.internet.interfaces", "twisted.internet.reactor"):
        monkeypatch.delitem(sys.modules, name)
    assert not hasattr(context, "__providedBy__")
    mesh.publish(revocations=Revocations(deny=[NAME]))
    with pytest.raises(ConnectionEnded):
        wired.connection.recv(1)


def test_a_unix_socket_has_no_address(context: SSL.Context, prod_ca: CA, heard: Heard) -> None:
    Wired(context, prod_ca.issue(PATH), UNIXAddress(b"/run/socket")).shake_hands()
    assert heard.next().connection.address is None


def test_the_data_of_another_application_is_no_transport() -> None:
    assert twisted_owner_of({"its": "own"}) is None
    assert twisted_owner_of(None) is None

"""A pyOpenSSL connection of ours: nobody is heard before the decision, and nobody after the end."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import cast

import pytest
from OpenSSL import SSL

from meshid import (
    BundleSet,
    ConnectionEnded,
    HandshakeTimeout,
    Mesh,
    NoPeer,
    PeerRejected,
    Reason,
    Revocations,
    peer_of,
)
from meshid.testing import CA
from meshid.tls import handshakes
from meshid.tls.connection_of_call import connection_of_call
from meshid.tls.pyopenssl.openssl_connection import MeshConnection
from meshid.tls.pyopenssl.openssl_errors import as_ssl_error, reason_of
from meshid.tls.pyopenssl.openssl_generation import OpenSSLGeneration
from tests.helpers.mounted import eventually
from tests.helpers.openssl_peers import OpenSSLMemory, connection_of, greet_openssl, openssl_server
from tests.helpers.stolen import present_stolen
from tests.helpers.tls_peers import (
    CLOSED_POLICY,
    HELLO,
    HOST,
    PATH,
    TIMEOUT,
    Heard,
    admission_of,
    knock,
    mesh_of,
    policy_that,
    presenting_server,
    records,
    stranger,
)

NAME = f"spiffe://prod.example.org{PATH}"
TLS12 = ssl.TLSVersion.TLSv1_2
VERSIONS = pytest.mark.parametrize("version", [TLS12, ssl.TLSVersion.TLSv1_3], ids=["TLSv1.2", "TLSv1.3"])
DENIED = Revocations(deny=[NAME])


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "meshid.tls"]


def serving(mesh: Mesh) -> SSL.Context:
    return mesh.openssl_context(server_side=True, minimum_version=TLS12)


def limited(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    context.maximum_version = version
    return context


def admitted(mesh: Mesh, ca: CA) -> OpenSSLMemory:
    both = OpenSSLMemory(serving(mesh), stranger(ca.issue(PATH)))
    both.shake_hands()
    return both


@VERSIONS
class TestOverSockets:
    """A server that shakes hands inside its first `recv()`."""

    def test_a_peer_is_served_under_its_name(
        self, version: ssl.TLSVersion, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        with openssl_server(serving(mesh)) as service:
            visit = knock(service.port, limited(stranger(prod_ca.issue(PATH)), version))
            assert visit.answer == f"{NAME}\n".encode()
            event = heard.next()
        assert (event.decision.reason, event.decision.name) == (Reason.ALLOWED, NAME)
        info = event.connection
        assert (info.address, info.version, info.resumed) == (HOST, version.name.replace("v1_", "v1."), False)
        assert info.port is not None
        assert info.cipher is not None

    @pytest.mark.parametrize(
        ("who", "alerts"),
        [
            ("policy", {"TLSV1_ALERT_UNKNOWN_CA"}),
            ("trust", {"TLSV1_ALERT_UNKNOWN_CA"}),
            ("expired", {"TLSV1_ALERT_UNKNOWN_CA"}),
            ("nobody", {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}),
        ],
        ids=["policy", "trust", "expired", "nobody"],
    )
    def test_a_refused_client_reads_the_alert_and_is_not_heard(
        self, who: str, alerts: set[str], version: ssl.TLSVersion, mesh: Mesh, prod_ca: CA
    ) -> None:
        past = prod_ca.certificate.not_valid_before_utc + timedelta(seconds=1)
        presented = {
            "policy": prod_ca.issue("/ns/unknown/sa/web"),
            "trust": CA("prod.example.org").issue(PATH),
            "expired": prod_ca.issue(PATH, not_after=past),
            "nobody": None,
        }[who]
        with openssl_server(serving(mesh)) as service:
            visit = knock(service.port, limited(stranger(presented), version))
            refusal = service.refusal()
        assert isinstance(refusal, PeerRejected)
        assert str(refusal) == "peer rejected"
        assert service.seen == []
        assert cast("ssl.SSLError", visit.error).reason in alerts

    def test_who_does_not_hold_the_key_is_refused_for_that(
        self, version: ssl.TLSVersion, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        thief = limited(stranger(), version)
        present_stolen(thief, prod_ca.issue(PATH))
        with openssl_server(serving(mesh)) as service:
            assert knock(service.port, thief).answer == b""
            assert isinstance(service.refusal(), PeerRejected)
        event = heard.next()
        assert (event.decision.reason, event.decision.name) == (Reason.KEY_NOT_PROVEN, NAME)
        assert (heard.is_quiet(), mesh.open_connections, service.seen) == (True, 0, [])

    def test_no_session_is_resumed(self, version: ssl.TLSVersion, mesh: Mesh, prod_ca: CA) -> None:
        client = limited(stranger(prod_ca.issue(PATH)), version)
        with openssl_server(serving(mesh)) as service:
            first = knock(service.port, client)
            again = knock(service.port, client, session=first.session)
            assert (again.answer, again.resumed) == (first.answer, False)
            mesh.publish(revocations=DENIED)
            assert knock(service.port, client, session=first.session).answer == b""


@VERSIONS
class TestASession:
    """OpenSSL forgets one that was not closed in order by itself."""

    def closed(self, context: SSL.Context, client: ssl.SSLContext) -> ssl.SSLSession:
        both = OpenSSLMemory(context, client)
        both.shake_hands()
        both.theirs.write(HELLO)
        both.deliver()
        assert both.ours.recv(100) == HELLO
        both.ours.shutdown()
        both.fetch()
        assert both.theirs.read() == b""
        # The tickets of TLS 1.3 have been read by now.
        session = both.theirs.session
        assert session is not None
        both.theirs.unwrap()
        both.deliver()
        assert both.ours.shutdown()
        return session

    def test_is_not_resumed(self, version: ssl.TLSVersion, mesh: Mesh, prod_ca: CA) -> None:
        context, client = serving(mesh), limited(stranger(prod_ca.issue(PATH)), version)
        again = OpenSSLMemory(context, client, session=self.closed(context, client))
        again.shake_hands()
        assert not again.theirs.session_reused
        assert str(peer_of(again.ours).spiffe_id) == NAME
        assert again.ours.generation.get_session_cache_mode() == SSL.SESS_CACHE_OFF

    def test_that_were_resumed_would_be_refused(
        self, version: ssl.TLSVersion, mesh: Mesh, prod_ca: CA
    ) -> None:
        context, client = serving(mesh), limited(stranger(prod_ca.issue(PATH)), version)
        generation = connection_of(context).generation
        generation.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        generation.set_session_id(b"it has one")
        again = OpenSSLMemory(context, client, session=self.closed(context, client))
        with pytest.raises(PeerRejected) as caught:
            again.shake_hands()
        assert again.theirs.session_reused
        assert caught.value.reason is Reason.INTERNAL_ERROR
        assert again.ours.peer is None


def test_a_compressed_certificate_is_not_asked_for(mesh: Mesh) -> None:
    """It could not be read (RFC 8879)."""
    options = SSL.Connection.set_options(connection_of(serving(mesh)), 0)
    assert options & 1 << 33


class TestOurClient:
    def test_is_heard_by_the_right_server_alone(self, mesh: Mesh, prod_ca: CA, heard: Heard) -> None:
        context = mesh.openssl_context(server_side=False, expect=PATH)
        with presenting_server(prod_ca.issue(PATH)) as port:
            assert greet_openssl(port, context) == HELLO
        with presenting_server(prod_ca.issue("/ns/other/sa/web")) as port:
            assert greet_openssl(port, context) == b""
        assert [heard.reason(), heard.reason()] == [Reason.EXPECTED, Reason.UNEXPECTED_SERVER]

    def test_presents_its_certificate(self, mesh: Mesh, prod_ca: CA) -> None:
        both = OpenSSLMemory(
            mesh.openssl_context(server_side=False, expect=PATH, alpn=["h2"]),
            offering(asking(prod_ca), "http/1.1", "h2"),
            we_serve=False,
        )
        both.shake_hands()
        (name,) = cast("dict[str, tuple[tuple[str, str], ...]]", both.theirs.getpeercert())["subjectAltName"]
        assert name == ("URI", "spiffe://prod.example.org/ns/pay/sa/payments")
        assert both.theirs.selected_alpn_protocol() == "h2"
        assert str(peer_of(both.ours).spiffe_id) == NAME
        # What a server answers is not the request of a peer.
        both.theirs.write(HELLO)
        both.to_them.read()
        both.deliver()
        assert both.ours.recv(100) == HELLO
        assert connection_of_call() is not both.ours


def asking(ca: CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue(PATH).load_into(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ca.pem.decode())
    return context


def offering(context: ssl.SSLContext, *names: str) -> ssl.SSLContext:
    context.set_alpn_protocols(names)
    return context


class TestBetweenTheCertificateAndTheEnd:
    """The decision falls when the certificates come, and counts at the end of the handshake alone."""

    @pytest.fixture(params=[TLS12, ssl.TLSVersion.TLSv1_3], ids=["TLSv1.2", "TLSv1.3"])
    def both(self, mesh: Mesh, prod_ca: CA, request: pytest.FixtureRequest) -> OpenSSLMemory:
        both = OpenSSLMemory(serving(mesh), limited(stranger(prod_ca.issue(PATH)), request.param))
        for _ in range(2):
            both.they_step()
            found = records(both.from_them.read())
            # The hello alone; or Certificate, behind a change of ciphers in TLS 1.3.
            size = next((n for n, each in enumerate(found, 1) if each[0] == 23 or each[5] == 11), len(found))
            both.ours.bio_write(b"".join(found[:size]))
            self.left = b"".join(found[size:])
            both.we_step()
        return both

    def prove(self, both: OpenSSLMemory) -> None:
        both.ours.bio_write(self.left)
        both.we_step()

    def test_nobody_is_admitted_yet(self, both: OpenSSLMemory, mesh: Mesh, heard: Heard) -> None:
        assert (heard.is_quiet(), mesh.open_connections, both.ours.peer) == (True, 0, None)
        with pytest.raises(NoPeer):
            peer_of(both.ours)
        with pytest.raises(SSL.WantReadError):
            both.ours.send(HELLO)
        self.prove(both)
        assert heard.reason() is Reason.ALLOWED
        assert (mesh.open_connections, str(peer_of(both.ours).spiffe_id)) == (1, NAME)

    def test_what_is_taken_away_is_gone(self, both: OpenSSLMemory, mesh: Mesh, heard: Heard) -> None:
        mesh.publish(revocations=DENIED)
        with pytest.raises(PeerRejected) as caught:
            self.prove(both)
        assert caught.value.reason is heard.reason() is Reason.DENY_LISTED
        # The handshake was over: close_notify is what can be said.
        both.they_step()
        assert both.theirs.read() == b""
        calls: list[Callable[[], object]] = [
            both.ours.do_handshake,
            lambda: both.ours.recv(1),
            lambda: both.ours.sendall(HELLO),
            both.ours.shutdown,
        ]
        for call in calls:
            with pytest.raises(PeerRejected) as again:
                call()
            assert again.value is caught.value
        assert (heard.is_quiet(), mesh.open_connections) == (True, 0)

    def test_whoever_ends_it_while_it_is_admitted_is_heeded(self, prod_ca: CA) -> None:
        """As another thread may: the decision is on record, and there is no peer yet."""
        mesh = mesh_of(prod_ca, audit=lambda _: both.ours.end(handshakes.error_of("too slow")))
        both = OpenSSLMemory(serving(mesh), stranger(prod_ca.issue(PATH)))
        with pytest.raises(HandshakeTimeout):
            both.shake_hands()
        assert (both.ours.peer, mesh.open_connections) == (None, 0)

    def test_whoever_ends_it_during_a_step_is_heeded_in_that_step(
        self, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = OpenSSLMemory(serving(mesh), stranger())

        def step(tls: SSL.Connection) -> None:
            cast("MeshConnection", tls).end(handshakes.error_of("too slow"))
            raise SSL.WantReadError

        monkeypatch.setattr(SSL.Connection, "do_handshake", step)
        with pytest.raises(HandshakeTimeout):
            both.ours.do_handshake()

    def test_a_handshake_that_was_ended_meanwhile_is_over(self, both: OpenSSLMemory) -> None:
        both.ours.end(handshakes.error_of("too slow"))
        with pytest.raises(HandshakeTimeout, match="too slow"):
            self.prove(both)


@pytest.mark.parametrize("failure", [ValueError, SSL.Error, SSL.WantReadError, KeyboardInterrupt])
@pytest.mark.parametrize("path", [PATH, "/ns/unknown/sa/web"])
def test_whatever_is_raised_while_it_is_decided_nobody_is_let_in(
    failure: type[BaseException], path: str, prod_ca: CA, heard: Heard
) -> None:
    left = [failure]

    def fail() -> None:
        if left:
            raise left.pop()

    mesh = mesh_of(prod_ca, policy=policy_that(fail), audit=heard)
    both = OpenSSLMemory(serving(mesh), stranger(prod_ca.issue(path)))
    with pytest.raises(PeerRejected if issubclass(failure, Exception) else failure):
        both.shake_hands()
    for call in (both.ours.do_handshake, lambda: both.ours.recv(1)):
        with pytest.raises(PeerRejected) as caught:
            call()
        assert caught.value.reason is Reason.INTERNAL_ERROR
    assert heard.reason() is Reason.INTERNAL_ERROR
    assert (heard.is_quiet(), mesh.open_connections) == (True, 0)
    with pytest.raises(ssl.SSLError, match="ALERT_UNKNOWN_CA"):
        both.theirs.read()


def test_no_record_no_admission(prod_ca: CA) -> None:
    def sink(_: object) -> None:
        raise ValueError

    both = OpenSSLMemory(serving(mesh_of(prod_ca, audit=sink)), stranger(prod_ca.issue(PATH)))
    with pytest.raises(PeerRejected) as caught:
        both.shake_hands()
    assert caught.value.reason is Reason.INTERNAL_ERROR


class TestOpenSSLLetsInWhoWasNotDecidedAbout:
    """No pyOpenSSL does this."""

    @pytest.mark.parametrize("what", ["the message", "the verification", "another leaf"])
    def test_that_is_refused(
        self, what: str, mesh: Mesh, prod_ca: CA, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = OpenSSLMemory(serving(mesh), stranger(prod_ca.issue(PATH)))
        if what == "the message":
            monkeypatch.setattr(both.ours, "on_certificates", lambda *_: None)
        elif what == "the verification":
            monkeypatch.setattr(both.ours, "on_verify", lambda *_: True)
        else:
            other, decide = prod_ca.issue(PATH), both.ours.on_certificates
            monkeypatch.setattr(
                both.ours, "on_certificates", lambda _, version: decide([*other.chain], version)
            )
        with pytest.raises((PeerRejected, SSL.Error)):
            both.shake_hands()
        assert (both.ours.peer, mesh.open_connections) == (None, 0)
        if what == "the verification":
            assert heard.reason() is Reason.INTERNAL_ERROR


class TestTheEnd:
    def test_wakes_up_whoever_waits_for_a_socket(self, mesh: Mesh, prod_ca: CA, heard: Heard) -> None:
        with openssl_server(serving(mesh)) as service:
            context = stranger(prod_ca.issue(PATH))
            with (
                socket.create_connection((HOST, service.port), TIMEOUT) as plain,
                context.wrap_socket(plain, suppress_ragged_eofs=False) as tls,
            ):
                tls.sendall(HELLO)
                assert tls.recv(100) == f"{NAME}\n".encode()
                assert mesh.open_connections == 1
                mesh.publish(revocations=DENIED)
                ended = service.refusal()
                # Cut off, and not closed: what is missing must not look complete.
                with pytest.raises(ssl.SSLEOFError):
                    tls.recv(100)
        assert isinstance(ended, ConnectionEnded)
        assert isinstance(ended, SSL.Error)
        assert isinstance(ended, ConnectionAbortedError)
        assert [heard.reason(), heard.reason()] == [Reason.ALLOWED, Reason.DENY_LISTED]
        assert mesh.open_connections == 0

    def test_of_memory_bios_lets_nothing_in_or_out(self, mesh: Mesh, prod_ca: CA) -> None:
        both = admitted(mesh, prod_ca)
        both.theirs.write(HELLO)
        both.deliver()
        both.ours.send(b"the last words")
        mesh.publish(revocations=DENIED)
        assert mesh.open_connections == 0
        with pytest.raises(SSL.WantReadError):
            both.ours.bio_read(100)
        both.theirs.write(HELLO)
        both.deliver()
        calls: list[Callable[[], object]] = [
            lambda: both.ours.recv(100),
            lambda: both.ours.read(100),
            lambda: both.ours.recv_into(bytearray(100)),
            lambda: both.ours.send(HELLO),
            lambda: both.ours.write(HELLO),
            lambda: both.ours.sendall(HELLO),
            lambda: peer_of(both.ours),
            both.ours.do_handshake,
            both.ours.shutdown,
        ]
        for call in calls:
            with pytest.raises(ConnectionEnded) as caught:
                call()
            assert caught.value.reason is Reason.DENY_LISTED

    def test_that_comes_during_a_call_takes_what_it_read(
        self, mesh: Mesh, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both = admitted(mesh, prod_ca)
        both.theirs.write(HELLO)
        both.deliver()
        raise_error = SSL.Connection._raise_ssl_error  # noqa: SLF001 - in the middle of a call

        def meanwhile(tls: SSL.Connection, *result: int) -> None:
            mesh.publish(revocations=DENIED)
            raise_error(tls, *result)

        monkeypatch.setattr(SSL.Connection, "_raise_ssl_error", meanwhile)
        with pytest.raises(ConnectionEnded):
            both.ours.recv(100)

    def test_is_told_with_the_connection_so_that_a_proxy_can_close_its_socket(self, prod_ca: CA) -> None:
        ours, theirs = socket.socketpair()
        mesh = mesh_of(
            prod_ca,
            on_revoked=lambda _, __, tls: (
                cast("SSL.Connection", tls).get_app_data().shutdown(socket.SHUT_RDWR)
            ),
        )
        both = admitted(mesh, prod_ca)
        both.ours.set_app_data(ours)
        with ours, theirs:
            mesh.publish(policy=CLOSED_POLICY)
            theirs.settimeout(TIMEOUT)
            assert theirs.recv(1) == b""

    def test_of_a_socket_that_was_closed_is_not_counted(self, mesh: Mesh, prod_ca: CA) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, ThreadPoolExecutor(1) as pool:
            client = pool.submit(stranger(prod_ca.issue(PATH)).wrap_socket, theirs)
            tls = connection_of(serving(mesh), ours)
            tls.set_accept_state()
            tls.do_handshake()
            client.result(TIMEOUT).close()
            assert (mesh.open_connections, tls.peername) == (1, "")
            ours.close()
            assert (mesh.open_connections, tls.peername) == (0, None)
            tls.end(handshakes.error_of("late"))

    def test_of_something_that_has_only_a_descriptor_comes_with_the_next_byte(
        self, mesh: Mesh, prod_ca: CA
    ) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, ThreadPoolExecutor(1) as pool:
            client = pool.submit(stranger(prod_ca.issue(PATH)).wrap_socket, theirs)
            tls = connection_of(serving(mesh), cast("socket.socket", OnlyDescriptor(ours.fileno())))
            tls.set_accept_state()
            tls.do_handshake()
            with client.result(TIMEOUT):
                assert (tls.peername, mesh.open_connections) == (None, 1)
                mesh.publish(revocations=DENIED)
                assert mesh.open_connections == 0
                with pytest.raises(ConnectionEnded):
                    tls.recv(1)

    def test_that_the_user_wants_is_said_to_the_peer(self, mesh: Mesh, prod_ca: CA) -> None:
        both = admitted(mesh, prod_ca)
        assert not both.ours.shutdown()
        both.fetch()
        assert both.theirs.read() == b""


class OnlyDescriptor:
    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number


@pytest.mark.parametrize("we_serve", [True, False], ids=["server", "client"])
def test_it_knows_what_was_sent(we_serve: bool, mesh: Mesh, prod_ca: CA) -> None:  # noqa: FBT001
    issued = prod_ca.intermediate().issue(PATH)
    context = mesh.openssl_context(server_side=we_serve, expect=None if we_serve else PATH)
    theirs = stranger(issued) if we_serve else ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if not we_serve:
        issued.load_into(theirs)
    both = OpenSSLMemory(context, theirs, we_serve=we_serve)
    assert both.ours.sent() == []
    both.shake_hands()
    assert both.ours.sent() == [*issued.chain]
    credentials = mesh.snapshot.credentials
    assert credentials is not None
    assert both.ours.own_leaf == credentials.chain[0]


class TestTime:
    def test_a_handshake_has_a_deadline(self, mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
        context = mesh.openssl_context(server_side=True, handshake_timeout=0.05)
        with openssl_server(context) as service, socket.create_connection((HOST, service.port), TIMEOUT):
            refusal = service.refusal()
            assert isinstance(refusal, HandshakeTimeout)
            assert isinstance(refusal, SSL.Error)
            assert eventually(lambda: lines_of(caplog))
        (line,) = lines_of(caplog)
        assert line.endswith("from 127.0.0.1: the handshake did not end within 0.05 s")

    def test_one_that_has_failed_has_none(self, mesh: Mesh, prod_ca: CA) -> None:
        both = OpenSSLMemory(serving(mesh), stranger(prod_ca.issue("/ns/unknown/sa/web")))
        with pytest.raises(PeerRejected):
            both.shake_hands()
        assert len(both.ours.generation.handshakes) == 0

    def test_one_that_is_over_has_none(self, mesh: Mesh, prod_ca: CA) -> None:
        both = admitted(mesh, prod_ca)
        assert len(both.ours.generation.handshakes) == 0
        both.ours.do_handshake()


class TestABrokenHandshake:
    @pytest.mark.parametrize(
        ("sent", "words"),
        [
            (b"GET /healthz HTTP/1.1\r\n\r\n", "it speaks HTTP without TLS"),
            (b"\x00" * 64, "it does not speak TLS"),
        ],
        ids=["HTTP", "noise"],
    )
    def test_is_told_with_what_to_do(
        self, sent: bytes, words: str, mesh: Mesh, caplog: pytest.LogCaptureFixture
    ) -> None:
        both = OpenSSLMemory(mesh.openssl_context(server_side=True), stranger())
        both.ours.bio_write(sent)
        with pytest.raises(SSL.Error) as caught:
            both.we_step()
        with pytest.raises(SSL.Error) as again:
            both.ours.recv(1)
        assert again.value is caught.value
        (line,) = lines_of(caplog)
        assert words in line

    def test_of_a_client_of_ours_is_its_callers(
        self, mesh: Mesh, prod_ca: CA, caplog: pytest.LogCaptureFixture
    ) -> None:
        context = mesh.openssl_context(server_side=False, expect=PATH)
        both = OpenSSLMemory(context, asking(prod_ca), we_serve=False)
        both.ours.bio_write(b"\x00" * 64)
        with pytest.raises(SSL.Error):
            both.we_step()
        assert lines_of(caplog) == []

    def test_of_a_client_that_hangs_up_is_not_worth_a_line(
        self, mesh: Mesh, caplog: pytest.LogCaptureFixture
    ) -> None:
        both = OpenSSLMemory(mesh.openssl_context(server_side=True), stranger())
        both.ours.bio_shutdown()
        with pytest.raises(SSL.SysCallError):
            both.we_step()
        assert lines_of(caplog) == []

    def test_without_a_word_of_openssl_has_no_reason(self) -> None:
        assert [reason_of(SSL.Error()), reason_of(SSL.Error([])), reason_of(SSL.Error(-1, "EOF"))] == [""] * 3
        assert (
            as_ssl_error(SSL.Error([("SSL routines", "", "no shared cipher")])).reason == "NO_SHARED_CIPHER"
        )


class TestLoosening:
    @pytest.mark.parametrize(
        "call",
        [
            lambda tls: tls.set_verify(SSL.VERIFY_NONE),
            lambda tls: tls.set_context(SSL.Context(SSL.TLS_METHOD)),
            lambda tls: tls.set_options(SSL.OP_ALL),
            lambda tls: tls.set_session(tls.get_session()),
            lambda tls: tls.use_certificate(None),
            lambda tls: tls.use_privatekey(None),
        ],
        ids=["verify", "context", "options", "session", "certificate", "key"],
    )
    def test_is_refused_with_what_to_do(
        self, call: Callable[[MeshConnection], None], mesh: Mesh, prod_ca: CA
    ) -> None:
        with pytest.raises(TypeError, match="of a connection of a Mesh: "):
            call(admitted(mesh, prod_ca).ours)

    @pytest.mark.parametrize("name", ["recvfrom", "recvmsg", "sendmsg", "sendto", "sendfile"])
    def test_nothing_goes_past_tls(self, name: str, mesh: Mesh) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            tls = connection_of(serving(mesh), ours)
            with pytest.raises(AttributeError, match="recv_into"):
                getattr(tls, name)
            assert tls.fileno() == ours.fileno()

    def test_nobody_renegotiates(self, mesh: Mesh, prod_ca: CA) -> None:
        both = OpenSSLMemory(serving(mesh), limited(stranger(prod_ca.issue(PATH)), TLS12))
        both.shake_hands()
        with pytest.raises(SSL.Error):
            both.ours.renegotiate()


def test_a_connection_that_was_accepted_is_one_of_ours(mesh: Mesh, prod_ca: CA) -> None:
    """As `OpenSSL.SSL.Connection.accept` makes it."""
    with socket.create_server((HOST, 0)) as plain, ThreadPoolExecutor(1) as pool:
        listener = connection_of(serving(mesh), plain)
        visit = pool.submit(knock, plain.getsockname()[1], stranger(prod_ca.issue(PATH)))
        tls, _ = listener.accept()
        assert tls.recv(100) == HELLO
        assert connection_of_call() is tls
        tls.send(str(peer_of(tls).spiffe_id).encode())
        assert visit.result(TIMEOUT).answer == NAME.encode()
        tls.close()


def test_what_is_read_is_about_its_connection_and_what_is_written_is_not(mesh: Mesh, prod_ca: CA) -> None:
    first, second = admitted(mesh, prod_ca), admitted(mesh, prod_ca)
    assert connection_of_call() is second.ours
    first.theirs.write(HELLO)
    first.deliver()
    first.ours.recv(100)
    second.ours.send(HELLO)
    assert connection_of_call() is first.ours


@pytest.mark.slow
def test_nothing_is_left_of_two_thousand_handshakes(prod_ca: CA) -> None:
    mesh = mesh_of(prod_ca)
    context = serving(mesh)
    good, bad = stranger(prod_ca.issue(PATH)), stranger(CA("prod.example.org").issue(PATH))
    left = []
    for number in range(2000):
        both = OpenSSLMemory(context, good if number % 2 else bad)
        with contextlib.suppress(PeerRejected):
            both.shake_hands()
        left.append(weakref.ref(both.ours))
        if number % 500 == 0:
            mesh.publish(credentials=prod_ca.issue("/ns/pay/sa/payments").svid)
    del both
    gc.collect()
    assert [each for each in left if each() is not None] == []
    assert (mesh.open_connections, len(admission_of(mesh).connections)) == (0, 0)
    kinds = [type(each) for each in gc.get_objects()]
    # The one in force.
    assert (kinds.count(MeshConnection), kinds.count(OpenSSLGeneration)) == (0, 1)


@pytest.mark.slow
def test_while_threads_shake_hands_everything_may_change(prod_ca: CA) -> None:
    mesh = mesh_of(prod_ca)
    context, client = serving(mesh), stranger(prod_ca.issue(PATH))
    stop = threading.Event()

    def go_on() -> int:
        count = 0
        while not stop.is_set():
            both = OpenSSLMemory(context, client)
            both.shake_hands()
            assert str(peer_of(both.ours).spiffe_id) == NAME
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(go_on) for _ in range(4)]
        try:
            for _ in range(30):
                mesh.publish(
                    credentials=prod_ca.issue("/ns/pay/sa/payments").svid,
                    bundles=BundleSet([prod_ca.bundle()]),
                )
        finally:
            stop.set()
    assert all(each.result() for each in counts)

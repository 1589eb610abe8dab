"""A handshake is over when the mesh has admitted the peer, and not before."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import struct
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from meshid import Mesh, PeerRejected, Reason, peer_of
from meshid.testing import CA, Issued
from tests.helpers.tls_peers import (
    HELLO,
    HOST,
    PATH,
    POLICY,
    TIMEOUT,
    Heard,
    Memory,
    Visit,
    arriving,
    mesh_of,
    policy,
    policy_that,
    presenting_server,
    records,
    stranger,
    tls12,
)

UNKNOWN = "/ns/unknown/sa/web"

Call = Callable[[ssl.SSLSocket], object]


def _sendfile(tls: ssl.SSLSocket) -> object:
    with Path(__file__).open("rb") as file:
        return tls.sendfile(file)


CALLS: dict[str, Call] = {
    "do_handshake": lambda tls: tls.do_handshake(),
    "makefile": lambda tls: tls.makefile("rb").readline(),
    "read": lambda tls: tls.read(1),
    "recv": lambda tls: tls.recv(1),
    "recv_into": lambda tls: tls.recv_into(bytearray(1)),
    "recvfrom": lambda tls: tls.recvfrom(1),
    "recvfrom_into": lambda tls: tls.recvfrom_into(bytearray(1), 1),
    "send": lambda tls: tls.send(b"secret"),
    "sendall": lambda tls: tls.sendall(b"secret"),
    "sendfile": _sendfile,
    "sendto": lambda tls: tls.sendto(b"secret", (HOST, 1)),
    "unwrap": lambda tls: tls.unwrap(),
    "write": lambda tls: tls.write(b"secret"),
}
EACH_CALL = pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in CALLS.items()])


@contextlib.contextmanager
def unverified(
    context: ssl.SSLContext, client: Issued | None
) -> Iterator[tuple[ssl.SSLSocket, Future[Visit]]]:
    """Yield a server's socket before any handshake, as gunicorn's sync worker gets it."""
    with (
        arriving(stranger(client)) as (plain, visit),
        context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as tls,
    ):
        yield tls, visit


def failure_of(call: Callable[[], object]) -> ssl.SSLError:
    with pytest.raises(ssl.SSLError) as caught:
        call()
    assert not isinstance(caught.value, (ssl.SSLWantReadError, PeerRejected))
    return caught.value


def depth(error: Exception) -> int:
    return len(traceback.extract_tb(error.__traceback__))


def refusal_of(call: Callable[[], object]) -> PeerRejected:
    with pytest.raises(PeerRejected) as caught:
        call()
    return caught.value


@EACH_CALL
class TestTheFirstCall:
    """It does not matter which call runs the handshake, or when."""

    def test_is_refused_by_the_mesh(self, call: Call, mesh: Mesh, prod_ca: CA, heard: Heard) -> None:
        with unverified(mesh.server_context(), prod_ca.issue(UNKNOWN)) as (tls, visit):
            assert refusal_of(lambda: call(tls)).reason is Reason.NO_RULE
            tls.close()
            assert visit.result(TIMEOUT).answer == b""
        assert heard.reason() is Reason.NO_RULE
        assert heard.is_quiet()

    def test_is_refused_by_the_tls_library(self, call: Call, mesh: Mesh, dev_ca: CA, heard: Heard) -> None:
        with unverified(mesh.server_context(), dev_ca.issue(PATH)) as (tls, visit):
            assert refusal_of(lambda: call(tls)).reason is Reason.UNKNOWN_TRUST_DOMAIN
            tls.close()
            assert visit.result(TIMEOUT).answer == b""
        assert heard.reason() is Reason.UNKNOWN_TRUST_DOMAIN
        assert heard.is_quiet()

    @pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
    def test_gives_no_byte_of_a_socket_that_was_shut_down_before(
        self, call: Call, how: int, mesh: Mesh, prod_ca: CA
    ) -> None:
        with unverified(mesh.server_context(), prod_ca.issue(PATH)) as (tls, visit):
            tls.shutdown(how)
            with pytest.raises(OSError, match="not connected"):
                call(tls)
            tls.close()
            assert visit.result(TIMEOUT).answer == b""


class TestARefusal:
    """A refusal is final: every later call raises it again, and there is one audit event."""

    def test_keeps_no_traceback_of_an_earlier_call(self, mesh: Mesh, prod_ca: CA) -> None:
        with unverified(mesh.server_context(), prod_ca.issue(UNKNOWN)) as (tls, visit):
            _, *later = [depth(refusal_of(lambda: tls.recv(1))) for _ in range(4)]
            assert len(set(later)) == 1
            tls.close()
            visit.result(TIMEOUT)

    def test_nor_does_a_handshake_that_has_failed(self, mesh: Mesh, prod_ca: CA) -> None:
        both = Memory(mesh.server_context(), tls12(stranger(prod_ca.issue(PATH))))
        with pytest.raises(ssl.SSLError):
            both.shake_hands()
        later = [depth(failure_of(both.server.do_handshake)) for _ in range(3)]
        assert len(set(later)) == 1

    @pytest.mark.parametrize("how", [None, socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
    def test_is_the_answer_to_every_later_call(
        self, how: int | None, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        with unverified(mesh.server_context(), prod_ca.issue(UNKNOWN)) as (tls, visit):
            refusal = refusal_of(tls.do_handshake)
            if how is not None:
                # The client has read the alert, and may be gone.
                with contextlib.suppress(OSError):
                    tls.shutdown(how)
            for call in CALLS.values():
                assert refusal_of(lambda call=call: call(tls)) is refusal  # type: ignore[misc]
            tls.close()
            assert visit.result(TIMEOUT).answer == b""
        assert heard.reason() is Reason.NO_RULE
        assert heard.is_quiet()

    def test_stands_even_if_the_peer_would_be_admitted_now(self, mesh: Mesh, prod_ca: CA) -> None:
        with unverified(mesh.server_context(), prod_ca.issue(UNKNOWN)) as (tls, _):
            refusal = refusal_of(tls.do_handshake)
            mesh.publish(policy=policy(POLICY.replace("/ns/shop/**", "/**")))
            assert refusal_of(tls.read) is refusal

    def test_is_the_answer_to_every_later_call_on_an_ssl_object(
        self, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(UNKNOWN)))
        refusal = refusal_of(both.shake_hands)
        both.client.write(HELLO)
        both.to_server.write(both.sent.read())
        for call in (
            both.server.do_handshake,
            both.server.read,
            lambda: both.server.write(b"secret"),
            lambda: peer_of(both.server),
        ):
            assert refusal_of(call) is refusal
        assert heard.reason() is Reason.NO_RULE
        assert heard.is_quiet()

    def test_reaches_the_peer_as_an_alert(self, mesh: Mesh, prod_ca: CA) -> None:
        """RFC 8446 section 6.2."""
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(UNKNOWN)))
        refusal_of(both.shake_hands)
        with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_UNKNOWN_CA"):
            both.client.read()


class TestAnAdmittedPeer:
    @pytest.mark.parametrize(
        ("call", "result"),
        [
            pytest.param(lambda tls: tls.makefile("rb").readline(), HELLO, id="makefile"),
            pytest.param(lambda tls: tls.read(100), HELLO, id="read"),
            pytest.param(lambda tls: tls.recv(100), HELLO, id="recv"),
            pytest.param(lambda tls: tls.recv_into(bytearray(100)), len(HELLO), id="recv_into"),
            pytest.param(lambda tls: tls.send(b"served"), 6, id="send"),
            pytest.param(lambda tls: tls.sendall(b"served"), None, id="sendall"),
            pytest.param(lambda tls: tls.write(b"served"), 6, id="write"),
        ],
    )
    def test_is_served_by_whatever_call_comes_first(
        self, call: Call, result: object, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        with unverified(mesh.server_context(), prod_ca.issue(PATH)) as (tls, visit):
            assert call(tls) == result
            tls.sendall(b"served")
            assert visit.result(TIMEOUT).answer.startswith(b"served")
        assert heard.reason() is Reason.ALLOWED
        assert heard.is_quiet()

    def test_is_decided_about_once(self, mesh: Mesh, prod_ca: CA, heard: Heard) -> None:
        with unverified(mesh.server_context(), prod_ca.issue(PATH)) as (tls, _):
            for _ in range(3):
                tls.do_handshake()
            peer = peer_of(tls)
            assert str(peer.spiffe_id) == f"spiffe://prod.example.org{PATH}"
        assert heard.next().fingerprint == peer.fingerprint
        assert heard.is_quiet()

    def test_belongs_to_the_context_that_the_user_knows(self, mesh: Mesh, prod_ca: CA) -> None:
        context = mesh.server_context()
        with unverified(context, prod_ca.issue(PATH)) as (tls, _):
            tls.do_handshake()
            assert tls.context is context

    def test_can_wait_for_its_handshake_although_it_does_not_block(self, mesh: Mesh, prod_ca: CA) -> None:
        with unverified(mesh.server_context(), prod_ca.issue(PATH)) as (tls, _):
            tls.settimeout(0)
            tls.do_handshake(block=True)
            assert str(peer_of(tls).spiffe_id).endswith(PATH)
            assert tls.gettimeout() == 0

    def test_can_go_on_without_tls(self, mesh: Mesh, prod_ca: CA) -> None:
        """After `unwrap()` the connection is plain, as with any `ssl.SSLSocket`."""
        both = socket.socketpair()
        with both[0], both[1], ThreadPoolExecutor(1) as pool:
            client = pool.submit(_say_goodbye_to_tls, both[1], stranger(prod_ca.issue(PATH)))
            tls = mesh.server_context().wrap_socket(both[0], server_side=True)
            with tls.unwrap() as plain:
                plain.shutdown(socket.SHUT_WR)
                assert plain.recv(100) == HELLO
            client.result(TIMEOUT)

    @pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
    def test_has_said_nothing_that_comes_in_plaintext_after_a_shutdown(
        self, how: int, mesh: Mesh, prod_ca: CA
    ) -> None:
        """The `ssl` module takes the TLS object away, and reads and writes on."""
        with unverified(mesh.server_context(), prod_ca.issue(PATH)) as (tls, _):
            tls.do_handshake()
            tls.shutdown(how)
            for call in CALLS.values():
                with pytest.raises(OSError, match="not connected"):
                    call(tls)
            assert str(peer_of(tls).spiffe_id).endswith(PATH)

    @pytest.mark.parametrize("path", [PATH, UNKNOWN])
    def test_is_judged_on_a_socket_that_was_wrapped_before_it_connected(
        self, path: str, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        """The first example in the documentation of `ssl` does this."""
        with (
            presenting_server(prod_ca.issue(path)) as port,
            mesh.client_context([PATH]).wrap_socket(socket.socket()) as tls,
        ):
            tls.settimeout(TIMEOUT)
            with pytest.raises(OSError, match="not connected"):
                tls.recv(100)
            if path == PATH:
                tls.connect((HOST, port))
                assert tls.recv(100) == HELLO
            else:
                with pytest.raises(PeerRejected):
                    tls.connect((HOST, port))
        assert heard.reason() is (Reason.EXPECTED if path == PATH else Reason.UNEXPECTED_SERVER)
        assert heard.is_quiet()

    def test_is_judged_on_a_socket_that_does_not_block(self, mesh: Mesh, prod_ca: CA, heard: Heard) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        context = mesh.server_context()
        with (
            theirs,
            ThreadPoolExecutor(1) as pool,
            context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False) as tls,
        ):
            with pytest.raises(ssl.SSLWantReadError):
                tls.recv(100)
            client = pool.submit(_say_hello, theirs, stranger(prod_ca.issue(PATH)))
            received = b""
            while not received:
                assert select.select([tls], [], [], TIMEOUT)[0]
                with contextlib.suppress(ssl.SSLWantReadError):
                    received = tls.recv(100)
            assert received == HELLO
            tls.send(b"served")
            assert client.result(TIMEOUT) == b"served"
        assert heard.reason() is Reason.ALLOWED
        assert heard.is_quiet()


class TestBrokenHandshakes:
    def test_a_peer_without_the_key_is_not_admitted(self, prod_ca: CA, heard: Heard) -> None:
        """The signature in CertificateVerify proves it (RFC 5246 section 7.4.8, RFC 8446 section 4.4.3)."""
        mesh = mesh_of(prod_ca, audit=heard)
        server = mesh.server_context(minimum_version=ssl.TLSVersion.TLSv1_2)
        both = Memory(server, tls12(stranger(prod_ca.issue(PATH))))
        refusal = refusal_of(lambda: both.shake_hands(_spoil_the_proof))
        assert (refusal.reason, refusal.decision.name) == (
            Reason.KEY_NOT_PROVEN,
            f"spiffe://prod.example.org{PATH}",
        )
        assert heard.reason() is Reason.KEY_NOT_PROVEN
        assert heard.is_quiet()

    def test_a_peer_that_hangs_up_after_its_certificate_is_not_admitted(
        self, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))

        def hang_up(flight: bytes) -> bytes:
            # The second flight is the change of ciphers, Certificate, CertificateVerify and Finished.
            found = records(flight)
            if len(found) < 4:
                return flight
            both.to_server.write(b"".join(found[:2]))
            both.to_server.write_eof()
            return b""

        assert refusal_of(lambda: both.shake_hands(hang_up)).reason is Reason.TLS_FAILED
        assert heard.reason() is Reason.TLS_FAILED
        assert heard.is_quiet()

    @pytest.mark.parametrize(
        "knock", [pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no TLS"), pytest.param(b"", id="hanging up")]
    )
    def test_a_peer_that_sends_no_certificate_message_leaves_no_event(
        self, knock: bytes, mesh: Mesh, heard: Heard
    ) -> None:
        incoming = ssl.MemoryBIO()
        server = mesh.server_context().wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
        incoming.write(knock)
        incoming.write_eof()
        for call in (server.do_handshake, server.read):
            with pytest.raises(ssl.SSLError) as caught:
                call()
            assert not isinstance(caught.value, PeerRejected)
        assert heard.is_quiet()

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_an_empty_certificate_message_means_no_certificate(
        self, version: ssl.TLSVersion, mesh: Mesh, heard: Heard
    ) -> None:
        client = stranger()
        client.maximum_version = version
        both = Memory(mesh.server_context(minimum_version=ssl.TLSVersion.TLSv1_2), client)
        assert refusal_of(both.shake_hands).reason is Reason.NO_CERTIFICATE
        assert heard.next().fingerprint is None

    def test_plain_text_before_a_hasty_end_is_not_read(self, mesh: Mesh, heard: Heard) -> None:
        """What a closed socket received before the handshake is not from the peer (CVE-2023-40217)."""
        context = mesh.server_context()
        with _reset() as plain, pytest.raises(ssl.SSLError, match="Closed before TLS handshake"):
            context.wrap_socket(plain, server_side=True)
        assert heard.is_quiet()

    def test_plain_text_is_not_read_if_the_end_comes_while_we_look(
        self, mesh: Mesh, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("meshid.tls.context._is_connected", lambda _: True)
        with _reset() as plain, mesh.server_context().wrap_socket(plain, server_side=True) as tls:
            for call in CALLS.values():
                with pytest.raises(OSError, match="not connected"):
                    call(tls)
        assert heard.is_quiet()


def _reset() -> socket.socket:
    """Return a server's socket whose client has sent plain text and has reset the connection."""
    with socket.create_server((HOST, 0)) as listener:
        client = socket.create_connection(listener.getsockname(), TIMEOUT)
        plain, _ = listener.accept()
        client.sendall(HELLO)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        return plain


def _say_hello(end: socket.socket, context: ssl.SSLContext) -> bytes:
    with context.wrap_socket(end) as tls:
        tls.sendall(HELLO)
        return tls.recv(100)


def _say_goodbye_to_tls(end: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(end) as tls, tls.unwrap() as plain:
        plain.sendall(HELLO)


def _spoil_the_proof(flight: bytes) -> bytes:
    certificate_verify = 15
    spoilt = [
        record[:-1] + bytes([record[-1] ^ 1])
        if record[0] == 22 and record[5] == certificate_verify
        else record
        for record in records(flight)
    ]
    return b"".join(spoilt)


@pytest.mark.parametrize("path", [PATH, UNKNOWN])
def test_an_interruption_admits_nobody(path: str, prod_ca: CA, heard: Heard) -> None:
    interruptions = [KeyboardInterrupt]

    def interrupt() -> None:
        if interruptions:
            raise interruptions.pop()

    mesh = mesh_of(prod_ca, policy=policy_that(interrupt), audit=heard)
    with unverified(mesh.server_context(), prod_ca.issue(path)) as (tls, visit):
        with pytest.raises(KeyboardInterrupt):
            tls.recv(100)
        for _ in range(2):
            assert refusal_of(lambda: tls.recv(100)).detail.startswith("KeyboardInterrupt")
        assert visit.result(TIMEOUT).answer == b""
    assert heard.reason() is Reason.INTERNAL_ERROR
    assert heard.is_quiet()


class TestWhatCannotHappenYet:
    """OpenSSL and the decision are about the same leaf, and each refusal is one of ours."""

    def test_a_leaf_that_was_not_decided_about_is_not_let_in(
        self, mesh: Mesh, prod_ca: CA, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, chain = "meshid.tls.peer_chain.read_certificate_message", list(prod_ca.issue(PATH).chain)
        monkeypatch.setattr(read, lambda *_, **__: chain)
        refusal = refusal_of(Memory(mesh.server_context(), stranger(prod_ca.issue(PATH))).shake_hands)
        assert refusal.reason is Reason.INTERNAL_ERROR
        assert heard.next().decision == refusal.decision
        assert mesh.open_connections == 0

    def test_a_peer_that_openssl_cannot_be_told_to_trust_is_refused(
        self, mesh: Mesh, prod_ca: CA, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_file(*_: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr("meshid.tls.generation.trust_issuer", no_file)
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
        refusal = refusal_of(both.shake_hands)
        assert (refusal.reason, refusal.detail) == (
            Reason.INTERNAL_ERROR,
            "OSError: '[Errno 24] Too many open files'",
        )
        assert heard.next().decision == refusal.decision
        assert heard.is_quiet()
        monkeypatch.undo()
        Memory(mesh.server_context(), stranger(prod_ca.issue(PATH))).shake_hands()


def test_nobody_is_asked_about_an_admission_that_nobody_hears_of(
    prod_ca: CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address, cipher and version took as long as the decision."""
    asked: list[object] = []

    def address_of(peername: object) -> tuple[None, None]:
        asked.append(peername)
        return None, None

    monkeypatch.setattr("meshid.tls.admitted_connection.address_of", address_of)
    client = prod_ca.issue(PATH).client_context()
    Memory(mesh_of(prod_ca).server_context(), client).shake_hands()
    assert asked == []
    Memory(mesh_of(prod_ca, audit=Heard()).server_context(), client).shake_hands()
    assert len(asked) == 1

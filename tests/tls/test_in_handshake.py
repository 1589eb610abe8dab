"""The decision falls inside the handshake, takes effect there, and counts only if the handshake ends well."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from meshid import BundleSet, Mesh, NoPeer, PeerRejected, Reason, Revocations, TrustBundle, peer_of
from meshid.testing import CA, Issued
from meshid.tls.connections import MeshSSLObject
from meshid.tls.generation import Generation
from meshid.tls.trusted_issuer import stub_of
from tests.helpers.stolen import present_stolen
from tests.helpers.tls_peers import (
    CLOSED_POLICY,
    HELLO,
    PATH,
    SERVERS,
    Heard,
    Memory,
    Serving,
    greet_asyncio,
    greet_blocking,
    knock,
    mesh_of,
    policy,
    policy_that,
    presenting_server,
    records,
    stranger,
)

NAME = f"spiffe://prod.example.org{PATH}"
UNKNOWN = "/ns/unknown/sa/web"
DENIED = Revocations(deny=[NAME])
VERSIONS = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLSv1.2", "TLSv1.3"]
)


def limited(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    context.maximum_version = version
    return context


def serving(mesh: Mesh) -> ssl.SSLContext:
    return mesh.server_context(minimum_version=ssl.TLSVersion.TLSv1_2)


class Handshake:
    """A handshake of a server of ours that is stopped when it has seen the client's certificates."""

    def __init__(self, mesh: Mesh, client: Issued, version: ssl.TLSVersion) -> None:
        self.both = Memory(serving(mesh), limited(stranger(client), version))
        self.server = cast("MeshSSLObject", self.both.server)
        self._left = b""

    def present(self) -> None:
        """Send what the client sends, up to its Certificate message."""
        for _ in range(2):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.both.client.do_handshake()
            found = records(self.both.sent.read())
            # The hello alone; or Certificate, behind a change of ciphers in TLS 1.3.
            size = next((n for n, each in enumerate(found, 1) if each[0] == 23 or each[5] == 11), len(found))
            self.both.to_server.write(b"".join(found[:size]))
            self._left = b"".join(found[size:])
            with pytest.raises(ssl.SSLWantReadError):
                self.server.do_handshake()

    def prove(self) -> None:
        """Send the rest: the proof that the client has the key, and the end of the handshake."""
        self.both.to_server.write(self._left)
        # A refusal comes with the next call: until then, the alert is sent.
        with contextlib.suppress(ssl.SSLWantReadError):
            self.server.do_handshake()
        self.server.do_handshake()


def first_context(context: ssl.SSLContext) -> Generation:
    fresh = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    return cast("Generation", fresh.context)


@VERSIONS
class TestBetweenTheCertificateAndTheEnd:
    @pytest.fixture
    def handshake(self, mesh: Mesh, prod_ca: CA, version: ssl.TLSVersion) -> Handshake:
        handshake = Handshake(mesh, prod_ca.issue(PATH), version)
        handshake.present()
        return handshake

    def test_nobody_is_admitted_yet(self, handshake: Handshake, mesh: Mesh, heard: Heard) -> None:
        assert heard.is_quiet()
        assert (mesh.open_connections, handshake.server.peer) == (0, None)
        with pytest.raises(NoPeer):
            peer_of(handshake.server)
        handshake.prove()
        assert heard.reason() is Reason.ALLOWED
        assert (mesh.open_connections, str(peer_of(handshake.server).spiffe_id)) == (1, NAME)
        assert heard.is_quiet()

    def test_openssl_trusts_the_issuer_of_this_peer_and_nobody_else(self, version: ssl.TLSVersion) -> None:
        prod, dev = CA("prod.example.org"), CA("dev.example.org")
        mesh = mesh_of(prod, bundles=BundleSet([prod.bundle(), dev.bundle()]))
        peer = prod.intermediate().issue(PATH)
        handshake = Handshake(mesh, peer, version)
        assert handshake.server.context.cert_store_stats()["x509"] == 0
        handshake.present()
        trusted = handshake.server.context.get_ca_certs(binary_form=True)
        assert trusted == [stub_of(peer.chain[1])]

    @pytest.mark.parametrize(
        ("taken", "reason"),
        [
            ("denial", Reason.DENY_LISTED),
            ("policy", Reason.NO_RULE),
            ("authority", Reason.UNKNOWN_AUTHORITY),
        ],
    )
    def test_what_is_taken_away_is_gone(
        self, taken: str, reason: Reason, handshake: Handshake, mesh: Mesh, heard: Heard
    ) -> None:
        if taken == "denial":
            mesh.publish(revocations=DENIED)
        elif taken == "policy":
            mesh.publish(policy=CLOSED_POLICY)
        else:
            mesh.publish(bundles=BundleSet([CA("prod.example.org", subject="CN=other").bundle()]))
        with pytest.raises(PeerRejected) as caught:
            handshake.prove()
        assert caught.value.reason is reason
        assert heard.next().decision == caught.value.decision
        assert heard.is_quiet()
        assert mesh.open_connections == 0
        for call in (handshake.server.do_handshake, handshake.server.read):
            with pytest.raises(PeerRejected) as again:
                call()
            assert again.value is caught.value

    def test_what_changes_and_lets_the_peer_in_still_does(
        self, handshake: Handshake, mesh: Mesh, heard: Heard
    ) -> None:
        snapshot = mesh.publish(policy=policy())
        handshake.prove()
        assert heard.next().generation == snapshot.generation
        assert heard.is_quiet()


@VERSIONS
class TestARefusal:
    def test_is_told_before_the_proof_and_stays_whatever_comes_after(
        self, version: ssl.TLSVersion, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        mesh.publish(revocations=DENIED)
        handshake = Handshake(mesh, prod_ca.issue(PATH), version)
        handshake.present()
        assert heard.reason() is Reason.DENY_LISTED
        with pytest.raises(PeerRejected) as caught:
            handshake.prove()
        assert caught.value.reason is Reason.DENY_LISTED
        mesh.publish(revocations=Revocations())
        with pytest.raises(PeerRejected) as again:
            handshake.server.do_handshake()
        assert again.value is caught.value
        assert heard.is_quiet()

    def test_needs_no_trust_so_the_first_context_has_none(
        self, version: ssl.TLSVersion, mesh: Mesh, prod_ca: CA
    ) -> None:
        mine, theirs = first_context(serving(mesh)), limited(stranger(prod_ca.issue(UNKNOWN)), version)
        assert mine.cert_store_stats() == {"x509": 0, "crl": 0, "x509_ca": 0}
        both = Memory(serving(mesh), theirs)
        with pytest.raises(PeerRejected):
            both.shake_hands()
        with pytest.raises(ssl.SSLError, match="ALERT_UNKNOWN_CA"):
            both.client.read()


@VERSIONS
def test_two_authorities_of_one_name_are_never_confused(version: ssl.TLSVersion) -> None:
    """OpenSSL looks an issuer up by its name, so a pool of both would lose one of them."""
    cas = [CA("prod.example.org", subject="O=cluster.local") for _ in range(2)]
    both = TrustBundle.from_pem("prod.example.org", cas[0].pem + cas[1].pem)
    mesh = mesh_of(cas[0], bundles=BundleSet([both]))
    for authority in cas:
        memory = Memory(
            serving(mesh), limited(stranger(authority.issue(PATH, authority_key_id=False)), version)
        )
        memory.shake_hands()
        assert str(peer_of(memory.server).spiffe_id) == NAME


class TestTheProofOfPossession:
    """Who shows a certificate and does not hold its key (RFC 8446 section 4.4.3)."""

    @VERSIONS
    @pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)
    def test_a_client_without_the_key_is_refused_for_that(
        self, serve: Serving, version: ssl.TLSVersion, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        thief = limited(stranger(), version)
        present_stolen(thief, prod_ca.issue(PATH))
        with serve(serving(mesh)) as service:
            assert knock(service.port, thief).answer == b""
            assert service.seen == []
        event = heard.next()
        assert (event.decision.reason, event.decision.name) == (Reason.KEY_NOT_PROVEN, NAME)
        assert heard.is_quiet()
        assert mesh.open_connections == 0

    @VERSIONS
    @pytest.mark.parametrize("greet", [greet_asyncio, greet_blocking], ids=["asyncio", "blocking"])
    def test_a_server_without_the_key_is_refused_for_that(
        self,
        greet: Callable[[int, ssl.SSLContext], bytes],
        version: ssl.TLSVersion,
        mesh: Mesh,
        prod_ca: CA,
        heard: Heard,
    ) -> None:
        context = mesh.client_context(PATH, minimum_version=ssl.TLSVersion.TLSv1_2)
        with stealing_server(prod_ca.issue(PATH), version) as port:
            assert greet(port, context) == b""
        assert heard.reason() is Reason.KEY_NOT_PROVEN
        assert heard.is_quiet()


@contextlib.contextmanager
def stealing_server(victim: Issued, version: ssl.TLSVersion) -> Iterator[int]:
    class Stolen(Issued):
        def load_into(self, context: ssl.SSLContext) -> None:
            present_stolen(context, victim)

    with presenting_server(Stolen(victim.certificate, victim.key, victim.intermediates), version) as port:
        yield port


@VERSIONS
@pytest.mark.parametrize("path", [PATH, UNKNOWN])
@pytest.mark.parametrize(
    "failure", [ValueError, OSError, ssl.SSLWantReadError, KeyboardInterrupt, SystemExit]
)
def test_whatever_is_raised_while_it_is_decided_nobody_is_let_in(
    failure: type[BaseException], path: str, version: ssl.TLSVersion, prod_ca: CA, heard: Heard
) -> None:
    """Once: the next call of `do_handshake()` would go on, if the exception had left the callback."""
    left = [failure]

    def fail() -> None:
        if left:
            raise left.pop()

    mesh = mesh_of(prod_ca, policy=policy_that(fail), audit=heard)
    both = Memory(serving(mesh), limited(stranger(prod_ca.issue(path)), version))
    expected = PeerRejected if issubclass(failure, Exception) else failure
    with pytest.raises(expected):
        both.shake_hands()
    for call in (both.server.do_handshake, both.server.read, lambda: both.server.write(HELLO)):
        with pytest.raises(PeerRejected) as caught:
            call()
        assert caught.value.reason is Reason.INTERNAL_ERROR
        assert caught.value.detail.startswith(failure.__name__)
    assert heard.reason() is Reason.INTERNAL_ERROR
    assert heard.is_quiet()
    assert mesh.open_connections == 0
    with pytest.raises(ssl.SSLError, match="ALERT_UNKNOWN_CA"):
        both.client.read()

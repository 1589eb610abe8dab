"""A facade that always stands for the trust in force now, and that nothing can loosen."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from meshid import (
    BundleSet,
    InvalidCredentials,
    Mesh,
    MeshContext,
    PeerRejected,
    Reason,
    Revocations,
    TrustBundle,
    peer_of,
)
from meshid.certificates.reading import to_der
from meshid.testing import CA
from meshid.tls.load_credentials import KeyFile, load_credentials
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import (
    HELLO,
    PATH,
    SERVERS,
    TIMEOUT,
    Heard,
    Memory,
    Serving,
    credentials,
    greet_asyncio,
    greet_blocking,
    knock,
    mesh_of,
    stranger,
    tls12,
)

EACH_SERVER = pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)
GREETERS = {"asyncio": greet_asyncio, "blocking": greet_blocking}
EACH_CLIENT = pytest.mark.parametrize("greet", GREETERS.values(), ids=GREETERS)

ANSWER = f"spiffe://prod.example.org{PATH}\n".encode()


def presented_by(mesh: Mesh) -> bytes:
    assert mesh.snapshot.credentials is not None
    return mesh.snapshot.credentials.chain[0]


class TestItIsWhatLibrariesExpect:
    @pytest.mark.parametrize(
        ("make", "protocol"),
        [
            pytest.param(lambda mesh: mesh.server_context(), ssl.PROTOCOL_TLS_SERVER, id="server"),
            pytest.param(lambda mesh: mesh.client_context("/**"), ssl.PROTOCOL_TLS_CLIENT, id="client"),
        ],
    )
    def test_an_ssl_context_that_verifies(
        self, make: Callable[[Mesh], MeshContext], protocol: int, mesh: Mesh
    ) -> None:
        context = make(mesh)
        assert isinstance(context, ssl.SSLContext)
        assert context.protocol is protocol
        assert context.verify_mode is ssl.CERT_REQUIRED

    @pytest.mark.parametrize("name", [None, "payments.example", "127.0.0.1"])
    def test_whatever_host_name_a_client_dials(self, name: str | None, mesh: Mesh, prod_ca: CA) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        prod_ca.issue(PATH, dns=["other.example"]).load_into(server)
        both = Memory(server, mesh.client_context([PATH]), name)
        both.shake_hands()
        assert str(peer_of(both.client).spiffe_id) == f"spiffe://prod.example.org{PATH}"


class TestGenerations:
    @EACH_SERVER
    def test_a_new_certificate_is_presented_without_a_restart(
        self, serve: Serving, mesh: Mesh, prod_ca: CA
    ) -> None:
        client = stranger(prod_ca.issue(PATH))
        with serve(mesh.server_context()) as service:
            for _ in range(2):
                mesh.publish(credentials=credentials(prod_ca))
                visit = knock(service.port, client)
                assert (visit.answer, visit.presented) == (ANSWER, presented_by(mesh))

    @EACH_SERVER
    def test_new_authorities_are_trusted_and_old_ones_are_not(
        self, serve: Serving, mesh: Mesh, heard: Heard, prod_ca: CA
    ) -> None:
        successor = CA("prod.example.org", subject="CN=the next root")
        old, new = stranger(prod_ca.issue(PATH)), stranger(successor.issue(PATH))
        both = TrustBundle.from_pem("prod.example.org", prod_ca.pem + successor.pem)
        with serve(mesh.server_context()) as service:
            for bundle, admitted in ((both, (old, new)), (successor.bundle(), (new,)), (both, (old, new))):
                # A connection that is still closing would be reviewed, and its end is an event, too.
                assert eventually(lambda: mesh.open_connections == 0)
                mesh.publish(bundles=BundleSet([bundle]))
                for client in (old, new):
                    visit = knock(service.port, client)
                    assert visit.answer == (ANSWER if client in admitted else b"")
                    assert heard.next().decision.allowed is (client in admitted)

    def test_two_authorities_with_one_name_are_distinguished_by_their_key_identifiers(
        self, mesh: Mesh
    ) -> None:
        """RFC 5280 sections 4.2.1.1 and 4.2.1.2; without them OpenSSL takes the first of that name."""
        authorities = [identified("prod.example.org") for _ in range(3)]
        bundle = TrustBundle.from_pem("prod.example.org", b"".join(each.pem for each in authorities))
        mesh.publish(bundles=BundleSet([bundle]))
        for authority in authorities:
            both = Memory(mesh.server_context(), stranger(authority.issue(PATH)))
            both.shake_hands()
            assert peer_of(both.server).chain[-1] == to_der(authority.certificate)

    def test_an_open_connection_keeps_its_own(self, mesh: Mesh, prod_ca: CA) -> None:
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
        both.shake_hands()
        mesh.publish(credentials=credentials(prod_ca))
        both.client.write(HELLO)
        both.to_server.write(both.sent.read())
        assert both.server.read() == HELLO
        assert mesh.check(peer_of(both.server))

    def test_nothing_is_built_twice_for_one_state(self, mesh: Mesh) -> None:
        context = mesh.server_context(alpn=["h2"])
        first = generation_of(context)
        mesh.publish(policy=mesh.snapshot.policy, revocations=Revocations(deny=["spiffe://a.example/x"]))
        context.set_alpn_protocols(["h2"])
        assert generation_of(context) is first
        context.set_alpn_protocols(["http/1.1"])
        assert generation_of(context) is not first

    def test_threads_that_come_at_once_share_one(
        self, mesh: Mesh, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context, built = mesh.server_context(), []
        start = threading.Barrier(4, timeout=TIMEOUT)

        def load_slowly(generation: ssl.SSLContext, own: KeyFile) -> None:
            built.append(generation)
            # Long enough for the other threads to arrive while it is being built.
            time.sleep(0.05)
            load_credentials(generation, own)

        def come() -> ssl.SSLContext:
            start.wait()
            return generation_of(context)

        monkeypatch.setattr("meshid.tls.generation.load_credentials", load_slowly)
        mesh.publish(credentials=credentials(prod_ca))
        with ThreadPoolExecutor(4) as pool:
            found = [pool.submit(come) for _ in range(4)]
            assert [each.result(TIMEOUT) for each in found] == built * 4
        assert len(built) == 1

    def test_a_mesh_that_loses_its_credentials_makes_no_more_connections(
        self, mesh: Mesh, prod_ca: CA
    ) -> None:
        context = mesh.server_context()
        mesh.publish(credentials=None)
        with pytest.raises(InvalidCredentials, match="give the Mesh credentials"):
            Memory(context, stranger(prod_ca.issue(PATH)))
        mesh.publish(credentials=credentials(prod_ca))
        Memory(context, stranger(prod_ca.issue(PATH))).shake_hands()

    def test_without_any_bundle_nobody_is_trusted(self, mesh: Mesh, prod_ca: CA) -> None:
        mesh.publish(bundles=BundleSet())
        with pytest.raises(PeerRejected) as caught:
            Memory(mesh.server_context(), stranger(prod_ca.issue(PATH))).shake_hands()
        assert caught.value.reason is Reason.UNKNOWN_TRUST_DOMAIN

    def test_an_intermediate_in_a_bundle_is_as_good_as_a_root(self, mesh: Mesh, prod_ca: CA) -> None:
        """An authority need not be self-signed (X509-SVID section 6.1)."""
        issuing = prod_ca.intermediate()
        mesh.publish(bundles=BundleSet([issuing.bundle()]))
        both = Memory(mesh.server_context(), stranger(issuing.issue(PATH)))
        both.shake_hands()
        assert len(peer_of(both.server).chain) == 2


def identified(trust_domain: str) -> CA:
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return CA(trust_domain, key=key, extra=[(identifier, False)])


def generation_of(context: MeshContext) -> ssl.SSLContext:
    """Return the context that a connection is made with, before it gets the user's."""
    return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True).context


class TestVersions:
    def test_a_server_never_renegotiates(self, mesh: Mesh) -> None:
        """OpenSSL 3 refuses a client's request by default, OpenSSL 1.1 only with an option (RFC 5746)."""
        assert generation_of(mesh.server_context()).options & ssl.OP_NO_RENEGOTIATION

    @pytest.mark.parametrize("oldest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_a_server_speaks_tls_1_2_only_when_asked(
        self, oldest: ssl.TLSVersion, mesh: Mesh, prod_ca: CA
    ) -> None:
        both = Memory(mesh.server_context(minimum_version=oldest), tls12(stranger(prod_ca.issue(PATH))))
        if oldest is ssl.TLSVersion.TLSv1_3:
            with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
                both.shake_hands()
        else:
            both.shake_hands()
            assert both.server.version() == "TLSv1.2"

    @pytest.mark.parametrize("oldest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_a_client_speaks_tls_1_2_only_when_asked(
        self, oldest: ssl.TLSVersion, mesh: Mesh, prod_ca: CA
    ) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        prod_ca.issue(PATH).load_into(tls12(server))
        both = Memory(server, mesh.client_context([PATH], minimum_version=oldest))
        if oldest is ssl.TLSVersion.TLSv1_3:
            with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
                both.shake_hands()
        else:
            both.shake_hands()
            assert both.client.version() == "TLSv1.2"


class TestAlpn:
    """RFC 7301."""

    @pytest.mark.parametrize(
        ("served", "asked", "spoken"),
        [
            (["h2", "http/1.1"], ["http/1.1", "h2"], "h2"),
            (["h2"], ["h2"], "h2"),
            ([], ["h2"], None),
            (["h2"], [], None),
        ],
    )
    def test_the_server_chooses(
        self, served: list[str], asked: list[str], spoken: str | None, mesh: Mesh, prod_ca: CA
    ) -> None:
        assert spoken_by(mesh.server_context(alpn=served), prod_ca, asked) == spoken

    def test_what_a_framework_sets_counts_from_the_next_handshake(self, mesh: Mesh, prod_ca: CA) -> None:
        context = mesh.server_context(alpn=["http/1.1"])
        context.set_alpn_protocols(["h2"])
        assert spoken_by(context, prod_ca, ["http/1.1", "h2"]) == "h2"


def spoken_by(context: MeshContext, prod_ca: CA, asked: Iterable[str]) -> str | None:
    client_mesh = mesh_of(prod_ca, credentials=prod_ca.issue(PATH).svid)
    both = Memory(context, client_mesh.client_context(["/ns/pay/sa/payments"], asked))
    both.shake_hands()
    assert both.client.selected_alpn_protocol() == both.server.selected_alpn_protocol()
    return both.server.selected_alpn_protocol()


@pytest.mark.parametrize("name", ["http", "resumption"])
def test_a_promise_is_true_or_false(name: str, mesh: Mesh) -> None:
    """A text such as "no" would be taken for yes."""
    with pytest.raises(TypeError, match=f"^{name} must be True or False, not str$"):
        mesh.server_context(**{name: "no"})  # type: ignore[arg-type]

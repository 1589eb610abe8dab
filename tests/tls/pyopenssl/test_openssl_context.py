"""The `OpenSSL.SSL.Context` of a mesh: nothing can be set on it, and no way around it gets a handshake."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from OpenSSL import SSL, crypto

from meshid import BundleSet, InvalidCredentials, Mesh, NoPeer, UnsupportedPython, peer_of
from meshid.certificates.leaf import Role
from meshid.testing import CA
from tests.helpers.openssl_peers import OpenSSLMemory, connection_of
from tests.helpers.tls_peers import PATH, admission_of, mesh_of, stranger

CHANGING = [
    name for name in dir(SSL.Context) if name.partition("_")[0] in {"add", "clear", "load", "set", "use"}
]


@pytest.fixture
def context(mesh: Mesh) -> SSL.Context:
    return mesh.openssl_context(server_side=True)


class TestWhatItIsMadeWith:
    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"server_side": True, "expect": PATH}, ValueError),
            ({"server_side": False}, ValueError),
            ({"server_side": False, "expect": PATH, "http": True}, ValueError),
            ({"server_side": False, "expect": PATH, "target": "payments"}, ValueError),
            ({"server_side": False, "expect": "host.example"}, ValueError),
            ({"server_side": "yes"}, TypeError),
            ({"server_side": True, "http": "yes"}, TypeError),
            ({"server_side": True, "alpn": "h2"}, TypeError),
            ({"server_side": True, "handshake_timeout": 0}, ValueError),
            ({"server_side": True, "minimum_version": ssl.TLSVersion.TLSv1_1}, ValueError),
        ],
        ids=str,
    )
    def test_a_mistake_is_an_error(
        self, arguments: dict[str, Any], error: type[Exception], mesh: Mesh
    ) -> None:
        with pytest.raises(error):
            mesh.openssl_context(**arguments)

    def test_it_needs_credentials(self, prod_ca: CA) -> None:
        mesh = Mesh(bundles=BundleSet([prod_ca.bundle()]), service="payments")
        with pytest.raises(InvalidCredentials, match="give the Mesh credentials"):
            mesh.openssl_context(server_side=True)

    @pytest.mark.parametrize(
        "key",
        [
            rsa.generate_private_key(65537, 2048),
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
        ],
        ids=["RSA", "P-384", "Ed25519"],
    )
    def test_it_takes_each_kind_of_key(self, key: CertificateIssuerPrivateKeyTypes, prod_ca: CA) -> None:
        own = prod_ca.intermediate().issue("/ns/pay/sa/payments", key=key)
        mesh = mesh_of(prod_ca, credentials=own.svid)
        client = stranger(prod_ca.issue(PATH))
        client.load_verify_locations(cadata=prod_ca.pem.decode())
        client.verify_mode = ssl.CERT_REQUIRED
        both = OpenSSLMemory(mesh.openssl_context(server_side=True), client)
        both.shake_hands()
        assert both.theirs.getpeercert(binary_form=True) == own.chain[0]
        assert str(peer_of(both.ours).spiffe_id).startswith("spiffe://prod.example.org/ns/")

    def test_a_key_that_pyopenssl_cannot_use_is_an_error(
        self, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mesh = mesh_of(prod_ca)

        def refuse(*_: object) -> None:
            raise SSL.Error([("SSL routines", "", "ee key too small")])

        monkeypatch.setattr(SSL.Context, "use_certificate", refuse)
        with pytest.raises(InvalidCredentials, match=r"pyOpenSSL cannot use it: .*ee key too small"):
            mesh.openssl_context(server_side=True)

    def test_health_knows_of_it(self, mesh: Mesh) -> None:
        mesh.openssl_context(server_side=True, target="reports")
        mesh.openssl_context(server_side=False, expect=PATH)
        admission = admission_of(mesh)
        assert admission.roles == {Role.CLIENT, Role.SERVER}
        assert [each.target for each in admission.listeners] == ["reports"]

    def test_alpn(self, mesh: Mesh, prod_ca: CA) -> None:
        context = mesh.openssl_context(server_side=True, alpn=["h2", "http/1.1"])
        for offered, agreed in {("http/1.1", "h2"): "h2", ("http/1.1",): "http/1.1", ("spdy",): None}.items():
            client = stranger(prod_ca.issue(PATH))
            client.set_alpn_protocols(offered)
            both = OpenSSLMemory(context, client)
            both.shake_hands()
            assert both.theirs.selected_alpn_protocol() == agreed
            assert both.ours.info().protocol == agreed

    def test_http(self, mesh: Mesh, prod_ca: CA) -> None:
        """Who may only ask some questions is let in where each is judged."""
        client = stranger(prod_ca.issue("/ns/support/sa/desk"))
        both = OpenSSLMemory(mesh.openssl_context(server_side=True, http=True), client)
        both.shake_hands()
        assert str(peer_of(both.ours).spiffe_id).startswith("spiffe://prod.example.org/ns/")

    def test_old_tls_is_off(self, context: SSL.Context, prod_ca: CA) -> None:
        client = stranger(prod_ca.issue(PATH))
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(SSL.Error, match="unsupported protocol"):
            OpenSSLMemory(context, client).shake_hands()


class TestItsGenerations:
    def test_a_new_certificate_is_presented_from_the_next_connection_on(
        self, mesh: Mesh, context: SSL.Context, prod_ca: CA
    ) -> None:
        before = connection_of(context)
        renewed = prod_ca.issue("/ns/pay/sa/payments")
        mesh.publish(credentials=renewed.svid)
        both = OpenSSLMemory(context, stranger(prod_ca.issue(PATH)))
        both.shake_hands()
        assert both.theirs.getpeercert(binary_form=True) == renewed.chain[0]
        assert connection_of(context).generation is both.ours.generation is not before.generation

    def test_one_is_built_however_many_connections_begin(
        self, mesh: Mesh, context: SSL.Context, prod_ca: CA
    ) -> None:
        mesh.publish(credentials=prod_ca.issue("/ns/pay/sa/payments").svid)
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: connection_of(context).generation, range(64)))
        assert set(map(id, made)) == {id(made[0])}

    def test_who_waits_for_another_thread_takes_what_it_has_built(
        self, mesh: Mesh, context: SSL.Context, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mesh.publish(credentials=prod_ca.issue("/ns/pay/sa/payments").svid)
        made = []

        @contextlib.contextmanager
        def behind_another() -> Iterator[None]:
            monkeypatch.undo()
            made.append(connection_of(context).generation)
            yield

        monkeypatch.setattr(context, "_building", behind_another())
        made.append(connection_of(context).generation)
        assert made[0] is made[1]

    def test_the_connection_knows_the_context_that_the_user_holds(self, context: SSL.Context) -> None:
        assert connection_of(context).get_context() is context


class TestLoosening:
    @pytest.mark.parametrize("name", [name for name in CHANGING if name != "set_app_data"])
    def test_nothing_can_be_set(self, name: str, context: SSL.Context) -> None:
        with pytest.raises(TypeError, match=f"{name} of a context of a Mesh: "):
            getattr(context, name)(None)

    def test_there_is_something_to_be_set(self) -> None:
        assert {"set_verify", "use_certificate", "load_verify_locations", "set_options"} < {*CHANGING}

    def test_it_shows_that_it_verifies(self, context: SSL.Context) -> None:
        assert context.get_verify_mode() == SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT

    def test_what_is_trusted_by_its_store_changes_nothing(self, context: SSL.Context) -> None:
        store = context.get_cert_store()
        assert store is not None
        other = CA("prod.example.org")
        store.add_cert(crypto.X509.from_cryptography(other.certificate))
        both = OpenSSLMemory(context, stranger(other.issue(PATH)))
        with pytest.raises(SSL.Error):
            both.shake_hands()


class TestAnotherWay:
    def test_a_class_of_the_users_makes_no_connection(self, context: SSL.Context) -> None:
        class Mine(SSL.Connection):
            pass

        with pytest.raises(TypeError, match="not Mine"):
            Mine(context)

    def test_a_connection_of_another_context_gets_no_certificate_by_it(
        self, context: SSL.Context, prod_ca: CA
    ) -> None:
        """As an SNI callback does it."""
        plain = SSL.Context(SSL.TLS_SERVER_METHOD)
        plain.set_tlsext_servername_callback(lambda tls: tls.set_context(context))
        own = prod_ca.issue("/ns/pay/sa/payments")
        plain.use_certificate(own.certificate)
        plain.use_privatekey(own.svid.key)  # type: ignore[arg-type]
        both = OpenSSLMemory(plain, stranger(prod_ca.issue(PATH)))
        with pytest.raises(SSL.Error, match="no suitable"):
            both.shake_hands()
        with pytest.raises(NoPeer):
            peer_of(both.ours)

    def test_a_pyopenssl_that_makes_connections_in_another_way_is_not_supported(
        self, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = SSL.Connection.__init__

        def init(tls: SSL.Connection, *arguments: object) -> None:
            make(tls, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(SSL.Connection, "__init__", init)
        with pytest.raises(UnsupportedPython, match=r"pyOpenSSL [0-9.]+ makes connections in a way"):
            mesh.openssl_context(server_side=True)


def test_what_is_for_pyopenssl_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, meshid; print([name for name in sys.modules if 'tls.pyopenssl' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

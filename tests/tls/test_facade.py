"""What a context shows is what its connections do, and nothing that is set on it loosens them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from meshid import BundleSet, Mesh, MeshContext, peer_of
from meshid.certificates.reading import to_der
from meshid.testing import CA, Issued
from meshid.tls.facade import Facade
from tests.helpers.tls_peers import (
    HELLO,
    HOST,
    PATH,
    TIMEOUT,
    Memory,
    credentials,
    presenting_server,
    stranger,
    tls12,
)

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
EACH_ROLE = pytest.mark.parametrize("role", ["server", "client"])

Operation = Callable[[MeshContext], object]


def setting(name: str, value: object) -> Operation:
    return lambda context: setattr(context, name, value)


def adding(option: ssl.Options) -> Operation:
    return lambda context: setattr(context, "options", context.options | option)


def context_of(mesh: Mesh, role: str, oldest: ssl.TLSVersion = TLS13) -> MeshContext:
    if role == "server":
        return mesh.server_context(minimum_version=oldest)
    return mesh.client_context([PATH], minimum_version=oldest)


def generation_of(context: MeshContext) -> ssl.SSLContext:
    """Return the context that a connection is made with."""
    is_server = context.protocol is ssl.PROTOCOL_TLS_SERVER
    return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=is_server).context


def facing(context: MeshContext, other: ssl.SSLContext) -> Memory:
    """Return a connection of *context* with *other*."""
    is_server = context.protocol is ssl.PROTOCOL_TLS_SERVER
    return Memory(context, other) if is_server else Memory(other, context)


def end_of(both: Memory, context: MeshContext) -> ssl.SSLObject:
    return both.server if context.protocol is ssl.PROTOCOL_TLS_SERVER else both.client


def right_peer(context: MeshContext, ca: CA) -> ssl.SSLContext:
    """Return the context of a peer that is admitted."""
    return peer_with(ca.issue(PATH), context)


def peer_with(issued: Issued, context: MeshContext) -> ssl.SSLContext:
    """Return the context of the other end of a connection, which has this certificate."""
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        return stranger(issued)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.load_into(server)
    return server


def admitted(context: MeshContext, other: ssl.SSLContext) -> ssl.SSLObject:
    """Shake hands with *other*, who must be admitted; return our end."""
    both = facing(context, other)
    both.shake_hands()
    end = end_of(both, context)
    assert peer_of(end).spiffe_id.path == PATH
    return end


def refused(context: MeshContext, other: ssl.SSLContext) -> None:
    """Shake hands with *other*, who must not be admitted."""
    with pytest.raises(ssl.SSLError):
        facing(context, other).shake_hands()


class TestWhatItShows:
    """It is true of the connections that are made."""

    @EACH_ROLE
    @pytest.mark.parametrize("oldest", [TLS12, TLS13])
    @pytest.mark.parametrize(
        "name",
        [
            "minimum_version",
            "maximum_version",
            "verify_mode",
            "verify_flags",
            "security_level",
            "post_handshake_auth",
        ],
    )
    def test_an_attribute_is_that_of_the_generation(
        self, name: str, role: str, oldest: ssl.TLSVersion, mesh: Mesh
    ) -> None:
        context = context_of(mesh, role, oldest)
        assert getattr(context, name) == getattr(generation_of(context), name)

    @EACH_ROLE
    def test_the_options_are_those_of_the_generation(self, role: str, mesh: Mesh) -> None:
        """But for an option that only OpenSSL knows: `options &= ~...` would lose it."""
        context = context_of(mesh, role)
        assert context.options == generation_of(context).options & 0xFFFFFFFF

    @EACH_ROLE
    def test_the_ciphers_are_those_of_the_generation(self, role: str, mesh: Mesh, prod_ca: CA) -> None:
        context = context_of(mesh, role, TLS12)
        assert context.get_ciphers() == generation_of(context).get_ciphers()
        for limit in (tls12, lambda other: other):
            end = admitted(context, limit(right_peer(context, prod_ca)))
            assert end.cipher() in [
                (each["name"], each["protocol"], each["strength_bits"]) for each in context.get_ciphers()
            ]

    @pytest.mark.parametrize("resumption", [False, True])
    def test_the_tickets_of_a_server_are_those_that_it_sends(self, *, resumption: bool, mesh: Mesh) -> None:
        context = mesh.server_context(resumption=resumption)
        assert context.num_tickets == generation_of(context).num_tickets == (2 if resumption else 0)
        assert bool(context.options & ssl.OP_NO_TICKET) is not resumption

    @EACH_ROLE
    def test_it_verifies(self, role: str, mesh: Mesh) -> None:
        context = context_of(mesh, role)
        assert context.verify_mode is ssl.CERT_REQUIRED
        # To whom it is False, they match host names on their own, and none is in a SPIFFE certificate.
        assert context.check_hostname is (role == "client")
        assert context.hostname_checks_common_name is False
        assert context.sni_callback is None

    @EACH_ROLE
    def test_the_authorities_are_those_in_force(self, role: str, mesh: Mesh, prod_ca: CA, dev_ca: CA) -> None:
        context = context_of(mesh, role)
        for authorities in ([prod_ca], [prod_ca, dev_ca], []):
            mesh.publish(bundles=BundleSet([each.bundle() for each in authorities]))
            expected = {to_der(each.certificate) for each in authorities}
            assert set(context.get_ca_certs(binary_form=True)) == expected
            assert len(context.get_ca_certs()) == len(expected)
            assert context.cert_store_stats() == {"x509": len(expected), "crl": 0, "x509_ca": len(expected)}

    def test_the_statistics_are_those_of_the_generation(self, mesh: Mesh, prod_ca: CA) -> None:
        context = mesh.server_context()
        admitted(context, right_peer(context, prod_ca))
        assert context.session_stats()["accept"] == 1
        mesh.publish(credentials=credentials(prod_ca))
        assert context.session_stats()["accept"] == 0

    @EACH_ROLE
    def test_an_admitted_connection_has_it(self, role: str, mesh: Mesh, prod_ca: CA) -> None:
        context = context_of(mesh, role)
        assert admitted(context, right_peer(context, prod_ca)).context is context

    def test_a_client_needs_no_host_name(self, mesh: Mesh, prod_ca: CA) -> None:
        """`SSLSocket` asks for one where its context checks host names; that is not this context."""
        with presenting_server(prod_ca.issue(PATH)) as port:
            plain = socket.create_connection((HOST, port), TIMEOUT)
            with mesh.client_context([PATH]).wrap_socket(plain) as tls:
                assert tls.recv(len(HELLO)) == HELLO


NARROWINGS: dict[str, tuple[Operation, Callable[[ssl.SSLContext], object], object]] = {
    "minimum_version": (setting("minimum_version", TLS13), lambda it: it.minimum_version, TLS13),
    "newest minimum": (
        setting("minimum_version", ssl.TLSVersion.MAXIMUM_SUPPORTED),
        lambda it: it.minimum_version,
        TLS13,
    ),
    "maximum_version": (setting("maximum_version", TLS12), lambda it: it.maximum_version, TLS12),
    "OP_NO_COMPRESSION": (
        adding(ssl.OP_NO_COMPRESSION),
        lambda it: it.options & ssl.OP_NO_TICKET,
        ssl.OP_NO_TICKET,
    ),
    "OP_NO_TICKET": (adding(ssl.OP_NO_TICKET), lambda it: it.options & ssl.OP_NO_TICKET, ssl.OP_NO_TICKET),
    "unexpected EOF": (
        lambda it: setattr(it, "options", it.options & ~ssl.OP_IGNORE_UNEXPECTED_EOF),
        lambda it: it.options & ssl.OP_IGNORE_UNEXPECTED_EOF,
        0,
    ),
    "set_ciphers": (
        lambda it: it.set_ciphers("ECDHE+AESGCM:@STRENGTH"),
        lambda it: {each["name"] for each in it.get_ciphers() if each["protocol"] != "TLSv1.3"},
        {
            f"ECDHE-{key}-AES{size}"
            for key in ("ECDSA", "RSA")
            for size in ("128-GCM-SHA256", "256-GCM-SHA384")
        },
    ),
    "a higher security level": (
        lambda it: it.set_ciphers("@SECLEVEL=3:ECDHE+AESGCM"),
        lambda it: it.security_level,
        3,
    ),
}


class TestWhatTakesEffect:
    """What only narrows."""

    @EACH_ROLE
    @pytest.mark.parametrize(("narrow", "show", "expected"), NARROWINGS.values(), ids=NARROWINGS)
    def test_it_shows_and_the_next_generation_has_it(  # noqa: PLR0913, PLR0917  # one row of a table
        self,
        narrow: Operation,
        show: Callable[[ssl.SSLContext], object],
        expected: object,
        role: str,
        mesh: Mesh,
        prod_ca: CA,
    ) -> None:
        context = context_of(mesh, role, TLS12)
        first = generation_of(context)
        narrow(context)
        mesh.publish(credentials=credentials(prod_ca))
        assert (show(context), show(generation_of(context))) == (expected, expected)
        assert generation_of(context) is not first

    @EACH_ROLE
    @pytest.mark.parametrize(
        ("narrow", "newest"),
        [
            pytest.param(setting("minimum_version", TLS13), "TLSv1.3", id="minimum_version"),
            pytest.param(setting("maximum_version", TLS12), "TLSv1.2", id="maximum_version"),
            pytest.param(setting("maximum_version", 0x303), "TLSv1.2", id="maximum_version as a number"),
            pytest.param(setting("maximum_version", TLS13), "TLSv1.3", id="the newest maximum_version"),
        ],
    )
    def test_versions(self, narrow: Operation, newest: str, role: str, mesh: Mesh, prod_ca: CA) -> None:
        context = context_of(mesh, role, TLS12)
        narrow(context)
        assert admitted(context, right_peer(context, prod_ca)).version() == newest
        if context.minimum_version is TLS13:
            refused(context, tls12(right_peer(context, prod_ca)))

    @EACH_ROLE
    @pytest.mark.parametrize(
        ("option", "newest", "refuses"),
        [(ssl.OP_NO_TLSv1_3, "TLSv1.2", None), (ssl.OP_NO_TLSv1_2, "TLSv1.3", TLS12)],
        ids=["OP_NO_TLSv1_3", "OP_NO_TLSv1_2"],
    )
    def test_versions_switched_off_by_options(  # noqa: PLR0913, PLR0917  # one row of a table
        self,
        option: ssl.Options,
        newest: str,
        refuses: ssl.TLSVersion | None,
        role: str,
        mesh: Mesh,
        prod_ca: CA,
    ) -> None:
        """The ssl module warns whoever sets it, and nobody whose handshake builds a generation."""
        context = context_of(mesh, role, TLS12)
        with pytest.deprecated_call():
            adding(option)(context)
        assert context.options & option
        assert admitted(context, right_peer(context, prod_ca)).version() == newest
        if refuses is not None:
            refused(context, tls12(right_peer(context, prod_ca)))

    @EACH_ROLE
    def test_ciphers(self, role: str, mesh: Mesh, prod_ca: CA) -> None:
        context = context_of(mesh, role, TLS12)
        context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        cipher = admitted(context, tls12(right_peer(context, prod_ca))).cipher()
        assert cipher is not None
        assert cipher[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"
        other = tls12(right_peer(context, prod_ca))
        other.set_ciphers("ECDHE+AESGCM")
        refused(context, other)

    @EACH_ROLE
    def test_a_curve(self, role: str, mesh: Mesh, prod_ca: CA) -> None:
        """In TLS 1.2, both ends must have a certificate of that curve, too (RFC 8422 section 5.1)."""
        context = context_of(mesh, role)
        context.set_ecdh_curve("secp384r1")
        for curve, judge in (("secp384r1", admitted), ("prime256v1", refused)):
            other = right_peer(context, prod_ca)
            other.set_ecdh_curve(curve)
            judge(context, other)

    @EACH_ROLE
    def test_protocols(self, role: str, mesh: Mesh, prod_ca: CA) -> None:
        context = context_of(mesh, role)
        context.set_alpn_protocols(["h2"])
        other = right_peer(context, prod_ca)
        other.set_alpn_protocols(["http/1.1", "h2"])
        assert admitted(context, other).selected_alpn_protocol() == "h2"

    def test_fewer_tickets(self, mesh: Mesh, prod_ca: CA) -> None:
        context = mesh.server_context(resumption=True)
        context.num_tickets = 0
        end = admitted(context, right_peer(context, prod_ca))
        assert end.context is context
        assert generation_of(context).num_tickets == 0

    @EACH_ROLE
    @pytest.mark.parametrize("newest", [TLS12, TLS13])
    def test_the_secrets_of_the_whole_connection_are_written(
        self, newest: ssl.TLSVersion, role: str, mesh: Mesh, prod_ca: CA, tmp_path: Path
    ) -> None:
        context, theirs, ours = context_of(mesh, role, TLS12), tmp_path / "theirs", tmp_path / "ours"
        context.keylog_filename = str(ours)
        context.maximum_version = newest
        assert context.keylog_filename == generation_of(context).keylog_filename == str(ours)
        other = right_peer(context, prod_ca)
        other.keylog_filename = str(theirs)
        admitted(context, other)
        assert secrets_in(ours) == secrets_in(theirs) != set()

    def test_a_file_that_cannot_be_written_is_an_error_where_it_is_set(
        self, mesh: Mesh, tmp_path: Path
    ) -> None:
        context = mesh.server_context()
        with pytest.raises(OSError, match="No such file"):
            context.keylog_filename = str(tmp_path / "no" / "file")
        assert context.keylog_filename is None
        assert generation_of(context).keylog_filename is None

    def test_a_file_that_has_gone_is_told_and_stops_nobody(
        self, mesh: Mesh, prod_ca: CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        context, folder = mesh.server_context(), tmp_path / "folder"
        folder.mkdir()
        context.keylog_filename = str(folder / "keys")
        (folder / "keys").unlink()
        folder.rmdir()
        admitted(context, right_peer(context, prod_ca))
        assert "TLS secrets are not written: FileNotFoundError" in caplog.text
        setattr(context, "keylog_filename", None)  # noqa: B010 - typeshed has it as str
        assert generation_of(context).keylog_filename is None

    @EACH_ROLE
    @pytest.mark.parametrize("newest", [TLS12, TLS13])
    def test_a_higher_security_level_holds_for_the_peer_that_is_let_in(
        self, newest: ssl.TLSVersion, role: str, mesh: Mesh, prod_ca: CA
    ) -> None:
        context = context_of(mesh, role, TLS12)
        context.maximum_version = newest
        key = rsa.generate_private_key(65537, 2048)
        admitted(context, peer_with(prod_ca.issue(PATH, key=key), context))
        context.set_ciphers("@SECLEVEL=3:ECDHE+AESGCM")
        admitted(context, right_peer(context, prod_ca))
        refused(context, peer_with(prod_ca.issue(PATH, key=key), context))

    @EACH_ROLE
    def test_nothing_is_built_for_what_is_set_already(self, role: str, mesh: Mesh) -> None:
        context = context_of(mesh, role, TLS12)
        first = generation_of(context)
        for name in ("minimum_version", "maximum_version", "options", "keylog_filename", "verify_mode"):
            setattr(context, name, getattr(context, name))
        assert generation_of(context) is first
        context.set_ciphers("ECDHE+AESGCM")
        second = generation_of(context)
        context.set_ciphers("ECDHE+AESGCM")
        assert generation_of(context) is second is not first

    def test_what_another_thread_sets_meanwhile_is_kept(
        self, mesh: Mesh, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context, show = mesh.server_context(minimum_version=TLS12), Facade._show  # noqa: SLF001
        others = [setting("maximum_version", TLS12)]

        def meanwhile(facade: MeshContext, name: str, value: object) -> None:
            show(facade, name, value)
            if others:
                others.pop()(facade)

        monkeypatch.setattr(Facade, "_show", meanwhile)
        context.set_alpn_protocols(["h2"])
        assert context.maximum_version is generation_of(context).maximum_version is TLS12
        client = stranger(prod_ca.issue(PATH))
        client.set_alpn_protocols(["h2"])
        assert admitted(context, client).selected_alpn_protocol() == "h2"


def secrets_in(file: Path) -> set[str]:
    return {line for line in file.read_text().splitlines() if not line.startswith("#")}

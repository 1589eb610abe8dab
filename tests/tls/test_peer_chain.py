"""The chain that the other end presented: from OpenSSL, or read from the wire if OpenSSL does not give it."""

from __future__ import annotations

import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from meshid import Mesh, PeerRejected, Reason, UnsupportedPython
from meshid.certificates.chain import MAX_INTERMEDIATES
from meshid.testing import CA
from meshid.tls.peer_chain import chain_of, read_certificate_message
from tests.helpers.forged import damaged
from tests.helpers.tls_peers import HELLO, PATH, SERVERS, Heard, Memory, Serving, knock, mesh_of, stranger

CERTIFICATE = 11
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def captured(version: ssl.TLSVersion, depth: int = 1) -> tuple[bytes, list[bytes]]:
    """Return a Certificate message as it went over the wire, and the chain that it carried."""
    root = CA("prod.example.org")
    authority = root
    for _ in range(depth):
        authority = authority.intermediate()
    issued = authority.issue(PATH)
    messages: list[bytes] = []

    def keep(*message: object) -> None:
        _, direction, _, _, kind, body = message
        if (direction, kind) == ("write", CERTIFICATE):
            assert isinstance(body, bytes)
            messages.append(body)

    client = stranger(issued)
    client.maximum_version = version
    client._msg_callback = keep  # type: ignore[attr-defined]  # noqa: SLF001  # as ours does
    mesh = mesh_of(root)
    Memory(mesh.server_context(minimum_version=ssl.TLSVersion.TLSv1_2), client).shake_hands()
    (message,) = messages
    return message, list(issued.chain)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_real_message_is_read_as_it_was_sent(version: ssl.TLSVersion, depth: int) -> None:
    message, chain = captured(version, depth)
    assert read_certificate_message(message, tls13=version is ssl.TLSVersion.TLSv1_3) == chain


def tls13_message(*entries: tuple[bytes, bytes], context: bytes = b"") -> bytes:
    """Write a Certificate message (RFC 8446 section 4.4.2)."""
    body = b"".join(_vector(3, der) + _vector(2, extensions) for der, extensions in entries)
    return _vector(3, _vector(1, context) + _vector(3, body), kind=b"\x0b")


def _vector(width: int, data: bytes, kind: bytes = b"") -> bytes:
    return kind + len(data).to_bytes(width, "big") + data


@pytest.mark.parametrize(
    ("message", "chain"),
    [
        pytest.param(tls13_message(), [], id="no certificate"),
        pytest.param(tls13_message((b"leaf", b"")), [b"leaf"], id="one"),
        pytest.param(tls13_message((b"leaf", b"stapled"), (b"ca", b"")), [b"leaf", b"ca"], id="extensions"),
        pytest.param(tls13_message((b"leaf", b""), context=b"abc"), [b"leaf"], id="request context"),
        pytest.param(tls13_message((b"", b""), (b"ca", b"")), [b"ca"], id="an empty entry"),
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"\x0b\0\0\0", [], id="a header alone"),
        pytest.param(tls13_message((b"leaf", b""))[:-5], [b"l"], id="cut off in a certificate"),
        pytest.param(b"\x0b\0\0\x0b\xff\0\0\x07\0\0\x02ab\0\0", [], id="a context longer than the message"),
        pytest.param(b"\x0b\0\0\x0b\0\0\0\x07\xff\xff\xffab\0\0", [b"ab\0\0"], id="a length that lies"),
    ],
)
def test_a_wrong_length_ends_the_list(message: bytes, chain: list[bytes]) -> None:
    assert read_certificate_message(message, tls13=True) == chain


@pytest.mark.parametrize("tls13", [True, False])
def test_only_as_many_entries_are_read_as_a_chain_may_have_and_one(*, tls13: bool) -> None:
    entry = _vector(3, b"certificate") + (_vector(2, b"") if tls13 else b"")
    message = _vector(3, (_vector(1, b"") if tls13 else b"") + _vector(3, entry * 1000), kind=b"\x0b")
    chain = read_certificate_message(message, tls13=tls13)
    assert chain == [b"certificate"] * (1 + MAX_INTERMEDIATES + 1)


def test_empty_entries_are_entries() -> None:
    # 100 kB of them, which is what OpenSSL accepts, took 0.1 s to pass over.
    empty = [(b"", b"")] * (1 + MAX_INTERMEDIATES)
    assert read_certificate_message(tls13_message(*empty, (b"last", b"")), tls13=True) == [b"last"]
    assert read_certificate_message(tls13_message(*empty, (b"", b""), (b"ca", b"")), tls13=True) == []


MESSAGES = [captured(version)[0] for version in VERSIONS]


@given(message=st.sampled_from(MESSAGES).flatmap(damaged), tls13=st.booleans())
def test_a_damaged_message_is_a_list_of_what_was_in_it(*, message: bytes, tls13: bool) -> None:
    chain = read_certificate_message(message, tls13=tls13)
    assert all(chain)
    assert sum(map(len, chain)) <= len(message)


@given(message=st.binary(max_size=300), tls13=st.booleans())
def test_any_bytes_are_a_list_of_what_was_in_them(*, message: bytes, tls13: bool) -> None:
    chain = read_certificate_message(message, tls13=tls13)
    assert all(der in message for der in chain)


class TestChainOf:
    """OpenSSL gives the chain, after a handshake that succeeded."""

    @pytest.mark.parametrize("version", VERSIONS)
    def test_both_ends_see_what_the_other_sent(self, version: ssl.TLSVersion, prod_ca: CA) -> None:
        own, other = prod_ca.intermediate().issue("/a"), prod_ca.intermediate().intermediate().issue("/b")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.maximum_version = version
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(cadata=prod_ca.pem.decode())
        own.load_into(server)
        both = Memory(server, stranger(other))
        both.shake_hands()
        assert chain_of(both.server) == list(other.chain)
        assert chain_of(both.client) == list(own.chain)

    def test_without_a_certificate_there_is_no_chain(self, prod_ca: CA) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        prod_ca.issue("/a").load_into(server)
        both = Memory(server, stranger())
        both.shake_hands()
        assert chain_of(both.server) == []


class TestWithoutThePrivateHook:
    """Nobody is let in who was not decided about."""

    @pytest.fixture
    def server(self, mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
        with monkeypatch.context() as patch:
            patch.setattr("meshid.tls.generation.listen", lambda _: None)
            return mesh.server_context(minimum_version=ssl.TLSVersion.TLSv1_2)

    @pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)
    def test_nobody_is_admitted(
        self, serve: Serving, server: ssl.SSLContext, prod_ca: CA, dev_ca: CA, heard: Heard
    ) -> None:
        with serve(server) as service:
            for client in (dev_ca.issue(PATH), None, prod_ca.issue(PATH)):
                assert knock(service.port, stranger(client)).answer == b""
            assert service.seen == []
        assert heard.is_quiet()

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_refusal_by_openssl_is_final(
        self, version: ssl.TLSVersion, server: ssl.SSLContext, prod_ca: CA
    ) -> None:
        client = stranger(prod_ca.issue(PATH))
        client.maximum_version = version
        both = Memory(server, client)
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            both.shake_hands()
        for call in (both.server.do_handshake, both.server.read, lambda: both.server.write(HELLO)):
            with pytest.raises(ssl.SSLCertVerificationError) as again:
                call()
            assert again.value is caught.value

    @pytest.mark.parametrize("version", VERSIONS)
    def test_not_even_if_openssl_trusts_somebody(
        self, version: ssl.TLSVersion, mesh: Mesh, server: ssl.SSLContext, prod_ca: CA, heard: Heard
    ) -> None:
        first = server.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True).context
        first.load_verify_locations(cadata=prod_ca.pem.decode())
        client = stranger(prod_ca.issue(PATH))
        client.maximum_version = version
        with pytest.raises(PeerRejected) as caught:
            Memory(server, client).shake_hands()
        assert caught.value.reason is Reason.INTERNAL_ERROR
        assert heard.reason() is Reason.INTERNAL_ERROR
        assert mesh.open_connections == 0

    def test_no_credentials_are_put_in_force(self, prod_ca: CA, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("meshid.tls.self_handshake.listen", lambda _: None)
        with pytest.raises(UnsupportedPython, match="does not show the certificates of a peer"):
            mesh_of(prod_ca)


class TestOurOwnChainAsAClient:
    """What we send is our certificates, and nothing of the store that is for the peer."""

    @pytest.mark.parametrize("depth", [0, 1])
    @pytest.mark.parametrize("same", [True, False], ids=["same issuer", "other issuer"])
    def test_is_ours(self, depth: int, *, same: bool, prod_ca: CA) -> None:
        issuing = prod_ca.intermediate() if depth else prod_ca
        peers = issuing if same else prod_ca.intermediate()
        mesh = mesh_of(prod_ca, credentials=issuing.issue("/ns/pay/sa/payments").svid)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(cadata=prod_ca.pem.decode())
        peers.issue(PATH).load_into(server)
        both = Memory(server, mesh.client_context(PATH))
        both.shake_hands()
        own = issuing.issue("/ns/pay/sa/payments")
        real = {*own.chain[1:], prod_ca.certificate.public_bytes(Encoding.DER)}
        assert set(chain_of(both.server)[1:]) <= real

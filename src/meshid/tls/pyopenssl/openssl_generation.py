"""A generation of pyOpenSSL's: the context that makes connections while one certificate of ours is in force.

It trusts nobody. OpenSSL asks us about each fault that it finds in the other end's chain, and
what counts is what was decided when the chain arrived; OpenSSL keeps the proof that the peer holds
the key. Nothing of it changes once it is in use: a new certificate is a new generation.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import attrs
from cryptography import x509
from OpenSSL import SSL, crypto

from meshid.audit.connection_info import ConnectionInfo
from meshid.errors import InvalidCredentials
from meshid.support.quoting import quote
from meshid.tls.generation import Judge
from meshid.tls.handshakes import Handshakes
from meshid.tls.pyopenssl.certificate_messages import listen
from meshid.trust.credentials import X509Svid

_OPTIONS = (
    SSL.OP_NO_TICKET
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_COMPRESSION
    | 1 << 33  # SSL_OP_NO_RX_CERTIFICATE_COMPRESSION: a compressed message (RFC 8879) could not be read here
)

Tell = Callable[[ConnectionInfo, ssl.SSLError], None]
"""Tells of a handshake that broke off."""


@attrs.frozen
class OpenSSLSettings:
    """What a user has chosen.

    Attributes:
        is_server: Whether its connections are those of a server.
        oldest: The oldest version of TLS, as OpenSSL numbers them.
        alpn: The protocols to offer, best first.
    """

    is_server: bool
    oldest: int
    alpn: tuple[bytes, ...]

    @property
    def method(self) -> int:
        """The method of a context."""
        return SSL.TLS_SERVER_METHOD if self.is_server else SSL.TLS_CLIENT_METHOD


class OpenSSLGeneration(SSL.Context):
    """The context of each connection that is made while these credentials are in force.

    Args:
        settings: What its handshakes may be.
        credentials: Our certificate and key.
        judge: Decides.
        handshakes: Those that are under way.
        broken_off: Told of a handshake that broke off before there was a peer; None for a client.

    Raises:
        InvalidCredentials: If this OpenSSL cannot use the credentials.
    """

    def __init__(
        self,
        settings: OpenSSLSettings,
        credentials: X509Svid,
        judge: Judge,
        handshakes: Handshakes,
        broken_off: Tell | None,
    ) -> None:
        super().__init__(settings.method)
        self.leaf = credentials.chain[0]
        self.judge = judge
        self.is_server = settings.is_server
        self.handshakes = handshakes
        self.broken_off = broken_off
        self.set_min_proto_version(settings.oldest)
        self.set_max_proto_version(SSL.TLS1_3_VERSION)
        # Each of the two leaves one way to resume a session open.
        self.set_options(_OPTIONS)
        self.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _on_verify)
        listen(self)
        if settings.alpn:
            self._offer(settings)
        self._present(credentials)

    def _offer(self, settings: OpenSSLSettings) -> None:
        if not settings.is_server:
            self.set_alpn_protos(list(settings.alpn))
            return

        def select(_: SSL.Connection, offered: Sequence[bytes]) -> bytes | SSL._NoOverlappingProtocols:
            agreed = (each for each in settings.alpn if each in offered)
            # As the ssl module does: the two go on without.
            return next(agreed, SSL.NO_OVERLAPPING_PROTOCOLS)

        self.set_alpn_select_callback(select)

    def _present(self, credentials: X509Svid) -> None:
        try:
            self.use_certificate(credentials.leaf)
            for each in credentials.chain[1:]:
                self.add_extra_chain_cert(x509.load_der_x509_certificate(each))
            self.use_privatekey(credentials.key)  # type: ignore[arg-type]  # what it cannot use is an error below
            self.check_privatekey()
        except (SSL.Error, crypto.Error, TypeError) as error:
            msg = f"own certificate: pyOpenSSL cannot use it: {quote(str(error))}"
            raise InvalidCredentials(msg) from error


def _on_verify(connection: SSL.Connection, certificate: crypto.X509, _: int, depth: int, __: int) -> bool:
    return cast("_Verifying", connection).on_verify(certificate, depth)


class _Verifying(Protocol):
    def on_verify(self, certificate: crypto.X509, depth: int) -> bool:
        """Tell whether OpenSSL may go on."""

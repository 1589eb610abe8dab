"""A generation: the contexts that make connections under one state of credentials and trust.

The rules of this module:

- The first context of a connection trusts nobody. When the peer's certificates arrive, and the
  decision lets it in, the connection gets another context, which trusts the certificate that
  issued the peer's leaf in the path that was found. So OpenSSL can let in nobody whom the
  decision has not let in, and keeps nobody out because of authorities of the same name. It
  keeps the proof that the peer holds the key, and it sends the alert to a peer that is refused.
- Nothing of a context changes once it is in use. A new state is a new generation, with new
  session keys. (A live context cannot be updated in place: trust can be added to it but not
  removed, and replacing its certificate while other threads use it crashes the process.)
"""

from __future__ import annotations

import ssl
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

import attrs
from cryptography import x509

from meshid.admission.admission import Admission
from meshid.admission.open_connections import Connection
from meshid.admission.question import Question
from meshid.admission.settled import Settled
from meshid.audit.connection_info import ConnectionInfo
from meshid.support.sieve import Sieve
from meshid.tls.handshakes import Handshakes
from meshid.tls.load_credentials import KeyFile, load_credentials
from meshid.tls.peer_chain import listen
from meshid.tls.tls_settings import TlsSettings
from meshid.tls.trusted_issuer import trust_issuer

REMEMBERED_CHAINS = 256
"""Chains that a generation keeps, so that a resumed session is verified with its whole chain. Most
have about 2 kB, and OpenSSL reads at most 100 kB of one."""

REMEMBERED_ISSUERS = 64
"""Contexts that a generation keeps, one for each issuer of leafs; each takes 0.2 ms to make."""

_NO_RX_CERTIFICATE_COMPRESSION = 1 << 33
"""OpenSSL's option, since 3.2: a compressed Certificate message (RFC 8879) could not be read here."""


@attrs.frozen
class Judge:
    """Decides who is admitted, by one question to an admission.

    Attributes:
        admission: The admission.
        question: The question.
    """

    admission: Admission
    question: Question

    def ask(self, chain: Sequence[bytes]) -> Settled:
        """Decide about a chain, and tell nobody."""
        return self.admission.settle(chain, self.question)

    @abstractmethod
    def answer(self, connection: Connection, chain: Sequence[bytes], settled: Settled | None) -> None:
        """Give the *connection* its peer, or raise `PeerRejected`, and tell of it.

        What was *settled* counts if it is a refusal, or if its snapshot is still in force.
        """


class Generation(ssl.SSLContext):
    """The first context of each connection; it trusts nobody.

    Args:
        protocol: Whether its connections are those of a server or of a client.
        judge: Decides.
        settings: What its handshakes may be.
        own: Our certificate and key; None if a client has none.
    """

    # The context that the user holds, which a connection gets after its handshake.
    held: ssl.SSLContext | None = None
    # The state that it was built for.
    state: tuple[object, ...] = ()
    # Our leaf, as DER.
    leaf: bytes | None = None
    # The chain of each leaf, if sessions may be resumed: a resumed session has only the leaf.
    chains: Sieve[bytes, list[bytes]] | None = None
    # Those of the context that the user holds which are under way.
    handshakes: Handshakes | None = None
    # Told of a handshake that broke off before there was a peer; None for a client, whose caller hears of it.
    broken_off: Callable[[ConnectionInfo, ssl.SSLError], None] | None = None

    def __new__(cls, protocol: int, **_: object) -> Self:
        """Make a context for a server or a client."""
        return super().__new__(cls, protocol)

    def __init__(self, _: int, *, judge: Judge, settings: TlsSettings, own: KeyFile | None) -> None:
        self.judge = judge
        self._settings = settings
        self._own = own
        self._issuers: Sieve[bytes, ssl.SSLContext] = Sieve(REMEMBERED_ISSUERS)
        self.check_hostname = False
        self.verify_mode = ssl.CERT_REQUIRED
        # The certificate that issued a leaf is trusted, whether or not it is a root.
        self.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        settings.apply(self)
        self.options |= _NO_RX_CERTIFICATE_COMPRESSION
        if own is not None:
            load_credentials(self, own)
        listen(self)

    def trusting(self, issuer: bytes) -> ssl.SSLContext:
        """Return the context for peers whose leaf this certificate (DER) has issued."""
        known = self._issuers.get(issuer)
        if known is not None:
            return known
        context = ssl.SSLContext(self.protocol)
        # A client presents the certificate of the context that it has when the server asks for one. If
        # that is a leaf alone, OpenSSL sends along what it finds in the store.
        if self.protocol is ssl.PROTOCOL_TLS_CLIENT and self._own is not None:
            load_credentials(context, self._own.with_issuer(x509.load_der_x509_certificate(issuer)))
        # A connection takes the security level and the file for secrets from the context that it has.
        self._settings.apply(context)
        trust_issuer(context, issuer)
        self._issuers.put(issuer, context)
        return context

    def whole(self, chain: list[bytes], *, resumed: bool) -> list[bytes]:
        """Return the whole chain of a resumed session; remember the chain of a full handshake.

        Nothing is trusted because of it: only the holder of the leaf's key can have a chain
        remembered, and the chain is verified again.
        """
        if self.chains is None:
            return chain
        if resumed:
            return self.chains.get(chain[0]) or chain
        self.chains.put(chain[0], chain)
        return chain

"""A connection whose peer is decided about inside the handshake.

The rules of this module:

- The decision is made when the peer's certificates arrive, and takes effect as another context
  (see `meshid.tls.generation`). A refusal is told at once; OpenSSL then breaks off. The peer is
  admitted when the handshake has ended well, and only under what is in force then.
- Who resumes a session sends no certificate, and is decided about at the end of the handshake.
- A refusal is final, and so is any other failure: every later call raises it again. The same holds
  for a connection that was ended.
- After the handshake the connection gets the context that the user holds.
"""

from __future__ import annotations

import ssl
from abc import abstractmethod
from collections.abc import Callable
from typing import cast

from meshid.admission.settled import Settled
from meshid.audit.connection_info import ConnectionInfo, address_of
from meshid.errors import HandshakeTimeout, PeerRejected
from meshid.reasons import Reason
from meshid.support.quoting import described, quote
from meshid.tls.generation import Generation
from meshid.tls.handshakes import PAUSES, Handshakes, is_final
from meshid.tls.peer_chain import chain_of, leaf_of
from meshid.verification.verifier import Peer

BAD_PROOF = "BAD_SIGNATURE"
"""What OpenSSL calls a signature in a CertificateVerify message that is not of the leaf's key."""


class AdmittedConnection:
    """A connection whose peer must be admitted; the part that both twins share."""

    peer: Peer | None = None
    # What we have presented, as DER, once the peer is admitted: a rotation presents another one.
    own_leaf: bytes | None = None
    _generation: Generation | None = None
    _presented: list[bytes] | None = None
    _version: str | None = None
    _settled: Settled | None = None
    _interruption: BaseException | None = None
    _refusal: PeerRejected | HandshakeTimeout | None = None
    _failure: OSError | None = None
    _handshakes: Handshakes | None = None
    is_shut_down: bool = False

    def on_certificates(self, chain: list[bytes], version: str) -> None:
        """Decide about a chain, before OpenSSL looks at it; raises nothing.

        Args:
            chain: The certificates that the other end presents, as DER, leaf first.
            version: The TLS version, which OpenSSL tells only at the end of the handshake.
        """
        # What leaves a message callback is raised by one call of `do_handshake()`, and the next one goes on.
        try:
            self._presented, self._version = chain, version
            self._generation = cast("Generation", cast("ssl.SSLObject", self).context)
            self._settled = self._trust(chain, self._generation)
        except PeerRejected as rejection:
            self._refusal = rejection
        except BaseException as error:  # noqa: BLE001
            self._interruption = error

    def _trust(self, chain: list[bytes], generation: Generation) -> Settled:
        """Let OpenSSL trust the peer, or tell of its refusal and raise it."""
        settled = generation.judge.ask(chain)
        if settled.peer is not None and settled.admits:
            try:
                cast("ssl.SSLObject", self).context = generation.trusting(settled.peer.chain[1])
            # It takes a file, and a process can be out of them.
            except Exception as error:  # noqa: BLE001
                settled = settled.failed(Reason.INTERNAL_ERROR, described(error))
        if not settled.admits:
            generation.judge.answer(self, chain, settled)
        return settled

    def end(self, rejection: PeerRejected | HandshakeTimeout) -> None:
        """End the connection now, from any thread; whoever reads or writes gets the *rejection*."""
        self._refusal = rejection
        self.peer = None
        self._close(rejection)

    def raise_if_ended(self) -> None:
        """Raise the refusal, if there is one.

        Raises:
            PeerRejected: If the peer was refused, or may no longer be there.
            HandshakeTimeout: If the handshake took too long.
        """
        if self._refusal is not None:
            self.peer = None
            raise self._refusal.with_traceback(None)  # It would grow with each call.

    @property
    def is_open(self) -> bool:
        """Whether it was not ended, and somebody still reads or writes, as far as that can be known."""
        return self._refusal is None and self._is_in_use()

    def info(self) -> ConnectionInfo:
        """Return what is known of it, for the record."""
        connection = cast("ssl.SSLObject", self)
        cipher = connection.cipher()
        address, port = address_of(self.peername)
        return ConnectionInfo(
            address=address,
            port=port,
            version=connection.version() or self._version,
            cipher=cipher[0] if cipher else None,
            resumed=connection.session_reused,
            protocol=connection.selected_alpn_protocol(),
        )

    def sent(self) -> list[bytes]:
        """Return the chain that the peer has sent, as DER, leaf first; in a resumed session, the leaf."""
        return chain_of(cast("ssl.SSLObject", self))

    @property
    @abstractmethod
    def peername(self) -> object:
        """What ``getpeername()`` of its socket returns; None if it is not known."""

    @abstractmethod
    def _is_in_use(self) -> bool:
        """Tell whether somebody still reads or writes."""

    @abstractmethod
    def _close(self, rejection: PeerRejected | HandshakeTimeout) -> None:
        """Close the transport."""

    @abstractmethod
    def _part(self) -> None:
        """Let the other end read why the handshake failed, as far as that can be had."""

    def _acknowledge(self) -> None:
        """Acknowledge what has been read, if it can be done from here."""

    def await_hello(self) -> None:
        """Let the time of the handshake run, before its first step."""
        self._handshakes = handshakes = cast("Handshakes", self._made_by().handshakes)
        handshakes.begin(self)

    def _handshake_in_time(self, tls_handshake: Callable[[], None]) -> None:
        self.raise_if_ended()
        if self.peer is not None:
            return self._handshake(tls_handshake)
        if self._handshakes is None:
            # Kept, because its context changes on the way.
            self._handshakes = self._made_by().handshakes
        handshakes = self._handshakes
        if handshakes is None:
            return self._handshake(tls_handshake)
        handshakes.begin(self)
        try:
            self._handshake(tls_handshake)
        except BaseException as error:
            # Called again, it goes on after a pause, if only to send an alert.
            if isinstance(error, HandshakeTimeout) or not isinstance(error, PAUSES):
                handshakes.done(self)
            raise
        handshakes.done(self)
        self._acknowledge()
        return None

    def _handshake(self, tls_handshake: Callable[[], None]) -> None:
        self.raise_if_ended()
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        try:
            self._decide(tls_handshake)
        except ssl.SSLError as error:
            if is_final(error) and not isinstance(error, ssl.SSLEOFError):
                self._part()
            raise

    def _decide(self, tls_handshake: Callable[[], None]) -> None:
        try:
            tls_handshake()
        except OSError as error:
            if not (self._refusal or self._interruption or is_final(error)):
                raise
            failure = error
        else:
            if self.peer is None:
                self.raise_if_ended()
                self._complete()
            return
        # Not in the handler: what OpenSSL says of a peer that we have refused would only mislead.
        self.raise_if_ended()
        if self._presented is not None:
            self._answer(self._presented, self._broken_off(failure))
        self._failure = failure
        if (tell := self._made_by().broken_off) is not None:
            tell(self.info(), cast("ssl.SSLError", failure))
        raise failure

    def _broken_off(self, failure: OSError) -> Settled:
        """Return why the peer is refused, although the decision has let it in or was interrupted."""
        if self._interruption is not None or self._settled is None:
            return self._internal_error(self._presented or [], described(self._interruption or failure))
        is_forged = getattr(failure, "reason", None) == BAD_PROOF
        reason = Reason.KEY_NOT_PROVEN if is_forged else Reason.TLS_FAILED
        return self._settled.failed(reason, f"the TLS library says: {quote(str(failure))}")

    def _complete(self) -> None:
        connection = cast("ssl.SSLObject", self)
        chain, settled = self._presented, self._settled
        if connection.session_reused:
            chain = self._made_by().whole(chain_of(connection), resumed=True)
        elif (
            self._interruption is not None or settled is None or not chain or leaf_of(connection) != chain[0]
        ):
            # No Python does this yet: OpenSSL trusts nobody without a decision.
            chain = chain_of(connection)
            settled = self._internal_error(chain, "the TLS library has let in who was not decided about")
        else:
            self._made_by().whole(chain, resumed=False)
        self._answer(chain, settled)

    def _internal_error(self, chain: list[bytes], detail: str) -> Settled:
        return self._made_by().judge.ask(chain).failed(Reason.INTERNAL_ERROR, detail)

    def _answer(self, chain: list[bytes], settled: Settled | None) -> None:
        generation = self._made_by()
        try:
            generation.judge.answer(self, chain, settled)
        except PeerRejected as rejection:
            self._refusal = rejection
            if self._interruption is not None:
                raise self._interruption from rejection
            raise
        # Another thread may have ended it before it had a peer.
        self.raise_if_ended()
        self.own_leaf = generation.leaf
        self._generation = self._presented = self._settled = None
        if generation.held is not None:
            cast("ssl.SSLObject", self).context = generation.held

    def _made_by(self) -> Generation:
        """Return the generation of a connection whose handshake is not over."""
        return self._generation or cast("Generation", cast("ssl.SSLObject", self).context)

"""The SSL objects and sockets whose peer is decided about inside the handshake.

The rules of this module:

- The decision is made when the peer's certificates arrive, and takes effect as another context
  (see `meshid.tls.generation`). A refusal is told at once; OpenSSL then breaks off. The peer is
  admitted when the handshake has ended well, and only under what is in force then.
- Who resumes a session sends no certificate, and is decided about at the end of the handshake.
- A handshake is over when the peer has been admitted, and not before, no matter who runs
  it or when: a server that handshakes inside its first `recv()` gets the refusal from
  `recv()`.
- Until then nothing is read and nothing is written. A refusal is final, and so is any other
  failure: every later call raises it again. The same holds for a connection that was ended.
- After the handshake the connection gets the context that the user holds.

`ssl.SSLObject` and `ssl.SSLSocket` have no common base class, so there are two classes, twins of each other.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
import ssl
import sys
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import ClassVar, Concatenate, ParamSpec, TypeVar, cast

from typing_extensions import override

from meshid.admission.settled import Settled
from meshid.audit.connection_info import ConnectionInfo, address_of
from meshid.errors import HandshakeTimeout, PeerRejected
from meshid.reasons import Reason
from meshid.support.quoting import described, quote
from meshid.tls.alerts import part, part_by
from meshid.tls.generation import Generation
from meshid.tls.handshakes import PAUSES, Handshakes, is_final
from meshid.tls.owners import Owner, acknowledge, owner_of
from meshid.tls.peer_chain import chain_of, leaf_of
from meshid.verification.verifier import Peer

_P = ParamSpec("_P")
_R = TypeVar("_R")
_C = TypeVar("_C", ssl.SSLObject, ssl.SSLSocket)

_BAD_PROOF = "BAD_SIGNATURE"
"""What OpenSSL calls a signature in a CertificateVerify message that is not of the leaf's key."""


class AdmittedConnection:
    """A connection whose peer must be admitted; the part that both twins share."""

    peer: Peer | None = None
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
        is_forged = getattr(failure, "reason", None) == _BAD_PROOF
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
        self._generation = self._presented = self._settled = None
        if generation.held is not None:
            cast("ssl.SSLObject", self).context = generation.held

    def _made_by(self) -> Generation:
        """Return the generation of a connection whose handshake is not over."""
        return self._generation or cast("Generation", cast("ssl.SSLObject", self).context)


def admitted_only(method: Callable[Concatenate[_C, _P], _R]) -> Callable[Concatenate[_C, _P], _R]:
    """Let *method* run only while the peer is admitted; finish the handshake first if needed."""

    @wraps(method)
    def guarded(connection: _C, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        judged = cast("AdmittedConnection", connection)
        if judged.peer is None or judged.is_shut_down:
            connection.do_handshake()
        try:
            return method(connection, *args, **kwargs)
        finally:
            # Another thread may have ended it while it waited.
            judged.raise_if_ended()

    return guarded


class MeshSSLObject(AdmittedConnection, ssl.SSLObject):
    """An `ssl.SSLObject` whose handshake ends with a decision."""

    owner: Owner | None = None
    outgoing: ssl.MemoryBIO | None = None
    _has_begun: bool = False

    @override
    def _part(self) -> None:
        if self.outgoing is not None:
            part_by(self.owner, self, self.outgoing)

    @property
    @override
    def peername(self) -> object:
        """What ``getpeername()`` of its socket returns; None if it is not known."""
        return None if self.owner is None else self.owner.peername

    @override
    def _is_in_use(self) -> bool:
        return self.owner is None or self.owner.is_open

    @override
    def _close(self, rejection: PeerRejected | HandshakeTimeout) -> None:
        if self.owner is not None:
            self.owner.close(rejection)

    @override
    def do_handshake(self) -> None:
        """Run the TLS handshake, then admit the peer.

        Raises:
            PeerRejected: If the peer may not be there.
        """
        if not self._has_begun:
            self._has_begun = True
            self.owner = owner_of(sys._getframe(1), self.outgoing)  # noqa: SLF001 - no other way
        self._handshake_in_time(super().do_handshake)

    @override
    def _acknowledge(self) -> None:
        if self.owner is not None:
            self.owner.acknowledge()

    read = admitted_only(ssl.SSLObject.read)
    write = admitted_only(ssl.SSLObject.write)


class MeshSSLSocket(AdmittedConnection, ssl.SSLSocket):
    """An `ssl.SSLSocket` whose handshake ends with a decision.

    None of its methods uses `super()`: `meshid.tls.gevent_sockets` gives them another base.
    """

    plain: ClassVar = ssl.SSLSocket

    @override
    def _part(self) -> None:
        part(self, self.plain)

    @property
    @override
    def peername(self) -> object:
        """What `getpeername()` returns; None if it is not connected any more."""
        try:
            return cast("object", self.getpeername())
        except OSError:
            return None

    @override
    def _is_in_use(self) -> bool:
        return self.fileno() >= 0

    @override
    def _close(self, rejection: PeerRejected | HandshakeTimeout) -> None:
        # Not `SSLSocket.shutdown`: another thread may be reading through the TLS object that it removes.
        # gevent's sockets hold the socket, and their own method is for their own thread.
        with suppress(OSError):
            _socket.socket.shutdown(getattr(self, "_sock", self), socket.SHUT_RDWR)

    @override
    def do_handshake(self, block: bool = False) -> None:
        """Run the TLS handshake, then admit the peer.

        Raises:
            PeerRejected: If the peer may not be there.
        """
        self._handshake_in_time(lambda: self._tls_handshake(block=block))

    @override
    def _acknowledge(self) -> None:
        acknowledge(self)

    @override
    def shutdown(self, how: int) -> None:
        """Shut it down, as `socket.socket.shutdown` does; then nothing is read or written, either way."""
        # After `unwrap` it is plain because the caller wants that.
        self.is_shut_down |= self._sslobj is not None  # type: ignore[attr-defined]  # private
        self.plain.shutdown(self, how)

    def _tls_handshake(self, *, block: bool) -> None:
        # After shutdown() the TLS object is gone, and the methods below would read and write plaintext.
        if self._sslobj is None:  # type: ignore[attr-defined]  # private, and the only sign of it
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        # By hand, as `ssl.SSLSocket` does it: gevent's method takes no argument.
        waits = block and self.gettimeout() == 0
        if waits:
            self.settimeout(None)
        try:
            self.plain.do_handshake(self)
        finally:
            if waits:
                self.settimeout(0)

    read = admitted_only(ssl.SSLSocket.read)
    write = admitted_only(ssl.SSLSocket.write)
    recv = admitted_only(ssl.SSLSocket.recv)
    recv_into = admitted_only(ssl.SSLSocket.recv_into)
    recvfrom = admitted_only(ssl.SSLSocket.recvfrom)
    recvfrom_into = admitted_only(ssl.SSLSocket.recvfrom_into)
    send = admitted_only(ssl.SSLSocket.send)
    sendall = admitted_only(ssl.SSLSocket.sendall)
    sendfile = admitted_only(ssl.SSLSocket.sendfile)  # type: ignore[type-var]  # the base class's
    sendto = admitted_only(ssl.SSLSocket.sendto)  # type: ignore[assignment]  # overloaded; it always raises
    unwrap = admitted_only(ssl.SSLSocket.unwrap)


Generation.sslobject_class = MeshSSLObject
Generation.sslsocket_class = MeshSSLSocket

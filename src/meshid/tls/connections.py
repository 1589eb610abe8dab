"""The SSL objects and sockets whose handshake ends with a decision.

The rules of this module:

- A handshake is over when the peer has been admitted, and not before, no matter who runs
  it or when: a server that handshakes inside its first `recv()` gets the refusal from
  `recv()`.
- Until then nothing is read and nothing is written. A refusal is final: every later call
  raises it again, and it is recorded once. The same holds for a connection that was ended.
- After the handshake the connection gets the context that the user holds. The inner
  context looks at every message, which is needed only until then.

`ssl.SSLObject` and `ssl.SSLSocket` have no common base class, so there are two classes, twins of each other.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from typing_extensions import override

from meshid.admission.open_connections import Connection
from meshid.audit.connection_info import ConnectionInfo, address_of
from meshid.errors import HandshakeTimeout, NoPeer, PeerRejected
from meshid.support.sieve import Sieve
from meshid.tls.asyncio_owner import Owner
from meshid.tls.handshakes import Handshakes
from meshid.tls.peer_chain import chain_of
from meshid.verification.verifier import Peer

_P = ParamSpec("_P")
_R = TypeVar("_R")
_C = TypeVar("_C", ssl.SSLObject, ssl.SSLSocket)

_PAUSES = (ssl.SSLWantReadError, ssl.SSLWantWriteError, TimeoutError)

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class Judge(Protocol):
    """The context that the user holds; it decides who is admitted."""

    def ask(self, connection: Connection, chain: Sequence[bytes], *, tls_error: str | None = None) -> None:
        """Give the *connection* its peer, or raise `PeerRejected`, as always after a *tls_error*."""


class Generation(ssl.SSLContext):
    """The context of one state of credentials and trust; never changed once it is in use."""

    judge: Judge
    handshakes: Handshakes
    state: tuple[object, ...]
    # The chain of each leaf, if sessions may be resumed: a resumed session has only the leaf.
    chains: Sieve[bytes, list[bytes]] | None = None
    # Told of a handshake that broke off before there was a peer; None for a client, whose caller hears of it.
    broken_off: Callable[[ConnectionInfo, ssl.SSLError], None] | None = None

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


class AdmittedConnection:
    """A connection whose peer must be admitted; the part that both twins share."""

    peer: Peer | None = None
    presented: list[bytes] | None = None
    _refusal: PeerRejected | HandshakeTimeout | None = None
    _handshakes: Handshakes | None = None

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
            raise self._refusal

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
            version=connection.version(),
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

    def _acknowledge(self) -> None:
        """Acknowledge what has been read, if it can be done from here."""

    def _handshake_in_time(self, tls_handshake: Callable[[], None]) -> None:
        self.raise_if_ended()
        if self.peer is not None:
            return self._handshake(tls_handshake)
        if self._handshakes is None:
            self._handshakes = cast("Generation", cast("ssl.SSLObject", self).context).handshakes
        self._handshakes.begin(self)
        try:
            self._handshake(tls_handshake)
        except BaseException as error:
            # Called again, it goes on after these.
            if self._refusal is not None or not isinstance(error, _PAUSES):
                self._handshakes.done(self)
            raise
        self._handshakes.done(self)
        self._acknowledge()
        return None

    def _handshake(self, tls_handshake: Callable[[], None]) -> None:
        self.raise_if_ended()
        try:
            tls_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.raise_if_ended()
            # Without a Certificate message there was no peer to refuse.
            if self.presented is None:
                generation = cast("Generation", cast("ssl.SSLObject", self).context)
                if generation.broken_off is not None:
                    generation.broken_off(self.info(), error)
                raise
            self._ask(self.presented, tls_error=str(error))
        if self.peer is None:
            connection = cast("ssl.SSLObject", self)
            generation = cast("Generation", connection.context)
            self._ask(generation.whole(chain_of(connection), resumed=bool(connection.session_reused)))

    def _ask(self, chain: list[bytes], *, tls_error: str | None = None) -> None:
        connection = cast("ssl.SSLObject", self)
        judge = cast("Generation", connection.context).judge
        try:
            judge.ask(self, chain, tls_error=tls_error)
        except PeerRejected as rejection:
            self._refusal = rejection
            raise
        # Another thread may have ended it before it had a peer.
        self.raise_if_ended()
        self.presented = None
        connection.context = cast("ssl.SSLContext", judge)


def _admitted_only(method: Callable[Concatenate[_C, _P], _R]) -> Callable[Concatenate[_C, _P], _R]:
    """Let *method* run only while the peer is admitted; finish the handshake first if needed."""

    @wraps(method)
    def guarded(connection: _C, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        judged = cast("AdmittedConnection", connection)
        if judged.peer is None:
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
        self._handshake_in_time(super().do_handshake)

    read = _admitted_only(ssl.SSLObject.read)
    write = _admitted_only(ssl.SSLObject.write)


class MeshSSLSocket(AdmittedConnection, ssl.SSLSocket):
    """An `ssl.SSLSocket` whose handshake ends with a decision."""

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
        with suppress(OSError):
            socket.socket.shutdown(self, socket.SHUT_RDWR)

    @override
    def do_handshake(self, block: bool = False) -> None:
        """Run the TLS handshake, then admit the peer.

        Raises:
            PeerRejected: If the peer may not be there.
        """
        self._handshake_in_time(lambda: self._tls_handshake(block=block))

    @override
    def _acknowledge(self) -> None:
        # Nothing of ours goes out that could carry the acknowledgement of the client's last message. A client
        # without TCP_NODELAY holds its request back until it comes, and the kernel delays it by 40 ms.
        if _QUICKACK is not None:
            # A Unix socket has no such option.
            with suppress(OSError):
                self.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _tls_handshake(self, *, block: bool) -> None:
        # After shutdown() the TLS object is gone, and the methods below would read and write plaintext.
        if self._sslobj is None:  # type: ignore[attr-defined]  # private, and the only sign of it
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        super().do_handshake(block)

    read = _admitted_only(ssl.SSLSocket.read)
    write = _admitted_only(ssl.SSLSocket.write)
    recv = _admitted_only(ssl.SSLSocket.recv)
    recv_into = _admitted_only(ssl.SSLSocket.recv_into)
    recvfrom = _admitted_only(ssl.SSLSocket.recvfrom)
    recvfrom_into = _admitted_only(ssl.SSLSocket.recvfrom_into)
    send = _admitted_only(ssl.SSLSocket.send)
    sendall = _admitted_only(ssl.SSLSocket.sendall)
    sendfile = _admitted_only(ssl.SSLSocket.sendfile)  # type: ignore[type-var]  # the base class's
    sendto = _admitted_only(ssl.SSLSocket.sendto)  # type: ignore[assignment]  # overloaded; it always raises
    unwrap = _admitted_only(ssl.SSLSocket.unwrap)


Generation.sslobject_class = MeshSSLObject
Generation.sslsocket_class = MeshSSLSocket


def peer_of(connection: object) -> Peer:
    """Return the admitted peer at the other end of a connection.

    The path and the dates are those of the last decision, not of the handshake.

    Args:
        connection: An `ssl.SSLSocket` or `ssl.SSLObject` of a `MeshContext`, or an asyncio
            transport, `StreamWriter` or anything else with asyncio's ``get_extra_info``.

    Raises:
        NoPeer: If it is not such a connection, or if its handshake is not over.
        PeerRejected: If the peer was refused, or may no longer be there.
    """
    ask = getattr(connection, "get_extra_info", None)
    tls = ask("ssl_object") if callable(ask) else connection
    if not isinstance(tls, AdmittedConnection):
        msg = f"{type(connection).__name__} is not a connection of a MeshContext"
        raise NoPeer(msg)
    tls.raise_if_ended()
    if tls.peer is None:
        msg = "the handshake is not over"
        raise NoPeer(msg)
    return tls.peer

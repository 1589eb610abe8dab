"""The SSL objects and sockets of a context of ours.

The rules of this module:

- A handshake is over when the peer has been admitted, and not before, no matter who runs
  it or when: a server that handshakes inside its first `recv()` gets the refusal from
  `recv()`.
- Until then nothing is read and nothing is written; nor after a shutdown, when the `ssl` module
  would read and write plaintext.

`ssl.SSLObject` and `ssl.SSLSocket` have no common base class, so there are two classes, twins of each other.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
import ssl
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import ClassVar, Concatenate, ParamSpec, TypeVar, cast

from typing_extensions import Buffer, override

from meshid.errors import HandshakeTimeout, PeerRejected
from meshid.tls.admitted_connection import AdmittedConnection
from meshid.tls.alerts import part, part_by
from meshid.tls.connection_of_call import Call, is_about
from meshid.tls.generation import Generation
from meshid.tls.owners import Owner, acknowledge, owner_of

_P = ParamSpec("_P")
_R = TypeVar("_R")
_C = TypeVar("_C", ssl.SSLObject, ssl.SSLSocket)


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


def _read(connection: ssl.SSLObject, /, len: int = 1024, buffer: Buffer | None = None) -> bytes:  # noqa: A002
    """Read, as `ssl.SSLObject.read` does; what the caller does with it is about this connection."""
    call = cast("MeshSSLObject", connection).call
    if call is not None:
        is_about(call)
    return ssl.SSLObject.read(connection, len, buffer)


class MeshSSLObject(AdmittedConnection, ssl.SSLObject):
    """An `ssl.SSLObject` whose handshake ends with a decision."""

    owner: Owner | None = None
    outgoing: ssl.MemoryBIO | None = None
    _has_begun: bool = False
    # None on the client's side: the answer of a server is not the request of a peer.
    call: Call = None

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
        # The port is its owner, and has said so.
        if not self._has_begun and self.owner is None:
            self.owner = owner_of(sys._getframe(1), self.outgoing)  # noqa: SLF001 - no other way
        self._has_begun = True
        self._handshake_in_time(super().do_handshake)
        if self.server_side:
            self.call = weakref.ref(self)
            is_about(self.call)

    @override
    def _acknowledge(self) -> None:
        if self.owner is not None:
            self.owner.acknowledge()

    read = admitted_only(_read)
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

"""The pyOpenSSL connections of a context of ours.

The rules of this module, which are those of `meshid.tls.admitted_connection` and `meshid.tls.connections`:

- The decision is made when the peer's certificates arrive, and a refusal is told at once; OpenSSL is
  then told to break off, and sends the alert. The peer is admitted when the handshake has ended well,
  and only under what is in force then.
- Until then nothing is read and nothing is written, whoever runs the handshake: a `recv` may do it.
- A refusal is final, and so is any other failure: every later call raises it again. The same holds
  for a connection that was ended; what is still in its memory BIOs then never leaves.
"""

from __future__ import annotations

import contextlib
import socket
import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar, cast

from OpenSSL import SSL, crypto
from typing_extensions import override

from meshid.admission.settled import Settled
from meshid.audit.connection_info import ConnectionInfo, address_of
from meshid.certificates.reading import to_der
from meshid.errors import HandshakeTimeout, PeerRejected
from meshid.reasons import Reason
from meshid.support.quoting import described, quote
from meshid.tls.admitted_connection import BAD_PROOF
from meshid.tls.alerts import read_off
from meshid.tls.connection_of import find_in
from meshid.tls.connection_of_call import Call, is_about
from meshid.tls.pyopenssl.openssl_errors import PAUSES, as_ssl_error, for_openssl, reason_of
from meshid.tls.pyopenssl.openssl_generation import OpenSSLGeneration
from meshid.tls.pyopenssl.twisted_owner import TwistedOwner, twisted_owner_of
from meshid.verification.verifier import Peer

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _admitted_only(
    method: Callable[Concatenate[SSL.Connection, _P], _R],
) -> Callable[Concatenate[MeshConnection, _P], _R]:
    """Let *method* run only while the peer is admitted; finish the handshake first if needed."""

    @wraps(method)
    def guarded(connection: MeshConnection, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if connection.peer is None:
            connection.do_handshake()
        try:
            return method(connection, *args, **kwargs)
        finally:
            # Another thread may have ended it while it waited.
            connection.raise_if_ended()

    return guarded


def _about(
    method: Callable[Concatenate[SSL.Connection, _P], _R],
) -> Callable[Concatenate[SSL.Connection, _P], _R]:
    """Let what follows in this call be about the connection that *method* reads from."""

    @wraps(method)
    def read(connection: SSL.Connection, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        call = cast("MeshConnection", connection).call
        if call is not None:
            is_about(call)
        return method(connection, *args, **kwargs)

    return read


_MOST_STEPS = 8
"""From a request of Twisted's to its connection there are four."""


class MeshConnection(SSL.Connection):
    """An `OpenSSL.SSL.Connection` whose handshake ends with a decision.

    It is made as an `OpenSSL.SSL.Connection`, and its context makes it one of these: so nothing is
    set when it is made.
    """

    peer: Peer | None = None
    generation: OpenSSLGeneration
    # None on the client's side: the answer of a server is not the request of a peer.
    call: Call = None
    _owner: TwistedOwner | None = None
    _has_begun: bool = False
    _presented: list[bytes] | None = None
    _version: str | None = None
    _settled: Settled | None = None
    _is_verified: bool = False
    _has_ended: bool = False
    _interruption: BaseException | None = None
    _refusal: PeerRejected | HandshakeTimeout | None = None
    _failure: SSL.Error | None = None

    # -- What OpenSSL calls in the handshake --------------------------------------

    def on_certificates(self, chain: list[bytes], version: str) -> None:
        """Decide about a chain, before OpenSSL looks at it; raises nothing.

        Args:
            chain: The certificates that the other end presents, as DER, leaf first.
            version: The TLS version.
        """
        # What leaves a callback goes to stderr, and the handshake goes on.
        try:
            self._presented, self._version = chain, version
            judge = self.generation.judge
            self._settled = judge.ask(chain)
            if not self._settled.admits:
                judge.answer(self, chain, self._settled)
        except PeerRejected as rejection:
            self._refusal = for_openssl(rejection)
        except BaseException as error:  # noqa: BLE001
            self._interruption = error

    def on_verify(self, certificate: crypto.X509, depth: int) -> bool:
        """Tell whether OpenSSL may go on, about whatever it says of the chain.

        The first thing that it says is that it knows no issuer: if it may not go on then, it sends
        the alert unknown_ca.
        """
        if self._refusal or self._interruption or self._settled is None or not self._settled.admits:
            return False
        if depth == 0:
            leaf = to_der(certificate.to_cryptography())
            self._is_verified = [leaf] == (self._presented or [])[:1]
            return self._is_verified
        return True

    # -- The end ------------------------------------------------------------------

    def end(self, rejection: PeerRejected | HandshakeTimeout) -> None:
        """End the connection now, from any thread; whoever reads or writes gets the *rejection*."""
        self._has_ended = True
        self._refusal = for_openssl(rejection)
        self.peer = None
        if self._owner is not None:
            self._owner.close()
        elif self._socket is not None:
            # pyOpenSSL takes any object with a descriptor.
            with contextlib.suppress(OSError, AttributeError):
                self._socket.shutdown(socket.SHUT_RDWR)

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
        if self._refusal is not None:
            return False
        if self._owner is not None:
            return self._owner.is_open
        return not isinstance(self._socket, socket.socket) or self._socket.fileno() >= 0

    @property
    def own_leaf(self) -> bytes:
        """The certificate that we have presented, as DER."""
        return self.generation.leaf

    @property
    def peername(self) -> object:
        """What ``getpeername()`` of its socket returns; None if it is not known."""
        if self._owner is not None:
            return self._owner.peername
        with contextlib.suppress(OSError, AttributeError):
            return cast("object", self.getpeername())
        return None

    def info(self) -> ConnectionInfo:
        """Return what is known of it, for the record."""
        address, port = address_of(self.peername)
        return ConnectionInfo(
            address=address,
            port=port,
            version=self._version,
            cipher=self.get_cipher_name(),
            resumed=False,
            protocol=self.get_alpn_proto_negotiated().decode("ascii", "replace") or None,
        )

    def sent(self) -> list[bytes]:
        """Return the chain that the peer has sent, as DER, leaf first."""
        leaf = self.get_peer_certificate(as_cryptography=True)
        # OpenSSL has the leaf in it on the client's side alone.
        chain = self.get_peer_cert_chain(as_cryptography=True) or []
        return list(map(to_der, dict.fromkeys([*([] if leaf is None else [leaf]), *chain])))

    # -- The handshake ------------------------------------------------------------

    @override
    def do_handshake(self) -> None:
        """Run the TLS handshake, then admit the peer.

        Raises:
            PeerRejected: If the peer may not be there; it is an `OpenSSL.SSL.Error`, too.
        """
        self.raise_if_ended()
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self.peer is not None:
            return super().do_handshake()
        if not self._has_begun:
            self._has_begun = True
            self._owner = twisted_owner_of(self.get_app_data())
        handshakes = self.generation.handshakes
        handshakes.begin(self)
        try:
            self._decide()
        except BaseException as error:
            if not isinstance(error, PAUSES):
                handshakes.done(self)
            raise
        handshakes.done(self)
        if self.generation.is_server:
            self.call = weakref.ref(self)
            is_about(self.call)
        return None

    def _decide(self) -> None:
        try:
            super().do_handshake()
        except PAUSES:
            self.raise_if_ended()
            raise
        except SSL.Error as error:
            failure = error
        else:
            self._complete()
            return
        # Not in the handler: what OpenSSL says of a peer that we have refused would only mislead.
        try:
            self.raise_if_ended()
            if self._presented is not None:
                self._answer(self._presented, self._broken_off(failure))
        finally:
            self._part()
        self._failure = failure
        if (tell := self.generation.broken_off) is not None:
            tell(self.info(), as_ssl_error(failure))
        raise failure

    def _broken_off(self, failure: SSL.Error) -> Settled:
        """Return why the peer is refused, although the decision has let it in or was interrupted."""
        if self._interruption is not None or self._settled is None:
            return self._internal_error(described(self._interruption or failure))
        reason = Reason.KEY_NOT_PROVEN if reason_of(failure) == BAD_PROOF else Reason.TLS_FAILED
        return self._settled.failed(reason, f"the TLS library says: {quote(str(failure))}")

    def _complete(self) -> None:
        settled = self._settled
        self.raise_if_ended()
        if not self._is_verified:
            # As if a session was resumed, which no context of ours allows.
            settled = self._internal_error("the TLS library has let in who was not decided about")
        try:
            self._answer(self._presented or [], settled)
        except BaseException:
            with contextlib.suppress(SSL.Error):
                super().shutdown()
            self._part()
            raise

    def _internal_error(self, detail: str) -> Settled:
        return self.generation.judge.ask(self._presented or []).failed(Reason.INTERNAL_ERROR, detail)

    def _answer(self, chain: list[bytes], settled: Settled | None) -> None:
        try:
            self.generation.judge.answer(self, chain, settled)
        except PeerRejected as rejection:
            self._refusal = for_openssl(rejection)
            if self._interruption is not None:
                raise self._interruption from rejection
            raise self._refusal from rejection
        # Another thread may have ended it before it had a peer.
        self.raise_if_ended()
        self._presented = self._settled = None

    def _part(self) -> None:
        """Let the other end read why the handshake failed: a socket closed with unread bytes is reset."""
        sock = self._socket
        if isinstance(sock, socket.socket):
            timeout = sock.gettimeout()
            with contextlib.suppress(OSError):
                read_off(sock, sock, waits=timeout != 0)
            with contextlib.suppress(OSError):
                sock.settimeout(timeout)

    # -- Reading and writing ------------------------------------------------------

    recv = read = _admitted_only(_about(SSL.Connection.recv))
    recv_into = _admitted_only(_about(SSL.Connection.recv_into))
    send = write = _admitted_only(SSL.Connection.send)
    sendall = _admitted_only(SSL.Connection.sendall)

    @override
    def shutdown(self) -> bool:
        """Send close_notify, as `OpenSSL.SSL.Connection.shutdown` does."""
        # A connection that was ended was cut off, and must not look complete.
        self.raise_if_ended()
        return super().shutdown()

    @override
    def bio_read(self, bufsiz: int) -> bytes:
        """Take what has to be sent, as `OpenSSL.SSL.Connection.bio_read` does; nothing after the end."""
        if self._has_ended:
            raise SSL.WantReadError
        return super().bio_read(bufsiz)

    @override
    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the socket, unless it reads or writes past TLS."""
        if name.startswith(("recv", "send")):
            msg = f"{name}: a TLS connection has recv, recv_into, send and sendall"
            raise AttributeError(msg)
        return super().__getattr__(name)

    # -- What would loosen --------------------------------------------------------

    @override
    def set_verify(self, mode: object, callback: object = None) -> NoReturn:
        """Raise `TypeError`: the Mesh verifies."""
        _refuse("set_verify", "leave it out: the Mesh verifies")

    @override
    def set_context(self, context: object) -> NoReturn:
        """Raise `TypeError`: a connection is of one context."""
        _refuse("set_context", "make the connection with the other context")

    @override
    def set_options(self, options: object) -> NoReturn:
        """Raise `TypeError`: the context has chosen."""
        _refuse("set_options", "leave it out: its context has chosen")

    @override
    def set_session(self, session: object) -> NoReturn:
        """Raise `TypeError`: each handshake is a full one."""
        _refuse("set_session", "leave it out: each handshake is a full one, in which the peer proves its key")

    @override
    def use_certificate(self, cert: object) -> NoReturn:
        """Raise `TypeError`: the Mesh has the credentials."""
        _refuse("use_certificate", "give it to the Mesh: Mesh(credentials=...) or Mesh.publish()")

    @override
    def use_privatekey(self, pkey: object) -> NoReturn:
        """Raise `TypeError`: the Mesh has the credentials."""
        _refuse("use_privatekey", "give it to the Mesh: Mesh(credentials=...) or Mesh.publish()")


def _behind(here: object) -> MeshConnection | None:
    """Return the connection behind an object of pyOpenSSL or of Twisted, such as a request."""
    for _ in range(_MOST_STEPS):
        get_handle = getattr(here, "getHandle", None)
        tls = here if get_handle is None else get_handle()
        if isinstance(tls, MeshConnection):
            return tls
        here = getattr(here, "channel", None) or getattr(here, "transport", None)
    return None


for _package in ("OpenSSL", "twisted"):
    find_in(_package, _behind)


def _refuse(name: str, advice: str) -> NoReturn:
    msg = f"{name} of a connection of a Mesh: {advice}"
    raise TypeError(msg)

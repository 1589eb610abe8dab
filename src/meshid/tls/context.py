"""`MeshContext`: an `ssl.SSLContext` that always stands for the trust of this instant.

The rules of this module:

- It is a facade. Each connection is made by an inner context, a *generation*, which is
  built for one state of credentials and trust. Listeners keep the facade and notice nothing.
- Nobody can loosen it. What a library sets on the facade (its own CAs, `CERT_NONE`, a
  certificate) does not reach any generation. ALPN does, since it is not about trust.
- `Admission` decides, inside the handshake: see `meshid.tls.generation`.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterable, Sequence
from typing import Self, cast

import attrs
from typing_extensions import override

from meshid.admission.admission import Admission
from meshid.admission.open_connections import Connection
from meshid.admission.question import Question
from meshid.admission.settled import Settled
from meshid.errors import InvalidCredentials
from meshid.support.locks import Order, new_lock
from meshid.support.quoting import quote
from meshid.support.sieve import Sieve
from meshid.tls.asyncio_owner import owner_of
from meshid.tls.broken_off import BrokenOff
from meshid.tls.connections import MeshSSLObject
from meshid.tls.generation import REMEMBERED_CHAINS, Generation
from meshid.tls.load_credentials import KeyFile, key_file_of

MAX_PROTOCOL_BYTES = 255
"""RFC 7301 section 3.1: the length of a protocol's name is one octet."""


@attrs.frozen
class _Asking:
    """Asks the admission of a mesh one question about each peer."""

    admission: Admission
    question: Question

    def ask(self, chain: Sequence[bytes]) -> Settled:
        """Decide about a chain, and tell nobody."""
        return self.admission.settle(chain, self.question)

    def answer(self, connection: Connection, chain: Sequence[bytes], settled: Settled | None) -> None:
        """Admit the peer of a connection, and register the connection as open."""
        self.admission.open(connection, chain, self.question, settled)


class MeshContext(ssl.SSLContext):
    """An `ssl.SSLContext` whose handshakes end with a decision.

    `Mesh.server_context` and `Mesh.client_context` make it. It works wherever an
    `ssl.SSLContext` does: asyncio, blocking sockets, servers and clients of every framework
    that takes one. A handshake with a peer that may not be there raises `PeerRejected`, and
    the application never sees a byte of it.
    """

    def __new__(cls, *_: object, question: Question, **__: object) -> Self:
        """Make a context for a server or a client, which libraries look at."""
        protocol = ssl.PROTOCOL_TLS_SERVER if question.expect is None else ssl.PROTOCOL_TLS_CLIENT
        return super().__new__(cls, protocol)

    def __init__(
        self,
        admission: Admission,
        *,
        question: Question,
        alpn: Iterable[str] = (),
        resumption: bool = False,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        """Ask *admission* the *question* about each peer; it says whether we are server or client."""
        # Libraries look at these two. A server is matched by its SPIFFE ID, not by its host name.
        self.check_hostname = False
        self.verify_mode = ssl.CERT_REQUIRED
        self._admission = admission
        self._judge = _Asking(admission, question)
        self._alpn = _protocols(alpn)
        self._resumption = resumption
        self._minimum_version = _version(minimum_version)
        self._broken_off = BrokenOff(self._minimum_version)
        self._building = new_lock(Order.BUILDING)
        self._built: Generation | None = None
        # Built now, so that a server without a certificate fails when it starts.
        self._generation()
        admission.roles.add(question.role)
        if question.expect is None:
            admission.listeners.add(question)

    @override
    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """Wrap a socket, as `ssl.SSLContext.wrap_socket` does.

        A client's *session* is ignored: each of our handshakes is a full one, in which the
        server proves again who it is.
        """
        # A listener must hold the facade, so that each `accept()` gets the generation of its time.
        listens = server_side and not _is_connected(sock)
        wrap = super().wrap_socket if listens else self._generation().wrap_socket
        return wrap(sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, server_hostname)

    @override
    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Wrap two memory BIOs, as `ssl.SSLContext.wrap_bio` does; see `wrap_socket` for *session*."""
        connection = self._generation().wrap_bio(incoming, outgoing, server_side, server_hostname)
        ours = cast("MeshSSLObject", connection)
        ours.outgoing = outgoing
        ours.owner = owner_of(sys._getframe(1))  # noqa: SLF001 - no other way
        return connection

    @override
    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Offer these protocols from the next handshake on (RFC 7301)."""
        alpn = _protocols(alpn_protocols)
        # Some clients set the same protocols before each connection; an equal but new tuple would rebuild.
        if alpn != self._alpn:
            self._alpn = alpn

    def _generation(self) -> Generation:
        snapshot = self._admission.snapshot
        if snapshot.credentials is None:
            msg = "TLS needs a certificate of our own: give the Mesh credentials"
            raise InvalidCredentials(msg)
        state = (snapshot.credentials, snapshot.bundles, self._alpn)
        if built := self._built_for(state):
            return built
        # Outside of the lock: it may be a class of the user's.
        own = key_file_of(snapshot.credentials)
        # One thread builds it, however many handshakes begin at that moment.
        with self._building:
            built = self._built_for(state)
            if built is None:
                built = self._built = self._build(own, state)
            return built

    def _built_for(self, state: tuple[object, ...]) -> Generation | None:
        built = self._built
        if built is None or any(old is not new for old, new in zip(built.state, state, strict=True)):
            return None
        return built

    def _build(self, own: KeyFile, state: tuple[object, ...]) -> Generation:
        context = Generation(self.protocol, judge=self._judge, own=own)
        context.state = state
        context.held = self
        context.minimum_version = self._minimum_version
        if self._resumption:
            context.chains = Sieve(REMEMBERED_CHAINS)
        else:
            context.options |= ssl.OP_NO_TICKET
            if context.protocol is ssl.PROTOCOL_TLS_SERVER:
                context.num_tickets = 0
        if context.protocol is ssl.PROTOCOL_TLS_SERVER:
            context.broken_off = self._broken_off.tell
        if self._alpn:
            context.set_alpn_protocols(self._alpn)
        return context


def _protocols(alpn: Iterable[str]) -> tuple[str, ...]:
    """Return the names of protocols, each as TLS can carry it (RFC 7301 section 3.1).

    Raises:
        TypeError, ValueError: If *alpn* cannot be offered.
    """
    if isinstance(alpn, str):
        msg = f"alpn must be a list of protocols: write [{alpn!r}]"
        raise TypeError(msg)
    if not isinstance(cast("object", alpn), Iterable):
        msg = f"alpn must be a list of protocols as str, not {type(alpn).__name__}"
        raise TypeError(msg)
    protocols = tuple(alpn)
    for protocol in protocols:
        if not isinstance(protocol, str):
            msg = f"alpn must be a list of protocols as str, not of {type(protocol).__name__}"
            raise TypeError(msg)
        if not (protocol.isascii() and 0 < len(protocol) <= MAX_PROTOCOL_BYTES):
            msg = f"alpn has {quote(protocol)}, which is not 1 to {MAX_PROTOCOL_BYTES} ASCII characters"
            raise ValueError(msg)
    return protocols


def _version(version: object) -> ssl.TLSVersion:
    if version is ssl.TLSVersion.TLSv1_2 or version is ssl.TLSVersion.TLSv1_3:
        return version
    msg = f"minimum_version must be ssl.TLSVersion.TLSv1_3 or ssl.TLSVersion.TLSv1_2, not {version!r}"
    raise ValueError(msg) if isinstance(version, ssl.TLSVersion) else TypeError(msg)


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True

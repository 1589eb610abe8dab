"""`MeshContext`: an `ssl.SSLContext` that always stands for the trust of this instant.

The rules of this module:

- It is a facade. Each connection is made by an inner context, a *generation*, which is
  built for one state of credentials and trust. Listeners keep the facade and notice nothing.
- Nobody can loosen it: what is set on it reaches the generations only if it narrows, see
  `meshid.tls.facade`.
- `Admission` decides, inside the handshake: see `meshid.tls.generation`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Sequence
from operator import is_
from typing import Self, cast

from typing_extensions import override

from meshid.admission.admission import Admission
from meshid.admission.open_connections import Connection
from meshid.admission.question import Question
from meshid.admission.settled import Settled
from meshid.certificates.reading import to_der
from meshid.errors import InvalidCredentials
from meshid.support.locks import Order, new_lock
from meshid.support.sieve import Sieve
from meshid.support.types import positive_seconds
from meshid.tls.broken_off import BrokenOff
from meshid.tls.connections import MeshSSLObject
from meshid.tls.facade import Facade
from meshid.tls.generation import REMEMBERED_CHAINS, Generation, Judge
from meshid.tls.gevent_sockets import gevent_class_for
from meshid.tls.handshakes import DEFAULT_TIMEOUT, Handshakes
from meshid.tls.listener import MeshListener
from meshid.tls.load_credentials import KeyFile, key_file_of
from meshid.tls.tls_settings import TlsSettings


class MeshJudge(Judge):
    """Decides for a mesh."""

    @override
    def answer(self, connection: Connection, chain: Sequence[bytes], settled: Settled | None) -> None:
        """Admit the peer of a connection, and register the connection as open."""
        self.admission.open(connection, chain, self.question, settled)


class MeshContext(Facade):
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

    def __init__(  # noqa: PLR0913  # what a user chooses, all named
        self,
        admission: Admission,
        *,
        question: Question,
        alpn: Iterable[str] = (),
        resumption: bool = False,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        handshake_timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        """Ask *admission* the *question* about each peer; it says whether we are server or client."""
        super().__init__(
            TlsSettings.limits(
                self.protocol, minimum_version=minimum_version, alpn=alpn, resumption=resumption
            )
        )
        self._admission = admission
        self._judge = MeshJudge(admission, question)
        self._resumption = resumption
        self._broken_off = BrokenOff(minimum_version)
        self._handshakes = Handshakes(
            positive_seconds(handshake_timeout, "handshake_timeout"),
            None if question.expect else self._broken_off.tell,
        )
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
        # A listener must hold the facade, so that each connection gets the generation of its time.
        listens = server_side and not _is_connected(sock)
        if (of_gevent := gevent_class_for(sock, listens=listens)) is not None:
            return of_gevent(
                sock=sock,
                server_side=server_side,
                do_handshake_on_connect=do_handshake_on_connect,
                suppress_ragged_eofs=suppress_ragged_eofs,
                server_hostname=server_hostname,
                _context=self if listens else self._generation(),
            )
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
        cast("MeshSSLObject", connection).outgoing = outgoing
        return connection

    @override
    def session_stats(self) -> dict[str, int]:
        """Return the statistics of the generation in force, as `ssl.SSLContext.session_stats` does."""
        return self._generation().session_stats()

    @override
    def _authorities(self) -> bytes:
        bundles = self._admission.snapshot.bundles.values()
        return b"".join(to_der(each) for bundle in bundles for each in bundle.authorities)

    def _generation(self) -> Generation:
        snapshot = self._admission.snapshot
        if snapshot.credentials is None:
            msg = "TLS needs a certificate of our own: give the Mesh credentials"
            raise InvalidCredentials(msg)
        settings = self._settings
        state = (snapshot.credentials, snapshot.bundles, settings)
        if built := self._built_for(state):
            return built
        # Outside of the lock: it may be a class of the user's, and so may a log handler.
        own = key_file_of(snapshot.credentials)
        settings.tell_if_no_keylog()
        # One thread builds it, however many handshakes begin at that moment.
        with self._building:
            built = self._built_for(state)
            if built is None:
                built = self._build(own, settings, state)
                built.leaf = snapshot.credentials.chain[0]
                self._built = built
            return built

    def _built_for(self, state: tuple[object, ...]) -> Generation | None:
        built = self._built
        # Not a generator expression, which is slower: each handshake comes through here.
        return built if built is not None and all(map(is_, built.state, state)) else None

    def _build(self, own: KeyFile, settings: TlsSettings, state: tuple[object, ...]) -> Generation:
        context = Generation(self.protocol, judge=self._judge, settings=settings, own=own)
        context.handshakes = self._handshakes
        context.state = state
        context.held = self
        if self._resumption:
            context.chains = Sieve(REMEMBERED_CHAINS)
        if context.protocol is ssl.PROTOCOL_TLS_SERVER:
            context.broken_off = self._broken_off.tell
        return context


MeshContext.sslsocket_class = MeshListener


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True

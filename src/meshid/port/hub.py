"""The connections of a port: from the accepted socket to the end of both sides.

The rules of this module:

- The upstream is connected when the peer has been admitted, and not before; once for each
  connection, and never again for the same one: a client that is cut off at once goes elsewhere.
- The upstream is offered exactly the protocol that the client speaks (RFC 7301), and must agree on it. Else
  what the client says would be taken for another protocol.
- Handshakes are limited apart from connections (see `meshid.tls.handshakes`), so that strangers take no place
  of an admitted peer.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping

import attrs

from meshid.audit.rate_limit import RateLimit, left_out
from meshid.errors import PeerRejected
from meshid.port.handles import Handles
from meshid.port.proxy_header import LOGGER, proxy_header
from meshid.port.relay import Pace, Relay
from meshid.port.sides import Buffers, PlainSide, Side
from meshid.port.tls_side import NotAgreed, TlsSide
from meshid.port.totals import Totals
from meshid.port.upstream import Upstream
from meshid.support.logs import WARNING, log
from meshid.support.quoting import described
from meshid.tls.context import MeshContext

MAX_PARTING = 32
"""Failed handshakes whose other end may still read why; a fifth of a second each."""


@attrs.frozen(kw_only=True)
class Plan:
    """What a port does with each connection.

    Attributes:
        upstream: Where it goes.
        outer: The context of the server that clients meet; None for plain clients.
        inner: The contexts of the client that the upstream meets, each by the one protocol that it offers
            (RFC 7301), or by None if it offers none; empty for a plain upstream.
        spoken: The protocol that plain clients speak; None if the upstream is not told.
        pace: How long it may be idle.
        connect_timeout: How many seconds connecting to the upstream may take.
        at_most: How many admitted peers there may be.
        proxy_protocol: Whether the upstream gets a PROXY header first.
        spiffe_tlv: The type of the SPIFFE ID's entry in it.
        handles: Where a connection is found by the handle in it.
    """

    upstream: Upstream
    outer: MeshContext | None
    inner: Mapping[str | None, MeshContext]
    spoken: str | None
    pace: Pace
    connect_timeout: float
    at_most: int
    proxy_protocol: bool
    spiffe_tlv: int
    handles: Handles


class Hub:
    """The connections of a port.

    Args:
        plan: What to do with each.
        loop: The loop.
        totals: Where to count.
        on_room: Called when there is room for one more.

    Attributes:
        admitted: The connections of admitted peers; of all clients, if they are plain.
        nobody: Set while there is no connection, and no handshake.
    """

    def __init__(
        self,
        plan: Plan,
        loop: asyncio.AbstractEventLoop,
        totals: Totals,
        on_room: Callable[[], None],
    ) -> None:
        self.buffers = Buffers()
        self.totals = totals
        self.pace = plan.pace
        self.admitted: set[Relay] = set()
        self.nobody = asyncio.Event()
        self.nobody.set()
        self._plan = plan
        self._loop = loop
        self._on_room = on_room
        self._relays: set[Relay] = set()
        self._arriving: set[asyncio.Task[None]] = set()
        self._limit = RateLimit()

    @property
    def is_full(self) -> bool:
        """Whether there are as many admitted peers as there may be."""
        return len(self.admitted) >= self._plan.at_most

    @property
    def handshakes(self) -> int:
        """How many handshakes with clients are under way."""
        outer = self._plan.outer
        return 0 if outer is None else len(outer._handshakes)  # noqa: SLF001 - users have no use for it

    def serve(self, sock: socket.socket) -> None:
        """Take a connection that was accepted."""
        sock.setblocking(False)
        relay = Relay(self, self._loop)
        try:
            relay.front = self._front(relay)
        # What our own certificate needs cannot be had, a file for example.
        except Exception as error:  # noqa: BLE001
            sock.close()
            self._tell("cannot serve a client", error)
            return
        self._relays.add(relay)
        self.nobody.clear()
        if self._plan.outer is None:
            self.admitted.add(relay)
        arriving = self._loop.create_task(self._arrive(relay, sock))
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)

    async def _arrive(self, relay: Relay, sock: socket.socket) -> None:
        await self._loop.connect_accepted_socket(lambda: relay.front, sock)

    def _front(self, relay: Relay) -> Side:
        outer = self._plan.outer
        if outer is None:
            return PlainSide(relay, self._loop)
        return TlsSide(relay, self._loop, outer, server_side=True)

    def _back(self, relay: Relay) -> Side:
        inner, front = self._plan.inner, relay.front
        if not inner:
            return PlainSide(relay, self._loop)
        protocol = front.agreed if isinstance(front, TlsSide) else self._plan.spoken
        return TlsSide(relay, self._loop, inner[protocol], server_side=False, protocol=protocol)

    def cut_off(self) -> None:
        """Cut off all connections."""
        for relay in list(self._relays):
            relay.abort()

    # -- What the relays call: see `meshid.port.relay.Center` ------------------------

    def connect(self, relay: Relay) -> None:
        """Connect the side behind, now that the one in front is ready."""
        if self._plan.outer is not None:
            if self.is_full:
                self.totals.over_limit += 1
                most = self._plan.at_most
                self._tell(f"a peer that was admitted is cut off: {most} are connected, as many as may", None)
                relay.abort()
                return
            self.totals.admitted += 1
            self.admitted.add(relay)
        relay.dial = self._loop.create_task(self._dial(relay))
        relay.dial.add_done_callback(lambda _: relay.check_gone())

    async def _dial(self, relay: Relay) -> None:
        def make() -> Side:
            relay.back = self._back(relay)
            return relay.back

        try:
            async with asyncio.timeout(self._plan.connect_timeout):
                await self._plan.upstream.connect(self._loop, make)
        # Not `OSError` alone: making the TLS side may raise others, and the relay may be cut off meanwhile.
        except BaseException as error:
            # If it was connected at that very moment, uvloop closes it and tells nobody.
            if relay.back is not None:
                relay.back.connection_lost(None)
            if not isinstance(error, Exception):
                raise
            self._fail(error)
            relay.abort()

    def failed(self, relay: Relay, side: Side, error: Exception) -> None:
        """Note that the handshake of a side has failed."""
        if side is not relay.front:
            self._fail(error)
        elif isinstance(error, PeerRejected):
            self.totals.refused += 1
        else:
            self.totals.broken_off += 1
        # The alert is sent. Whether it is read is waited for with a few, and not with a flood.
        if len(self._relays) - len(self.admitted) - self.handshakes > MAX_PARTING:
            relay.abort()

    def _fail(self, error: Exception) -> None:
        self.totals.upstream_failures += 1
        self._tell(f"cannot connect to the upstream {self._plan.upstream}", error)

    def joined(self, front: Side) -> bytes:
        """Note that both sides are ready; return what the upstream gets first."""
        if not isinstance(front, TlsSide):
            self.totals.admitted += 1
            return b""
        connection = front.connection
        peer = connection.peer
        # One that was ended meanwhile has no peer, and is cut off in a moment.
        if peer is None or not self._plan.proxy_protocol:
            return b""
        return proxy_header(
            front.peername,
            front.sockname,
            handle=self._plan.handles.add(connection),
            spiffe_id=str(peer.spiffe_id),
            version=connection.version(),
            spiffe_tlv=self._plan.spiffe_tlv,
        )

    def gone(self, relay: Relay) -> None:
        """Note that both connections have gone."""
        self._relays.discard(relay)
        if relay in self.admitted:
            self.admitted.discard(relay)
            self._on_room()
        if not self._relays:
            self.nobody.set()

    def _tell(self, what: str, error: Exception | None) -> None:
        suppressed = self._limit.suppressed((what, type(error)))
        if suppressed is None:
            return
        why = "" if error is None else f": {_why(error, self._plan.connect_timeout)}"
        log(LOGGER, WARNING, "%s%s%s", what, why, left_out(suppressed))


def _why(error: Exception, seconds: float) -> str:
    if isinstance(error, PeerRejected):
        return f"it was refused ({error.reason})"
    if isinstance(error, NotAgreed):
        return str(error)
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"it did not answer within {seconds:g} s"
    # asyncio words it at length. What TLS and the resolver say has a number of its own.
    if isinstance(error, OSError) and not isinstance(error, (ssl.SSLError, socket.gaierror)) and error.errno:
        return os.strerror(error.errno)
    return described(error)

"""The side of a relay that has TLS.

It is the owner of its SSL object (see `meshid.tls.owners`): who ends that from any thread, as a review does,
cuts off both sides.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import cast

from typing_extensions import override

from meshid.port.sides import MOST_WAITING, Joint, Side
from meshid.port.tls_end import RECORD, TlsEnd
from meshid.support.quoting import quote
from meshid.tls.alerts import LINGER_SECONDS, MAX_READ_OFF
from meshid.tls.connections import MeshSSLObject
from meshid.tls.context import MeshContext
from meshid.tls.owners import acknowledge


class NotAgreed(OSError):
    """The other end has agreed on no protocol, and would take ours for another one."""


class TlsSide(Side):
    """A side with TLS; it is the owner of its SSL object.

    Args:
        joint: As for `Side`.
        loop: As for `Side`.
        context: The context of its connection.
        server_side: Whether it is the TLS server.
        protocol: What the other end must agree on (RFC 7301); None if that may be anything.

    Attributes:
        peername: What ``getpeername()`` of its socket returned at the start.
        sockname: What ``getsockname()`` of it did.
        tls: Its TLS.
    """

    peername: object = None
    sockname: object = None
    _is_over: bool = False
    _is_parting: bool = False
    _read_off: int = 0

    def __init__(
        self,
        joint: Joint,
        loop: asyncio.AbstractEventLoop,
        context: MeshContext,
        *,
        server_side: bool,
        protocol: str | None = None,
    ) -> None:
        super().__init__(joint, loop)
        self._server_side = server_side
        self._protocol = protocol
        self._thread = threading.get_ident()
        self.tls = TlsEnd(context, self, server_side=server_side)

    # -- What the loop calls ------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.peername = transport.get_extra_info("peername")
        self.sockname = transport.get_extra_info("sockname")
        # It may have been cut off before it was connected.
        if self._joint.is_over:
            self.abort()
        elif self._server_side:
            self.tls.await_hello()
        else:
            self._shake_hands()

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self._is_parting:
            self._read_more_off(nbytes)
        elif self.other is None:
            self.tls.receive(self._buffers.wire[:nbytes])
            self._shake_hands()
        else:
            for at in range(0, nbytes, RECORD):
                self.tls.receive(self._buffers.wire[at : min(at + RECORD, nbytes)])
                self._pass_on()

    @override
    def eof_received(self) -> bool:
        if self._is_parting:
            return False
        if not self._is_over:
            self.tls.receive_eof()
            self._shake_hands()
        elif not self.has_ended:
            self._joint.abort()
        return True

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        # Freed now, and not when the collector runs.
        self.tls.connection.owner = None
        super().connection_lost(exc)

    # -- The handshake ------------------------------------------------------------

    def _shake_hands(self) -> None:
        try:
            self._is_over = self.tls.shake_hands()
            if self._is_over:
                self._check_protocol()
        except OSError as error:
            self._part()
            self._joint.failed(self, error)
            return
        self._flush()
        if self._is_over:
            self.pause()
            self._joint.ready(self)

    def _check_protocol(self) -> None:
        # A server that does not know ours goes on without a word, and so does one that knows no ALPN at all.
        if self._protocol is not None and self.agreed != self._protocol:
            msg = f"it does not agree on {quote(self._protocol)} (ALPN)"
            raise NotAgreed(msg)

    def _part(self) -> None:
        """Let the other end read the alert: a socket that is closed with unread bytes is reset."""
        self._is_parting = True
        self._flush()
        self._write_eof()
        self._loop.call_later(LINGER_SECONDS, self._hang_up)

    def _read_more_off(self, nbytes: int) -> None:
        self._read_off += nbytes
        if self._read_off > MAX_READ_OFF:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- What the relay and the other side call -----------------------------------

    @override
    def begin(self) -> None:
        self.resume()
        # What came with the end of the handshake.
        self._pass_on()

    def _pass_on(self) -> None:
        tls, plain, filled, size = self.tls, self._buffers.plain, 0, None
        try:
            while size := tls.read_into(plain[filled:]):
                filled += size
                if filled > len(plain) - RECORD:
                    self._give(plain[:filled])
                    filled = 0
        except OSError:
            self._joint.abort()
            return
        if filled:
            self._give(plain[:filled])
        if tls.pending:
            self._flush()
            # An answer of TLS's own, to KeyUpdate (RFC 8446 section 4.6.3): who asks on and on, and reads
            # nothing, would fill our memory.
            if self.waiting > MOST_WAITING:
                self._joint.abort()
                return
        if size == 0:
            self._joint.ended(self)

    def _give(self, plain: memoryview) -> None:
        self._joint.passed_on(self, len(plain))
        cast("Side", self.other).put(plain)

    @override
    def put(self, plain: memoryview) -> None:
        tls = self.tls
        try:
            sent, size = 0, len(plain)
            while sent < size:
                sent += tls.write(plain[sent : sent + RECORD])
                if tls.pending >= RECORD:
                    self._flush()
        except OSError:
            self._joint.abort()
            return
        self._flush()

    @override
    def put_end(self) -> None:
        with suppress(OSError):
            self.tls.close_notify()
        self._flush()

    def _flush(self) -> None:
        if data := self.tls.to_send():
            self._write(data)

    @property
    def connection(self) -> MeshSSLObject:
        """Its SSL object."""
        return self.tls.connection

    @property
    def agreed(self) -> str | None:
        """The protocol that both ends have agreed on, once the handshake is over; None for none."""
        return self.connection.selected_alpn_protocol()

    # -- What the SSL object calls: see `meshid.tls.owners.Owner` --------------------

    @property
    def is_open(self) -> bool:
        """Whether its connection is open."""
        return self.is_connected

    def close(self, error: Exception) -> None:
        """Cut off both sides, from any thread; the *error* has been recorded."""
        # A closed loop raises, and has closed its connections.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: Exception) -> None:
        if not self._is_over:
            self._joint.failed(self, error)
        self._joint.abort()

    def send(self, data: bytes) -> bool:
        """Write these bytes to the wire, if called in the loop's thread; tell whether they were."""
        if threading.get_ident() != self._thread:
            return False
        self._write(data)
        return True

    def acknowledge(self) -> None:
        """Acknowledge now what the other end has sent."""
        if self._transport is not None:
            acknowledge(self._transport.get_extra_info("socket"))

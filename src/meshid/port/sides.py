"""The two sides of a relay: each reads its own wire, and writes what the other one has read.

The rules of this module:

- A side that has no other yet reads nothing, handshake apart.
- An end is passed on as an end: of TCP (FIN) or of TLS (close_notify). Whatever else ends a
  connection cuts off both sides, with a reset where there is TCP: half a request, or half an
  answer, must not be taken for the whole. So TCP that ends without close_notify is no end.
- All that is read goes through buffers that the sides of a loop share, and is gone from there before the
  loop goes on. A transport may keep what it is given, so it gets bytes of its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from abc import abstractmethod
from contextlib import suppress
from typing import Protocol, cast

from typing_extensions import override

from meshid.port.tls_end import PIECE, RECORD, TlsEnd
from meshid.tls.alerts import LINGER_SECONDS, MAX_READ_OFF
from meshid.tls.context import MeshContext
from meshid.tls.owners import acknowledge

READ_BYTES = 256 * 1024
"""Bytes that are read at once, at most."""

HIGH_WATER = 64 * 1024
"""Bytes that wait to be written before the other side stops reading; one more read may be on its way."""

_CUT_OFF = struct.pack("ii", 1, 0)
"""With SO_LINGER set so, closing a TCP connection resets it, and nothing that waits is sent."""


class Buffers:
    """What the sides of one loop read into.

    Attributes:
        wire: What has arrived.
        plain: What was decrypted of it.
    """

    def __init__(self) -> None:
        self.wire = memoryview(bytearray(READ_BYTES))
        self.plain = memoryview(bytearray(PIECE + 2 * RECORD))


class Joint(Protocol):
    """What two sides have in common."""

    buffers: Buffers

    def ready(self, side: Side) -> None:
        """Note that a side can be read and written."""

    def failed(self, side: Side, error: Exception) -> None:
        """Note that the handshake of a side has failed, and the other end may still read why."""

    def passed_on(self, side: Side, size: int) -> None:
        """Note that so many bytes of a side were passed on."""

    def ended(self, side: Side) -> None:
        """Note that nothing more is to come from a side."""

    def abort(self) -> None:
        """Cut off both sides."""

    def lost(self) -> None:
        """Note that the connection of a side has gone."""


class Side(asyncio.BufferedProtocol):
    """One side.

    Args:
        joint: What it has in common with the other side.
        loop: The loop.

    Attributes:
        other: The other side, once both are ready.
        has_ended: Whether nothing more is to come from here.
    """

    other: Side | None = None
    has_ended: bool = False
    _transport: asyncio.Transport | None = None

    def __init__(self, joint: Joint, loop: asyncio.AbstractEventLoop) -> None:
        self._joint = joint
        self._loop = loop
        self._buffers = joint.buffers

    # -- What the loop calls ------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffers.wire

    @override
    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause()

    @override
    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self.other = None
        self._joint.lost()

    # -- What the relay and the other side call -----------------------------------

    def pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    @abstractmethod
    def begin(self) -> None:
        """Read, now that there is another side."""

    @abstractmethod
    def put(self, plain: memoryview) -> None:
        """Write this."""

    @abstractmethod
    def put_end(self) -> None:
        """Tell the other end that nothing more is to come."""

    @property
    def is_connected(self) -> bool:
        """Whether its connection is there."""
        return self._transport is not None

    @property
    def waiting(self) -> int:
        """How many bytes wait to be written."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def finish(self) -> None:
        """Close it when all is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut it off."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            # A Unix socket ignores it.
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CUT_OFF)
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        # What was written before may have shown that the connection has gone.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _write_eof(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()


class PlainSide(Side):
    """A side without TLS."""

    # What uvloop has read before there was another side: it begins to read after `connection_made`, although
    # reading was paused there.
    _early: bytes = b""
    _has_ended_early: bool = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pause()
        self._joint.ready(self)

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self.other is None:
            self._early += self._buffers.wire[:nbytes]
            self.pause()
        else:
            self._give(self.other, self._buffers.wire[:nbytes])

    @override
    def eof_received(self) -> bool:
        self._has_ended_early = self.other is None
        self._joint.ended(self)
        return True

    @override
    def begin(self) -> None:
        if self._early and self.other is not None:
            self._give(self.other, memoryview(self._early))
            self._early = b""
        self.resume()
        if self._has_ended_early:
            self._joint.ended(self)

    def _give(self, other: Side, plain: memoryview) -> None:
        self._joint.passed_on(self, len(plain))
        other.put(plain)

    @override
    def put(self, plain: memoryview) -> None:
        self._write(bytes(plain))

    @override
    def put_end(self) -> None:
        self._write_eof()


class TlsSide(Side):
    """A side with TLS; it is the owner of its SSL object.

    Args:
        joint: As for `Side`.
        loop: As for `Side`.
        context: The context of its connection.
        server_side: Whether it is the TLS server.

    Attributes:
        peername: What ``getpeername()`` of its socket returned at the start.
        tls: Its TLS.
    """

    peername: object = None
    _is_over: bool = False
    _is_parting: bool = False
    _read_off: int = 0

    def __init__(
        self, joint: Joint, loop: asyncio.AbstractEventLoop, context: MeshContext, *, server_side: bool
    ) -> None:
        super().__init__(joint, loop)
        self._thread = threading.get_ident()
        self.tls: TlsEnd | None = TlsEnd(context, self, server_side=server_side)

    # -- What the loop calls ------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.peername = transport.get_extra_info("peername")
        self._shake_hands()

    @override
    def buffer_updated(self, nbytes: int) -> None:
        tls = self.tls
        if tls is None or self._is_parting:
            self._read_more_off(nbytes)
        elif self.other is None:
            tls.receive(self._buffers.wire[:nbytes])
            self._shake_hands()
        else:
            for at in range(0, nbytes, PIECE):
                tls.receive(self._buffers.wire[at : min(at + PIECE, nbytes)])
                self._pass_on(tls)

    @override
    def eof_received(self) -> bool:
        if self._is_parting:
            return False
        if self.tls is not None and not self._is_over:
            self.tls.receive_eof()
            self._shake_hands()
        elif not self.has_ended:
            self._joint.abort()
        return True

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.tls = None
        super().connection_lost(exc)

    # -- The handshake ------------------------------------------------------------

    def _shake_hands(self) -> None:
        tls = self.tls
        if tls is None or self._is_over:
            return
        try:
            self._is_over = tls.shake_hands()
        except OSError as error:
            self._part(tls)
            self._joint.failed(self, error)
            return
        self._flush(tls)
        if self._is_over:
            self.pause()
            self._joint.ready(self)

    def _part(self, tls: TlsEnd) -> None:
        """Let the other end read the alert: a socket that is closed with unread bytes is reset."""
        self._is_parting = True
        self._flush(tls)
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
        if self.tls is not None:
            self._pass_on(self.tls)

    def _pass_on(self, tls: TlsEnd) -> None:
        plain, filled, size = self._buffers.plain, 0, None
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
            self._flush(tls)
        if size == 0:
            self._joint.ended(self)

    def _give(self, plain: memoryview) -> None:
        if self.other is not None:
            self._joint.passed_on(self, len(plain))
            self.other.put(plain)

    @override
    def put(self, plain: memoryview) -> None:
        tls = self.tls
        if tls is None:
            return
        try:
            sent, size = 0, len(plain)
            while sent < size:
                sent += tls.write(plain[sent:])
                if tls.pending >= PIECE:
                    self._flush(tls)
        except OSError:
            self._joint.abort()
            return
        self._flush(tls)

    @override
    def put_end(self) -> None:
        if self.tls is not None:
            with suppress(OSError):
                self.tls.close_notify()
            self._flush(self.tls)

    def _flush(self, tls: TlsEnd) -> None:
        if data := tls.to_send():
            self._write(data)

    # -- What the SSL object calls: see `meshid.tls.owners.Owner` --------------------

    @property
    def is_open(self) -> bool:
        """Whether its connection is open."""
        return self.tls is not None

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

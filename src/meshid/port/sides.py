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
from abc import abstractmethod
from contextlib import suppress
from typing import Protocol, cast

from typing_extensions import override

from meshid.port.tls_end import RECORD

READ_BYTES = 256 * 1024
"""Bytes that are read at once, at most."""

HIGH_WATER = 64 * 1024
"""Bytes that wait to be written before the other side stops reading; one more read may be on its way."""

MOST_WAITING = HIGH_WATER + 2 * READ_BYTES
"""More bytes than ever wait for an end that only has to read what the other end has sent."""

KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Seconds until the other end of an idle connection is asked whether it is still there, seconds until it is
asked again, and how often."""

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
        self.plain = memoryview(bytearray(4 * RECORD))


class Joint(Protocol):
    """What two sides have in common."""

    buffers: Buffers
    is_over: bool

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
        _tune(transport.get_extra_info("socket"))

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffers.wire

    @override
    def pause_writing(self) -> None:
        cast("Side", self.other).pause()

    @override
    def resume_writing(self) -> None:
        cast("Side", self.other).resume()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
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
            # A Unix socket ignores it; uvloop has closed one that has failed, and raises a ValueError.
            with suppress(OSError, ValueError):
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

    _early: bytes = b""
    _ended_early: bool = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pause()
        self._joint.ready(self)

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self.other is None:
            # uvloop reads once, although it was told to pause when the connection was made.
            self.pause()
            self._early = bytes(self._buffers.wire[:nbytes])
        else:
            self._joint.passed_on(self, nbytes)
            self.other.put(self._buffers.wire[:nbytes])

    @override
    def eof_received(self) -> bool:
        if self.other is None:
            self._ended_early = True
        else:
            self._joint.ended(self)
        return True

    @override
    def begin(self) -> None:
        if self._early:
            self._joint.passed_on(self, len(self._early))
            cast("Side", self.other).put(memoryview(self._early))
            self._early = b""
        if self._ended_early:
            self._joint.ended(self)
        else:
            self.resume()

    @override
    def put(self, plain: memoryview) -> None:
        self._write(bytes(plain))

    @override
    def put_end(self) -> None:
        self._write_eof()


def _tune(sock: socket.socket) -> None:
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            # macOS has another name for the first.
            if hasattr(socket, option):  # pragma: no branch - Linux has all
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

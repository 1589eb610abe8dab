"""One connection through a port: two sides, joined."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import attrs

from meshid.port.sides import Buffers, Side
from meshid.port.totals import Totals


@attrs.frozen
class Pace:
    """How long a connection may be idle.

    Attributes:
        half_closed: In seconds, once nothing more is to come from one end.
        open: In seconds; None for any time.
    """

    half_closed: float
    open: float | None


class Center(Protocol):
    """Whoever makes relays."""

    buffers: Buffers
    totals: Totals
    pace: Pace

    def connect(self, relay: Relay) -> None:
        """Connect the side behind, now that the one in front is ready."""

    def failed(self, relay: Relay, side: Side, error: Exception) -> None:
        """Note that the handshake of a side has failed."""

    def joined(self, front: Side) -> bytes:
        """Note that both sides are ready; return what the upstream gets first."""

    def gone(self, relay: Relay) -> None:
        """Note that both connections have gone."""


class Relay:
    """One connection: a side in front, which has connected to us, and one behind, which we connect.

    Args:
        center: Who makes it.
        loop: The loop.

    Attributes:
        front: The side in front; it is set before it is connected.
        back: The side behind, once there is one.
        dial: The task that connects the side behind.
        is_over: Whether it was cut off, or has ended at both ends.
    """

    front: Side
    back: Side | None = None
    dial: asyncio.Task[None] | None = None
    is_over: bool = False
    _is_gone: bool = False
    _watch: asyncio.TimerHandle | None = None
    _waiting: tuple[int, int] = (0, 0)
    _read_at: float = 0.0

    def __init__(self, center: Center, loop: asyncio.AbstractEventLoop) -> None:
        self.buffers = center.buffers
        self._center = center
        self._loop = loop
        self._limit = center.pace.open

    # -- What the sides call: see `meshid.port.sides.Joint` ------------------------

    def ready(self, side: Side) -> None:
        """Connect the side behind, or join the two."""
        if self.is_over:
            side.abort()
        elif side is self.front:
            self._center.connect(self)
        else:
            self._join(self.front, side)

    def failed(self, side: Side, error: Exception) -> None:
        """Cut off the other side; this one parts with its other end."""
        if self.is_over:
            return
        self.is_over = True
        self._center.failed(self, side, error)
        if side is not self.front:
            self.front.abort()

    def passed_on(self, side: Side, size: int) -> None:
        """Count, and note the time."""
        self._read_at = self._loop.time()
        if side is self.front:
            self._center.totals.bytes_in += size
        else:
            self._center.totals.bytes_out += size

    def ended(self, side: Side) -> None:
        """Tell the other side; close both if that one has ended, too."""
        other = cast("Side", side.other)
        # Each piece that follows says so again.
        if side.has_ended:
            return
        side.has_ended = True
        other.put_end()
        if other.has_ended:
            self.is_over = True
            side.finish()
            other.finish()
        elif self._limit is None or self._limit > self._center.pace.half_closed:
            self._limit = self._center.pace.half_closed
            self._look_again()

    def abort(self) -> None:
        """Cut off both sides."""
        # Who ends its peer may come late.
        if self._is_gone:
            return
        self.is_over = True
        if self.dial is not None:
            self.dial.cancel()
        self.front.abort()
        if self.back is not None:
            self.back.abort()

    def lost(self) -> None:
        """Cut off the other side, unless both have ended."""
        if not self.is_over:
            self.abort()
        self.check_gone()

    # -- Its course ---------------------------------------------------------------

    def _join(self, front: Side, back: Side) -> None:
        front.other, back.other = back, front
        if first := self._center.joined(front):
            back.put(memoryview(first))
        self._look_again()
        front.begin()
        back.begin()

    def check_gone(self) -> None:
        """Tell the center if both connections have gone."""
        if self._is_gone or self.front.is_connected:
            return
        if (self.back is not None and self.back.is_connected) or (self.dial and not self.dial.done()):
            return
        self._is_gone = True
        if self._watch is not None:
            self._watch.cancel()
        self._center.gone(self)
        # They hold it and each other: so all are freed now, and not when the collector runs.
        if self.back is not None:
            self.back.other = None
        self.back = None
        del self.front

    def _look_again(self) -> None:
        """Let the time that it may be idle begin now."""
        self._read_at = self._loop.time()
        if self._watch is not None:
            self._watch.cancel()
        if self._limit is not None:
            self._watch = self._loop.call_later(self._limit, self._look, self._limit)

    def _look(self, limit: float) -> None:
        """Cut off both sides if it has been idle for too long."""
        # Who reads slowly is not idle, even if there is nothing to be read from the other end meanwhile.
        waiting = self.front.waiting, 0 if self.back is None else self.back.waiting
        if waiting != self._waiting:
            self._waiting, self._read_at = waiting, self._loop.time()
        rest = limit - (self._loop.time() - self._read_at)
        if rest > 0:
            self._watch = self._loop.call_later(rest, self._look, limit)
        else:
            self.abort()

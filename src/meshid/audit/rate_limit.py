"""Rate limit of the refusal log: a flood of unknown peers must not fill the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

import attrs

from meshid.support.locks import Order, new_lock

BURST = 10
"""Refusals of one kind that are logged at once; after that, one a second."""

TOTAL_BURST = 100
"""Refusals that are logged at once, of all kinds together; after that, ten a second. A line has about
0.5 kB, or 1 kB as JSON: a flood that never ends writes less than 1 GB a day."""

MAX_KINDS = 1024
"""Kinds that are limited separately, and as many before them: more would fill the memory instead."""

_INTERVAL, _TOTAL_INTERVAL = 1.0, 0.1
# Between two multiples of an interval, since sums of floats are not exact.
_EMPTY, _TOTAL_EMPTY = (BURST - 0.5) * _INTERVAL, (TOTAL_BURST - 0.5) * _TOTAL_INTERVAL


@attrs.define
class _Bucket:
    """A token bucket: it is full again at this instant, in seconds."""

    full_at: float = 0.0


class RateLimit:
    """Limits how many refusals are logged: of each kind, and of all kinds together.

    Args:
        clock: Returns seconds, counted from any instant.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limiting = new_lock(Order.COUNTING)
        self._total = _Bucket()
        self._recent: dict[Hashable, _Bucket] = {}
        self._older: dict[Hashable, _Bucket] = {}
        self._suppressed = 0

    def suppressed(self, kind: Hashable) -> int | None:
        """Return how many were suppressed since the last one that was not; None to suppress this one too."""
        now, bucket = self._clock(), self._bucket_of(kind)
        # As in `Counters`, no signal handler runs in here: no call (not even of `max`), and no jump back.
        with self._limiting:
            full_at = bucket.full_at if bucket.full_at > now else now  # noqa: FURB136 - max() is a call
            total_full_at = self._total.full_at if self._total.full_at > now else now  # noqa: FURB136 - max() is a call
            if full_at - now > _EMPTY or total_full_at - now > _TOTAL_EMPTY:
                self._suppressed += 1
                return None
            bucket.full_at = full_at + _INTERVAL
            self._total.full_at = total_full_at + _TOTAL_INTERVAL
            count, self._suppressed = self._suppressed, 0
            return count

    def _bucket_of(self, kind: Hashable) -> _Bucket:
        recent = self._recent
        bucket = recent.get(kind)
        if bucket is None:
            if len(recent) >= MAX_KINDS:
                self._older, self._recent = recent, {}
            bucket = self._recent.setdefault(kind, self._older.get(kind) or _Bucket())
        return bucket


def left_out(suppressed: int) -> str:
    """Return the end of a line that says how many before it were suppressed."""
    return f"; {suppressed} before it were not logged" if suppressed else ""

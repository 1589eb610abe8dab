"""Rate limit of the refusal log: a flood of unknown peers must not fill the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

import attrs

BURST = 10
"""Events of one kind that are logged at once; after that, one a second."""

MAX_KEYS = 1024
"""Kinds of events that are limited separately: a flood from many networks must not fill the memory either."""


@attrs.define
class _Bucket:
    tokens: float
    filled: float
    suppressed: int = 0


class RateLimit:
    """A token bucket for each kind of event.

    It takes no lock, so under threads its counts are close, not exact.

    Args:
        clock: Returns seconds, counted from any instant.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[Hashable, _Bucket] = {}

    def suppressed(self, key: Hashable) -> int | None:
        """Return how many such events were suppressed before this one; None to suppress this one too."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            self._make_room()
            bucket = self._buckets[key] = _Bucket(BURST, now)
        bucket.tokens = min(BURST, bucket.tokens + now - bucket.filled)
        bucket.filled = now
        if bucket.tokens < 1:
            bucket.suppressed += 1
            return None
        bucket.tokens -= 1
        count, bucket.suppressed = bucket.suppressed, 0
        return count

    def _make_room(self) -> None:
        while len(self._buckets) >= MAX_KEYS:
            # The oldest first; another thread may have removed it already.
            self._buckets.pop(next(iter(self._buckets)), None)

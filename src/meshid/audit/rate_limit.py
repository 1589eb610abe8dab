"""How often one thing is told: a stranger who knocks a thousand times a second must not fill a disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

import attrs

BURST = 10
"""Times that a thing is told at once; after that, once a second."""

MAX_KEYS = 1024
"""Things that are kept apart; strangers come from many networks, and memory is bounded."""


@attrs.define
class _Bucket:
    tokens: float
    filled: float
    suppressed: int = 0


class RateLimit:
    """Tells what to hold back, and how much that was; under threads the count is close, not exact.

    Args:
        clock: Returns seconds, from whenever.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing told."""
        self._clock = clock
        self._buckets: dict[Hashable, _Bucket] = {}

    def suppressed(self, key: Hashable) -> int | None:
        """Return how many of a kind were held back before this one; None if it is to be as well."""
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
            # The oldest; another thread may have taken it.
            self._buckets.pop(next(iter(self._buckets)), None)

"""Keys that were read: for how long they count, and what was wrong with some of them."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from meshid.sources.source import State
from meshid.tokens.key_set import KeySet

_SHARE = 0.1
"""A file is read each second, and each new end is a new snapshot: so it moves in steps of this share."""


class ServeUntil:
    """Until when the keys of one issuer count; each good read moves that.

    Args:
        max_stale: For how many seconds they count after a read.
        clock: Returns the POSIX time in seconds.
    """

    def __init__(self, max_stale: float, clock: Callable[[], float]) -> None:
        self._max_stale = max_stale
        self._clock = clock
        self._until = 0.0

    def prolonged(self, keys: KeySet) -> KeySet:
        """Return keys that were read just now, with the time until which they count.

        That is `max_stale` from now, or up to a tenth less.
        """
        now = self._clock()
        # More is left if the clock was set back.
        if not (1 - _SHARE) * self._max_stale < self._until - now <= self._max_stale:
            self._until = now + self._max_stale
        return attrs.evolve(keys, serve_until=self._until)


def state_of(keys: KeySet) -> State:
    """Return the state of a source that has read these *keys*; those that are ignored are warnings."""
    warnings = (f"skipped {problem}" if problem.where else str(problem) for problem in keys.skipped)
    return State(keys=(keys,), warnings=tuple(warnings))

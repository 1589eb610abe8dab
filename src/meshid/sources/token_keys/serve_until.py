"""Keys that were read: for how long they count, and what was wrong with some of them."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from meshid.policy.issuers import Issuer
from meshid.sources.source import State
from meshid.tokens.key_set import KeySet

_SHARE = 0.1
"""A file is read each second, and each new end is a new snapshot: so it moves in steps of this share."""


class ServeUntil:
    """Until when the keys of one issuer count; each good read moves that.

    Args:
        issuer: The issuer.
        clock: Returns the POSIX time in seconds.
    """

    def __init__(self, issuer: Issuer, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._clock = clock
        self._until = 0.0

    def prolonged(self, keys: KeySet) -> KeySet:
        """Return keys that were read just now, for this issuer, with the time until which they count.

        That is `Issuer.max_stale` from now, or up to a tenth less.
        """
        now, most = self._clock(), self._issuer.max_stale
        # More is left if the clock was set back.
        if not (1 - _SHARE) * most < self._until - now <= most:
            self._until = now + most
        return attrs.evolve(keys, serve_until=self._until, declared=self._issuer)


def state_of(keys: KeySet) -> State:
    """Return the state of a source that has read these *keys*; those that are ignored are warnings."""
    warnings = (f"skipped {problem}" if problem.where else str(problem) for problem in keys.skipped)
    return State(keys=(keys,), warnings=tuple(warnings))

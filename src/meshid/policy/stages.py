"""Rules end: from the end of one to the end of the next, a policy is in the same stage.

What is remembered of a stage belongs to it, so that nothing remembered outlives one, whichever way a clock
steps.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Collection
from typing import Generic, NamedTuple, TypeVar

from meshid.support.sieve import Sieve

_REMEMBERED = 4
"""Stages that are remembered: who asks about now needs two, around an end."""

_S = TypeVar("_S")


class _Stage(NamedTuple, Generic[_S]):
    """A stage that has begun *since*, in POSIX seconds, and lasts *until* then."""

    since: float
    until: float
    value: _S


class Stages(Generic[_S]):
    """The stages of a policy.

    Args:
        ends: When rules end, in POSIX seconds; at least one.
        make: Makes what belongs to the stage that lasts until then. A rule counts in it that ends no earlier.
    """

    def __init__(self, ends: Collection[float], make: Callable[[float], _S]) -> None:
        self._ends = sorted(set(ends))
        self._make = make
        self._known: Sieve[float, _Stage[_S]] = Sieve(_REMEMBERED)
        self._last = self._stage(-math.inf)

    def at(self, now: float | None) -> _S:
        """Return what belongs to the stage at *now*, in POSIX seconds; at this instant, if it is None."""
        if now is None:
            now = time.time()
        # One value, which another thread may replace meanwhile.
        last = self._last
        if last.since <= now < last.until:
            return last.value
        self._last = stage = self._stage(now)
        return stage.value

    def next_end(self, now: float) -> float:
        """Return when the stage at *now* ends; infinity for the last one."""
        at = bisect_right(self._ends, now)
        return self._ends[at] if at < len(self._ends) else math.inf

    def _stage(self, now: float) -> _Stage[_S]:
        until = self.next_end(now)
        stage = self._known.get(until)
        if stage is None:
            at = bisect_right(self._ends, now)
            stage = _Stage(self._ends[at - 1] if at else -math.inf, until, self._make(until))
            self._known.put(until, stage)
        return stage

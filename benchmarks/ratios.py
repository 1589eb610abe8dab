"""Time calls side by side, in one run, and show ratios: the machine is shared, so times alone mean little."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 15

Call = Callable[[], object]


def measure(makers: Mapping[str, Callable[[], Call]], repeat: int) -> dict[str, float]:
    """Return the median of seconds that each call takes, the rounds of all of them interleaved.

    Each round makes its call anew, outside of the time that is taken.
    """
    rounds: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(ROUNDS):
        for name, make in makers.items():
            call = make()
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            rounds[name].append((time.perf_counter() - start) / repeat)
    return {name: statistics.median(times) for name, times in rounds.items()}


def show(title: str, seconds: Mapping[str, float], unit: str) -> None:
    """Print each figure, and how many times that of *unit* it is."""
    print(f"\n{title}")
    for name, each in seconds.items():
        print(f"  {name:<58} {each * 1e6:10.2f} us {each / seconds[unit]:9.2f} x")

"""Time calls side by side, in one run, and show ratios: the machine is shared, so times alone mean little."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 15

Call = Callable[[], object]
Timed = Callable[[], float]
"""Does its work, and returns the seconds of processor time that the part of interest took."""


def measure(makers: Mapping[str, Callable[[], Call]], repeat: int) -> dict[str, float]:
    """Return the median of seconds of processor time that each call takes, the rounds of all interleaved.

    Each round makes its call anew, outside of the time that is taken.
    """
    rounds: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(ROUNDS):
        for name, make in makers.items():
            call = make()
            start = time.thread_time()
            for _ in range(repeat):
                call()
            rounds[name].append((time.thread_time() - start) / repeat)
    return {name: statistics.median(times) for name, times in rounds.items()}


def show(title: str, seconds: Mapping[str, float], unit: str) -> None:
    """Print each figure, and how many times that of *unit* it is."""
    print(f"\n{title}")
    for name, each in seconds.items():
        print(f"  {name:<58} {each * 1e6:10.2f} us {each / seconds[unit]:9.2f} x")


def take_turns(calls: Mapping[str, Timed], rounds: int, repeat: int) -> dict[str, list[float]]:
    """Return the mean of seconds that each call took, for each round; in a round, one follows the other."""
    means: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            means[name].append(statistics.mean(call() for _ in range(repeat)))
    return means


def show_spread(title: str, rounds: Mapping[str, list[float]], unit: str) -> None:
    """Print the median of the rounds, how many times that of *unit* it is, and the quartiles of that."""
    print(f"\n{title}")
    for name, each in rounds.items():
        ratios = [mine / theirs for mine, theirs in zip(each, rounds[unit], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        seconds = statistics.median(each)
        print(f"  {name:<58} {seconds * 1e6:10.1f} us {middle:6.2f} x   {low:.2f} to {high:.2f}")

"""What code costs, counted and not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable


def calls_of(work: Callable[[], object], *, in_c: bool = True) -> int:
    """Return how many calls *work* makes: of Python, and *in_c*."""
    kinds = {"call", "c_call"} if in_c else {"call"}
    calls = 0

    def count(_: object, kind: str, __: object) -> None:
        nonlocal calls
        calls += kind in kinds

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls

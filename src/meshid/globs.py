"""One segment of a pattern: text in which each `*` stands for any run of characters."""

from __future__ import annotations

from typing import TypeAlias

Glob: TypeAlias = tuple[str, ...]
"""A segment, split at each `*`; of one part, if it has none."""


def glob_of(segment: str) -> Glob:
    """Split a segment at each `*`."""
    return tuple(segment.split("*"))


def fits(glob: Glob, text: str) -> bool:
    """Tell whether the whole of *text* is matched: each part as far left as it goes leaves most room."""
    if len(glob) == 1:
        return glob[0] == text
    first, *between, last = glob
    at, end = len(first), len(text) - len(last)
    if at > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in between:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def meets(one: Glob, two: Glob) -> bool:
    """Tell whether some text is matched by both."""
    if len(two) == 1:
        return fits(one, two[0])
    if len(one) == 1:
        return fits(two, one[0])
    begins = one[0].startswith(two[0]) or two[0].startswith(one[0])
    return begins and (one[-1].endswith(two[-1]) or two[-1].endswith(one[-1]))

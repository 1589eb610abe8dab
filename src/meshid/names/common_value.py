"""A value that two patterns both match, as an example for people.

Where `Pattern.intersects` says that there is one, this one writes it: step by step through the
segments of both, the fewest first. No state is visited twice, so the cost is bounded by the product
of the two numbers of segments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from meshid.names.pattern import Glob, Pattern, glob_of, globs_intersect

_DEEP = "**"
_ANY = "x"
_State = tuple[int, int]


def common_value(one: Pattern, two: Pattern) -> str | None:
    """Return a value that both match, without a leading ``/``; None if there is none.

    None of its segments is empty, ``.`` or ``..``, unless a pattern wants it so.
    """
    end = (len(one.segments), len(two.segments))
    before: dict[_State, tuple[_State, str | None]] = {}
    waiting = deque([(0, 0)])
    while waiting:
        state = waiting.popleft()
        if state == end:
            return _read_back(before, state)
        for reached, segment in _steps(one.segments, two.segments, state):
            if reached not in before and reached != (0, 0):
                before[reached] = (state, segment)
                # What needs no segment is as near as the state itself.
                (waiting.appendleft if segment is None else waiting.append)(reached)
    return None


def _steps(
    ones: tuple[str, ...], twos: tuple[str, ...], state: _State
) -> Iterator[tuple[_State, str | None]]:
    """Yield the states after one, each with the segment that leads to it; None if it needs none."""
    at, too = state
    one = ones[at] if at < len(ones) else None
    two = twos[too] if too < len(twos) else None
    if one == _DEEP:
        yield (at + 1, too), None
    if two == _DEEP:
        yield (at, too + 1), None
    if one is None or two is None:
        return
    if one == _DEEP:
        if two != _DEEP:
            yield (at, too + 1), _merged(glob_of(two), ("", ""))
    elif two == _DEEP:
        yield (at + 1, too), _merged(glob_of(one), ("", ""))
    elif globs_intersect(glob_of(one), glob_of(two)):
        yield (at + 1, too + 1), _merged(glob_of(one), glob_of(two))


def _merged(one: Glob, two: Glob) -> str:
    """Return a segment that both match; that they can is known."""
    if len(one) == 1:
        return one[0]
    if len(two) == 1:
        return two[0]
    begin, end = max(one[0], two[0], key=len), max(one[-1], two[-1], key=len)
    middle = "".join([*one[1:-1], *two[1:-1]])
    text = f"{begin}{middle}{end}"
    return f"{begin}{middle}{_ANY}{end}" if text in {"", ".", ".."} else text


def _read_back(before: dict[_State, tuple[_State, str | None]], state: _State) -> str:
    segments = []
    while state != (0, 0):
        state, segment = before[state]
        if segment is not None:
            segments.append(segment)
    return "/".join(reversed(segments))

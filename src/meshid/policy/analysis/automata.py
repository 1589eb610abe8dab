"""The shortest word that some patterns match and others do not.

The rules of this module:

- A word is a text that can really occur: "/" and segments, none of them empty, "." or "..".
  Only the path of a request may end in "/"; and only there, "%" begins an escape, one of those that
  can stay in a judged path.
- The answer is exact. Each pattern is an automaton over characters; they run side by side,
  breadth first, and no state is visited twice. All characters that no automaton waits for
  at a state do the same, so that one of them stands for all.
- The search is bounded, in time and memory: each state is paid from the budget.
"""

from __future__ import annotations

import string
from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import TypeAlias

from meshid.names.pattern import Pattern
from meshid.policy.analysis.budget import Budget

_STATE = 5
"""Steps for a state, beside one for each automaton: what is kept of it."""

_KEPT = 64
"""Places that a step keeps."""

_MOVED = 512
"""Places that are moved in a step."""

_LETTERS = string.ascii_lowercase + string.digits + string.ascii_uppercase + "-_"


class Words(Enum):
    """The kinds of words, with their letters: those of a finite alphabet, or any."""

    PEER_PATHS = "paths of SPIFFE IDs"
    TARGETS = "targets"
    REQUEST_PATHS = "paths of requests"

    def unused(self, used: set[str]) -> str | None:
        """Return a letter that is not used; "." only if no other is left: it is not allowed everywhere."""
        more = "." if self is Words.PEER_PATHS else map(chr, range(0x3B1, 0x10000))
        return next(
            (letter for letters in (_LETTERS, more) for letter in letters if letter not in used), None
        )


def shortest(
    words: Words,
    inside: tuple[Pattern, ...],
    outside: tuple[Pattern, ...] = (),
    budget: Budget | None = None,
) -> str | None:
    """Return the shortest word that all of *inside* and none of *outside* match; None if no word does.

    Raises:
        PolicyTooComplex: If the budget does not last.
    """
    if budget is None:
        return _shortest(words, inside, outside, Budget())
    size = len(inside) + len(outside)
    budget.spend(size)
    return budget.remember((words, inside, outside), size, lambda: _shortest(words, inside, outside, budget))


def _shortest(
    words: Words, inside: tuple[Pattern, ...], outside: tuple[Pattern, ...], budget: Budget
) -> str | None:
    if any(each.contains(one) for each in outside for one in inside):
        return None
    literal = next((each for each in inside if each.is_literal), None)
    if literal is not None:
        word = "/" + "/".join(literal.segments)
        fits = _is_word(words, word) and all(each.matches(word) for each in inside)
        return word if fits and not any(each.matches(word) for each in outside) else None
    return _search(
        words, [_Automaton(each) for each in inside], [_Automaton(each) for each in outside], budget
    )


def _search(words: Words, inside: list[_Automaton], outside: list[_Automaton], budget: Budget) -> str | None:
    every = (*inside, *outside)
    count = len(inside)
    size = sum(automaton.size for automaton in every)
    to_keep, to_move = _STATE + len(every) + size // _KEPT, len(every) + size // _MOVED
    start = (_Shape.START, tuple(automaton.start for automaton in every))
    before: dict[_State, tuple[_State, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        shape, places = state
        if _may_end(words, shape) and _is_in(inside, outside, places):
            return _read_back(before, state)
        letters = _NEXT.get(shape) or _letters(words, every, places)
        budget.spend(to_move * len(letters))
        for letter in letters:
            after = _after(words, shape, letter)
            if after is None:
                continue
            moved = tuple(automaton.step(at, letter) for automaton, at in zip(every, places, strict=True))
            reached = (after, moved)
            if not all(moved[:count]) or reached in before or _is_out(outside, moved[count:]):
                continue
            budget.spend(to_keep)
            before[reached] = (state, letter)
            waiting.append(reached)
    return None


def _is_in(inside: list[_Automaton], outside: list[_Automaton], places: tuple[int, ...]) -> bool:
    count = len(inside)
    return all(map(_Automaton.accepts, inside, places)) and not any(
        map(_Automaton.accepts, outside, places[count:])
    )


def _is_out(outside: list[_Automaton], places: tuple[int, ...]) -> bool:
    """Tell whether something that must not match does so whatever comes."""
    return any(map(_Automaton.accepts_all, outside, places))


def _read_back(before: dict[_State, tuple[_State, str] | None], state: _State) -> str:
    letters = []
    while (step := before[state]) is not None:
        state, letter = step
        letters.append(letter)
    return "".join(reversed(letters))


def _letters(words: Words, automata: tuple[_Automaton, ...], places: tuple[int, ...]) -> list[str]:
    awaited = {"/"}
    for automaton, place in zip(automata, places, strict=True):
        awaited.update(automaton.awaited(place))
    unused = words.unused(awaited)
    return sorted(awaited) + ([unused] if unused else [])


# -- What is a word ------------------------------------------------------------


class _Shape(Enum):
    START = 0
    SLASH = 1
    DOT = 2
    DOTS = 3
    SEGMENT = 4
    ESCAPE = 5
    ESCAPE_2 = 6
    ESCAPE_3 = 7
    DOTS_ESCAPE = 8
    DOTS_ESCAPE_2 = 9
    INNER = 10
    """After an encoded "/", where what follows must not be a dot segment to whoever decodes it."""


_State: TypeAlias = tuple[_Shape, tuple[int, ...]]
"""What the word is so far, and the places of each automaton."""

_SHAPES: dict[tuple[_Shape | None, str], _Shape] = {
    (_Shape.START, "/"): _Shape.SLASH,
    (_Shape.SLASH, "."): _Shape.DOT,
    (_Shape.DOT, "."): _Shape.DOTS,
    (_Shape.SEGMENT, "/"): _Shape.SLASH,
}


_ESCAPES: dict[tuple[_Shape | None, str], _Shape] = {
    (_Shape.SLASH, "%"): _Shape.ESCAPE,
    (_Shape.SEGMENT, "%"): _Shape.ESCAPE,
    (_Shape.INNER, "%"): _Shape.ESCAPE,
    (_Shape.DOT, "%"): _Shape.DOTS_ESCAPE,
    (_Shape.DOTS, "%"): _Shape.DOTS_ESCAPE,
    (_Shape.ESCAPE, "2"): _Shape.ESCAPE_2,
    (_Shape.ESCAPE, "3"): _Shape.ESCAPE_3,
    (_Shape.ESCAPE_2, "F"): _Shape.INNER,
    (_Shape.ESCAPE_2, "3"): _Shape.SEGMENT,
    (_Shape.ESCAPE_2, "5"): _Shape.SEGMENT,
    (_Shape.ESCAPE_3, "B"): _Shape.SEGMENT,
    (_Shape.DOTS_ESCAPE, "2"): _Shape.DOTS_ESCAPE_2,
    (_Shape.DOTS_ESCAPE, "3"): _Shape.ESCAPE_3,
    (_Shape.DOTS_ESCAPE_2, "3"): _Shape.SEGMENT,
    (_Shape.DOTS_ESCAPE_2, "5"): _Shape.SEGMENT,
    (_Shape.INNER, "."): _Shape.DOT,
    (_Shape.INNER, "/"): _Shape.SLASH,
}
_IN_ESCAPE = (
    _Shape.ESCAPE,
    _Shape.ESCAPE_2,
    _Shape.ESCAPE_3,
    _Shape.DOTS_ESCAPE,
    _Shape.DOTS_ESCAPE_2,
)
_NEXT = {shape: sorted(letter for before, letter in _ESCAPES if before is shape) for shape in _IN_ESCAPE}


def _after(words: Words, shape: _Shape | None, letter: str) -> _Shape | None:
    if (shape, letter) in _SHAPES:
        return _SHAPES[shape, letter]
    if words is Words.REQUEST_PATHS and (letter == "%" or shape in _IN_ESCAPE or shape is _Shape.INNER):
        after = _ESCAPES.get((shape, letter))
        return _Shape.SEGMENT if after is None and shape is _Shape.INNER else after
    return None if letter == "/" or shape in {_Shape.START, None} else _Shape.SEGMENT


def _may_end(words: Words, shape: _Shape) -> bool:
    if shape is _Shape.SLASH:
        return words is Words.REQUEST_PATHS
    return shape in {_Shape.SEGMENT, _Shape.INNER}


def _is_word(words: Words, text: str) -> bool:
    shape: _Shape | None = _Shape.START
    for letter in text:
        shape = _after(words, shape, letter)
    return shape is not None and _may_end(words, shape)


# -- A pattern as an automaton -------------------------------------------------


class _Automaton:
    """The places that a pattern can be at, as the bits of an integer; the last one is its end.

    A place is before a letter, or in a `*`. A `**` is two places: before its first "/", where it may be left
    out, and inside. All places move at once, by a few operations on integers.
    """

    def __init__(self, pattern: Pattern) -> None:
        self._letters: dict[str, int] = {}
        self._stars = self._before_deep = self._deep = 0
        at = 0
        for segment in pattern.segments:
            if segment == "**":
                self._before_deep |= 1 << at
                self._deep |= 1 << at + 1
                at += 2
                continue
            for letter in f"/{segment}":
                if letter == "*":
                    self._stars |= 1 << at
                else:
                    self._letters[letter] = self._letters.get(letter, 0) | 1 << at
                at += 1
        self._end = 1 << at
        self._inside = self._stars | self._deep
        # From inside a `**` at the end, everything is accepted.
        self._all = self._deep & self._end >> 1
        self.size = at
        self.start = self._with_skips(1)

    def accepts(self, places: int) -> bool:
        return places & self._end != 0

    def accepts_all(self, places: int) -> bool:
        """Tell whether it accepts whatever comes."""
        return places & self._all != 0

    def awaited(self, places: int) -> Iterator[str]:
        return (letter for letter, where in self._letters.items() if places & where)

    def step(self, places: int, letter: str) -> int:
        moving = places & self._letters.get(letter, 0)
        if letter == "/":
            return self._with_skips((moving | places & self._before_deep) << 1 | places & self._deep)
        return self._with_skips(moving << 1 | places & self._inside)

    def _with_skips(self, places: int) -> int:
        """Add the places that are reached without a letter: past a `*`, past a `**`."""
        while True:
            more = places | (places & self._inside) << 1 | (places & self._before_deep) << 2
            if more == places:
                return places
            places = more

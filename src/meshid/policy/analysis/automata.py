"""The shortest word that some patterns match and others do not.

The rules of this module:

- A word is a text that can really occur: "/" and segments, none of them empty, "." or "..".
  Only the path of a request may end in "/"; and only there, "%" begins an escape, one of those that
  can stay in a judged path.
- The answer is exact. Each pattern is an automaton over characters; they run side by side,
  breadth first, and no state is visited twice. All characters that no automaton waits for
  at a state do the same, so that one of them stands for all.
- The search is bounded: beyond `MAX_STATES`, the answer is `PolicyTooComplex`.
"""

from __future__ import annotations

import string
from collections import deque
from enum import Enum

import attrs

from meshid.errors import PolicyTooComplex
from meshid.names.pattern import Pattern
from meshid.policy.analysis.budget import Budget

MAX_STATES = 100_000
"""States that one search visits; most need fewer than a hundred."""

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
        PolicyTooComplex: If the budget does not last, or it takes more than `MAX_STATES` states to find out.
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
    start = (_Shape.START, tuple(automaton.start for automaton in every))
    before: dict[tuple[_Shape, tuple[int, ...]], tuple[tuple[_Shape, tuple[int, ...]], str] | None]
    before = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        budget.spend()
        shape, places = state
        accepted = [automaton.accepts(place) for automaton, place in zip(every, places, strict=True)]
        is_in = all(accepted[: len(inside)]) and not any(accepted[len(inside) :])
        if is_in and _may_end(words, shape):
            return _read_back(before, state)
        for letter in _NEXT.get(shape) or _letters(words, every, places):
            after = _after(words, shape, letter)
            if after is None:
                continue
            moved = tuple(automaton.step(at, letter) for automaton, at in zip(every, places, strict=True))
            reached = (after, moved)
            if all(moved[: len(inside)]) and reached not in before:
                before[reached] = (state, letter)
                waiting.append(reached)
        if len(before) > MAX_STATES:
            msg = f"its patterns are too entangled: no answer after {MAX_STATES} states; simplify them"
            raise PolicyTooComplex(msg)
    return None


def _read_back(
    before: dict[tuple[_Shape, tuple[int, ...]], tuple[tuple[_Shape, tuple[int, ...]], str] | None],
    state: tuple[_Shape, tuple[int, ...]],
) -> str:
    letters = []
    while (step := before[state]) is not None:
        state, letter = step
        letters.append(letter)
    return "".join(reversed(letters))


def _letters(words: Words, automata: tuple[_Automaton, ...], places: tuple[int, ...]) -> list[str]:
    awaited = {"/"}
    for automaton, place in zip(automata, places, strict=True):
        awaited |= automaton.awaited(place)
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


@attrs.frozen
class _Token:
    """What may come at one place: a letter, or any number of letters.

    Attributes:
        letter: The letter; empty for any number of any letters.
        is_deep: Whether these may have a "/" among them.
    """

    letter: str = ""
    is_deep: bool = False


class _Automaton:
    """The places that a pattern can be at, as the bits of an integer; the last one is its end.

    A `**` is two places: before its first "/", where it may be left out, and inside.
    """

    def __init__(self, pattern: Pattern) -> None:
        self._tokens: list[_Token | None] = []
        for segment in pattern.segments:
            if segment == "**":
                self._tokens += [None, _Token(is_deep=True)]
            else:
                self._tokens += [_Token("/"), *(_Token("" if each == "*" else each) for each in segment)]
        self._steps: dict[tuple[int, str], int] = {}
        self.start = self._with_skips(0)

    def accepts(self, places: int) -> bool:
        return bool(places >> len(self._tokens) & 1)

    def awaited(self, places: int) -> set[str]:
        tokens = [self._tokens[at] for at in self._each(places)]
        return {token.letter for token in tokens if token is not None and token.letter}

    def step(self, places: int, letter: str) -> int:
        key = (places, letter)
        if key not in self._steps:
            moved = 0
            for at in self._each(places):
                moved |= self._from(at, letter)
            self._steps[key] = moved
        return self._steps[key]

    def _from(self, at: int, letter: str) -> int:
        token = self._tokens[at]
        if token is None:
            return self._with_skips(at + 1) if letter == "/" else 0
        if token.letter:
            return self._with_skips(at + 1) if letter == token.letter else 0
        return self._with_skips(at) if token.is_deep or letter != "/" else 0

    def _with_skips(self, at: int) -> int:
        """Add the places that are reached without a letter: past a `*`, past a `**`."""
        places = 1 << at
        while at < len(self._tokens):
            token = self._tokens[at]
            if token is not None and token.letter:
                break
            at += 2 if token is None else 1
            places |= 1 << at
        return places

    def _each(self, places: int) -> list[int]:
        return [at for at in range(len(self._tokens)) if places >> at & 1]

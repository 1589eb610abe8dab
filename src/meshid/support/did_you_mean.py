"""Did you mean ...? What a mistyped word was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

MAX_LOOKUPS = 50
"""Words of one file that are looked up: as many as the text of an error lists problems."""

MAX_CANDIDATES = 100
"""Words that a mistyped one is compared with; the comparison takes up to a millisecond."""

_MAX_LENGTH = 64


class Suggestions:
    """Finds the nearest of some words, for at most `MAX_LOOKUPS` words.

    It is handed down as a budget, because a comparison is slow and a file can be all mistakes.
    """

    def __init__(self) -> None:
        self._left = MAX_LOOKUPS

    def to(self, word: str, known: Iterable[str]) -> str | None:
        """Return the word of *known* that is nearest to *word*, whatever the case; None if none is near."""
        self._left -= 1
        if self._left < 0 or len(word) > _MAX_LENGTH:
            return None
        folded = {each.casefold(): each for each in islice(known, MAX_CANDIDATES) if len(each) <= _MAX_LENGTH}
        near = get_close_matches(word.casefold(), folded, n=1)
        return folded[near[0]] if near else None

"""What was probably meant, for whoever mistyped it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

MAX_LOOKUPS = 50
"""Words of one file for which something near is looked for; the text of the error shows no more."""

MAX_CANDIDATES = 100
"""Words that one is compared with; the comparison takes up to a millisecond."""

_MAX_LENGTH = 64


class Suggestions:
    """Finds the nearest of some words, and not without end: it is handed down as a budget."""

    def __init__(self) -> None:
        """Begin with nothing looked up."""
        self._left = MAX_LOOKUPS

    def to(self, word: str, known: Iterable[str]) -> str | None:
        """Return the one of *known* that is near to *word*, upper or lower case; None if there is none."""
        self._left -= 1
        if self._left < 0 or len(word) > _MAX_LENGTH:
            return None
        folded = {each.casefold(): each for each in islice(known, MAX_CANDIDATES) if len(each) <= _MAX_LENGTH}
        near = get_close_matches(word.casefold(), folded, n=1)
        return folded[near[0]] if near else None

"""The one wildcard grammar: for peers, for targets and for paths.

The rules of this room:

- A text is either a pattern or an exception, once, here; after that nobody checks again.
- `*` in a segment stands for any run of characters except "/", `**` as a segment for any
  number of segments; both may stand for nothing. No other character is special, and
  nothing is folded or normalised.
- `matches`, `contains` and `intersects` are exact over all strings. None of them ever
  goes back to try again: an attacker writes the values.

A value is its segments: what stands between "/", once one leading "/" is dropped. So ""
has no segment, and "/" has one, which is empty.

How it works. A pattern is a chain of *blocks* with *gaps* between them. A gap is a `**`
together with the `*` and `**` segments beside it: any number of segments, but at least
one for each `*`, in whatever order they were written. A block is what lies between gaps:

    /ns/*/**/sa/api-*/**    is    ns <at least 1> sa/api-* <at least 0> (nothing)

The first block lies at the start of a value, the last at its end; both may be empty. The
others lie between, in order. **To match** is to lay each block as far left as it goes:
that leaves most room for the next, so that no other place need be tried.

**To contain** is to lay our blocks over the other pattern itself. In a segment, its `*` is
a character like any other. Our literals hold no `*`, so if our segment matches that text,
each `*` of theirs falls into one of ours, and so does all that it stands for. If not, the
text is a value that they match and we do not. Across segments, their `**` may fall only
into a gap, and counts as no segment there, since it may stand for nothing. Blocks that can
be laid so can be laid over every value of theirs. If they cannot, we do not match this
value of theirs: each `*` stands for "*", and each `**` for nothing if it comes where a gap
is still short of its least, else for more segments "*" than we have segments. For no block
overlaps such a run. The run is longer than any block. The first block ends with a segment
that is not a bare `*`, the last begins with one, those between do both; so none can end,
or begin, inside it. The blocks therefore go over that value as they go over the pattern.
(A pattern without a gap has one length. It contains no pattern that has two.)

**To intersect.** Two segments that both have a `*` share a value if what comes before the
first `*` in one begins what comes before it in the other, and what comes after the last
likewise: between them, write the middle of the one and then of the other, and a `*` of
each takes in what is not its own. Two patterns with gaps are the same again, with their
first and last blocks. If one has no gap, each of its segments globs_intersect one segment of a block
of the other or falls into a gap, so that the pairs are judged one by one: blocks are laid
over it as over a value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import groupby
from typing import Self, TypeAlias, TypeVar
from unicodedata import category

import attrs

from meshid.errors import InvalidPattern
from meshid.support.quoting import quote

MAX_PATTERN_LENGTH = 2048
"""Characters of a pattern: as many as the longest SPIFFE ID has (SPIFFE-ID section 2.3)."""

MAX_WILDCARDS = 32
"""Wildcards of a pattern: more than a person can follow; each may cost a pass over a long value."""

Glob: TypeAlias = tuple[str, ...]
"""A segment, split at each `*`; of one part, if it has none."""

_Block = tuple[Glob, ...]
_Item = TypeVar("_Item")


@attrs.frozen
class Pattern:
    """A set of values, told by wildcards.

    Patterns are equal if their segments are. Two that are not can still match the same
    values (``*/**`` and ``**/*``): each then contains the other.

    Attributes:
        text: The pattern as it was written.
        segments: What stands between ``/``; one leading ``/`` makes no segment.

    Raises:
        InvalidPattern: If *text* is not a pattern; it tells the fault and its place.
    """

    text: str = attrs.field(eq=False)
    segments: tuple[str, ...] = attrs.field(init=False)

    @segments.default
    def _read_segments(self) -> tuple[str, ...]:
        return _read(self.text)

    @cached_property
    def _chain(self) -> _Blocks:
        return _Blocks.of(self.segments)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern of at most 2048 characters and 32 wildcards.

        Raises:
            InvalidPattern: If *text* is not a pattern; it tells the fault and its place.
        """
        return cls(text)

    @property
    def is_literal(self) -> bool:
        """Whether it has no wildcard, and so matches only itself."""
        return "*" not in self.text

    def matches(self, value: str) -> bool:
        """Tell whether the whole of *value* is in the set, exactly and case-sensitively."""
        segments = tuple(value.removeprefix("/").split("/")) if value else ()
        return segments == self.segments if self.is_literal else self._chain.lies_over(segments, _fits_item)

    def contains(self, other: Pattern) -> bool:
        """Tell whether this pattern matches every value that *other* matches."""
        items = [None if segment == "**" else segment for segment in other.segments]
        return self._chain.lies_over(items, _fits_item)

    def intersects(self, other: Pattern) -> bool:
        """Tell whether some value is matched by this pattern and by *other*."""
        return self._chain.meets(other._chain)

    def __str__(self) -> str:
        """Return the pattern as it was written."""
        return self.text


# -- Reading ------------------------------------------------------------------


def _read(text: str) -> tuple[str, ...]:
    if not text:
        msg = "a pattern is missing"
        raise InvalidPattern(msg)
    if len(text) > MAX_PATTERN_LENGTH:
        raise _fault(text, MAX_PATTERN_LENGTH, f"a pattern has at most {MAX_PATTERN_LENGTH} characters")
    suspects = () if text.isascii() and text.isprintable() else enumerate(text)
    for at, character in suspects:
        if category(character) in {"Cc", "Cs"}:
            raise _fault(text, at, f"remove {character!a}, a control character or a lone surrogate")
    segments = tuple(text.removeprefix("/").split("/"))
    _check_segments(text, segments)
    _check_wildcards(text)
    return segments


def _check_segments(text: str, segments: tuple[str, ...]) -> None:
    at = 1 if text.startswith("/") else 0
    for number, segment in enumerate(segments, start=1):
        if not segment and number < len(segments):
            raise _fault(text, at, "a segment is empty; write one '/' here")
        if segment in {".", ".."}:
            raise _fault(text, at, f"no safe value holds a segment {segment!r}; write the path without it")
        if "**" in segment and segment != "**":
            what = "'**' is part of a longer segment; write '*', or '**' as a segment of its own"
            raise _fault(text, at + segment.index("**"), what)
        at += len(segment) + 1


def _check_wildcards(text: str) -> None:
    wildcards = [at for at in range(len(text)) if text[at] == "*" and text[at - 1 : at] != "*"]
    if len(wildcards) > MAX_WILDCARDS:
        raise _fault(text, wildcards[MAX_WILDCARDS], f"a pattern has at most {MAX_WILDCARDS} wildcards")


def _fault(text: str, at: int, what: str) -> InvalidPattern:
    return InvalidPattern(f"pattern {quote(text)}, character {at + 1}: {what}")


# -- Laying -------------------------------------------------------------------


@attrs.frozen
class _Blocks:
    """Blocks, and between each two of them the least number of segments in their gap."""

    blocks: tuple[_Block, ...]
    gaps: tuple[int, ...]

    @classmethod
    def of(cls, segments: tuple[str, ...]) -> Self:
        blocks: list[_Block] = [()]
        gaps: list[int] = []
        for _, run in groupby(segments, key={"*", "**"}.__contains__):
            texts = list(run)
            if "**" in texts:
                gaps.append(texts.count("*"))
                blocks.append(())
            else:
                blocks[-1] += tuple(map(glob_of, texts))
        return cls(tuple(blocks), tuple(gaps))

    def lies_over(self, items: Sequence[_Item], agree: Callable[[Glob, _Item], bool]) -> bool:
        if not self.gaps:
            return len(self.blocks[0]) == len(items) and _lies_at(self.blocks[0], items, 0, agree)
        first, *between, last = self.blocks
        at, end = len(first), len(items) - len(last)
        if at > end or not (_lies_at(first, items, 0, agree) and _lies_at(last, items, end, agree)):
            return False
        for gap, block in zip(self.gaps, between, strict=False):
            found = _find(block, items, _after(items, at, gap), end, agree)
            if found < 0:
                return False
            at = found + len(block)
        return _after(items, at, self.gaps[-1]) <= end

    def meets(self, other: _Blocks) -> bool:
        if not other.gaps:
            return self.lies_over(other.blocks[0], globs_intersect)
        if not self.gaps:
            return other.lies_over(self.blocks[0], globs_intersect)
        return all(map(globs_intersect, self.blocks[0], other.blocks[0])) and all(
            map(globs_intersect, reversed(self.blocks[-1]), reversed(other.blocks[-1]))
        )


def _lies_at(block: _Block, items: Sequence[_Item], at: int, agree: Callable[[Glob, _Item], bool]) -> bool:
    return all(map(agree, block, items[at : at + len(block)]))


def _find(
    block: _Block, items: Sequence[_Item], at: int, end: int, agree: Callable[[Glob, _Item], bool]
) -> int:
    places = range(at, end - len(block) + 1)
    return next((place for place in places if _lies_at(block, items, place, agree)), -1)


def _after(items: Sequence[object], at: int, count: int) -> int:
    """Return the place after the next *count* segments: beyond the end, if there are not so many."""
    while count and at < len(items):
        count -= items[at] is not None
        at += 1
    return at + count


def _fits_item(glob: Glob, text: str | None) -> bool:
    # None, the `**` of another pattern, fits no segment.
    return text is not None and glob_matches(glob, text)


# -- One segment: text in which each `*` stands for any run of characters -------


def glob_of(segment: str) -> Glob:
    """Split a segment at each `*`."""
    return tuple(segment.split("*"))


def glob_matches(glob: Glob, text: str) -> bool:
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


def globs_intersect(one: Glob, two: Glob) -> bool:
    """Tell whether some text is matched by both."""
    if len(two) == 1:
        return glob_matches(one, two[0])
    if len(one) == 1:
        return glob_matches(two, one[0])
    begins = one[0].startswith(two[0]) or two[0].startswith(one[0])
    return begins and (one[-1].endswith(two[-1]) or two[-1].endswith(one[-1]))

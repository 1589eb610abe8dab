"""The one wildcard grammar: for peers, for targets and for paths.

The rules of this module:

- A text is either a pattern or an exception, once, here; after that nobody checks again.
- `*` in a segment stands for any run of characters except "/", and `**` as a segment for any
  number of segments; both may stand for nothing. No other character is special, and nothing
  is folded or normalised.
- `matches`, `contains` and `intersects` are exact over all strings. None of them backtracks,
  because an attacker writes the values.

A value is its segments: the texts between "/", after one leading "/" is dropped. So "" has no
segment, and "/" has one, which is empty.

How it works. A pattern is a row of *blocks* with *gaps* between them. A gap is a `**`
together with the `*` and `**` segments next to it: any number of segments, but at least
one for each `*`, in whatever order they were written. A block is what lies between gaps:

    /ns/*/**/sa/api-*/**    is    ns <at least 1> sa/api-* <at least 0> (nothing)

The first block lies at the start of a value, the last at its end; both may be empty. The
others lie between them, in order. **To match** is to lay each block as far left as it goes:
that leaves the most room for the next, so no other place has to be tried.

**To contain** is to lay our blocks over the other pattern itself. In a segment, its `*` is
a character like any other. Our literals have no `*`, so if our segment matches that text,
each `*` of theirs falls into one of ours, and so does everything that it stands for. If our
segment does not match it, the text itself is a value that they match and we do not. Across
segments, their `**` may fall only into a gap of ours, and counts as no segment there, since
it may stand for nothing. Blocks that can be laid like this can be laid over every value of
theirs. If they cannot, there is a value of theirs that we do not match: write "*" for each
`*`; write nothing for a `**` that comes where a gap of ours is still short of its minimum;
and write, for every other `**`, more segments "*" than we have segments. No block of ours
overlaps such a run. The run is longer than any block. The first block ends with a segment
that is not a bare `*`, the last block begins with one, and the blocks between do both; so no
block can end, or begin, inside the run. The blocks therefore go over that value as they go
over the pattern. (A pattern without a gap has one length, and contains no pattern with two.)

**To intersect.** Two segments that both have a `*` share a value if, of the texts before the
first `*`, one begins with the other, and of the texts after the last `*`, one ends with the
other: between them, write the middle of the one and then the middle of the other, and a `*`
of each takes in what is not its own. Two patterns with gaps are the same again, with their
first and last blocks. If one of them has no gap, each of its segments either intersects one
segment of a block of the other or falls into a gap, so the pairs are judged one by one: the
blocks are laid over it as over a value.
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
from meshid.support.types import check_type

MAX_PATTERN_LENGTH = 2048
"""Characters in a pattern: as many as in the longest SPIFFE ID (SPIFFE-ID section 2.3)."""

MAX_WILDCARDS = 32
"""Wildcards in a pattern: more than a person can follow; each may cost a pass over a long value."""

MAX_SEGMENTS = 64
"""Segments in a pattern with wildcards; each segment of a value may cost a step in every one of them."""

Glob: TypeAlias = tuple[str, ...]
"""A segment, split at each `*`; a segment without `*` is one part."""

_Block = tuple[Glob, ...]
_Item = TypeVar("_Item")


@attrs.frozen(cache_hash=True)
class Pattern:
    """A set of values, written with wildcards: ``*`` in a segment, ``**`` as a segment.

    Patterns are equal if their segments are equal. Two that are not can still match the same
    values (``*/**`` and ``**/*``): each then contains the other.

    Attributes:
        text: The pattern as it was written, of at most 2048 characters and 32 wildcards; with
            wildcards, of at most 64 segments.
        segments: The texts between ``/``; one leading ``/`` makes no segment.

    Raises:
        TypeError: If *text* is not a string.
        InvalidPattern: If *text* is not a pattern; the message says what is wrong, and where.
    """

    text: str = attrs.field(eq=False)
    segments: tuple[str, ...] = attrs.field(init=False)

    @segments.default
    def _read_segments(self) -> tuple[str, ...]:
        return _read(self.text)

    @cached_property
    def _blocks(self) -> _Blocks:
        return _Blocks.of(self.segments)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Args:
            text: At most 2048 characters and 32 wildcards; with wildcards, at most 64 segments.

        Raises:
            TypeError: If *text* is not a string.
            InvalidPattern: If *text* is not a pattern; the message says what is wrong, and where.
        """
        return cls(text)

    @property
    def is_literal(self) -> bool:
        """Whether the pattern has no wildcard, and so matches only itself."""
        return "*" not in self.text

    def matches(self, value: str) -> bool:
        """Return whether the whole of *value* is in the set, exactly and case-sensitively."""
        segments = tuple(value.removeprefix("/").split("/")) if value else ()
        if self.is_literal:
            return segments == self.segments
        return self._blocks.lie_over(segments, _matches_item)

    def contains(self, other: Pattern) -> bool:
        """Return whether this pattern matches every value that *other* matches."""
        if self.is_literal:
            return self.segments == other.segments
        items = [None if segment == "**" else segment for segment in other.segments]
        return self._blocks.lie_over(items, _matches_item)

    def intersects(self, other: Pattern) -> bool:
        """Return whether this pattern and *other* match some value in common."""
        return self._blocks.intersect(other._blocks)

    def __str__(self) -> str:
        """Return the pattern as it was written."""
        return self.text


# -- Reading ------------------------------------------------------------------


def _read(text: str) -> tuple[str, ...]:
    check_type(type(text), str, "a pattern", "a str")
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
    _check_wildcards(text, segments)
    return segments


def _check_segments(text: str, segments: tuple[str, ...]) -> None:
    at = 1 if text.startswith("/") else 0
    for number, segment in enumerate(segments, start=1):
        if not segment and number < len(segments):
            raise _fault(text, at, "a segment is empty; write one '/' here")
        if segment in {".", ".."}:
            raise _fault(text, at, f"no safe value has a segment {segment!r}; write the path without it")
        if "**" in segment and segment != "**":
            what = "'**' is part of a longer segment; write '*', or '**' as a segment of its own"
            raise _fault(text, at + segment.index("**"), what)
        at += len(segment) + 1


def _check_wildcards(text: str, segments: tuple[str, ...]) -> None:
    wildcards = [at for at in range(len(text)) if text[at] == "*" and text[at - 1 : at] != "*"]
    if len(wildcards) > MAX_WILDCARDS:
        raise _fault(text, wildcards[MAX_WILDCARDS], f"a pattern has at most {MAX_WILDCARDS} wildcards")
    if wildcards and len(segments) > MAX_SEGMENTS:
        at = len("/".join(segments[:MAX_SEGMENTS])) + 1 + text.startswith("/")
        raise _fault(text, at, f"a pattern with wildcards has at most {MAX_SEGMENTS} segments")


def _fault(text: str, at: int, what: str) -> InvalidPattern:
    return InvalidPattern(f"pattern {quote(text)}, character {at + 1}: {what}")


# -- Laying -------------------------------------------------------------------


@attrs.frozen
class _Blocks:
    """The blocks of a pattern, and the least number of segments in the gap between each two."""

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

    def lie_over(self, items: Sequence[_Item], agree: Callable[[Glob, _Item], bool]) -> bool:
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

    def intersect(self, other: _Blocks) -> bool:
        if not other.gaps:
            return self.lie_over(other.blocks[0], globs_intersect)
        if not self.gaps:
            return other.lie_over(self.blocks[0], globs_intersect)
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
    """Return the place after the next *count* segments: beyond the end, if there are fewer."""
    while count and at < len(items):
        count -= items[at] is not None
        at += 1
    return at + count


def _matches_item(glob: Glob, text: str | None) -> bool:
    # None stands for the `**` of another pattern, which no segment matches.
    return text is not None and glob_matches(glob, text)


# -- One segment: text in which each `*` stands for any run of characters -------


def glob_of(segment: str) -> Glob:
    """Split a segment at each `*`."""
    return tuple(segment.split("*"))


def glob_matches(glob: Glob, text: str) -> bool:
    """Return whether *glob* matches the whole of *text*: each part lies as far left as it goes."""
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
    """Return whether both match some text in common."""
    if len(two) == 1:
        return glob_matches(one, two[0])
    if len(one) == 1:
        return glob_matches(two, one[0])
    begins = one[0].startswith(two[0]) or two[0].startswith(one[0])
    return begins and (one[-1].endswith(two[-1]) or two[-1].endswith(one[-1]))

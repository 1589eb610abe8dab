"""Many patterns at once: which of them match a value, and which of them intersect a pattern.

The cost depends on the value and on the patterns that are found, not on how many there are.
A pattern without a wildcard is an entry in a dictionary. The others are a tree of their
segments, in which a value goes down every branch that matches, all of them together, one
segment after the other: there is no backtracking.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from meshid.names.pattern import Glob, Pattern, glob_matches, glob_of, globs_intersect

_V = TypeVar("_V")
_DEEP = "**"


def _for_free(_: int) -> None:
    pass


class _Node(Generic[_V]):
    """The patterns that begin alike, up to here.

    A deep node is the one after a `**`: any segment of a value leads from it to itself.
    """

    __slots__ = ("deep", "globs", "is_deep", "literals", "values")

    def __init__(self, *, is_deep: bool = False) -> None:
        self.literals: dict[str, _Node[_V]] = {}
        self.globs: _Globs[_V] | None = None
        self.deep: _Node[_V] | None = None
        self.is_deep = is_deep
        self.values: list[_V] = []

    def below(self, segment: str) -> _Node[_V]:
        """Return the node that a segment of a pattern leads to; make it if it is missing."""
        if segment == _DEEP:
            self.deep = self.deep or _Node(is_deep=True)
            return self.deep
        if "*" not in segment:
            return self.literals.setdefault(segment, _Node())
        self.globs = self.globs or _Globs()
        return self.globs.below(glob_of(segment))

    def go_down(self, segment: str, reached: dict[_Node[_V], None]) -> None:
        """Add the nodes that a segment of a value leads to."""
        if self.is_deep:
            _reach(self, reached)
        if segment in self.literals:
            _reach(self.literals[segment], reached)
        if self.globs is not None:
            for node in self.globs.matching(segment):
                _reach(node, reached)

    def intersecting(self, segment: str, spend: Callable[[int], None]) -> Iterator[_Node[_V]]:
        """Yield the nodes that a segment of another pattern leads to."""
        if "*" not in segment:
            reached: dict[_Node[_V], None] = {}
            self.go_down(segment, reached)
            yield from reached
            return
        glob = glob_of(segment)
        if self.is_deep:
            yield self
        spend(len(self.literals))
        yield from (node for text, node in self.literals.items() if glob_matches(glob, text))
        if self.globs is not None:
            yield from self.globs.intersecting(glob, spend)

    def children(self) -> Iterator[_Node[_V]]:
        """Yield the nodes that any segment leads to, without the deep node itself."""
        yield from self.literals.values()
        if self.globs is not None:
            yield from (node for _, node in self.globs)


class _Globs(Generic[_V]):
    """Segments with a `*`, by the texts that they begin and end with.

    A value is looked up once for each pair of lengths of those texts, not once for each segment.
    """

    __slots__ = ("_by_ends", "_lengths", "_sorted")

    def __init__(self) -> None:
        self._by_ends: dict[tuple[str, str], dict[Glob, _Node[_V]]] = {}
        self._lengths: set[tuple[int, int]] = set()
        self._sorted: list[tuple[str, str]] = []

    def below(self, glob: Glob) -> _Node[_V]:
        self._lengths.add((len(glob[0]), len(glob[-1])))
        return self._by_ends.setdefault((glob[0], glob[-1]), {}).setdefault(glob, _Node())

    def matching(self, text: str) -> Iterator[_Node[_V]]:
        for begin, end in self._lengths:
            same_ends = self._by_ends.get((text[:begin], text[len(text) - end :]))
            if same_ends is not None and begin + end <= len(text):
                yield from (node for glob, node in same_ends.items() if glob_matches(glob, text))

    def intersecting(self, glob: Glob, spend: Callable[[int], None]) -> Iterator[_Node[_V]]:
        """Yield the nodes of the segments that share a text with another one that has a `*`."""
        for ends in self._beginning_alike(glob[0]):
            same_ends = self._by_ends[ends]
            spend(len(same_ends))
            yield from (node for other, node in same_ends.items() if globs_intersect(glob, other))

    def _beginning_alike(self, begin: str) -> Iterator[tuple[str, str]]:
        """Yield the ends of which the first begins with *begin*, or the other way round."""
        if len(self._sorted) != len(self._by_ends):
            self._sorted = sorted(self._by_ends)
        shorter = sorted({length for length, _ in self._lengths if length < len(begin)})
        for wanted in [*(begin[:length] for length in shorter), begin]:
            at = bisect_left(self._sorted, (wanted, ""))
            for ends in islice(self._sorted, at, None):
                if not (ends[0].startswith(begin) if wanted == begin else ends[0] == wanted):
                    break
                yield ends

    def __iter__(self) -> Iterator[tuple[Glob, _Node[_V]]]:
        for same_ends in self._by_ends.values():
            yield from same_ends.items()


class PatternIndex(Generic[_V]):
    """Values, each kept with a pattern."""

    __slots__ = ("_literal_tree", "_literals", "_tree")

    def __init__(self) -> None:
        self._literals: dict[str, _V] = {}
        self._literal_tree: _Node[_V] | None = None
        self._tree: _Node[_V] | None = None

    def setdefault(self, pattern: Pattern, make: Callable[[], _V]) -> _V:
        """Return the value of *pattern*; if it has none yet, *make* one and keep it."""
        if pattern.is_literal:
            key = "/".join(pattern.segments)
            if key not in self._literals:
                self._literals[key] = make()
                self._literal_tree = None
            return self._literals[key]
        self._tree = self._tree or _Node()
        node = _leaf(self._tree, pattern.segments)
        if not node.values:
            node.values.append(make())
        return node.values[0]

    def matching(self, value: str) -> list[_V]:
        """Return the values of the patterns that match *value*."""
        text = value.removeprefix("/")
        found = [self._literals[text]] if value and text in self._literals else []
        if self._tree is None:
            return found
        nodes: dict[_Node[_V], None] = {}
        _reach(self._tree, nodes)
        for segment in text.split("/") if value else ():
            below: dict[_Node[_V], None] = {}
            for node in nodes:
                node.go_down(segment, below)
            nodes = below
        for node in nodes:
            found += node.values
        return found

    def intersecting(self, pattern: Pattern, spend: Callable[[int], None] = _for_free) -> Iterator[_V]:
        """Yield the values of the patterns that intersect *pattern*.

        Args:
            pattern: The pattern.
            spend: Is told of each comparison before it is made, by their number; it may raise.
        """
        trees = [self._literals_as_tree()] + ([self._tree] if self._tree else [])
        waiting = [(tree, 0) for tree in trees]
        seen = set(waiting)
        while waiting:
            spend(1)
            node, at = waiting.pop()
            if at == len(pattern.segments):
                yield from node.values
            for step in _steps(node, pattern.segments, at, spend):
                if step not in seen:
                    seen.add(step)
                    waiting.append(step)

    def _literals_as_tree(self) -> _Node[_V]:
        # Built on demand: only an analysis needs it, and it would double the cost of loading a policy.
        if self._literal_tree is None:
            self._literal_tree = _Node()
            for text, value in self._literals.items():
                _leaf(self._literal_tree, tuple(text.split("/"))).values.append(value)
        return self._literal_tree


def _leaf(node: _Node[_V], segments: tuple[str, ...]) -> _Node[_V]:
    for segment in segments:
        node = node.below(segment)
    return node


def _reach(node: _Node[_V] | None, reached: dict[_Node[_V], None]) -> None:
    """Add a node, and those that it leads to without a segment."""
    while node is not None and node not in reached:
        reached[node] = None
        node = node.deep


def _steps(
    node: _Node[_V], segments: tuple[str, ...], at: int, spend: Callable[[int], None]
) -> Iterator[tuple[_Node[_V], int]]:
    if node.deep is not None:
        yield node.deep, at
    if at == len(segments):
        return
    if segments[at] != _DEEP:
        yield from ((below, at + 1) for below in node.intersecting(segments[at], spend))
        return
    yield node, at + 1
    yield from ((below, at) for below in node.children())

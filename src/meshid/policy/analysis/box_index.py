"""Boxes by what they hold: those that meet a box, and those that hold a point."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from meshid.names.pattern import Pattern
from meshid.names.pattern_index import PatternIndex
from meshid.policy.analysis.boxes import Box
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.token_states import ANYTHING

_MATCH = 2
"""Steps for a look-up."""

_MANY = 16
"""Boxes that are looked up by the request, too."""


class BoxIndex:
    """Finds the boxes that intersect a pattern of peers and one of targets.

    Boxes of one name lie together as well: whoever has a token that gives a name is of any path.

    Args:
        boxes: The boxes.
        budget: What look-ups are paid from.
    """

    def __init__(self, boxes: Iterable[Box], budget: Budget) -> None:
        def tree() -> _Tree:
            return _Tree(budget)

        self._by_certificate = tree()
        self._by_token = tree()
        self._of: defaultdict[str | None, _Tree] = defaultdict(tree)
        self._tokens_of: defaultdict[str, _Tree] = defaultdict(tree)
        for box in boxes:
            if box.by_token is None:
                self._by_certificate.add(box)
                self._of[box.name].add(box)
            else:
                self._by_token.add(box)
                self._tokens_of[box.by_token].add(box)

    def intersecting(self, path: Pattern, target: Pattern) -> Iterator[Box]:
        """Yield the boxes that have a peer's path and a target in common with these."""
        yield from self.by_certificate(path, target)
        yield from self._by_token.intersecting(path, target)

    def by_certificate(self, path: Pattern, target: Pattern) -> Iterator[Box]:
        """Yield those of them for which a certificate is enough, whatever a token says."""
        return self._by_certificate.intersecting(path, target)

    def holding(self, path: str, target: str, request: str | None) -> Iterator[Box]:
        """Yield the boxes for which a certificate is enough that hold a peer's path and a target.

        Those that do not hold the path of a request may be left out, if there is one.
        """
        return self._by_certificate.matching(path, target, request)

    def named(self, name: str, target: Pattern, more: Collection[str] = ()) -> Iterator[Box]:
        """Yield the boxes that may hold whom a token gives a name: of patterns, and of that name.

        Args:
            name: The name.
            target: The pattern of the targets.
            more: More names that their certificates may have.
        """
        for each in dict.fromkeys((None, name, *more)):
            if each in self._of:
                yield from self._of[each].intersecting(ANYTHING, target)
        if name in self._tokens_of:
            yield from self._tokens_of[name].intersecting(ANYTHING, target)

    def meeting(self, box: Box, moved: Collection[str] = ()) -> Iterator[Box]:
        """Yield the boxes that may have something in common with one.

        Args:
            box: The box.
            moved: If the box is of another policy, the names whose certificates are not the same here.
        """
        path, target, _ = box.patterns
        if box.by_token is not None:
            yield from self.named(box.by_token, target, moved)
            return
        yield from self.by_certificate(path, target)
        if box.name is None:
            yield from self._by_token.intersecting(path, target)
        elif box.name in self._tokens_of:
            yield from self._tokens_of[box.name].intersecting(path, target)


class _Tree:
    """Boxes by the pattern of the peers' path, and then by that of the target."""

    def __init__(self, budget: Budget) -> None:
        self._spend = budget.spend
        self._by_path: PatternIndex[PatternIndex[_Leaf]] = PatternIndex()

    def add(self, box: Box) -> None:
        path, target, _ = box.patterns
        self._by_path.setdefault(path, PatternIndex[_Leaf]).setdefault(target, _Leaf).boxes.append(box)

    def intersecting(self, path: Pattern, target: Pattern) -> Iterator[Box]:
        for by_target in self._by_path.intersecting(path, self._spend):
            for leaf in by_target.intersecting(target, self._spend):
                self._spend(len(leaf.boxes))
                yield from leaf.boxes

    def matching(self, path: str, target: str, request: str | None) -> Iterator[Box]:
        for by_target in self._by_path.matching(path):
            for leaf in by_target.matching(target):
                boxes = leaf.boxes if request is None else leaf.matching(request)
                self._spend(_MATCH + len(boxes))
                yield from boxes


class _Leaf:
    """Boxes with the same two patterns; by the path of the request, if they are many."""

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self._by_request: PatternIndex[list[Box]] | None = None

    def matching(self, request: str) -> list[Box]:
        if len(self.boxes) < _MANY:
            return self.boxes
        if self._by_request is None:
            self._by_request = PatternIndex()
            for box in self.boxes:
                self._by_request.setdefault(box.patterns[2], list[Box]).append(box)
        return [box for boxes in self._by_request.matching(request) for box in boxes]

"""How near a rule is to matching: what it is compared with differs in few segments, or in few letters.

A refusal is made for any stranger, so what it looks at is bounded: of all patterns, the few that begin or end
as the text does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice
from operator import itemgetter

import attrs

from meshid.names.pattern import Pattern, glob_matches, glob_of
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.requests import Request
from meshid.policy.rules import ANY_METHOD, HttpCondition, Rule

OTHER = 80
"""A segment that is another one, missing or too many. Each segment that is the same counts against one."""

OTHER_DOMAIN = 32
"""The trust domain is another one: worse than a slip of the pen in a segment, better than another segment."""

OTHER_METHOD = 32
"""The method of a request is another one."""

NO_PATH = 2 * OTHER
"""There is no path to compare with: the rule is about a peer by name."""

MISSED_BY = {"trust domain": 1, "target": 2, "peer": 4}
"""Of two rules that are equally far, the one is nearer that misses by the lighter ones."""

_EDIT = 8
_SAME = -1
_SEGMENTS = 8
_LONGEST = 64
_LONGEST_SLIP = 4

_EACH_WAY = 4
_ALIKE = 8
_COMPARED = 64
_PAIRS = 256


def distance(pattern: Pattern, text: str) -> int:
    """Return how far a text is from matching a pattern: 0 if it matches.

    Otherwise, the edit distance of their first segments, where one that differs in few letters costs less.
    """
    if pattern.matches(text):
        return 0
    wanted = pattern.segments[:_SEGMENTS]
    found = text.removeprefix("/").split("/", _SEGMENTS)[:_SEGMENTS]
    if len(wanted) == len(found) and "**" not in wanted:
        # The usual case, and the quicker way.
        return max(1, sum(map(_between, wanted, found)))
    row = [OTHER * number for number in range(len(found) + 1)]
    for segment in wanted:
        if segment == "**":
            below = [row[0]]
            for at in range(1, len(row)):
                below.append(min(row[at], below[at - 1]))
        else:
            below = [row[0] + OTHER]
            for at, text_segment in enumerate(found, start=1):
                replaced = row[at - 1] + _between(segment, text_segment)
                below.append(min(replaced, row[at] + OTHER, below[-1] + OTHER))
        row = below
    return max(1, row[-1])


def _between(wanted: str, found: str) -> int:
    if wanted == found:
        return _SAME
    if "*" in wanted:
        return 0 if glob_matches(glob_of(wanted), found) else OTHER
    longest = max(len(wanted), len(found))
    # Of two short ones, each is a few letters from the other. A slip leaves one of the ends as it is.
    if longest > _LONGEST or 2 * abs(len(wanted) - len(found)) > longest:
        return OTHER
    if wanted[:1] != found[:1] and wanted[-1:] != found[-1:]:
        return OTHER
    edits = _edits(wanted, found)
    return _EDIT * edits if 2 * edits <= longest else OTHER


def _edits(one: str, two: str) -> int:
    """Return the edit distance (Levenshtein) of two segments; a large number if it is no slip of the pen."""
    one, two = _from_difference(one, two)
    # What they end with alike, read backwards.
    one, two = _from_difference(one[::-1], two[::-1])
    if max(len(one), len(two)) > _LONGEST_SLIP:
        return _LONGEST
    if not (one and two):
        return len(one or two)
    row = list(range(len(two) + 1))
    for number, a in enumerate(one, start=1):
        below = [number]
        for at, b in enumerate(two, start=1):
            below.append(min(row[at - 1] + (a != b), row[at] + 1, below[-1] + 1))
        row = below
    return row[-1]


def _from_difference(one: str, two: str) -> tuple[str, str]:
    alike = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        alike += 1
    return one[alike:], two[alike:]


class Distances:
    """How far patterns are from one text; only so many are compared with it.

    Args:
        text: The text.
        most: How many.
    """

    def __init__(self, text: str, most: int) -> None:
        self.text = text
        self._left = most
        self._known: dict[tuple[str, ...], int] = {}

    def to(self, pattern: Pattern) -> int | None:
        """Return the distance, 0 if it matches; None if too many were asked about."""
        if (known := self._known.get(pattern.segments)) is not None:
            return known
        if not self._left:
            return None
        self._left -= 1
        found = self._known[pattern.segments] = distance(pattern, self.text)
        return found


class Nearby:
    """Patterns of rules, found by a text that is near.

    Args:
        patterns: Each pattern, with the number of its rule; the numbers in order.
    """

    def __init__(self, patterns: Iterable[tuple[Pattern, int]]) -> None:
        entries: dict[str, tuple[Pattern, list[int]]] = {}
        for pattern, number in patterns:
            _, numbers = entries.setdefault("/".join(pattern.segments), (pattern, []))
            if len(numbers) < _ALIKE and number not in numbers:
                numbers.append(number)
        self._by_begin = sorted(entries.items(), key=itemgetter(0))
        self._by_end = sorted(((text[::-1], entry) for text, entry in entries.items()), key=itemgetter(0))

    def around(self, text: str) -> Iterator[tuple[Pattern, list[int]]]:
        """Yield the patterns that begin or end as the text does, each with the numbers of its first rules."""
        text = text.removeprefix("/")
        if len(self._by_begin) <= 2 * _EACH_WAY:
            yield from (entry for _, entry in self._by_begin)
            return
        for entries, wanted in ((self._by_begin, text), (self._by_end, text[::-1])):
            # What begins as a text does stands beside it in the order of letters.
            at = max(0, bisect_left(entries, wanted, key=itemgetter(0)) - _EACH_WAY // 2)
            yield from (entry for _, entry in entries[at : at + _EACH_WAY])


class NearbyRequests:
    """The conditions of rules, found by a request that is near."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._conditions = [(rule, each) for rule in rules for each in rule.http[:_PAIRS]]
        self._nearby = Nearby((each.path, number) for number, (_, each) in enumerate(self._conditions))

    def nearest(self, request: Request) -> Rule | None:
        """Return the rule that is nearest to being about a request; None if no rule has conditions."""
        found = (
            (_far_from(condition, request), number)
            for _, numbers in self._nearby.around(request.path)
            for number in numbers
            for _, condition in [self._conditions[number]]
        )
        best = min(found, default=None)
        return None if best is None else self._conditions[best[1]][0]


def nearest_condition(rule: Rule, request: Request) -> tuple[int, HttpCondition | None]:
    """Return how far a request is from the nearest condition of a rule, and that condition; 0 without any."""
    paths = set(near_ones([each.path for each in rule.http], request.path))
    found = [
        (_far_from(each, request), number) for number, each in enumerate(rule.http) if each.path in paths
    ]
    far, number = min(found, default=(0, -1))
    return far, rule.http[number] if found else None


def _far_from(condition: HttpCondition, request: Request) -> int:
    is_method = condition.method in {ANY_METHOD, request.method}
    return distance(condition.path, request.path) + (0 if is_method else OTHER_METHOD)


@attrs.frozen
class NearbyPeers:
    """The peers that rules are about: paths, by trust domain; and the first rules about peers by name."""

    by_domain: dict[TrustDomain | None, Nearby]
    named: list[int]


class Allowing:
    """The allow rules about the peers of one pattern, or about one target: what else they are about.

    It is put in order when somebody is refused for the first time.
    """

    __slots__ = ("_sources", "_targets", "numbers")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._sources: NearbyPeers | None = None
        self._targets: Nearby | None = None

    def targets(self, rules: tuple[Rule, ...]) -> Nearby:
        """Return their targets."""
        if self._targets is None:
            self._targets = Nearby(
                (target, number)
                for number in self.numbers
                for target in rules[number].targets[: _share(len(rules[number].known_by))]
            )
        return self._targets

    def sources(self, rules: tuple[Rule, ...]) -> NearbyPeers:
        """Return their peers."""
        if self._sources is None:
            found: dict[TrustDomain | None, list[tuple[Pattern, int]]] = {}
            for number in self.numbers:
                rule = rules[number]
                for source in rule.known_by[: _share(len(rule.targets))]:
                    found.setdefault(source.trust_domain, []).append((source.path, number))
            named = (each for each in self.numbers if rules[each].peers or not rules[each].known_by)
            self._sources = NearbyPeers(
                {domain: Nearby(patterns) for domain, patterns in found.items()}, [*islice(named, _ALIKE)]
            )
        return self._sources


def near_ones(patterns: Sequence[Pattern], text: str) -> Sequence[Pattern]:
    """Return the patterns that are compared with a text, if there are many: those that begin as it does."""
    if len(patterns) <= _COMPARED:
        return patterns
    found = text.removeprefix("/").split("/", _SEGMENTS)

    def is_far(pattern: Pattern) -> tuple[bool, int]:
        alike = 0
        for wanted, segment in zip(pattern.segments, found, strict=False):
            if wanted != segment:
                break
            alike += 1
        return not pattern.matches(text), -alike

    return nsmallest(_COMPARED, patterns, key=is_far)


def _share(others: int) -> int:
    # Of a rule with many of both, all pairs would take too much memory; a near miss is only words.
    return max(1, _PAIRS // max(1, others))

"""Patterns that look like a typo of another one: a guess, for a person to judge.

It looks for the slips that hands make: one letter too many, too few or wrong, or two that
changed places; a missing "/"; a `*` after a word that is a whole name elsewhere, so that
`agent*` matches `agentish` as well; a name that only begins like another one; and a method
that is nearly a registered one. Digits are not slips: `api-1` and `api-2` are two names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import attrs

from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.methods import REGISTERED
from meshid.policy.rules import ANY_METHOD, Rule

_SHORT = 4
"""The fewest letters of a word that can have a typo: `api` and `app` are two names."""


@attrs.frozen
class _Entry:
    """One pattern of a rule, and its place."""

    rule: Rule
    where: str
    text: str

    def alike(self, words: str) -> Finding:
        return Finding(FindingKind.LOOKALIKE, self.where, self.rule.id, words)


def lookalikes(rules: Iterable[Rule]) -> Iterator[Finding]:
    """Yield a finding for each pattern that looks like a typo of a commoner one."""
    rules = list(rules)
    yield from _among(
        [
            _Entry(rule, f"{rule.place}.from[{number}]", str(source))
            for rule in rules
            for number, source in enumerate(rule.sources)
        ]
    )
    yield from _among(
        [
            _Entry(rule, f"{rule.place}.to[{number}]", str(target))
            for rule in rules
            for number, target in enumerate(rule.targets)
        ]
    )
    yield from _methods(rules)


def _methods(rules: list[Rule]) -> Iterator[Finding]:
    slips = _Slips(Counter(REGISTERED))
    for rule in rules:
        for number, condition in enumerate(rule.http):
            unknown = condition.method not in {ANY_METHOD, *REGISTERED}
            if unknown and (others := slips.of(condition.method)):
                entry = _Entry(rule, f"{rule.place}.http[{number}]", str(condition))
                yield entry.alike(f"{condition.method!r} is not a registered method: is {others[0]!r} meant?")


def _among(entries: list[_Entry]) -> Iterator[Finding]:
    common = Counter(entry.text for entry in entries)
    slips = _Slips(common)
    unslashed: defaultdict[str, set[str]] = defaultdict(set)
    for text in common:
        unslashed[text.replace("/", "")].add(text)
    for entry in entries:
        text = entry.text
        if finding := _glued(entry, common):
            yield finding
        elif others := sorted(each for each in unslashed[text.replace("/", "")] if _more(each, text, common)):
            yield entry.alike(f"{text!r} differs from {others[0]!r} only by a '/': is one of them a typo?")
        elif others := slips.of(text):
            yield entry.alike(f"{text!r} looks like {others[0]!r}: is one of them a typo?")
        elif other := _begun(text, common):
            yield entry.alike(f"{text!r} begins like {other!r}, but is another name: is it meant?")


def _more(text: str, than: str, common: Counter[str]) -> bool:
    """Tell whether *text* is the right one of two: the commoner, or else the one with more segments."""

    def rank(each: str) -> tuple[int, int, str]:
        return -common[each], -each.count("/"), each

    return rank(text) < rank(than)


def _glued(entry: _Entry, common: Counter[str]) -> Finding | None:
    word = entry.text.removesuffix("*")
    if word == entry.text or word.endswith(("/", "-", ".", "_", "*")) or word not in common:
        return None
    words = (
        f"{entry.text!r} matches {word + 'ish'!r} as well as {word!r}: write {word!r}, or {word + '/**'!r}"
    )
    return entry.alike(words)


def _begun(text: str, common: Counter[str]) -> str | None:
    """Return the name that *text* goes on from in the same word."""
    if "*" in text or not text[-1:].isalpha():
        return None
    segment = len(text) - len(text.rpartition("/")[2])
    for end in range(len(text) - 1, segment + _SHORT - 1, -1):
        if not text[end:].isalpha():
            return None
        if text[:end] in common:
            return text[:end]
    return None


class _Slips:
    """Texts, indexed by every way to leave one letter out: two that are one slip apart share an entry."""

    def __init__(self, common: Counter[str]) -> None:
        self._common = common
        self._near: defaultdict[str, set[str]] = defaultdict(set)
        for text in common:
            for shorter in _shortened(text):
                self._near[shorter].add(text)

    def of(self, text: str) -> list[str]:
        near = {other for shorter in _shortened(text) for other in self._near[shorter]}
        return sorted(other for other in near if _more(other, text, self._common) and _is_slip(text, other))


def _shortened(text: str) -> Iterator[str]:
    yield text
    for at in range(len(text)):
        yield text[:at] + text[at + 1 :]


def _is_slip(one: str, two: str) -> bool:
    begin = next(
        (at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )
    end = 0
    while end < min(len(one), len(two)) - begin and one[-1 - end] == two[-1 - end]:
        end += 1
    changed = one[begin : len(one) - end], two[begin : len(two) - end]
    if not all(part.isalpha() or not part for part in changed):
        return False
    swapped = sorted(changed[0]) == sorted(changed[1]) and len(changed[0]) == len("ab")
    if not swapped and max(map(len, changed)) > 1:
        return False
    word = one[one.rfind("/", 0, begin) + 1 :].partition("/")[0]
    other = two[two.rfind("/", 0, begin) + 1 :].partition("/")[0]
    return min(len(word), len(other)) >= _SHORT

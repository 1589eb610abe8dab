"""Patterns that look like a typo of another one: a guess, for a person to judge.

It looks for the slips that hands make: one letter too many, too few or wrong, or two that
changed places, in a segment that stands where another one stands, after the same; a missing
"/"; a `*` after a word that is a whole name elsewhere, so that `agent*` matches `agentish` as
well; a name that only begins like another one; and a method that is nearly a registered one.
Digits are not slips: `api-1` and `api-2` are two names. Nor is what several rules say a slip,
and in the path of a request, an "s" at the end, or what one rule says of both (`/health`, `/healthz`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import attrs

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.analysis.written import WrittenLists
from meshid.policy.methods import REGISTERED
from meshid.policy.rules import ANY_METHOD, Rule, RuleSet

_SHORT = 4
"""The fewest letters of a word that can have a typo: `api` and `app` are two names."""

_LONG = 64
"""The most letters of a word that is compared: each way to leave one out is kept."""


@attrs.frozen
class _Entry:
    """One pattern of a rule, a set or a peer by name, and its place."""

    rule: Rule | None
    where: str
    text: str
    pattern: Pattern

    @property
    def owner(self) -> str:
        """What it is an entry of."""
        return self.where.partition(".")[0]

    @property
    def words(self) -> Iterator[tuple[str, str]]:
        """Its segments that can have a typo, each with the one before it."""
        before = ""
        for segment in self.pattern.segments:
            if _SHORT <= len(segment) <= _LONG:
                yield before, segment
            before = segment

    def alike(self, words: str) -> Finding:
        return Finding(FindingKind.LOOKALIKE, self.where, self.rule.id if self.rule else None, words)


def lookalikes(rules: RuleSet) -> Iterator[Finding]:
    """Yield a finding for each pattern that looks like a typo of a commoner one."""
    targets = [
        _Entry(rule, f"{rule.place}.to[{number}]", str(target), target)
        for rule in rules.rules
        for number, target in enumerate(rule.targets)
    ]
    requests = [
        _Entry(rule, f"{rule.place}.{name}[{number}]", str(condition.path), condition.path)
        for rule in rules.rules
        for name, conditions in (("http", rule.http), ("not_http", rule.not_http))
        for number, condition in enumerate(conditions)
    ]
    yield from _among(list(_peers(rules)))
    yield from _among(targets)
    words = _Vocabulary(requests)
    for entry in requests:
        yield from _misspelt(entry, words, plurals=True)
    yield from _methods(rules.rules)


def _peers(rules: RuleSet) -> Iterator[_Entry]:
    lists = WrittenLists(rules)
    for rule in rules.rules:
        for entry in (*lists.sources(rule), *lists.not_sources(rule)):
            if not entry.text.startswith("@"):
                yield _Entry(rule, entry.where, entry.text, PeerPattern.parse(entry.text).path)
    for each in rules.sets:
        yield from (_Entry(None, f"{each.place}.members", str(one), one.path) for one in each.sources)
    for peer in rules.peers:
        for number, one in enumerate(peer.spiffe):
            yield _Entry(None, f"{peer.place}.spiffe[{number}]", str(one), one.path)


def _methods(rules: Iterable[Rule]) -> Iterator[Finding]:
    slips = _Slips(Counter(REGISTERED), shortest=1)
    for rule in rules:
        for name, conditions in (("http", rule.http), ("not_http", rule.not_http)):
            for number, condition in enumerate(conditions):
                unknown = condition.method not in {ANY_METHOD, *REGISTERED}
                if unknown and (others := slips.of(condition.method)):
                    words = f"{condition.method!r} is not a registered method: is {others[0]!r} meant?"
                    where = f"{rule.place}.{name}[{number}]"
                    yield Finding(FindingKind.LOOKALIKE, where, rule.id, words)


def _among(entries: list[_Entry]) -> Iterator[Finding]:
    common = Counter(entry.text for entry in entries)
    words = _Vocabulary(entries)
    unslashed: defaultdict[str, set[str]] = defaultdict(set)
    for text in common:
        unslashed[text.replace("/", "")].add(text)
    for entry in entries:
        text = entry.text
        if not text.strip("/*"):
            continue
        if finding := _glued(entry, common):
            yield finding
        elif others := sorted(each for each in unslashed[text.replace("/", "")] if _more(each, text, common)):
            yield entry.alike(f"{text!r} differs from {others[0]!r} only by a '/': is one of them a typo?")
        elif findings := list(_misspelt(entry, words)):
            yield from findings
        elif other := _begun(text, common):
            yield entry.alike(f"{text!r} begins like {other!r}, but is another name: is it meant?")


def _misspelt(entry: _Entry, words: _Vocabulary, *, plurals: bool = False) -> Iterator[Finding]:
    """Yield a finding for the first word of an entry that is one slip away from a commoner one."""
    for before, word in entry.words:
        other = words.meant(before, word)
        if other is None or (plurals and _is_meant(entry, words, before, word, other)):
            continue
        one, two = repr(entry.text), repr(words.example(before, other))
        if len(entry.pattern.segments) > 1:
            one, two = f"{word!r} in {one}", f"{other!r} in {two}"
        yield entry.alike(f"{one} looks like {two}: is one of them a typo?")
        return


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


def _is_meant(entry: _Entry, words: _Vocabulary, before: str, word: str, other: str) -> bool:
    """Tell whether a word of a request is another one's plural, or both stand in one rule."""
    return word.removesuffix("s") == other.removesuffix("s") or words.has(before, other, entry.owner)


def respelt(pattern: Pattern, known: Iterable[Pattern]) -> Pattern | None:
    """Return a pattern with one word as it stands in a known one, if it is one slip away from that."""
    known = list(known)
    for at, word in enumerate(pattern.segments):
        for other in known:
            there = other.segments[at] if at < len(other.segments) else word
            if there != word and _is_slip(word, there, _SHORT):
                meant = Pattern("/" + "/".join((*pattern.segments[:at], there, *pattern.segments[at + 1 :])))
                if meant.intersects(other):
                    return meant
    return None


class _Vocabulary:
    """The words of some entries, by the word before each."""

    def __init__(self, entries: Iterable[_Entry]) -> None:
        self._owners: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._examples: dict[tuple[str, str], str] = {}
        for entry in entries:
            for each in entry.words:
                self._owners[each].add(entry.owner)
                self._examples.setdefault(each, entry.text)
        self._count: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for (before, word), its in self._owners.items():
            self._count[before][word] = len(its)
        self._slips = {before: _Slips(count) for before, count in self._count.items() if len(count) > 1}

    def meant(self, before: str, word: str) -> str | None:
        """Return the commoner word that one may be a slip of."""
        if self._count[before][word] > 1 or before not in self._slips:
            return None
        return next(iter(self._slips[before].of(word)), None)

    def has(self, before: str, word: str, owner: str) -> bool:
        """Tell whether a word stands in a rule."""
        return owner in self._owners[before, word]

    def example(self, before: str, word: str) -> str:
        """Return a text that a word stands in."""
        return self._examples[before, word]


class _Slips:
    """Texts, indexed by every way to leave one letter out: two that are one slip apart share an entry."""

    def __init__(self, common: Counter[str], shortest: int = _SHORT) -> None:
        self._common = common
        self._shortest = shortest
        self._near: defaultdict[str, set[str]] = defaultdict(set)
        for text in common:
            for shorter in _shortened(text):
                self._near[shorter].add(text)

    def of(self, text: str) -> list[str]:
        near = {other for shorter in _shortened(text) for other in self._near[shorter]}
        alike = (other for other in near if _more(other, text, self._common))
        return sorted(other for other in alike if _is_slip(text, other, self._shortest))


def _shortened(text: str) -> Iterator[str]:
    yield text
    for at in range(len(text)):
        yield text[:at] + text[at + 1 :]


def _is_slip(one: str, two: str, shortest: int) -> bool:
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
    return min(len(one), len(two)) >= shortest

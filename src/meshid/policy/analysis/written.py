"""The entries of a rule's lists as they are written, and what each stands for: a set, for its members."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import attrs

from meshid.names.peer_pattern import PeerPattern
from meshid.policy.named_peers import PeerSet
from meshid.policy.rules import Rule, RuleSet


@attrs.frozen
class WrittenEntry:
    """An entry of a list, as it is written.

    Attributes:
        text: Its text.
        where: Its place in the file.
        numbers: The indices of what it stands for: in `Rule.who`, ``to``, ``http``, ``not_sources``
            or ``not_http``.
    """

    text: str
    where: str
    numbers: frozenset[int]


class WrittenLists:
    """Knows what the names in lists stand for.

    Args:
        rules: Everything that a file says for an environment.
    """

    def __init__(self, rules: RuleSet) -> None:
        self._sets = {each.name: each for each in rules.sets}
        self._peers = {each.name: each for each in rules.peers}

    def included(self, rule: Rule) -> tuple[list[WrittenEntry], list[WrittenEntry], list[WrittenEntry]]:
        """Return the entries of ``from``, ``to`` and ``http``."""
        return self.sources(rule), _plain(rule, "to", rule.targets), _plain(rule, "http", rule.http)

    def sources(self, rule: Rule) -> list[WrittenEntry]:
        """Return the entries of ``from``."""
        at = _indices(rule.sources)
        named = {peer.name: number for number, peer in enumerate(rule.peers, len(rule.sources))}

        def of_name(name: str) -> Iterator[int]:
            one = self._sets.get(name, PeerSet(name=name))
            yield from (number for each in one.sources for number in at[each])
            yield from (named[each] for each in (name, *(peer.name for peer in one.peers)) if each in named)

        # Those that are written stand before those of sets, each as often as it is written.
        written = iter(range(len(rule.sources)))
        return [
            WrittenEntry(
                text,
                f"{rule.place}.from[{number}]",
                frozenset(of_name(text[1:])) if text.startswith("@") else frozenset((next(written),)),
            )
            for number, text in enumerate(rule.listed_from)
        ]

    def not_sources(self, rule: Rule) -> list[WrittenEntry]:
        """Return the entries of ``not_from``."""
        at = _indices(rule.not_sources)

        def of_name(name: str) -> Iterator[PeerPattern]:
            one = self._sets.get(name)
            peers = one.peers if one is not None else [self._peers[name]] if name in self._peers else []
            yield from () if one is None else one.sources
            yield from (pattern for peer in peers for pattern in peer.spiffe)

        def of_entry(text: str) -> Iterator[int]:
            patterns = of_name(text[1:]) if text.startswith("@") else (PeerPattern.parse(text),)
            yield from (number for each in patterns for number in at[each])

        return [
            WrittenEntry(text, f"{rule.place}.not_from[{number}]", frozenset(of_entry(text)))
            for number, text in enumerate(rule.listed_not_from)
        ]

    def not_http(self, rule: Rule) -> list[WrittenEntry]:
        """Return the entries of ``not_http``."""
        return _plain(rule, "not_http", rule.not_http)


def _plain(rule: Rule, name: str, entries: Sequence[object]) -> list[WrittenEntry]:
    return [
        WrittenEntry(str(entry), f"{rule.place}.{name}[{number}]", frozenset((number,)))
        for number, entry in enumerate(entries)
    ]


def _indices(patterns: Iterable[PeerPattern]) -> defaultdict[PeerPattern, list[int]]:
    at: defaultdict[PeerPattern, list[int]] = defaultdict(list)
    for number, pattern in enumerate(patterns):
        at[pattern].append(number)
    return at

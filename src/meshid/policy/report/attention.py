"""What an auditor looks at first: what is wide, what belongs to others, what decides nothing, what ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import attrs

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.automata import Words, shortest
from meshid.policy.analysis.token_states import ANYTHING
from meshid.policy.rules import Rule


@attrs.frozen(order=True)
class Wide:
    """An entry with a ``**``.

    Attributes:
        is_part: Whether it leaves some of the peers of its trust domains, or some of the targets, out.
        where: ``from`` or ``to``.
        entry: The entry.
        rules: The ids of the rules that have it.
    """

    is_part: bool
    where: str
    entry: str
    rules: tuple[str, ...]

    @property
    def meaning(self) -> str:
        """What it holds, in a few words."""
        if self.is_part:
            return "many of them"
        if self.where == "to":
            return "every target"
        domain = PeerPattern.parse(self.entry).trust_domain
        return f"every peer of {'its own trust domains' if domain is None else domain}"


def wide_entries(rules: Iterable[Rule]) -> list[Wide]:
    """Return the entries with a ``**``, those that hold everything first."""
    having: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    patterns: dict[tuple[str, str], Pattern] = {}
    for rule in rules:
        entries = [("from", str(each), each.path) for each in rule.known_by]
        entries += [("to", str(each), each) for each in rule.targets]
        for where, entry, pattern in entries:
            if "**" in pattern.segments:
                patterns[where, entry] = pattern
                having[where, entry][rule.id] = None
    return sorted(
        Wide(not _is_everything(where, pattern), where, entry, tuple(having[where, entry]))
        for (where, entry), pattern in patterns.items()
    )


def _is_everything(where: str, pattern: Pattern) -> bool:
    words = Words.PEER_PATHS if where == "from" else Words.TARGETS
    return shortest(words, (ANYTHING,), (pattern,)) is None


def federated_entries(
    rules: Iterable[Rule], federated: Iterable[TrustDomain]
) -> dict[TrustDomain, list[tuple[str, Rule]]]:
    """Return, for each trust domain of others, each entry that is about its peers, with the rule."""
    found: dict[TrustDomain, list[tuple[str, Rule]]] = {domain: [] for domain in federated}
    for rule in rules:
        for source in dict.fromkeys(rule.known_by):
            if source.trust_domain in found:
                found[source.trust_domain].append((str(source), rule))
    return found

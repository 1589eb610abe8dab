"""Exceptions that except nothing: what is left of a rule is the same without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Self

import attrs

from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.boxes import HANDSHAKE, Product
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.extent import Extent, Patterns
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.analysis.prove import cells
from meshid.policy.analysis.regions import shortest_access
from meshid.policy.analysis.token_states import ANYTHING, Naming
from meshid.policy.analysis.written import WrittenEntry, WrittenLists
from meshid.policy.methods import judged
from meshid.policy.rules import ANY_METHOD, Rule, RuleSet
from meshid.support.quoting import quote

_LOOK = 2
"""Steps to compare two patterns."""


class Exceptions:
    """Looks at the exceptions of the rules that are left when those that do nothing are gone.

    Args:
        rules: Everything that a file says for an environment.
        budget: What it is paid from.
    """

    def __init__(self, rules: RuleSet, budget: Budget) -> None:
        self._own = rules.environment.trust_domains
        self._budget = budget
        self._names = Naming(rules)
        self._lists = WrittenLists(rules)
        self._methods = judged(rules.rules)
        self._known = judged(rule for rule in rules.rules if rule.observe)

    def findings(self, left: Iterable[Product]) -> Iterator[Finding]:
        """Yield what excepts nothing, from the last entry of a rule to the first.

        Args:
            left: What is left of each rule that is left.

        Raises:
            PolicyTooComplex: If the budget does not last.
        """
        left = list(left)
        naming: Counter[str] = Counter()
        for part in left:
            naming.update({method for _, method, _ in part.requests if method is not None})
            naming.update(each.method for each in part.rule.not_http)
        for part in left:
            self._budget.turn_to(part.rule)
            yield from self._of_peers(part.rule)
            yield from self._of_requests(part.rule, naming)

    def _of_peers(self, rule: Rule) -> Iterator[Finding]:
        entries = self._lists.not_sources(rule)
        count = Counter(number for entry in entries for number in entry.numbers)
        # Targets are not excepted; if no requests are, one of them is as good as all.
        whole = _first(Product.of(rule), is_one_request=not rule.not_http)
        for entry in reversed(entries):
            alone = {number for number in entry.numbers if count[number] == 1}
            kept = [
                number for number in range(len(rule.not_sources)) if count[number] and number not in alone
            ]
            rest = attrs.evolve(rule, not_sources=tuple(rule.not_sources[number] for number in kept))
            holes = [_Hole.of_peers(rule.not_sources[number], self._own) for number in sorted(alone)]
            if not any(self._excepts(hole, whole, rest) for hole in holes):
                count.subtract(entry.numbers)
                yield self._nothing(entry, holes, whole)

    def _of_requests(self, rule: Rule, naming: Counter[str]) -> Iterator[Finding]:
        kept = list(rule.not_http)
        whole = _first(Product.of(rule))
        for entry, condition in zip(
            reversed(self._lists.not_http(rule)), reversed(rule.not_http), strict=True
        ):
            # The last exception makes it a rule about requests; a method may be judged only as one names it.
            if (len(kept) == 1 and not rule.http) or (
                condition.method not in self._known | {ANY_METHOD} and naming[condition.method] == 1
            ):
                continue
            others = kept[::-1]
            others.remove(condition)
            rest = attrs.evolve(rule, not_http=tuple(others[::-1]))
            hole = _Hole(None, condition.method, (ANYTHING, ANYTHING, condition.path))
            if not self._excepts(hole, whole, rest):
                kept = others[::-1]
                naming[condition.method] -= 1
                yield self._nothing(entry, [hole], whole)

    def _nothing(self, entry: WrittenEntry, holes: list[_Hole], whole: Product) -> Finding:
        plain = attrs.evolve(whole.rule, not_sources=(), not_http=())
        if any(self._excepts(hole, whole, plain) for hole in holes):
            why = "other exceptions of the rule leave nothing of it"
        else:
            why = "the rule is about none of it"
        words = f"{quote(entry.text)} excepts nothing, and can go: {why}"
        return Finding(FindingKind.POINTLESS, entry.where, whole.rule.id, words)

    def _excepts(self, hole: _Hole, whole: Product, rest: Rule) -> bool:
        """Tell whether a rule with the *rest* of its exceptions has something of a hole."""
        for box in whole.boxes():
            self._budget.spend(_LOOK)
            if not all(one.intersects(two) for one, two in zip(hole.patterns, box.patterns, strict=True)):
                continue
            left = attrs.evolve(box, rule=rest)
            for cell in cells(left, [box], self._names.domains(left), self._names, self._methods):
                if not hole.is_in(cell.domain, cell.method):
                    continue
                inside = left.extent(cell.domain, self._own, cell.method), Extent(hole.patterns)
                if shortest_access([cell.region(inside, ())], self._budget) is not None:
                    return True
        return False


@attrs.frozen
class _Hole:
    """What an exception leaves out: peers of some trust domains (None: any), or requests of a method."""

    domains: tuple[TrustDomain, ...] | None
    method: str | None
    patterns: Patterns

    @classmethod
    def of_peers(cls, peers: PeerPattern, own: tuple[TrustDomain, ...]) -> Self:
        return cls(peers.domains(own), None, (peers.path, ANYTHING, ANYTHING))

    def is_in(self, domain: TrustDomain, method: str) -> bool:
        if self.domains is not None and domain not in self.domains:
            return False
        return self.method is None or (method != HANDSHAKE and self.method in {ANY_METHOD, method})


def _first(product: Product, *, is_one_request: bool = False) -> Product:
    requests = product.requests[:1] if is_one_request else product.requests
    return attrs.evolve(product, targets=product.targets[:1], requests=requests)

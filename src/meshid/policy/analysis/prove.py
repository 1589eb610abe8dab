"""A proof that no peer of one pattern reaches any target of another, or the shortest counterexample.

What counts is what `decide` allows, at a handshake or for a request. A connection that is
let through to await its requests reaches nothing by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import attrs

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.answers import Access
from meshid.policy.analysis.box_index import BoxIndex
from meshid.policy.analysis.boxes import HANDSHAKE, Box, BoxesByName, boxes_of
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.extent import Extent
from meshid.policy.analysis.regions import Region, shortest_access
from meshid.policy.analysis.token_states import ANYTHING, Elsewhere, Naming, TokenState
from meshid.policy.methods import judged
from meshid.policy.rules import ANY_METHOD, Effect, Rule, RuleSet

_COMMON = ("GET", "PUT", "POST", "HEAD", "PATCH", "DELETE")


def find_access(rules: RuleSet, peers: PeerPattern, targets: Pattern) -> Access | None:
    """Return the shortest access to one of *targets* that the rules allow a peer of *peers*, if any.

    Raises:
        PolicyTooComplex: If the rules are too entangled for an exact answer.
    """
    asked = Extent((peers.path, targets, ANYTHING))
    budget = Budget(rules)
    own = rules.environment.trust_domains
    naming = Naming(rules)
    if rules.observe:
        everybody = (Region(domain, HANDSHAKE, (asked,), ()) for domain in peers.domains(own))
        return shortest_access(everybody, budget)
    enforced = [rule for rule in rules.rules if not rule.observe]
    allows = _index(Effect.ALLOW, enforced, budget)
    denies = _index(Effect.DENY, enforced, budget)
    methods = judged(rules.rules)

    def regions() -> Iterator[Region]:
        for box in allows.intersecting(peers.path, targets):
            budget.turn_to(box.rule)
            against = list(denies.meeting(box))
            denying = BoxesByName(against)
            for cell in cells(box, against, peers.domains(own), naming, methods):
                outside = tuple(
                    deny.extent(cell.domain, own, cell.method)
                    for deny in denying.of(cell.domain, own, cell.method, cell.state)
                )
                yield cell.region((asked, box.extent(cell.domain, own, cell.method)), outside)

    return shortest_access(regions(), budget)


def _index(effect: Effect, rules: list[Rule], budget: Budget) -> BoxIndex:
    boxes = (box for rule in rules if rule.effect is effect for box in boxes_of(rule, budget))
    return BoxIndex(boxes, budget)


@attrs.frozen
class Slice:
    """A slice of a box: peers of one trust domain, in one state, with requests of one method.

    Attributes:
        domain: The trust domain.
        method: The method; `HANDSHAKE` for none.
        state: What the peers show beside their certificates.
        naming: Which peers can be in that state.
    """

    domain: TrustDomain
    method: str
    state: TokenState
    naming: Naming

    def region(
        self,
        inside: tuple[Extent, ...],
        outside: tuple[Extent, ...],
        elsewhere: tuple[Elsewhere, ...] = (),
    ) -> Region:
        """Return what is in all of *inside*, in none of *outside* nor *elsewhere*, and in the state."""
        if self.state.has_token:
            elsewhere = (Elsewhere(self.naming, self.domain, self.state), *elsewhere)
        return Region(self.domain, self.method, inside, outside, elsewhere, self.state, self.naming)


def cells(
    box: Box, others: list[Box], domains: Iterable[TrustDomain], naming: Naming, methods: Collection[str]
) -> Iterator[Slice]:
    """Yield each trust domain, method and state of a box in which it may hold more than the others."""
    return cells_of(box, domains, naming, methods_told(box, others, methods), naming.states(box, others))


def methods_told(box: Box, others: list[Box], methods: Collection[str]) -> list[str]:
    """Return the methods in which boxes may differ: one stands for all of *methods* that none names."""
    named = {method for each in (box, *others) for method in each.methods} - {None, ANY_METHOD}
    other = next((each for each in (*_COMMON, *sorted(methods)) if each not in named), None)
    return [HANDSHAKE, *(str(each) for each in (*sorted(named, key=str), other) if each is not None)]


def cells_of(
    box: Box,
    domains: Iterable[TrustDomain],
    naming: Naming,
    methods: Collection[str],
    states: Iterable[TokenState],
) -> Iterator[Slice]:
    """Yield each trust domain, method and state of those given that a box holds peers of."""
    states = tuple(states)
    for domain in domains:
        for state in states:
            if naming.is_possible(domain, state):
                for method in methods:
                    if box.is_of(domain, naming.own, method, state):
                        yield Slice(domain, method, state, naming)

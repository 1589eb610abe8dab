"""A proof that no peer of one pattern reaches any target of another, or the shortest counterexample.

What counts is what `decide` allows, at a handshake or for a request. A connection that is
let through to await its requests reaches nothing by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.answers import Access
from meshid.policy.analysis.boxes import ANYTHING, HANDSHAKE, Box, BoxIndex, boxes_of
from meshid.policy.analysis.regions import Region, shortest_access
from meshid.policy.methods import judged
from meshid.policy.rules import ANY_METHOD, Effect, RuleSet

_COMMON = ("GET", "PUT", "POST", "HEAD", "PATCH", "DELETE")


def find_access(rules: RuleSet, peers: PeerPattern, targets: Pattern) -> Access | None:
    """Return the shortest access to one of *targets* that the rules allow a peer of *peers*, if any.

    Raises:
        PolicyTooComplex: If the rules are too entangled for an exact answer.
    """
    asked = (peers.path, targets, ANYTHING)
    own = rules.environment.trust_domains
    if rules.observe:
        return shortest_access(Region(domain, HANDSHAKE, (asked,), ()) for domain in peers.domains(own))
    enforced = [rule for rule in rules.rules if not rule.observe]
    allows = BoxIndex(box for rule in enforced if rule.effect is Effect.ALLOW for box in boxes_of(rule))
    denies = BoxIndex(box for rule in enforced if rule.effect is Effect.DENY for box in boxes_of(rule))
    methods = judged(rules.rules)

    def regions() -> Iterator[Region]:
        for box in allows.intersecting(peers.path, targets):
            path, target, _ = box.patterns
            against = list(denies.intersecting(path, target))
            for domain, method in cells(box, against, peers.domains(own), own, methods):
                outside = tuple(deny.seen_with(method) for deny in against if deny.is_of(domain, own, method))
                yield Region(domain, method, (asked, box.seen_with(method)), outside)

    return shortest_access(regions())


def cells(
    box: Box,
    others: list[Box],
    domains: tuple[TrustDomain, ...],
    own: tuple[TrustDomain, ...],
    methods: Collection[str],
) -> Iterator[tuple[TrustDomain, str]]:
    """Yield each trust domain and method of a box in which the others may differ.

    One method stands for all of *methods* that no box names.
    """
    named = {each.method for each in (box, *others)} - {None, ANY_METHOD}
    other = next((each for each in (*_COMMON, *sorted(methods)) if each not in named), None)
    told = [*sorted(named, key=str), other]
    for domain in domains:
        for method in (HANDSHAKE, *(str(each) for each in told if each is not None)):
            if box.is_of(domain, own, method):
                yield domain, method

"""A proof that no peer of one pattern reaches any target of another, or the shortest counterexample.

What counts is what `decide` allows, at a handshake or for a request. A connection that is
let through to await its requests reaches nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.answers import Access
from meshid.policy.analysis.boxes import ANYTHING, HANDSHAKE, Box, BoxIndex, boxes_of
from meshid.policy.analysis.regions import Region, shortest_access
from meshid.policy.rules import ANY_METHOD, Effect, RuleSet

_METHODS = ("GET", "PUT", "POST", "HEAD", "PATCH", "DELETE")


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

    def regions() -> Iterator[Region]:
        for box in allows.intersecting(peers.path, targets):
            path, target, _ = box.patterns
            against = list(denies.intersecting(path, target))
            for domain, method in cells(box, against, peers.domains(own), own):
                outside = tuple(deny.seen_with(method) for deny in against if deny.is_of(domain, own, method))
                yield Region(domain, method, (asked, box.seen_with(method)), outside)

    return shortest_access(regions())


def cells(
    box: Box, others: list[Box], domains: tuple[TrustDomain, ...], own: tuple[TrustDomain, ...]
) -> Iterator[tuple[TrustDomain, str]]:
    """Yield each trust domain and method of a box in which the others may differ.

    One method stands for all that no box names.
    """
    named = sorted({each.method for each in (box, *others)} - {None, ANY_METHOD}, key=str)
    other = next(method for method in (*_METHODS, "X" * 32) if method not in named)
    for domain in domains:
        for method in (HANDSHAKE, *map(str, named), other):
            if box.is_of(domain, own, method):
                yield domain, method

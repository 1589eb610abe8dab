"""A proof that no peer of one pattern reaches any target of another, or the shortest counterexample.

What counts is what `decide` allows at a handshake and for each request. A connection that
is let through because its requests will be judged is judged by them.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from meshid.decisions import Decision
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.boxes import ANYTHING, HANDSHAKE, Box, BoxIndex, boxes_of
from meshid.policy.analysis.regions import Access, Region, shortest_access
from meshid.policy.rules import ANY_METHOD, Effect, Environment, RuleSet

_METHODS = ("GET", "PUT", "POST", "HEAD", "PATCH", "DELETE")


@attrs.frozen
class Counterexample:
    """A peer that reaches what it should not.

    Attributes:
        access: The peer, the target and the request.
        decision: What `decide` says of it.
    """

    access: Access
    decision: Decision

    def __str__(self) -> str:
        """Return a sentence."""
        rule = f' by rule "{self.decision.rule}"' if self.decision.rule else ""
        return f"{self.access} is {self.decision.reason}{rule}"


@attrs.frozen
class Proof:
    """What was asked, and whether it holds for all names and all targets.

    Attributes:
        never: The peers.
        reach: The targets.
        environment: The environment of the policy.
        policy_hash: SHA-256 of the policy, in hex.
        counterexample: The shortest one; None if there is none at all.
    """

    never: PeerPattern
    reach: Pattern
    environment: Environment
    policy_hash: str
    counterexample: Counterexample | None

    @property
    def holds(self) -> bool:
        """Whether there is no counterexample."""
        return self.counterexample is None

    def __bool__(self) -> bool:
        """Tell whether it holds."""
        return self.holds

    def __str__(self) -> str:
        """Return it in words."""
        verdict = "holds" if self.counterexample is None else "does not hold"
        lines = [f"{verdict} in {self.environment.name!r}: {self.never} never reaches {self.reach}"]
        lines += [f"  {self.counterexample}"] if self.counterexample else []
        domain = self.never.trust_domain
        if domain not in (None, *self.environment.trust_domains, *self.environment.federates_with):
            lines.append(
                f"  environment {self.environment.name!r} neither has nor federates with {domain}:"
                " is the name right?"
            )
        lines.append(f"  policy {self.policy_hash}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        example = self.counterexample
        return {
            "holds": self.holds,
            "never": str(self.never),
            "reach": str(self.reach),
            "environment": self.environment.name,
            "policy_hash": self.policy_hash,
            "counterexample": {**example.access.as_dict(), "rule": example.decision.rule}
            if example
            else None,
        }


def find_access(rules: RuleSet, peers: PeerPattern, targets: Pattern) -> Access | None:
    """Return the shortest access that the rules allow a peer of *peers* to one of *targets*; None if none.

    Raises:
        PolicyTooComplex: If the rules are too entangled to tell.
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

    Of the methods that none of them names, one stands for all.
    """
    named = sorted({each.method for each in (box, *others)} - {None, ANY_METHOD}, key=str)
    other = next(method for method in (*_METHODS, "X" * 32) if method not in named)
    for domain in domains:
        for method in (HANDSHAKE, *map(str, named), other):
            if box.is_of(domain, own, method):
                yield domain, method

"""Why: what every rule says of a peer, and which would have let it in but for one thing."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from meshid.decisions import Decision
from meshid.names import SpiffeId
from meshid.policy.model import Effect, Environment, Rule
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike
from meshid.text import quote, quote_all

MAX_NEAREST = 3
"""Near misses that an explanation shows; the first is the one that a decision tells."""

# How far a rule is off that misses by this: a name is nearer in another trust domain than by another path.
_WEIGHTS = {"trust domain": 1, "request": 1, "target": 2, "peer": 3}


@attrs.frozen
class RuleLook:
    """What one rule says of a peer.

    Attributes:
        rule: The rule.
        misses: Why it does not match, in words, by what it misses: ``trust domain``,
            ``peer``, ``target`` or ``request``; empty if it matches.
    """

    rule: Rule
    misses: dict[str, str]

    @property
    def matches(self) -> bool:
        """Whether the rule matches."""
        return not self.misses

    @property
    def distance(self) -> int:
        """How far off it is; 0 if it matches."""
        return sum(_WEIGHTS[miss] for miss in self.misses)

    def __str__(self) -> str:
        """Return a sentence."""
        verb = "observes and " if self.rule.observe else ""
        if not self.misses:
            return f'{self.rule.effect} rule "{self.rule.id}" {verb}matches'
        but = ", and for ".join(f"the {miss}: {words}" for miss, words in self.misses.items())
        return f'{self.rule.effect} rule "{self.rule.id}" {verb}matches but for {but}'


@attrs.frozen
class Explanation:
    """A decision, and what every rule had to say.

    Attributes:
        decision: The decision.
        rules: A look at every rule, sorted by id; none if the request was unsafe.
    """

    decision: Decision
    rules: tuple[RuleLook, ...]

    @property
    def nearest(self) -> tuple[RuleLook, ...]:
        """The allow rules that miss by least, the nearest first; none if the peer is let in."""
        return () if self.decision.allowed else _nearest(self.rules)

    def __str__(self) -> str:
        """Return the explanation as lines for a person."""
        decision = self.decision
        verdict = "allowed" if decision.allowed else "refused"
        request = f" for {decision.request}" if decision.request else ""
        lines = [f"{verdict}: {decision.name} at {quote(decision.target or '')}{request}"]
        lines.append(f"  {decision.reason.meaning}")
        lines += [f"  {look}" for look in self.rules if look.matches]
        lines += [f"  near: {look}" for look in self.nearest]
        lines.append(f"  policy {decision.policy_hash}")
        return "\n".join(lines)


def look_at_all(
    rules: Iterable[Rule],
    spiffe_id: SpiffeId,
    target: str,
    request: RequestLike,
    environment: Environment,
) -> tuple[RuleLook, ...]:
    """Look at every rule."""
    return tuple(RuleLook(rule, _misses(rule, spiffe_id, target, request, environment)) for rule in rules)


def nearest(
    rules: Iterable[Rule],
    spiffe_id: SpiffeId,
    target: str,
    request: RequestLike,
    environment: Environment,
) -> str:
    """Return the nearest miss as a sentence, or that there is none."""
    near = _nearest(look_at_all(rules, spiffe_id, target, request, environment))
    return str(near[0]) if near else f"no allow rule comes near {spiffe_id} at {quote(target)}"


def _nearest(looks: Iterable[RuleLook]) -> tuple[RuleLook, ...]:
    allows = [look for look in looks if look.rule.effect is Effect.ALLOW and not look.rule.observe]
    # A rule about another peer and another target has nothing to do with it.
    near = [look for look in allows if look.misses and not look.misses.keys() >= {"peer", "target"}]
    return tuple(sorted(near, key=lambda look: (look.distance, look.rule.id))[:MAX_NEAREST])


def _misses(
    rule: Rule, spiffe_id: SpiffeId, target: str, request: RequestLike, environment: Environment
) -> dict[str, str]:
    misses = _name_misses(rule, spiffe_id, environment)
    if not any(each.matches(target) for each in rule.targets):
        misses["target"] = f"it is {quote(target)}, the rule is to {_shown(rule.targets)}"
    return misses | _request_misses(rule, request)


def _name_misses(rule: Rule, spiffe_id: SpiffeId, environment: Environment) -> dict[str, str]:
    own = environment.trust_domains
    if any(each.matches(spiffe_id, own) for each in rule.sources):
        return {}
    by_path = [each for each in rule.sources if each.path.matches(spiffe_id.path)]
    if not by_path:
        return {"peer": f"it is {quote(spiffe_id.path)}, the rule is from {_shown(rule.sources)}"}
    domains = sorted({str(each.trust_domain or own[0]) for each in by_path})
    return {"trust domain": f"peer is {spiffe_id.trust_domain}, rule is {' or '.join(domains)}"}


def _request_misses(rule: Rule, request: RequestLike) -> dict[str, str]:
    if not rule.http or request is REQUEST_FOLLOWS:
        return {}
    if isinstance(request, Request):
        if rule.is_for(request):
            return {}
        return {"request": f"it is {quote(str(request))}, the rule is for {_shown(rule.http)}"}
    # At a handshake without requests to come, a deny rule for some of them denies all.
    if rule.effect is Effect.DENY:
        return {}
    return {"request": f"there is none to judge, the rule is for {_shown(rule.http)}"}


def _shown(patterns: Iterable[object]) -> str:
    return quote_all([str(each) for each in patterns], limit=3)

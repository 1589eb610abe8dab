"""Why: what every rule says of a peer, and which allow rules nearly let it in.

Which rule is the nearest depends on the peer and the target, and the request only adds to the words;
but a rule that lacks nothing but a token is nearer than one for other requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import attrs

from meshid.decisions import Decision
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.agreement import Standing
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike
from meshid.policy.rules import Effect, Environment, Rule
from meshid.support.quoting import quote, quote_all

MAX_NEAR_MISSES = 3
"""Near misses that an explanation shows; the first is also the detail of the decision."""

MAX_LOOKED_AT = 250
"""Patterns of one rule that are looked at to find words for a refusal; `Policy.explain` looks at all."""

# How far off a rule is that misses by these: the same path in another trust domain is nearer than
# another path. Each weighs more than the lighter ones together. What a peer only has to send, a request
# or a token, weighs nothing.
_WEIGHTS = {"trust domain": 1, "target": 2, "peer": 4}
_NOT_NEAR = _WEIGHTS["peer"] + _WEIGHTS["target"]
_EXCEPTION, _END = "exception", "end"
_OF_THE_RULE = frozenset({_EXCEPTION, _END})
_FEW = 3
_QUOTES = ("'", '"')


@attrs.frozen
class Miss:
    """One thing that keeps a rule from matching.

    Attributes:
        by: What does not match: ``trust domain``, ``peer``, ``target``, ``evidence`` or ``request``;
            ``exception``, for what ``not_from`` or ``not_http`` leaves out; ``end``, for a last day that is
            over.
        words: What was found, and what the rule wants.
    """

    by: str
    words: str

    def __str__(self) -> str:
        if self.by == _EXCEPTION:
            return f"the rule leaves out {self.words}"
        if self.by == _END:
            return f"its last day was {self.words}"
        return f"the {self.by}: {self.words}"


@attrs.frozen
class RuleLook:
    """What one rule says of a peer.

    Attributes:
        rule: The rule.
        misses: What keeps it from matching; may be empty.
        awaits: Whether it depends on a request or a token that is still to come.
        token: The token that it depends on, in words; empty for none.
    """

    rule: Rule
    misses: tuple[Miss, ...] = ()
    awaits: bool = False
    token: str = ""

    @property
    def matches(self) -> bool:
        """Whether the rule matches already, without waiting for a request or a token."""
        return not self.misses and not self.awaits

    @property
    def lacks_token(self) -> bool:
        """Whether nothing but a token is missing."""
        return [miss.by for miss in self.misses] == ["evidence"]

    def __str__(self) -> str:
        observes = " (observe only)" if self.rule.observe else ""
        rule = f'{self.rule.effect} rule "{self.rule.id}"{observes}'
        if self.misses:
            others = [str(miss) for miss in self.misses if miss.by not in _OF_THE_RULE]
            limits = " and ".join(str(miss) for miss in self.misses if miss.by in _OF_THE_RULE)
            but = f"{'; and' if others else ', but'} {limits}" if limits else ""
            besides = f", except for {', and for '.join(others)}" if others else ""
            return f"{rule} would match{besides}{but}"
        if self.awaits:
            conditions = [f"with {self.token}"] if self.token else []
            conditions += [f"if the request is {_shown(self.rule.http)}"] if self.rule.http else []
            conditions += [f"unless it is {_shown(self.rule.not_http)}"] if self.rule.not_http else []
            return f"{rule} matches {', '.join(conditions)}"
        return f"{rule} matches"


@attrs.frozen
class Explanation:
    """A decision, and what every rule says of it.

    Attributes:
        decision: The decision.
        rules: A look at every rule, sorted by id; empty if the request was unsafe, or the token disagrees.
        environment: The environment of the policy.
        has_token: Whether the peer has a token, and it agrees with the certificate.
    """

    decision: Decision
    rules: tuple[RuleLook, ...]
    environment: Environment
    has_token: bool = False

    @property
    def nearest(self) -> tuple[RuleLook, ...]:
        """The allow rules that nearly match, the nearest first; empty if the peer is let in.

        It is empty, too, if a deny rule matches: then that is the cause. For an observing
        policy, what it would have decided counts.
        """
        if any(_has_a_say(look) for look in self.rules):
            return ()
        near = [
            (_distance(look), not look.lacks_token, look.rule.id, look)
            for look in self.rules
            if look.rule.could_allow
        ]
        return tuple(look for distance, *_, look in sorted(near)[:MAX_NEAR_MISSES] if distance < _NOT_NEAR)

    def __str__(self) -> str:
        decision = self.decision
        verdict = "allowed" if decision.allowed else "refused"
        # One that is not safe is in quotes already.
        asked = decision.request or ""
        request = f" for {asked if asked[:1] in _QUOTES else quote(asked)}" if asked else ""
        lines = [f"{verdict}: {decision.name} at {quote(decision.target or '')}{request}"]
        lines.append(f"  {decision.reason.meaning}")
        lines += (
            [f"  it is @{decision.peer_name}{' by a token' * self.has_token}"] if decision.peer_name else []
        )
        lines += [f"  observed: {', '.join(decision.observed)}"] if decision.observed else []
        lines += [f"  {look}" for look in self.rules if not look.misses]
        near = [str(look) for look in self.nearest]
        lines += [f"  {decision.detail}"] if decision.detail and decision.detail not in near else []
        lines += [f"  near: {look}" for look in near]
        lines.append(f"  policy {decision.policy_hash}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, str | list[str]]:
        """Return it as plain data, without what is empty."""
        near = [str(look) for look in self.nearest]
        facts: dict[str, str | list[str]] = {
            "spiffe_id": self.decision.name or "",
            "matching_rules": [str(look) for look in self.rules if look.matches],
            # The nearest one of all may be the detail of the decision already.
            "near_misses": [each for each in near if each != self.decision.detail],
            "environment": self.environment.name,
            "policy_hash": self.decision.policy_hash or "",
        }
        return self.decision.as_dict() | {name: fact for name, fact in facts.items() if fact}


def look_at_all(  # noqa: PLR0913, PLR0917  # all there is to a decision
    rules: Iterable[Rule],
    standing: Standing,
    target: str,
    request: RequestLike,
    environment: Environment,
    until: float = -math.inf,
) -> tuple[RuleLook, ...]:
    """Return what every rule says of a peer at a target; one that has ended before *until* does not count."""
    return tuple(_look(rule, standing, target, request, environment, until) for rule in rules)


def near_miss(  # noqa: PLR0913, PLR0917  # the same
    nearest: Rule | None,
    standing: Standing,
    target: str,
    request: RequestLike,
    environment: Environment,
    until: float,
) -> str:
    """Return in words what keeps the nearest rule from matching, or that no rule comes near."""
    if nearest is not None:
        parts = (nearest.known_by, nearest.peers, nearest.not_sources, nearest.targets)
        patterns = sum(map(len, (*parts, nearest.http, nearest.not_http)))
        if patterns > MAX_LOOKED_AT:
            many = f"it has {patterns} patterns, too many to look at for each peer"
            return f'{nearest.effect} rule "{nearest.id}" comes near; {many}'
        return str(_look(nearest, standing, target, request, environment, until))
    foreign = _foreign(standing.spiffe_id.trust_domain, environment)
    return f"no allow rule comes near {standing.spiffe_id} at {quote(target)}{foreign}"


def _has_a_say(look: RuleLook) -> bool:
    undecided = look.awaits and look.rule.effect is Effect.DENY
    return not (look.misses or look.rule.observe or undecided)


def _distance(look: RuleLook) -> int:
    return sum(_WEIGHTS.get(miss.by, 0) for miss in look.misses)


def _look(  # noqa: PLR0913, PLR0917  # the same
    rule: Rule, standing: Standing, target: str, request: RequestLike, environment: Environment, until: float
) -> RuleLook:
    missed = list(_missed(rule, standing, target, environment))
    if not rule.counts_until(until):
        missed.append(_END)
    token = _token_awaited(rule, standing, missed) if request is REQUEST_FOLLOWS else ""
    if token:
        return RuleLook(rule, (), awaits=True, token=token)
    misses = [Miss(by, _words(by, rule, standing, target, environment)) for by in missed]
    misses += _request_missed(rule, request)
    awaits = request is REQUEST_FOLLOWS and rule.needs_request and not misses
    return RuleLook(rule, tuple(misses), awaits)


def _token_awaited(rule: Rule, standing: Standing, missed: list[str]) -> str:
    """Return in words which token would make the rule match; nothing if none would, or none can come."""
    if not missed or rule.effect is Effect.DENY or not standing.may_bring_token:
        return ""
    # What a rule leaves out is by the certificate alone.
    if "target" in missed or not _OF_THE_RULE.isdisjoint(missed):
        return ""
    if missed == ["evidence"]:
        return "a token"
    could_be = [f"@{peer.name}" for peer in rule.peers if peer.name in standing.could_be]
    return f"a token that names {_shown(could_be)}" if could_be else ""


def _missed(rule: Rule, standing: Standing, target: str, environment: Environment) -> Iterator[str]:
    """Yield what does not match, apart from the request."""
    if not _is_about(rule, standing, environment):
        own, spiffe_id = environment.trust_domains, standing.spiffe_id
        # If the rule has several patterns, the nearest one counts.
        by_path = any(each.path.matches(spiffe_id.path) for each in rule.known_by)
        domains = {domain for each in rule.known_by for domain in each.domains(own)}
        if rule.peers:
            domains |= {*own, *environment.federates_with}
        if by_path or spiffe_id.trust_domain not in domains:
            yield "trust domain"
        if not by_path:
            yield "peer"
    if not any(each.matches(target) for each in rule.targets):
        yield "target"
    if rule.excepts(standing.spiffe_id, environment.trust_domains):
        yield _EXCEPTION
    if rule.needs_token and not standing.has_token:
        yield "evidence"


def _is_about(rule: Rule, standing: Standing, environment: Environment) -> bool:
    own, spiffe_id = environment.trust_domains, standing.spiffe_id
    by_name = standing.has_token and standing.peer is not None and standing.peer in rule.peers
    return by_name or any(each.matches(spiffe_id, own) for each in rule.known_by)


def _words(by: str, rule: Rule, standing: Standing, target: str, environment: Environment) -> str:
    spiffe_id = standing.spiffe_id
    if by == "target":
        return f"it is {quote(target)}, the rule wants {_shown(rule.targets)}"
    if by == _END:
        return f"{rule.until} (until)"
    if by == _EXCEPTION:
        own = environment.trust_domains
        excepting = (each for each in rule.not_sources if each.matches(spiffe_id, own))
        return f"{_shown(excepting)} (not_from)"
    if by == "evidence":
        return "a token is needed, and there is none"
    if by == "peer":
        name = f" (@{standing.name})" if standing.name else ""
        return f"it is {quote(spiffe_id.path)}{name}, the rule wants {_shown(rule.who)}"
    own = environment.trust_domains
    by_path = [each for each in rule.known_by if each.path.matches(spiffe_id.path)]
    wanted = sorted({str(each.domains(own)[0]) for each in by_path or rule.known_by}) or [str(own[0])]
    few = " or ".join(wanted[:_FEW]) + (f" or {len(wanted) - _FEW} more" if len(wanted) > _FEW else "")
    foreign = _foreign(spiffe_id.trust_domain, environment)
    return f"the peer is in {spiffe_id.trust_domain}, the rule wants {few}{foreign}"


def _foreign(domain: TrustDomain, environment: Environment) -> str:
    if domain in environment.trust_domains or domain in environment.federates_with:
        return ""
    return f" (environment {quote(environment.name)} neither has nor federates with {domain})"


def _request_missed(rule: Rule, request: RequestLike) -> Iterator[Miss]:
    if not rule.needs_request or request is REQUEST_FOLLOWS:
        return
    if isinstance(request, Request):
        if rule.http and not any(each.matches(request) for each in rule.http):
            yield Miss("request", f"it is {quote(str(request))}, the rule wants {_shown(rule.http)}")
        elif excepting := [each for each in rule.not_http if each.matches(request)]:
            yield Miss(_EXCEPTION, f"{_shown(excepting)} (not_http)")
    # At a handshake without requests to come, a deny rule for some of them denies all.
    elif rule.effect is not Effect.DENY:
        wanted = _shown(rule.http) if rule.http else "any"
        but = f" but {_shown(rule.not_http)}" if rule.not_http else ""
        promise = "there is none (at a handshake, http=True promises one)"
        yield Miss("request", f"{promise}, the rule wants {wanted}{but}")


def _shown(patterns: Iterable[object]) -> str:
    return quote_all([str(each) for each in patterns], limit=_FEW)

"""Why: what every rule says of a peer, and which allow rules nearly let it in.

Which rule is the nearest depends on the peer and the target first: on segments that differ, and on letters in
them. Of rules about this peer and this target, one that lacks nothing but a token is nearer than one that has
ended, and that one nearer than one for other requests; the last is one that leaves the peer out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import attrs

from meshid.decisions import Decision
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy.agreement import Standing
from meshid.policy.nearness import (
    MISSED_BY,
    NO_PATH,
    OTHER_DOMAIN,
    distance,
    near_ones,
    nearest_condition,
)
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike
from meshid.policy.rules import Effect, Environment, Rule
from meshid.support.quoting import quote, quote_all

MAX_NEAR_MISSES = 3
"""Near misses that an explanation shows; the first is also the detail of the decision."""

MAX_LOOKED_AT = 250
"""Patterns of one rule that are looked at to find words for a refusal; `Policy.explain` looks at all."""

_EXCEPTION, _END, _PROMISE = "exception", "end", "promise"
_OF_THE_RULE = frozenset({_EXCEPTION, _END})
_FAR = 1_000_000
_FEW = 3
_QUOTES = ("'", '"')


@attrs.frozen
class Miss:
    """One thing that keeps a rule from matching.

    Attributes:
        by: What does not match: ``trust domain``, ``peer``, ``target``, ``evidence`` or ``request``;
            ``promise``, if there is no request, and no promise that any is asked about;
            ``exception``, for what ``not_from`` or ``not_http`` leaves out; ``end``, for a last day that is
            over.
        words: What was found, and what the rule wants.
    """

    by: str
    words: str

    def __str__(self) -> str:
        if self.by == _EXCEPTION:
            return f"the rule leaves out {self.words}"
        if self.by == _PROMISE:
            return f"the request: {self.words}"
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
        distance: How far it is from matching: of two, the nearer one has the lesser.
    """

    rule: Rule
    misses: tuple[Miss, ...] = ()
    awaits: bool = False
    token: str = ""
    distance: tuple[int, ...] = attrs.field(default=(), eq=False, repr=False)

    @property
    def matches(self) -> bool:
        """Whether the rule matches already, without waiting for a request or a token."""
        return not self.misses and not self.awaits

    @property
    def is_near(self) -> bool:
        """Whether the path of the peer or the target is right."""
        return not {"peer", "target"} <= {miss.by for miss in self.misses}

    def __str__(self) -> str:
        observes = " (observe only)" if self.rule.observe else ""
        rule = f'{self.rule.effect} rule "{self.rule.id}"{observes}'
        if [miss.by for miss in self.misses] == [_PROMISE]:
            # What an engineer has forgotten who has written the right rule.
            promise = "pass http=True to server_context(), and check() each request"
            return f"{rule} is about requests only, {_wanted(self.rule)}, and none is promised: {promise}"
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
        some_requests: Of a peer that is refused without a request: the rules that decide about its requests,
            if it may be there for some of them.
    """

    decision: Decision
    rules: tuple[RuleLook, ...]
    environment: Environment
    has_token: bool = False
    some_requests: tuple[RuleLook, ...] = ()

    @property
    def nearest(self) -> tuple[RuleLook, ...]:
        """The allow rules that nearly match, the nearest first; empty if the peer is let in.

        It is empty, too, if a deny rule matches: then that is the cause. For an observing
        policy, what it would have decided counts.
        """
        if any(_has_a_say(look) for look in self.rules):
            return ()
        near = [look for look in self.rules if look.rule.could_allow and look.is_near]
        return tuple(sorted(near, key=lambda look: (look.distance, look.rule.id))[:MAX_NEAR_MISSES])

    def __str__(self) -> str:
        decision = self.decision
        verdict = "allowed" if decision.allowed else "some requests" if self.some_requests else "refused"
        # One that is not safe is in quotes already.
        asked = decision.request or ""
        request = f" for {asked if asked[:1] in _QUOTES else quote(asked)}" if asked else ""
        lines = [f"{verdict}: {decision.name} at {quote(decision.target or '')}{request}"]
        without = "without requests: " if self.some_requests else ""
        lines.append(f"  {without}{decision.reason.meaning}")
        lines += [f"  with requests (http=True): {look}" for look in self.some_requests]
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
            "some_requests": [str(look) for look in self.some_requests],
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


def _look(  # noqa: PLR0913, PLR0917  # the same
    rule: Rule, standing: Standing, target: str, request: RequestLike, environment: Environment, until: float
) -> RuleLook:
    away = _away(rule, standing, target, environment)
    left_out = rule.excepts(standing.spiffe_id, environment.trust_domains)
    ended = not rule.counts_until(until)
    lacks_token = rule.needs_token and not standing.has_token
    others = {_EXCEPTION: left_out, "evidence": lacks_token, _END: ended}
    missed = [*away.by, *(by for by, is_missed in others.items() if is_missed)]
    token = _token_awaited(rule, standing, missed) if request is REQUEST_FOLLOWS else ""
    if token:
        return RuleLook(rule, (), awaits=True, token=token)
    misses = [Miss(by, _words(by, rule, away, standing, target, environment)) for by in missed]
    about_request = list(_request_missed(rule, request))
    awaits = request is REQUEST_FOLLOWS and rule.needs_request and not misses
    distance = (*away.distance, left_out, bool(about_request), ended, 0)
    if away.by:
        # What a peer only has to send weighs nothing.
        distance = (*away.distance, False, False, ended, 0)
    elif about_request and isinstance(request, Request):
        distance = (*distance[:-1], nearest_condition(rule, request)[0])
    return RuleLook(rule, (*misses, *about_request), awaits, distance=distance)


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


class _Away(NamedTuple):
    """What a rule misses by in the peer and in the target.

    Attributes:
        by: What does not match.
        nearest: The nearest of the peers that it is about, and of its targets, as they are written.
        distance: How far both are, together; and what they miss by, the lighter ones first.
    """

    by: tuple[str, ...]
    nearest: tuple[str, str]
    distance: tuple[int, int]


def _away(rule: Rule, standing: Standing, target: str, environment: Environment) -> _Away:
    spiffe_id = standing.spiffe_id
    by: tuple[str, ...] = ()
    is_about = _is_about(rule, standing, environment)
    is_at_target = any(each.matches(target) for each in rule.targets)
    if not (is_about or is_at_target or any(each.path.matches(spiffe_id.path) for each in rule.known_by)):
        # It is not near, so nobody asks how far it is.
        sources = (*rule.known_by, None) if rule.peers or not rule.known_by else rule.known_by
        domains = {domain for each in sources for domain in _domains(each, environment)}
        by = ("trust domain",) if spiffe_id.trust_domain not in domains else ()
        return _Away((*by, "peer", "target"), ("", ""), (_FAR, 0))
    far, nearest, nearest_target = 0, "", ""
    if not is_about:
        far, source = _nearest_source(rule, spiffe_id, environment)
        by += ("trust domain",) if spiffe_id.trust_domain not in _domains(source, environment) else ()
        by += ("peer",) if source is None or not source.path.matches(spiffe_id.path) else ()
        nearest = str(source or "")
    if not is_at_target:
        by += ("target",)
        candidates = near_ones(rule.targets, target)
        to_target = [distance(each, target) for each in candidates]
        far += min(to_target)
        nearest_target = str(candidates[to_target.index(min(to_target))])
    return _Away(by, (nearest, nearest_target), (far, sum(MISSED_BY[each] for each in by)))


def _nearest_source(
    rule: Rule, spiffe_id: SpiffeId, environment: Environment
) -> tuple[int, PeerPattern | None]:
    """Return the nearest of the peers that a rule is about, None for one by name; after how far it is."""
    is_other = spiffe_id.trust_domain not in _domains(None, environment)
    found: list[tuple[int, int, PeerPattern | None]]
    found = [(NO_PATH + OTHER_DOMAIN * is_other, -1, None)] if rule.peers or not rule.known_by else []
    paths = set(near_ones([each.path for each in rule.known_by], spiffe_id.path))
    for number, each in enumerate(rule.known_by):
        if each.path in paths:
            is_other = spiffe_id.trust_domain not in _domains(each, environment)
            far = distance(each.path, spiffe_id.path) + OTHER_DOMAIN * is_other
            found.append((far, number, each))
    far, _, source = min(found)
    return far, source


def _domains(source: PeerPattern | None, environment: Environment) -> tuple[TrustDomain, ...]:
    """Return the trust domains of peers that are meant; a token can name one of any that is known."""
    if source is None:
        return (*environment.trust_domains, *environment.federates_with)
    return source.domains(environment.trust_domains)


def _is_about(rule: Rule, standing: Standing, environment: Environment) -> bool:
    own, spiffe_id = environment.trust_domains, standing.spiffe_id
    by_name = standing.has_token and standing.peer is not None and standing.peer in rule.peers
    return by_name or any(each.matches(spiffe_id, own) for each in rule.known_by)


def _words(  # noqa: PLR0913, PLR0917  # the same
    by: str, rule: Rule, away: _Away, standing: Standing, target: str, environment: Environment
) -> str:
    spiffe_id = standing.spiffe_id
    nearest, nearest_target = away.nearest
    if by == "target":
        return f"it is {quote(target)}, the rule wants {_shown(rule.targets, nearest_target)}"
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
        return f"it is {quote(spiffe_id.path)}{name}, the rule wants {_shown(rule.listed_from, nearest)}"
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
            wanted = _shown(rule.http, str(nearest_condition(rule, request)[1]))
            yield Miss("request", f"it is {quote(str(request))}, the rule wants {wanted}")
        elif excepting := [each for each in rule.not_http if each.matches(request)]:
            yield Miss(_EXCEPTION, f"{_shown(excepting)} (not_http)")
    # At a handshake without requests to come, a deny rule for some of them denies all.
    elif rule.effect is not Effect.DENY:
        yield Miss(
            _PROMISE, f"there is none, and none is promised (http=True), the rule wants {_wanted(rule)}"
        )


def _wanted(rule: Rule) -> str:
    but = f" but {_shown(rule.not_http)}" if rule.not_http else ""
    return f"{_shown(rule.http) if rule.http else 'any'}{but}"


def _shown(patterns: Iterable[object], first: str = "") -> str:
    """Return the first few patterns as text; *first* before the others, if it is one of them."""
    return quote_all(sorted(map(str, patterns), key=lambda each: each != first), limit=_FEW)

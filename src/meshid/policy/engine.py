"""The policy: asked who may reach what.

The rules of this room:

- Deny beats allow, no matching allow is a refusal, and order means nothing.
- At the handshake there is no request. An allow rule with http conditions then matches
  nothing, and a deny rule with them matches whatever its `from` and `to` match; unless
  the caller promises to ask about each request: then both are left undecided.
- What a peer can reach is worked out once and remembered, and so is the rule that misses
  it by least; a policy never changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, Self

import attrs

from meshid.decisions import Decision
from meshid.errors import InvalidRequest
from meshid.names import SpiffeId
from meshid.policy.explain import Explanation, look_at_all, near_miss, nearest_rule
from meshid.policy.loading import read_file, read_json, read_toml
from meshid.policy.model import Effect, Environment, Rule, RuleSet
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike, without_query
from meshid.reasons import Reason
from meshid.sieve import Sieve
from meshid.text import quote

REMEMBERED = 8192
"""Pairs of a peer and a target whose rules are remembered."""


class Named(Protocol):
    """Anything with a verified name; a `Peer`."""

    @property
    def spiffe_id(self) -> SpiffeId:
        """The name."""


@attrs.frozen
class _Prospects:
    """What one peer can be told at one target."""

    rules: tuple[Rule, ...]
    nearest: Rule | None
    without_request: Decision
    request_follows: Decision


@attrs.frozen(init=False, repr=False)
class Policy:
    """Who may reach what, in one environment. Two policies with the same hash are equal.

    Attributes:
        environment: The environment that it was loaded for.
        rules: The rules, sorted by id.
        observe: Whether the whole policy only observes.
        hash: SHA-256, in hex, over the canonical form that `RuleSet.hash` describes.
    """

    environment: Environment = attrs.field(eq=False)
    rules: tuple[Rule, ...] = attrs.field(eq=False)
    observe: bool = attrs.field(eq=False)
    hash: str
    _prospects: Sieve[tuple[SpiffeId, str], _Prospects] = attrs.field(
        init=False, eq=False, factory=lambda: Sieve(REMEMBERED)
    )

    def __init__(self, rules: RuleSet) -> None:
        """Take the rules of a file, from `load`, `from_toml` or `from_json`."""
        self.__attrs_init__(rules.environment, rules.rules, rules.observe, rules.hash())

    @classmethod
    def load(cls, path: str | Path, environment: str) -> Self:
        """Read a policy file, ``.toml`` or ``.json``, for one environment.

        Raises:
            InvalidPolicy: If it cannot be read, or with everything that is wrong in it.
        """
        return cls(read_file(Path(path), environment))

    @classmethod
    def from_toml(cls, text: str, environment: str) -> Self:
        """Read a policy from TOML, for one environment.

        Raises:
            InvalidPolicy: With everything that is wrong in it.
        """
        return cls(read_toml(text, environment))

    @classmethod
    def from_json(cls, text: str | bytes, environment: str) -> Self:
        """Read a policy from JSON, for one environment.

        Raises:
            InvalidPolicy: With everything that is wrong in it.
        """
        return cls(read_json(text, environment))

    def decide(self, peer: Named | SpiffeId, target: str, request: RequestLike = None) -> Decision:
        """Decide whether *peer* may reach *target*.

        Args:
            peer: The verified peer, or a name to try.
            target: What it wants to reach.
            request: The request, as `Request` or ``"METHOD /path"``; `REQUEST_FOLLOWS` if
                the caller will ask about each; None if there is none. One that cannot be
                normalised safely is refused.
        """
        spiffe_id = peer if isinstance(peer, SpiffeId) else peer.spiffe_id
        prospects = self._prospects.get((spiffe_id, target)) or self._look_ahead(spiffe_id, target)
        if request is None:
            return prospects.without_request
        if request is REQUEST_FOLLOWS:
            return prospects.request_follows
        return self._decide_request(prospects, spiffe_id, target, request)

    def explain(self, peer: Named | SpiffeId, target: str, request: RequestLike = None) -> Explanation:
        """Decide as `decide` does, and say of every rule why it matches or does not."""
        spiffe_id = peer if isinstance(peer, SpiffeId) else peer.spiffe_id
        decision = self.decide(spiffe_id, target, request)
        try:
            asked = Request.parse(request) if isinstance(request, str) else request
        except InvalidRequest:
            return Explanation(decision, ())
        return Explanation(decision, look_at_all(self.rules, spiffe_id, target, asked, self.environment))

    def __repr__(self) -> str:
        """Show the environment and the hash."""
        return f"<Policy {self.hash[:12]} for {self.environment.name}, {len(self.rules)} rules>"

    def _look_ahead(self, spiffe_id: SpiffeId, target: str) -> _Prospects:
        own = self.environment.trust_domains
        rules = tuple(rule for rule in self.rules if rule.is_about(spiffe_id, target, own))
        nearest = nearest_rule(self.rules, spiffe_id, target, self.environment)
        prospects = _Prospects(
            rules,
            nearest,
            self._answer(spiffe_id, target, None, _without_request(rules), nearest),
            self._answer(spiffe_id, target, REQUEST_FOLLOWS, _before_requests(rules), nearest),
        )
        self._prospects.put((spiffe_id, target), prospects)
        return prospects

    def _decide_request(
        self, prospects: _Prospects, spiffe_id: SpiffeId, target: str, request: Request | str
    ) -> Decision:
        try:
            asked = Request.parse(request) if isinstance(request, str) else request
        except InvalidRequest as error:
            refused = _decision(Reason.UNSAFE_REQUEST, detail=str(error))
            return self._signed(refused, spiffe_id, target, quote(without_query(str(request))))
        matching = [rule for rule in prospects.rules if rule.is_for(asked)]
        return self._answer(spiffe_id, target, asked, matching, prospects.nearest)

    def _answer(
        self,
        spiffe_id: SpiffeId,
        target: str,
        request: RequestLike,
        matching: list[Rule],
        nearest: Rule | None,
    ) -> Decision:
        decision = _judge([rule for rule in matching if not rule.observe], request)
        if decision.reason is Reason.NO_RULE:
            detail = near_miss(nearest, spiffe_id, target, request, self.environment)
            decision = attrs.evolve(decision, detail=detail)
        observed = tuple(sorted(str(rule) for rule in matching if rule.observe))
        shown = str(request) if isinstance(request, Request) else None
        return self._signed(attrs.evolve(decision, observed=observed), spiffe_id, target, shown)

    def _signed(self, decision: Decision, spiffe_id: SpiffeId, target: str, request: str | None) -> Decision:
        """Add whom and what it is about; if the policy only observes, let everybody in."""
        if self.observe:
            verdict = f"{'allow' if decision.allowed else 'deny'}: {decision.rule}"
            would = verdict if decision.rule else str(decision.reason)
            decision = _decision(
                Reason.OBSERVED, observed=(would, *decision.observed), detail=decision.detail
            )
        return attrs.evolve(
            decision, policy_hash=self.hash, name=str(spiffe_id), target=target, request=request
        )


_ADMITTING = frozenset({Reason.ALLOWED, Reason.REQUEST_AWAITED, Reason.OBSERVED})


def _decision(
    reason: Reason, *, rule: Rule | None = None, observed: tuple[str, ...] = (), detail: str = ""
) -> Decision:
    return Decision(
        allowed=reason in _ADMITTING,
        reason=reason,
        rule=rule.id if rule else None,
        observed=observed,
        detail=detail,
    )


def _without_request(rules: Iterable[Rule]) -> list[Rule]:
    return [rule for rule in rules if not rule.http or rule.effect is Effect.DENY]


def _before_requests(rules: Iterable[Rule]) -> list[Rule]:
    return [rule for rule in rules if not rule.http or rule.effect is Effect.ALLOW]


def _judge(matching: list[Rule], request: RequestLike) -> Decision:
    """Judge by the rules that match, sorted by id, so that the same one is named each time."""
    for rule in matching:
        if rule.effect is Effect.DENY:
            return _decision(Reason.DENIED, rule=rule)
    # With requests to come, a rule for all of them says more than one for some.
    certain = [rule for rule in matching if not rule.http] if request is REQUEST_FOLLOWS else matching
    if certain:
        return _decision(Reason.ALLOWED, rule=certain[0])
    return _decision(Reason.REQUEST_AWAITED if matching else Reason.NO_RULE, rule=next(iter(matching), None))

"""What a policy decides, where it is not remembered: the rules for a peer at a target, and for a request."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import copy
from typing import NamedTuple

from meshid.decisions import Decision
from meshid.errors import InvalidRequest, Refused
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.agreement import Agreement, Standing
from meshid.policy.candidates import Candidates, NearMiss
from meshid.policy.evidence import NamedByToken
from meshid.policy.explain import near_miss
from meshid.policy.matcher import Matcher
from meshid.policy.methods import REGISTERED, judged
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike, without_query
from meshid.policy.rules import Effect, Rule, RuleSet
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.support.sieve import Sieve


class _Verdict(NamedTuple):
    """A decision, without the peer, the target and the request."""

    reason: Reason
    rule: Rule | None = None
    observed: tuple[str, ...] = ()
    detail: str = ""


class Prospects:
    """The rules for one peer at one target, and the decisions that depend on no request, made once."""

    __slots__ = ("candidates", "near", "request_follows", "standing", "target", "without_request")

    def __init__(self, standing: Standing, target: str, candidates: Candidates) -> None:
        self.standing = standing
        self.target = target
        self.candidates = candidates
        self.near: NearMiss | None = None
        self.without_request: Decision | None = None
        self.request_follows: Decision | None = None


class Decider:
    """Decides by the rules of a file.

    Args:
        rules: The rules.
        policy_hash: Their hash.
        capacity: How many pairs of a certificate's name and a token's are remembered that agree.

    Attributes:
        until: Only rules count that end no earlier, in POSIX seconds.
    """

    until = -math.inf

    def __init__(self, rules: RuleSet, policy_hash: str, capacity: int) -> None:
        self._environment = rules.environment
        self._observe = rules.observe
        self._hash = policy_hash
        self._agreement = Agreement(rules)
        self._methods = judged(rules.rules)
        self._matcher = Matcher(
            rules.rules,
            rules.environment.trust_domains,
            federated=rules.environment.federates_with,
            provable=self._agreement.provable,
        )
        self._agreed: Sieve[tuple[SpiffeId, str, str, bool], Standing] = Sieve(capacity)
        ending = any(rule.until for rule in rules.rules)
        # Those that decide which methods can be judged, where that changes.
        self._of_methods = [rule for rule in rules.rules if ending and judged([rule]) != REGISTERED]

    def at(self, until: float) -> Decider:
        """Return one by the rules that end no earlier, in POSIX seconds; it shares what was indexed."""
        decider: Decider = copy(self)
        decider.until = until
        decider._matcher = self._matcher.at(until)
        decider._methods = judged(each for each in self._of_methods if each.counts_until(until))
        return decider

    def standing(self, spiffe_id: SpiffeId, token: NamedByToken | None) -> Standing:
        """Return who a peer is, by its certificate and its token.

        Raises:
            Refused: If they disagree.
        """
        if token is None:
            return self._agreement.without_token(spiffe_id)
        key = (spiffe_id, token.issuer, token.principal, token.is_bound)
        standing = self._agreed.get(key)
        if standing is None:
            standing = self._agreement.with_token(spiffe_id, token)
            # Only after a yes: what is refused, a stranger may choose.
            self._agreed.put(key, standing)
        return standing

    def prospects(self, standing: Standing, target: str) -> Prospects:
        """Return the rules for a peer at a target."""
        return Prospects(standing, target, self._matcher.about(standing, target))

    def refused(self, error: Refused, spiffe_id: SpiffeId, target: str, request: RequestLike) -> Decision:
        """Return the refusal of a token that disagrees, which no rule can change."""
        shown = None
        if isinstance(request, Request | str):
            try:
                shown = str(request if isinstance(request, Request) else Request.parse(request))
            except InvalidRequest:
                shown = quote(without_query(str(request)))
        return Decision(
            allowed=False,
            reason=error.reason,
            policy_hash=self._hash,
            name=str(spiffe_id),
            target=target,
            request=shown,
            detail=error.detail,
        )

    def without_request(self, prospects: Prospects) -> Decision:
        """Decide where there is no request, and none follows."""
        rules = prospects.candidates.rules
        return self._answer(
            prospects, None, [rule for rule in rules if not rule.needs_request or rule.effect is Effect.DENY]
        )

    def before_requests(self, prospects: Prospects) -> Decision:
        """Decide where each request will be asked about."""
        rules = prospects.candidates.rules
        matching = [rule for rule in rules if not rule.needs_request or rule.effect is Effect.ALLOW]
        certain = [rule for rule in matching if not rule.needs_request]
        if awaiting := self._matcher.awaiting_token(prospects.standing, prospects.target):
            matching = sorted((*matching, *awaiting), key=lambda rule: rule.id)
        return self._answer(prospects, REQUEST_FOLLOWS, matching, certain)

    def asked(self, prospects: Prospects, request: Request | str) -> Request | Decision:
        """Return the request that can be decided about; for one that is not safe, its refusal."""
        try:
            asked = request if isinstance(request, Request) else Request.parse(request)
        except InvalidRequest as error:
            return self._unsafe(prospects, str(error), quote(without_query(str(request))))
        if asked.method not in self._methods:
            detail = f"the method {quote(asked.method)} is not registered (IANA), and no rule names it"
            return self._unsafe(prospects, detail, str(asked))
        return asked

    def about_request(self, prospects: Prospects, request: Request) -> Decision:
        """Decide about a request."""
        return self._answer(prospects, request, prospects.candidates.matching(request))

    def _unsafe(self, prospects: Prospects, detail: str, shown: str) -> Decision:
        return self._decision(_Verdict(Reason.UNSAFE_REQUEST, detail=detail), prospects, shown)

    def _answer(
        self,
        prospects: Prospects,
        request: RequestLike,
        matching: list[Rule],
        certain: Iterable[Rule] | None = None,
    ) -> Decision:
        """Decide by the rules that match; if *certain* ones are given, only they let a peer in already."""
        reason, rule = _judge(matching, matching if certain is None else certain)
        observed = sorted([str(each) for each in matching if each.observe])
        detail = ""
        if reason is Reason.NO_RULE:
            if prospects.near is None:
                prospects.near = self._matcher.near(prospects.standing, prospects.target)
            rule_missed = prospects.near.to(request)
            detail = near_miss(
                rule_missed, prospects.standing, prospects.target, request, self._environment, self.until
            )
        shown = str(request) if isinstance(request, Request) else None
        return self._decision(_Verdict(reason, rule, tuple(observed), detail), prospects, shown)

    def _decision(self, verdict: _Verdict, prospects: Prospects, request: str | None) -> Decision:
        """Add the peer, the target and the request; if the policy only observes, let everybody in."""
        reason, rule, observed, detail = verdict
        if self._observe:
            observed = (str(rule or reason), *observed)
            reason, rule = Reason.OBSERVED, None
        return Decision(
            allowed=reason in _ADMITTING,
            reason=reason,
            rule=rule.id if rule else None,
            policy_hash=self._hash,
            name=str(prospects.standing.spiffe_id),
            peer_name=prospects.standing.name,
            target=prospects.target,
            request=request,
            observed=observed,
            detail=detail,
        )


_ADMITTING = frozenset({Reason.ALLOWED, Reason.REQUEST_AWAITED, Reason.OBSERVED})


def _judge(matching: Iterable[Rule], certain: Iterable[Rule]) -> tuple[Reason, Rule | None]:
    """Decide by the matching rules; they are sorted by id, so that the same one is named each time."""
    enforced = [rule for rule in matching if not rule.observe]
    for rule in enforced:
        if rule.effect is Effect.DENY:
            return Reason.DENIED, rule
    # With requests to come, only a rule for all of them, and for peers without a token, decides now.
    for rule in certain:
        if not rule.observe:
            return Reason.ALLOWED, rule
    return (Reason.REQUEST_AWAITED, enforced[0]) if enforced else (Reason.NO_RULE, None)

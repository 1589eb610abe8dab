"""The policy: who may reach what.

The rules of this module:

- Deny beats allow, no matching allow is a refusal, and order means nothing.
- At the handshake there is no request. An allow rule with http conditions then matches
  nothing, and a deny rule with them matches whatever its `from` and `to` match; unless
  the caller promises to ask about each request: then both are left undecided.
- A method that is neither registered nor named by a rule is an unsafe request: servers may run it
  as another one.
- What holds for a peer at a target is worked out once and remembered: a policy never changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import attrs

from meshid.decisions import Decision
from meshid.errors import InvalidRequest
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.analysis.answers import Counterexample, PolicyDiff, Proof
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.explain import Explanation, look_at_all, near_miss
from meshid.policy.issuers import Issuer
from meshid.policy.matcher import Candidates, Matcher
from meshid.policy.methods import judged
from meshid.policy.named_peers import NamedPeer
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike, without_query
from meshid.policy.rules import Effect, Environment, Rule, RuleSet
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.support.sieve import Sieve
from meshid.support.types import check_type

REMEMBERED = 8192
"""Pairs of a peer and a target whose rules are remembered, and requests of theirs that are allowed: each."""

_LONGEST_REMEMBERED = 512
"""The most characters of the path of a request that is remembered: 16 MB in all, with the decisions."""


class Named(Protocol):
    """Anything with a verified name, such as a `Peer`."""

    @property
    def spiffe_id(self) -> SpiffeId:
        """The name."""


class _Verdict(NamedTuple):
    """A decision, without the peer, the target and the request."""

    reason: Reason
    rule: Rule | None = None
    observed: tuple[str, ...] = ()
    detail: str = ""


class _Prospects:
    """The rules for one peer at one target, and the decisions that depend on no request, made once."""

    __slots__ = ("candidates", "request_follows", "without_request")

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        self.without_request: Decision | None = None
        self.request_follows: Decision | None = None


@attrs.frozen(init=False, repr=False)
class Policy:
    """Who may reach what, in one environment. Two policies with the same hash are equal.

    Attributes:
        environment: The environment that it was loaded for.
        rules: The rules, sorted by id.
        observe: Whether the whole policy only observes: it then lets every verified peer in.
        peers: The peers that have names, sorted by name.
        issuers: The issuers of the environment, sorted by name.
        hash: SHA-256, in hex, over the canonical form that `RuleSet.hash` describes.

    Args:
        rules: The rules of a file; `load`, `from_toml` and `from_json` read them.
    """

    environment: Environment = attrs.field(eq=False)
    rules: tuple[Rule, ...] = attrs.field(eq=False)
    observe: bool = attrs.field(eq=False)
    peers: tuple[NamedPeer, ...] = attrs.field(eq=False)
    issuers: tuple[Issuer, ...] = attrs.field(eq=False)
    hash: str
    _matcher: Matcher = attrs.field(eq=False)
    _methods: frozenset[str] = attrs.field(eq=False)
    _prospects: Sieve[tuple[SpiffeId, str], _Prospects] = attrs.field(
        init=False, eq=False, factory=lambda: Sieve(REMEMBERED)
    )
    _allowed: Sieve[tuple[SpiffeId, str, Request], Decision] = attrs.field(
        init=False, eq=False, factory=lambda: Sieve(REMEMBERED)
    )

    def __init__(self, rules: RuleSet) -> None:
        matcher = Matcher(rules.rules, rules.environment.trust_domains)
        methods = judged(rules.rules)
        self.__attrs_init__(
            environment=rules.environment,
            rules=rules.rules,
            observe=rules.observe,
            peers=rules.peers,
            issuers=rules.issuers,
            hash=rules.hash(),
            matcher=matcher,
            methods=methods,
        )

    @classmethod
    def load(cls, path: str | Path, environment: str) -> Self:
        """Read a policy file for one environment: JSON if it begins with ``{``, or else TOML.

        Args:
            path: The file.
            environment: The environment that it is loaded for.

        Raises:
            InvalidPolicy: If it cannot be read, or with everything that is wrong in it.
        """
        from meshid.policy.file.loading import read_file

        return cls(read_file(Path(path), environment))

    @classmethod
    def from_toml(cls, text: str | bytes, environment: str) -> Self:
        """Read a policy from TOML, for one environment.

        Args:
            text: The policy.
            environment: The environment that it is loaded for.

        Raises:
            InvalidPolicy: With everything that is wrong in it.
        """
        from meshid.policy.file.loading import read_toml

        return cls(read_toml(text, environment))

    @classmethod
    def from_json(cls, text: str | bytes, environment: str) -> Self:
        """Read a policy from JSON, for one environment.

        Args:
            text: The policy.
            environment: The environment that it is loaded for.

        Raises:
            InvalidPolicy: With everything that is wrong in it.
        """
        from meshid.policy.file.loading import read_json

        return cls(read_json(text, environment))

    def decide(self, peer: Named | SpiffeId, target: str, request: RequestLike = None) -> Decision:
        """Decide whether *peer* may reach *target*.

        Args:
            peer: The verified peer, or a name to try.
            target: What it wants to reach.
            request: The request, as `Request` or ``"METHOD /path"``; `REQUEST_FOLLOWS` if
                the caller will ask about each; None if there is none. One that cannot be
                normalised safely is refused, and so is a method that is neither registered
                nor named by a rule in exactly that spelling.

        Raises:
            TypeError: If an argument is of another type.
        """
        spiffe_id = _name_of(peer)
        # First: most requests are asked again.
        if isinstance(request, Request):
            known = self._allowed.get((spiffe_id, target, request))
            if known is not None:
                return known
        prospects = self._prospects.get((spiffe_id, target))
        if prospects is None:
            check_type(type(target), str, "a target", "a str")
            prospects = _Prospects(self._matcher.about(spiffe_id, target))
            self._prospects.put((spiffe_id, target), prospects)
        if request is None:
            if prospects.without_request is None:
                matching = _without_request(prospects.candidates.rules)
                prospects.without_request = self._answer(spiffe_id, target, None, matching)
            return prospects.without_request
        if request is REQUEST_FOLLOWS:
            if prospects.request_follows is None:
                matching = _before_requests(prospects.candidates.rules)
                prospects.request_follows = self._answer(spiffe_id, target, REQUEST_FOLLOWS, matching)
            return prospects.request_follows
        return self._decide_request(prospects.candidates, spiffe_id, target, request)

    def explain(self, peer: Named | SpiffeId, target: str, request: RequestLike = None) -> Explanation:
        """Decide as `decide` does, and say of every rule why it matches or does not.

        Args:
            peer: As for `decide`.
            target: As for `decide`.
            request: As for `decide`.

        Raises:
            TypeError: If an argument is of another type.
        """
        spiffe_id = _name_of(peer)
        decision = self.decide(spiffe_id, target, request)
        if Reason.UNSAFE_REQUEST in (decision.reason, *decision.observed):
            return Explanation(decision, (), self.environment)
        asked = Request.parse(request) if isinstance(request, str) else request
        looks = look_at_all(self.rules, spiffe_id, target, asked, self.environment)
        return Explanation(decision, looks, self.environment)

    def lint(self, *, ignore: Collection[FindingKind] = ()) -> list[Finding]:
        """Return what is in the policy and probably not meant, in the order of the file.

        Args:
            ignore: The kinds of findings to leave out.

        Raises:
            PolicyTooComplex: If the rules are too entangled for an exact answer.
        """
        from meshid.policy.analysis.lint import lint

        return lint(self._rule_set, ignore)

    def diff(self, other: Policy) -> PolicyDiff:
        """Return what changes, and for which peers, from this policy to another.

        Two policies for one environment are compared name by name. For two environments, the
        own peers of one are compared with the own peers of the other.

        Args:
            other: The policy to compare with.

        Raises:
            PolicyTooComplex: If the rules are too entangled for an exact answer.
        """
        from meshid.policy.analysis.diff import compare

        return compare(self._rule_set, other._rule_set)

    def prove(self, never: PeerPattern | str, reach: Pattern | str = "**") -> Proof:
        """Prove that no peer of *never* reaches any target of *reach*, or find the shortest counterexample.

        Args:
            never: A pattern of peers; without a trust domain, the environment's own peers.
            reach: A pattern of targets; all of them by default.

        Raises:
            InvalidPattern: If *never* or *reach* is not a valid pattern.
            PolicyTooComplex: If the rules are too entangled for an exact answer.
        """
        from meshid.policy.analysis.prove import find_access

        peers = PeerPattern.parse(never) if isinstance(never, str) else never
        targets = Pattern.parse(reach) if isinstance(reach, str) else reach
        access = find_access(self._rule_set, peers, targets)
        example = None
        if access is not None:
            decision = self.decide(access.spiffe_id, access.target, access.request)
            example = Counterexample(access, decision)
        return Proof(peers, targets, self.environment, self.hash, example)

    @property
    def _rule_set(self) -> RuleSet:
        return RuleSet(self.environment, self.rules, self.observe, self.peers, self.issuers)

    def __repr__(self) -> str:
        return f"<Policy {self.hash[:12]} for {self.environment.name}, {len(self.rules)} rules>"

    def _decide_request(
        self, candidates: Candidates, spiffe_id: SpiffeId, target: str, request: Request | str
    ) -> Decision:
        try:
            asked = request if isinstance(request, Request) else Request.parse(request)
        except InvalidRequest as error:
            verdict = _Verdict(Reason.UNSAFE_REQUEST, detail=str(error))
            return self._decision(verdict, spiffe_id, target, quote(without_query(str(request))))
        known = self._allowed.get((spiffe_id, target, asked))
        if known is not None:
            return known
        if asked.method not in self._methods:
            detail = f"the method {quote(asked.method)} is not registered (IANA), and no rule names it"
            verdict = _Verdict(Reason.UNSAFE_REQUEST, detail=detail)
            return self._decision(verdict, spiffe_id, target, str(asked))
        decision = self._answer(spiffe_id, target, asked, candidates.matching(asked))
        # Only after a yes: whoever is refused chooses what is asked.
        if decision.allowed and len(asked.path) <= _LONGEST_REMEMBERED:
            self._allowed.put((spiffe_id, target, asked), decision)
        return decision

    def _answer(
        self, spiffe_id: SpiffeId, target: str, request: RequestLike, matching: list[Rule]
    ) -> Decision:
        reason, rule = _judge([each for each in matching if not each.observe], request)
        observed = sorted([str(each) for each in matching if each.observe])
        detail = ""
        if reason is Reason.NO_RULE:
            rule_missed = self._matcher.near_miss(spiffe_id, target)
            detail = near_miss(rule_missed, spiffe_id, target, request, self.environment)
        shown = str(request) if isinstance(request, Request) else None
        return self._decision(_Verdict(reason, rule, tuple(observed), detail), spiffe_id, target, shown)

    def _decision(self, verdict: _Verdict, spiffe_id: SpiffeId, target: str, request: str | None) -> Decision:
        """Add the peer, the target and the request; if the policy only observes, let everybody in."""
        reason, rule, observed, detail = verdict
        if self.observe:
            observed = (str(rule or reason), *observed)
            reason, rule = Reason.OBSERVED, None
        return Decision(
            allowed=reason in _ADMITTING,
            reason=reason,
            rule=rule.id if rule else None,
            policy_hash=self.hash,
            name=str(spiffe_id),
            target=target,
            request=request,
            observed=observed,
            detail=detail,
        )


def _name_of(peer: Named | SpiffeId) -> SpiffeId:
    name = peer if isinstance(peer, SpiffeId) else getattr(peer, "spiffe_id", None)
    if not isinstance(name, SpiffeId):
        msg = f"a peer must be a Peer or a SpiffeId, not {type(peer).__name__}"
        raise TypeError(msg)
    return name


_ADMITTING = frozenset({Reason.ALLOWED, Reason.REQUEST_AWAITED, Reason.OBSERVED})


def _without_request(rules: Iterable[Rule]) -> list[Rule]:
    return [rule for rule in rules if not rule.http or rule.effect is Effect.DENY]


def _before_requests(rules: Iterable[Rule]) -> list[Rule]:
    return [rule for rule in rules if not rule.http or rule.effect is Effect.ALLOW]


def _judge(matching: list[Rule], request: RequestLike) -> tuple[Reason, Rule | None]:
    """Decide by the matching rules; they are sorted by id, so that the same one is named each time."""
    for rule in matching:
        if rule.effect is Effect.DENY:
            return Reason.DENIED, rule
    # With requests to come, only a rule for all of them decides now.
    certain = [rule for rule in matching if not rule.http] if request is REQUEST_FOLLOWS else matching
    if certain:
        return Reason.ALLOWED, certain[0]
    return (Reason.REQUEST_AWAITED, matching[0]) if matching else (Reason.NO_RULE, None)

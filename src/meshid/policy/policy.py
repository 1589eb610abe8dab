"""The policy: who may reach what.

The rules of this module:

- Deny beats allow, no matching allow is a refusal, and order means nothing.
- At the handshake there is no request. An allow rule with http conditions then matches
  nothing, and a deny rule with them matches whatever its `from` and `to` match; unless
  the caller promises to ask about each request: then both are left undecided.
- A method that is neither registered nor named by a rule is an unsafe request: servers may run it
  as another one.
- A rule that needs a token is undecided like one with http conditions, until the token has come.
- A token that disagrees with the certificate is refused whatever the rules say, and even if the policy
  only observes: it is no question of the rules who a peer is.
- A policy never changes, so what it decides is remembered.
- A rule whose last day is over is no rule. What is remembered belongs to the time from the end of one rule to
  the end of the next.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self, cast

import attrs

from meshid.decisions import Decision
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.analysis.answers import Counterexample, Proof
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.analysis.policy_diff import PolicyDiff
from meshid.policy.decider import Decider
from meshid.policy.evidence import NamedByToken
from meshid.policy.explain import Explanation, RuleLook, look_at_all
from meshid.policy.isolation import Isolation
from meshid.policy.issuers import Issuer
from meshid.policy.memory import REMEMBERED, Memory
from meshid.policy.named_peers import NamedPeer, PeerSet
from meshid.policy.requests import KEEPABLE, REQUEST_FOLLOWS, Request, RequestLike
from meshid.policy.rules import Environment, Rule, RuleSet
from meshid.policy.stages import Stages
from meshid.reasons import Reason


class Named(Protocol):
    """Anything with a verified name, such as a `Peer`."""

    @property
    def spiffe_id(self) -> SpiffeId:
        """The name."""


@attrs.frozen(init=False, repr=False)
class Policy:
    """Who may reach what, in one environment. Two policies with the same hash are equal.

    Attributes:
        environment: The environment that it was loaded for.
        rules: The rules, sorted by id.
        observe: Whether the whole policy only observes: it then lets every verified peer in.
        peers: The peers that have names, sorted by name.
        issuers: The issuers of the environment, sorted by name.
        isolation: What is proven of all environments of its file; None for a file without peers by name
            and issuers.
        sets: The sets of peers, sorted by name; the rules have their members.
        hash: SHA-256, in hex, over the canonical form that `RuleSet.hash` describes.

    Args:
        rules: The rules of a file; `load`, `from_toml` and `from_json` read them.
    """

    environment: Environment = attrs.field(eq=False)
    rules: tuple[Rule, ...] = attrs.field(eq=False)
    observe: bool = attrs.field(eq=False)
    peers: tuple[NamedPeer, ...] = attrs.field(eq=False)
    issuers: tuple[Issuer, ...] = attrs.field(eq=False)
    isolation: Isolation | None = attrs.field(eq=False)
    sets: tuple[PeerSet, ...] = attrs.field(eq=False)
    hash: str
    _memory: Memory | None = attrs.field(eq=False)
    _stages: Stages[Memory] | None = attrs.field(eq=False)
    """One of both: what is remembered for ever, if no rule ends, or in each stage."""

    def __init__(self, rules: RuleSet) -> None:
        policy_hash = rules.hash()
        decider = Decider(rules, policy_hash, REMEMBERED)
        ends = {end for rule in rules.rules if (end := rule.ends_at) is not None}
        self.__attrs_init__(
            environment=rules.environment,
            rules=rules.rules,
            observe=rules.observe,
            peers=rules.peers,
            issuers=rules.issuers,
            isolation=rules.isolation,
            sets=rules.sets,
            hash=policy_hash,
            memory=Memory(decider) if not ends else None,
            stages=Stages(ends, lambda until: Memory(decider.at(until))) if ends else None,
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

    def decide(
        self,
        peer: Named | SpiffeId,
        target: str,
        request: RequestLike = None,
        *,
        token: NamedByToken | None = None,
        now: float | None = None,
    ) -> Decision:
        """Decide whether *peer* may reach *target*.

        Args:
            peer: The verified peer, or a name to try.
            target: What it wants to reach.
            request: The request, as `Request` or ``"METHOD /path"``; `REQUEST_FOLLOWS` if
                the caller will ask about each; None if there is none. One that cannot be
                normalised safely is refused, and so is a method that is neither registered
                nor named by a rule in exactly that spelling.
            token: Whom a token names, to try it; a peer that `Mesh.bind` has bound to one brings its own.
            now: The POSIX time in seconds; this instant if None. It counts only if a rule has a last day.

        Raises:
            TypeError: If an argument is of another type.
            ValueError: If *target* is none, such as an empty one.
        """
        memory = self._memory or self._at(now)
        if isinstance(peer, SpiffeId):
            spiffe_id = peer
        else:
            # Only where nothing is remembered of a peer, it is looked at what it is.
            spiffe_id = _attribute(peer, "spiffe_id", None)
            token = _attribute(peer, "token", None) if token is None else token
        if token is not None:
            return memory.decide_with_token(_name_of(peer), token, target, request)
        # First: most requests are asked again.
        if isinstance(request, Request):
            known = memory.allowed.get((spiffe_id, target, request))
            if known is not None:
                return known
        prospects = memory.prospects.get((spiffe_id, target))
        if prospects is None:
            spiffe_id = _name_of(peer)
            prospects = memory.look_up(spiffe_id, memory.decider.standing(spiffe_id, None), target)
        elif request is None and prospects.without_request is not None:
            return prospects.without_request
        return memory.decide(prospects, spiffe_id, request)

    def explain(
        self,
        peer: Named | SpiffeId,
        target: str,
        request: RequestLike = None,
        *,
        token: NamedByToken | None = None,
        now: float | None = None,
    ) -> Explanation:
        """Decide as `decide` does, and say of every rule why it matches or does not.

        Of a peer that is refused without a request, it says which requests it may make all the same.

        Args:
            peer: As for `decide`.
            target: As for `decide`.
            request: As for `decide`.
            token: As for `decide`.
            now: As for `decide`.

        Raises:
            TypeError: If an argument is of another type.
            ValueError: If *target* is none, such as an empty one.
        """
        spiffe_id = _name_of(peer)
        token = getattr(peer, "token", None) if token is None else token
        # One instant for all of it.
        now = self._instant(now)
        decision = self.decide(spiffe_id, target, request, token=token, now=now)
        if not _BEFORE_RULES.isdisjoint((decision.reason, *decision.observed)):
            return Explanation(decision, (), self.environment)
        asked = Request.parse(request) if isinstance(request, str) else request
        decider = (self._memory or self._at(now)).decider
        standing = decider.standing(spiffe_id, token)
        look = partial(
            look_at_all, self.rules, standing, target, environment=self.environment, until=decider.until
        )
        some: tuple[RuleLook, ...] = ()
        follow = partial(self.decide, spiffe_id, target, REQUEST_FOLLOWS, token=token, now=now)
        if request is None and not decision and follow():
            looks = look(request=REQUEST_FOLLOWS)
            some = tuple(each for each in looks if not (each.misses or each.rule.observe))
            # Where only a token is missing, that is what is said.
            some = some if any(each.rule.needs_request for each in some) else ()
        return Explanation(decision, look(request=asked), self.environment, standing.has_token, some)

    def agree(self, spiffe_id: SpiffeId, token: NamedByToken) -> NamedPeer | None:
        """Return the peer by name that a certificate and a token name together.

        Args:
            spiffe_id: The name in the certificate.
            token: Whom the token names; it must have been verified.

        Returns:
            The peer; None if the token is a JWT-SVID of this very SPIFFE ID, and no peer by name has it.

        Raises:
            Refused: If they disagree (`TOKEN_DISAGREES`), or the environment has no such issuer
                (`TOKEN_ISSUER_UNKNOWN`).
        """
        return (self._memory or self._at(0.0)).decider.standing(spiffe_id, token).peer

    def next_end(self, now: float) -> float:
        """Return when the next rule ends after *now*, both in POSIX seconds; infinity if none does.

        Until then, what is decided about the same peer, target and request stays the same.

        Args:
            now: The POSIX time in seconds.
        """
        return math.inf if self._stages is None else self._stages.next_end(now)

    def lint(
        self,
        *,
        ignore: Collection[FindingKind] = (),
        now: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Finding]:
        """Return what is in the policy and probably not meant, in the order of the file.

        Args:
            ignore: The kinds of findings to leave out.
            now: As for `decide`.
            progress: Called before each rule with the number of rules that are done, and of all of them.

        Raises:
            PolicyTooComplex: If the rules are too entangled for an exact answer.
        """
        from meshid.policy.analysis.lint import lint

        return lint(self.rule_set, ignore, self._instant(now), progress=progress)

    def diff(self, other: Policy, *, now: float | None = None) -> PolicyDiff:
        """Return what changes, and for which peers, from this policy to another.

        Two policies for one environment are compared name by name. For two environments, the
        own peers of one are compared with the own peers of the other.

        Args:
            other: The policy to compare with.
            now: As for `decide`; for both.

        Raises:
            PolicyTooComplex: If the rules are too entangled for an exact answer.
        """
        from meshid.policy.analysis.diff import compare

        # One instant for both.
        return compare(self.rule_set, other.rule_set, other._instant(self._instant(now)))

    def prove(
        self, never: PeerPattern | str, reach: Pattern | str = "**", *, now: float | None = None
    ) -> Proof:
        """Prove that no peer of *never* reaches any target of *reach*, or find the shortest counterexample.

        Args:
            never: A pattern of peers; without a trust domain, the environment's own peers.
            reach: A pattern of targets; all of them by default.
            now: As for `decide`.

        Raises:
            InvalidPattern: If *never* or *reach* is not a valid pattern, or the file of the policy does not
                know the trust domain of *never*.
            PolicyTooComplex: If the rules are too entangled for an exact answer.
        """
        from meshid.policy.analysis.doubts import check_trust_domain, doubts_of
        from meshid.policy.analysis.prove import find_access

        peers = PeerPattern.parse(never) if isinstance(never, str) else never
        targets = Pattern.parse(reach) if isinstance(reach, str) else reach
        check_trust_domain(peers, self.environment)
        now = self._instant(now)
        rules = self._rules_at(now)
        access = find_access(rules, peers, targets)
        example = None
        if access is not None:
            asked = None if access.request is None else Request.parse(access.request, KEEPABLE)
            decision = self.decide(access.spiffe_id, access.target, asked, token=access.token, now=now)
            example = Counterexample(access, decision)
        doubts = () if example else tuple(doubts_of(rules, peers, targets))
        return Proof(peers, targets, self.environment, self.hash, example, doubts)

    @property
    def rule_set(self) -> RuleSet:
        """Everything that its file says for the environment."""
        return RuleSet(
            self.environment,
            self.rules,
            self.observe,
            peers=self.peers,
            issuers=self.issuers,
            isolation=self.isolation,
            sets=self.sets,
        )

    def _instant(self, now: float | None) -> float | None:
        """Return *now*; this instant if it is None, and a rule has a last day."""
        return time.time() if now is None and self._stages is not None else now

    def _rules_at(self, now: float | None) -> RuleSet:
        return self.rule_set if now is None else self.rule_set.at(now)

    def _at(self, now: float | None) -> Memory:
        """Return what is remembered where rules end."""
        return cast("Stages[Memory]", self._stages).at(now)

    def __repr__(self) -> str:
        return f"<Policy {self.hash[:12]} for {self.environment.name}, {len(self.rules)} rules>"


_attribute: Callable[[object, str, None], Any] = getattr


def _name_of(peer: Named | SpiffeId) -> SpiffeId:
    name = peer if isinstance(peer, SpiffeId) else getattr(peer, "spiffe_id", None)
    if not isinstance(name, SpiffeId):
        msg = f"a peer must be a Peer or a SpiffeId, not {type(peer).__name__}"
        raise TypeError(msg)
    return name


_BEFORE_RULES = frozenset({Reason.UNSAFE_REQUEST, Reason.TOKEN_DISAGREES, Reason.TOKEN_ISSUER_UNKNOWN})
"""Reasons of refusals without a look at any rule."""

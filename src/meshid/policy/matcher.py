"""The rules, compiled: which are about a peer and a target, and which is the nearest miss.

What a look-up costs depends on the rules that it finds, not on how many there are: rules
are indexed by the path of the peer, then by its trust domain, then by the target; and, to
find a near miss, by the target alone. A peer by name stands there with each of its patterns, so that
a certificate alone finds its rules; a token adds those of the name that it gives. What a rule leaves out
(``not_from``) is by the certificate alone, whatever a token adds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from copy import copy

from meshid.names.pattern_index import PatternIndex
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy.agreement import Standing
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike
from meshid.policy.rules import ANY_METHOD, Effect, Rule
from meshid.support.sieve import Sieve

_REMEMBERED = 1024
"""Sets of rules that are remembered; peers with the same rules share one."""

_MANY = 256
"""Pairs of a source and a target up to which a rule is indexed under each; more take too much memory."""


class Candidates:
    """The rules about a peer and a target, sorted by id, whatever the request."""

    __slots__ = ("_filed", "_for_all", "rules")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self._for_all = [rule for rule in rules if not rule.needs_request]
        self._filed: tuple[_Conditions, _Conditions] | None = None

    def about(self, request: RequestLike) -> Iterable[Rule]:
        """Return those of the rules that no request keeps from matching, sorted by id."""
        if request is REQUEST_FOLLOWS:
            return self.rules
        return self.matching(request) if isinstance(request, Request) else self._for_all

    def matching(self, request: Request) -> list[Rule]:
        """Return those of the rules that are about this request, too, sorted by id."""
        if self._filed is None:
            self._filed = _Conditions(self.rules), _Conditions(self.rules, excepting=True)
        wanted, excepted = self._filed
        found = {rule.id: rule for rule in wanted.met_by(request)}
        for rule in excepted.met_by(request):
            found.pop(rule.id, None)
        return sorted((*self._for_all, *found.values()), key=lambda rule: rule.id)


class _Conditions:
    """What rules say of requests, found by a request.

    Args:
        rules: The rules.
        excepting: Whether what they leave out is meant.
    """

    __slots__ = ("_by_path", "_of_any")

    def __init__(self, rules: Iterable[Rule], *, excepting: bool = False) -> None:
        self._by_path: PatternIndex[list[tuple[str, Rule]]] = PatternIndex()
        # "All but some": what is left out is all that it says.
        self._of_any = [rule for rule in rules if rule.not_http and not (rule.http or excepting)]
        for rule in rules:
            for condition in rule.not_http if excepting else rule.http:
                filed = self._by_path.setdefault(condition.path, list[tuple[str, Rule]])
                filed.append((condition.method, rule))

    def met_by(self, request: Request) -> Iterator[Rule]:
        """Yield the rules that have a condition which a request meets."""
        yield from self._of_any
        for conditions in self._by_path.matching(request.path):
            yield from (rule for method, rule in conditions if method in {ANY_METHOD, request.method})


class _Exceptions:
    """The peers that rules with the same ``not_from`` leave out."""

    __slots__ = ("_by_path", "_own")

    def __init__(self, patterns: Iterable[PeerPattern], own: Collection[TrustDomain]) -> None:
        self._own = own
        self._by_path: PatternIndex[set[TrustDomain | None]] = PatternIndex()
        for each in patterns:
            self._by_path.setdefault(each.path, set[TrustDomain | None]).add(each.trust_domain)

    def have(self, spiffe_id: SpiffeId) -> bool:
        """Tell whether a peer is left out."""
        domain = spiffe_id.trust_domain
        return any(
            domain in domains or (None in domains and domain in self._own)
            for domains in self._by_path.matching(spiffe_id.path)
        )


def _excepting(rules: Iterable[Rule], own: Collection[TrustDomain]) -> Iterator[tuple[int, _Exceptions]]:
    """Yield the number of each rule that leaves somebody out, with whom."""
    known: dict[tuple[PeerPattern, ...], _Exceptions] = {}
    for number, rule in enumerate(rules):
        if rule.not_sources:
            if rule.not_sources not in known:
                known[rule.not_sources] = _Exceptions(rule.not_sources, own)
            yield number, known[rule.not_sources]


class _Targets:
    """The rules about the peers of one pattern, as indices into the sorted rules."""

    __slots__ = ("by_target", "first", "wide")

    def __init__(self) -> None:
        self.by_target: PatternIndex[list[int]] = PatternIndex()
        self.wide: list[tuple[int, PatternIndex[None]]] = []
        self.first: int | None = None

    def matching(self, target: str) -> Iterator[int]:
        for numbers in self.by_target.matching(target):
            yield from numbers
        for number, targets in self.wide:
            if targets.matching(target):
                yield number


_ByDomain = dict[TrustDomain | None, _Targets]


class Matcher:
    """The rules of a policy, found by a peer and a target.

    Args:
        rules: The rules, sorted by id.
        own: The trust domains that a pattern without one means.
        federated: The trust domains of others, whose peers a token can give a name.
        provable: The names of peers that a token can give.
    """

    def __init__(
        self,
        rules: tuple[Rule, ...],
        own: Collection[TrustDomain],
        *,
        federated: Collection[TrustDomain] = (),
        provable: Collection[str] = (),
    ) -> None:
        self._rules = rules
        self._own = frozenset(own)
        self._federated = tuple(federated)
        self._provable = frozenset(provable)
        self._by_name: dict[str, _Targets] = {}
        self._by_any_name = _Targets()
        self._needing = frozenset(number for number, rule in enumerate(rules) if rule.needs_token)
        self._excepting = dict(_excepting(rules, self._own))
        self._ending = {number: end for number, rule in enumerate(rules) if (end := rule.ends_at) is not None}
        self._until = -math.inf
        self._by_path: PatternIndex[_ByDomain] = PatternIndex()
        self._by_target: PatternIndex[dict[TrustDomain | None, int]] = PatternIndex()
        self._candidates: Sieve[tuple[int, ...], Candidates] = Sieve(_REMEMBERED)
        for number, rule in enumerate(rules):
            self._file(number, rule)

    def at(self, until: float) -> Matcher:
        """Return one for the rules that end no earlier, in POSIX seconds; it shares what was indexed."""
        matcher: Matcher = copy(self)
        matcher._until = until
        return matcher

    def about(self, standing: Standing, target: str) -> Candidates:
        """Return the rules about this peer, as far as it has proven itself, and this target."""
        numbers = self._by_certificate(standing.spiffe_id, target)
        if not standing.has_token:
            if self._needing:
                numbers -= numbers & self._needing
        elif (by_name := self._by_name.get(standing.name or "")) is not None:
            numbers.update(by_name.matching(target))
        return self._remembered(self._counting(standing.spiffe_id, numbers))

    def awaiting_token(self, standing: Standing, target: str) -> list[Rule]:
        """Return the allow rules that are about this peer only with a token that is still to come, sorted."""
        if not standing.may_bring_token:
            return []
        by_certificate = self._by_certificate(standing.spiffe_id, target)
        found = by_certificate & self._needing
        if standing.could_be:
            found.update(
                number for number in self._by_any_name.matching(target) if number not in by_certificate
            )
        found = self._counting(standing.spiffe_id, found)
        return [self._rules[number] for number in sorted(found) if self._rules[number].effect is Effect.ALLOW]

    def near_miss(self, standing: Standing, target: str, request: RequestLike) -> Rule | None:
        """Return the allow rule that comes nearest to matching; None if none comes near.

        The nearest lacks nothing but a token. Otherwise, a request and a missing token do not count, a wrong
        trust domain counts least, then a wrong target, then a wrong path. Among rules that are equally near,
        the first by id is returned.
        """
        spiffe_id = standing.spiffe_id
        if self._needing and not standing.has_token:
            needed = self._by_certificate(spiffe_id, target) & self._needing
            needing = self._remembered(self._counting(spiffe_id, needed))
            lacking = (rule for rule in needing.about(request) if rule.could_allow)
            if (rule := next(lacking, None)) is not None:
                return rule
        keys = self._keys(spiffe_id.trust_domain)
        paths = self._by_path.matching(spiffe_id.path)
        ours = [targets for each in paths for key, targets in each.items() if key in keys]
        if standing.has_token and standing.name in self._by_name:
            ours.append(self._by_name[standing.name])
        foreign = [targets for each in paths for key, targets in each.items() if key not in keys]
        at_target = self._by_target.matching(target)
        for numbers in (
            (number for each in ours for number in self._allowing(each, target)),
            (number for each in foreign for number in self._allowing(each, target)),
            (each.first for each in ours),
            (each.first for each in foreign),
            (each[key] for each in at_target for key in keys if key in each),
            (number for each in at_target for number in each.values()),
        ):
            first = min((number for number in numbers if number is not None), default=None)
            if first is not None:
                return self._rules[first]
        return None

    def _remembered(self, numbers: set[int]) -> Candidates:
        found = tuple(sorted(numbers))
        candidates = self._candidates.get(found)
        if candidates is None:
            candidates = Candidates(tuple(self._rules[number] for number in found))
            self._candidates.put(found, candidates)
        return candidates

    def _by_certificate(self, spiffe_id: SpiffeId, target: str) -> set[int]:
        domain = spiffe_id.trust_domain
        numbers: set[int] = set()
        for by_domain in self._by_path.matching(spiffe_id.path):
            if domain in by_domain:
                numbers.update(by_domain[domain].matching(target))
            if None in by_domain and domain in self._own:
                numbers.update(by_domain[None].matching(target))
        return numbers

    def _counting(self, spiffe_id: SpiffeId, numbers: set[int]) -> set[int]:
        """Return the numbers without the rules that leave a peer out, and those that have ended."""
        if self._ending:
            ended = {each for each in numbers & self._ending.keys() if self._ending[each] < self._until}
            numbers -= ended
        if not self._excepting:
            return numbers
        excepting = {number: self._excepting[number] for number in numbers & self._excepting.keys()}
        # Many rules may leave out the same peers, and are asked together.
        having = {each for each in set(excepting.values()) if each.have(spiffe_id)}
        return numbers - {number for number, each in excepting.items() if each in having}

    def _allowing(self, targets: _Targets, target: str) -> Iterable[int]:
        return (number for number in targets.matching(target) if self._rules[number].could_allow)

    def _keys(self, domain: TrustDomain) -> tuple[TrustDomain | None, ...]:
        return (domain, None) if domain in self._own else (domain,)

    def _file(self, number: int, rule: Rule) -> None:
        sources = rule.known_by
        wide: PatternIndex[None] | None = None
        if (len(sources) + len(rule.peers)) * len(rule.targets) > _MANY:
            wide = PatternIndex()
            for target in rule.targets:
                wide.setdefault(target, lambda: None)
        for source in sources:
            by_domain = self._by_path.setdefault(source.path, _ByDomain)
            self._add(by_domain.setdefault(source.trust_domain, _Targets()), number, wide)
        for peer in rule.peers:
            self._add(self._by_name.setdefault(peer.name, _Targets()), number, wide)
        if any(peer.name in self._provable for peer in rule.peers):
            self._add(self._by_any_name, number, wide)
        if rule.could_allow:
            # A near miss is only words: a rule that names more trust domains is told for the first ones.
            domains = list(dict.fromkeys(source.trust_domain for source in sources))[:_MANY]
            if rule.peers:
                domains = list(dict.fromkeys((*domains, None, *self._federated[:_MANY])))
            for target in rule.targets:
                at_target = self._by_target.setdefault(target, dict[TrustDomain | None, int])
                for domain in domains:
                    at_target.setdefault(domain, number)

    def _add(self, targets: _Targets, number: int, wide: PatternIndex[None] | None) -> None:
        rule = self._rules[number]
        if rule.could_allow and targets.first is None:
            targets.first = number
        if wide is not None:
            targets.wide.append((number, wide))
            return
        for target in rule.targets:
            targets.by_target.setdefault(target, list[int]).append(number)

"""The rules, compiled: which are about a peer and a target, and which is the nearest miss.

What a look-up costs depends on the rules that it finds, not on how many there are: rules
are indexed by the path of the peer, then by its trust domain, then by the target; and, to
find a near miss, by the target alone. A peer by name stands there with each of its patterns, so that
a certificate alone finds its rules; a token adds those of the name that it gives. What a rule leaves out
(``not_from``) is by the certificate alone, whatever a token adds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from copy import copy
from itertools import islice
from typing import TypeAlias

from meshid.names.pattern_index import PatternIndex
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy.agreement import Standing
from meshid.policy.candidates import Candidates, NearMiss
from meshid.policy.nearness import (
    MISSED_BY,
    NO_PATH,
    OTHER_DOMAIN,
    Allowing,
    Distances,
    Nearby,
    NearbyPeers,
)
from meshid.policy.rules import Effect, Rule
from meshid.support.sieve import Sieve

_REMEMBERED = 1024
"""Sets of rules that are remembered; peers with the same rules share one."""

_MANY = 256
"""Pairs of a source and a target up to which a rule is indexed under each; more take too much memory."""

_TARGETS, _PATHS = 12, 20
"""Patterns that the target and the path of a peer who is refused are compared with."""

_INDICES, _DOMAINS = 16, 4
"""Lists of rules that they are taken from, and trust domains in each: however many there are."""

_BY_DOMAIN, _BY_TARGET, _BY_PATH = (MISSED_BY[each] for each in ("trust domain", "target", "peer"))

_Near: TypeAlias = tuple[int, int, bool, int]
"""How far a rule is, what it misses by, whether it has ended, and its number."""


class _Targets:
    """The rules about the peers of one pattern, as indices into the sorted rules."""

    __slots__ = ("allowing", "by_target", "wide")

    def __init__(self) -> None:
        self.by_target: PatternIndex[list[int]] = PatternIndex()
        self.wide: list[tuple[int, PatternIndex[None]]] = []
        self.allowing = Allowing()

    def matching(self, target: str) -> Iterator[int]:
        for numbers in self.by_target.matching(target):
            yield from numbers
        for number, targets in self.wide:
            if targets.matching(target):
                yield number


_ByDomain = dict[TrustDomain | None, _Targets]
_Numbers = dict[TrustDomain | None, set[int]]


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
        self._could_allow = frozenset(number for number, rule in enumerate(rules) if rule.could_allow)
        self._excepting = frozenset(number for number, rule in enumerate(rules) if rule.not_sources)
        # One index for all: many rules may leave out the same set of peers.
        self._exceptions: PatternIndex[_Numbers] = PatternIndex()
        self._ending = {number: end for number, rule in enumerate(rules) if (end := rule.ends_at) is not None}
        self._until = -math.inf
        self._by_path: PatternIndex[_ByDomain] = PatternIndex()
        self._by_target: PatternIndex[Allowing] = PatternIndex()
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

    def near(self, standing: Standing, target: str) -> NearMiss:
        """Return the allow rules that come nearest to matching; the request is asked about later.

        That is the one that `Explanation.nearest` begins with, if the few that are looked at have it.
        """
        ours, others = self._of_peer(standing)
        numbers = set[int]().union(*(self._allowing(each, target) for each in ours))
        if numbers:
            return NearMiss(self._groups(standing.spiffe_id, numbers), None)
        best = min(self._near_ones(standing, target, ours, others), default=None)
        return NearMiss((), None if best is None else self._rules[best[-1]])

    def _of_peer(self, standing: Standing) -> tuple[list[_Targets], list[_Targets]]:
        """Return what rules are about this peer, and about one of the same path in another trust domain."""
        keys = self._keys(standing.spiffe_id.trust_domain)
        paths = self._by_path.matching(standing.spiffe_id.path)
        ours = [targets for each in paths for key, targets in each.items() if key in keys]
        if standing.has_token and standing.name in self._by_name:
            ours.append(self._by_name[standing.name])
        return ours, [targets for each in paths for key, targets in each.items() if key not in keys]

    def _groups(self, spiffe_id: SpiffeId, numbers: set[int]) -> tuple[tuple[Candidates, Candidates], ...]:
        """Return rules about a peer and a target: those that do not leave the peer out, and those that do.

        Of each, those that count, and those that have ended.
        """
        ended, left_out = self._ended(numbers), self._left_out(spiffe_id, numbers)
        return tuple(
            (self._remembered(some - ended), self._remembered(some & ended))
            for some in (numbers - left_out, left_out)
        )

    def _near_ones(
        self, standing: Standing, target: str, ours: list[_Targets], others: list[_Targets]
    ) -> Iterator[_Near]:
        """Yield rules that miss by the peer or by the target, of all that there are those that are alike."""
        for each in others:
            at_target = self._allowing(each, target)
            yield from (self._near(OTHER_DOMAIN, _BY_DOMAIN, number) for number in at_target)
        distances = Distances(target, _TARGETS)
        for far, by, every in ((0, 0, ours), (OTHER_DOMAIN, _BY_DOMAIN, others)):
            for each in islice(every, _INDICES):
                nearby = each.allowing.targets(self._rules)
                yield from self._nearby(nearby, distances, far, by + _BY_TARGET)
        at_targets = islice(self._by_target.matching(target), _INDICES)
        yield from self._at_target(standing.spiffe_id, [each.sources(self._rules) for each in at_targets])

    def _at_target(self, spiffe_id: SpiffeId, at_target: list[NearbyPeers]) -> Iterator[_Near]:
        """Yield rules that miss by the peer alone."""
        keys = self._keys(spiffe_id.trust_domain)
        is_known = None in keys or spiffe_id.trust_domain in self._federated
        far, by = (0, 0) if is_known else (OTHER_DOMAIN, _BY_DOMAIN)
        named = (number for each in at_target for number in each.named)
        yield from (self._near(far + NO_PATH, by + _BY_PATH, number) for number in named)
        distances = Distances(spiffe_id.path, _PATHS)
        ours = [each.by_domain[key] for each in at_target for key in keys if key in each.by_domain]
        for nearby in ours:
            yield from self._nearby(nearby, distances, 0, _BY_PATH)
        for each in at_target:
            foreign = (nearby for key, nearby in each.by_domain.items() if key not in keys)
            for nearby in islice(foreign, _DOMAINS):
                yield from self._nearby(nearby, distances, OTHER_DOMAIN, _BY_DOMAIN + _BY_PATH)

    def _nearby(self, nearby: Nearby, distances: Distances, far: int, by: int) -> Iterator[_Near]:
        for pattern, numbers in nearby.around(distances.text):
            # What is the same misses by the trust domain alone, and was looked at before.
            if distance := distances.to(pattern):
                yield from (self._near(far + distance, by, number) for number in numbers)

    def _near(self, distance: int, by: int, number: int) -> _Near:
        return distance, by, number in self._ending and self._ending[number] < self._until, number

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
            numbers -= self._ended(numbers)
        return numbers - self._left_out(spiffe_id, numbers) if self._excepting else numbers

    def _ended(self, numbers: set[int]) -> set[int]:
        return {number for number in numbers & self._ending.keys() if self._ending[number] < self._until}

    def _left_out(self, spiffe_id: SpiffeId, numbers: set[int]) -> set[int]:
        excepting = numbers & self._excepting
        if not excepting:
            return excepting
        keys = self._keys(spiffe_id.trust_domain)
        by_domains = self._exceptions.matching(spiffe_id.path)
        return {
            number
            for by_domain in by_domains
            for key in keys
            if key in by_domain
            for number in excepting & by_domain[key]
        }

    def _allowing(self, targets: _Targets, target: str) -> frozenset[int]:
        return self._could_allow.intersection(targets.matching(target))

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
        for each in rule.not_sources:
            by_numbers = self._exceptions.setdefault(each.path, _Numbers)
            by_numbers.setdefault(each.trust_domain, set()).add(number)
        for peer in rule.peers:
            self._add(self._by_name.setdefault(peer.name, _Targets()), number, wide)
        if any(peer.name in self._provable for peer in rule.peers):
            self._add(self._by_any_name, number, wide)
        if rule.could_allow:
            for target in rule.targets:
                self._by_target.setdefault(target, Allowing).numbers.append(number)

    def _add(self, targets: _Targets, number: int, wide: PatternIndex[None] | None) -> None:
        rule = self._rules[number]
        if rule.could_allow:
            targets.allowing.numbers.append(number)
        if wide is not None:
            targets.wide.append((number, wide))
            return
        for target in rule.targets:
            targets.by_target.setdefault(target, list[int]).append(number)

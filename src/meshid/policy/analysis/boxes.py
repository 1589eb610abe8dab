"""Rules as boxes: a rule with lists of patterns, taken apart into boxes with one pattern of each kind.

A peer by name is a box for each pattern of its SPIFFE IDs, and one for whoever has a token that names it.

A box is the product of a set of peers, a set of targets and a set of requests, as a box in space
is the product of three intervals; what two rules have in common is then found box by box.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Self

import attrs

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.extent import Extent, Patterns
from meshid.policy.analysis.token_states import ANYTHING, NO_TOKEN, TokenState
from meshid.policy.rules import ANY_METHOD, Effect, Rule

ALL = -1
"""In place of the index of a condition: all conditions of a rule."""

HANDSHAKE = ""
"""In place of a method: a handshake, without a request."""


@attrs.frozen
class Box:
    """All peers of one pattern, at all targets of one pattern, with all requests of one condition.

    Attributes:
        rule: The rule that the box is part of.
        peers: The pattern of the peers.
        patterns: The three patterns.
        method: The method of the requests; None if the rule has no conditions.
        at: The indices of its patterns in what the rule has: `Rule.who`, ``to`` and ``http``.
        by_token: The name that a token must give; None if the certificate is enough.
        name: The name of the peer by name that it is of; None if it is of a pattern.
    """

    rule: Rule
    peers: PeerPattern
    patterns: Patterns
    method: str | None
    at: tuple[int, int, int]
    by_token: str | None = None
    name: str | None = None

    def is_of(
        self, domain: TrustDomain, own: tuple[TrustDomain, ...], method: str, state: TokenState = NO_TOKEN
    ) -> bool:
        """Tell whether it holds peers of this trust domain in this state, and requests of this method."""
        return self.is_in(domain, own) and self.is_for(method) and self.is_with(state)

    def is_in(self, domain: TrustDomain, own: tuple[TrustDomain, ...]) -> bool:
        """Tell whether it holds peers of this trust domain; a token may name peers of any."""
        return self.by_token is not None or domain in self.peers.domains(own)

    def is_with(self, state: TokenState) -> bool:
        """Tell whether it holds peers in this state."""
        if self.by_token is not None:
            return state.name == self.by_token
        if None not in {self.name, state.name} and self.name != state.name:
            # Such a peer has the certificate of one name and the token of another: they disagree.
            return False
        return state.has_token or not self.rule.needs_token

    def is_for(self, method: str) -> bool:
        """Tell whether it holds requests of this method.

        At a handshake, a deny rule for some requests denies all, and an allow rule allows none.
        """
        if self.method is None:
            return True
        if method == HANDSHAKE:
            return self.rule.effect is Effect.DENY
        return self.method in {ANY_METHOD, method}

    @property
    def methods(self) -> Iterator[str | None]:
        """The methods that it tells from others."""
        yield self.method
        yield from (each.method for each in self.rule.not_http)

    def extent(self, domain: TrustDomain, own: tuple[TrustDomain, ...], method: str) -> Extent:
        """Return what it holds of the peers of a trust domain, with requests of a method.

        At a handshake, no path of a request counts.
        """
        path, target, request = self.patterns
        holes = [
            (each.path, ANYTHING, ANYTHING) for each in self.rule.not_sources if domain in each.domains(own)
        ]
        if method == HANDSHAKE:
            return Extent((path, target, ANYTHING), tuple(holes))
        excepted = (each for each in self.rule.not_http if each.method in {ANY_METHOD, method})
        holes += [(ANYTHING, ANYTHING, each.path) for each in excepted]
        return Extent((path, target, request), tuple(holes))

    def covers(self, other: Box) -> bool:
        """Tell whether it holds all of another box, in whatever domain, state and method."""
        path, target, request = self.patterns
        its_path, its_target, its_request = other.patterns
        return (
            (self.method is None or self._is_like(other))
            and excepts_no_more(self.rule, other.rule)
            and request.contains(its_request)
            and target.contains(its_target)
            and self._holds_peers_of(other)
            and path.contains(its_path)
        )

    def _is_like(self, other: Box) -> bool:
        return self.method == other.method and self.rule.effect is other.rule.effect

    def _holds_peers_of(self, other: Box) -> bool:
        if self.by_token is not None:
            return self.by_token == other.by_token
        if other.by_token is not None or self.peers.trust_domain != other.peers.trust_domain:
            return False
        return other.rule.needs_token or not self.rule.needs_token

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two boxes of the same effect that hold the same."""
        needed = self.by_token if self.by_token is not None else self.rule.needs_token
        holes = frozenset(self.rule.not_sources), frozenset(self.rule.not_http)
        return (self.rule.effect, self.peers.trust_domain, self.patterns, self.method, needed, holes)


def excepts_no_more(rule: Rule, other: Rule) -> bool:
    """Tell whether all exceptions of a rule are exceptions of the other as well."""
    return set(rule.not_sources) <= set(other.not_sources) and set(rule.not_http) <= set(other.not_http)


_BOX = 30
"""Steps for a box that is made and kept: its memory, too, is paid with them."""


_MANY = 16
"""Conditions of a rule that one box may stand for."""


def boxes_of(rule: Rule, budget: Budget) -> list[Box]:
    """Take a rule apart into its boxes.

    Raises:
        PolicyTooComplex: If the budget does not last.
    """
    product = Product.of(rule)
    budget.turn_to(rule)
    budget.spend(_BOX * product.size)
    return list(product.boxes())


def slabs_of(rule: Rule, budget: Budget) -> list[Box]:
    """Take a rule apart into slabs: if it has many conditions, a box stands for all of them.

    The index of its condition is then `ALL`.

    Raises:
        PolicyTooComplex: If the budget does not last.
    """
    product = Product.of(rule)
    if len(product.requests) >= _MANY:
        product = attrs.evolve(product, requests=((ALL, None, ANYTHING),))
    budget.turn_to(rule)
    budget.spend(_BOX * product.size)
    return list(product.boxes())


def of_source(box: Box, source: RuleSource) -> Box:
    """Return a box with other peers."""
    _, target, request = box.patterns
    _, j, k = box.at
    patterns, at = (source.peers.path, target, request), (source.at, j, k)
    return Box(box.rule, source.peers, patterns, box.method, at, source.by_token, source.name)


def of_target(box: Box, at: int, target: Pattern) -> Box:
    """Return a box with other targets."""
    path, _, request = box.patterns
    i, _, k = box.at
    return Box(box.rule, box.peers, (path, target, request), box.method, (i, at, k), box.by_token, box.name)


def of_request(box: Box, at: int, method: str | None, request: Pattern) -> Box:
    """Return a box with other requests."""
    path, target, _ = box.patterns
    i, j, _ = box.at
    return Box(box.rule, box.peers, (path, target, request), method, (i, j, at), box.by_token, box.name)


COVER = 3
"""Steps to compare two boxes."""


@attrs.frozen
class RuleSource:
    """Peers that a rule is about.

    Attributes:
        at: The index in `Rule.who`.
        peers: The pattern of the peers.
        by_token: The name that a token must give; None if the certificate is enough.
        name: The name of the peer by name that it is of; None if it is of a pattern.
    """

    at: int
    peers: PeerPattern
    by_token: str | None = None
    name: str | None = None


@attrs.frozen
class Product:
    """A rule, or a part of it: some of its sources with some of its targets and some of its conditions.

    Attributes:
        rule: The rule.
        sources: The sources.
        targets: The targets, with the index of each in ``to``.
        requests: The conditions, with the index of each in ``http``: method and path.
    """

    rule: Rule
    sources: tuple[RuleSource, ...]
    targets: tuple[tuple[int, Pattern], ...]
    requests: tuple[tuple[int, str | None, Pattern], ...]

    @classmethod
    def of(cls, rule: Rule) -> Self:
        """Return all of a rule."""
        requests: tuple[tuple[int, str | None, Pattern], ...]
        requests = tuple((at, each.method, each.path) for at, each in enumerate(rule.http))
        # "All but some" is a condition, too: at a handshake, nothing is known of it.
        requests = requests or ((0, ANY_METHOD if rule.not_http else None, ANYTHING),)
        return cls(rule, tuple(_sources_of(rule)), tuple(enumerate(rule.targets)), requests)

    @property
    def size(self) -> int:
        """The number of its boxes."""
        return len(self.sources) * len(self.targets) * len(self.requests)

    @property
    def first(self) -> Self:
        """The part of it that is its first box."""
        return attrs.evolve(
            self, sources=self.sources[:1], targets=self.targets[:1], requests=self.requests[:1]
        )

    @property
    def methods(self) -> set[str]:
        """The methods that it names."""
        named = {method for _, method, _ in self.requests if method is not None}
        return named | {each.method for each in self.rule.not_http}

    def held_by(self, box: Box, other: Product, by: Box, budget: Budget) -> Product:
        """Return the part that another product holds entry by entry, as *by* of it holds *box* of this."""
        budget.spend(
            COVER
            * (
                len(self.sources) * len(other.sources)
                + len(self.targets) * len(other.targets)
                + len(self.requests) * len(other.requests)
            )
        )
        by_sources = [of_source(by, each) for each in other.sources]
        by_targets = [of_target(by, *each) for each in other.targets]
        by_requests = [of_request(by, *each) for each in other.requests]

        def held(one: Box, others: list[Box]) -> bool:
            return any(each.covers(one) for each in others)

        return attrs.evolve(
            self,
            sources=tuple(each for each in self.sources if held(of_source(box, each), by_sources)),
            targets=tuple(each for each in self.targets if held(of_target(box, *each), by_targets)),
            requests=tuple(each for each in self.requests if held(of_request(box, *each), by_requests)),
        )

    def boxes(self) -> Iterator[Box]:
        """Yield its boxes."""
        for source in self.sources:
            path = source.peers.path
            for j, target in self.targets:
                for k, method, request in self.requests:
                    yield Box(
                        self.rule,
                        source.peers,
                        (path, target, request),
                        method,
                        (source.at, j, k),
                        source.by_token,
                        source.name,
                    )

    def only(self, kind: int, numbers: Collection[int]) -> Self:
        """Return what is left with some entries of one list."""
        return self._with(kind, lambda at: at in numbers)

    def without(self, kind: int, numbers: Collection[int]) -> Self:
        """Return what is left without some entries of one list."""
        return self._with(kind, lambda at: at not in numbers)

    def _with(self, kind: int, is_kept: Callable[[int], bool]) -> Self:
        if kind == 0:
            return attrs.evolve(self, sources=tuple(each for each in self.sources if is_kept(each.at)))
        if kind == 1:
            return attrs.evolve(self, targets=tuple(each for each in self.targets if is_kept(each[0])))
        return attrs.evolve(self, requests=tuple(each for each in self.requests if is_kept(each[0])))

    def less(self, part: Product) -> Iterator[Product]:
        """Yield what is left without a part of it, as products."""
        sources = tuple(each for each in self.sources if each not in set(part.sources))
        targets = tuple(each for each in self.targets if each not in set(part.targets))
        requests = tuple(each for each in self.requests if each not in set(part.requests))
        left = (
            attrs.evolve(self, sources=sources),
            attrs.evolve(self, sources=part.sources, targets=targets),
            attrs.evolve(part, requests=requests),
        )
        yield from (each for each in left if each.size)


def _sources_of(rule: Rule) -> Iterator[RuleSource]:
    yield from (RuleSource(at, source) for at, source in enumerate(rule.sources))
    for at, peer in enumerate(rule.peers, len(rule.sources)):
        yield from (RuleSource(at, source, None, peer.name) for source in peer.spiffe)
        yield RuleSource(at, PeerPattern(None, ANYTHING), peer.name, peer.name)


class BoxesByName:
    """Boxes, of which few are looked at for a state in which a token gives a name.

    Args:
        boxes: The boxes.
    """

    def __init__(self, boxes: Iterable[Box]) -> None:
        self._all = list(boxes)
        self._of: defaultdict[str | None, list[Box]] = defaultdict(list)
        for box in self._all:
            self._of[box.name].append(box)

    def of(
        self,
        domain: TrustDomain,
        own: tuple[TrustDomain, ...],
        method: str,
        state: TokenState,
        holder: str | None = None,
    ) -> list[Box]:
        """Return the boxes with peers of a trust domain in a state, and requests of a method.

        Those of other names are left out if only certificates of one name, the *holder*, are asked about.
        """
        name = state.name or holder
        boxes = self._all if name is None else [*self._of.get(None, ()), *self._of.get(name, ())]
        return [each for each in boxes if each.is_of(domain, own, method, state)]

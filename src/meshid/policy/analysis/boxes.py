"""Rules as boxes: a rule with lists of patterns, taken apart into boxes with one pattern of each kind.

A peer by name is a box for each pattern of its SPIFFE IDs, and one for whoever has a token that names it.

A box is the product of a set of peers, a set of targets and a set of requests, as a box in space
is the product of three intervals; what two rules have in common is then found box by box.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import attrs

from meshid.names.pattern import Pattern
from meshid.names.pattern_index import PatternIndex
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.token_states import ANYTHING, NO_TOKEN, TokenState
from meshid.policy.rules import ANY_METHOD, Effect, Rule

HANDSHAKE = ""
"""In place of a method: a handshake, without a request."""

Patterns: TypeAlias = tuple[Pattern, Pattern, Pattern]
"""Of the path of a peer, of a target, of the path of a request."""


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
    """

    rule: Rule
    peers: PeerPattern
    patterns: Patterns
    method: str | None
    at: tuple[int, int, int]
    by_token: str | None = None

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

    def seen_with(self, method: str) -> Patterns:
        """Return the patterns that count for this method; at a handshake, no path of a request does."""
        path, target, request = self.patterns
        return (path, target, ANYTHING) if method == HANDSHAKE else (path, target, request)

    def covers(self, other: Box) -> bool:
        """Tell whether it holds all of another box, in whatever domain, state and method."""
        is_alike = self.method is None or (
            self.method == other.method and self.rule.effect is other.rule.effect
        )
        has_all = (
            self.by_token == other.by_token if self.by_token is not None else self._holds_peers_of(other)
        )
        return (
            is_alike
            and has_all
            and all(mine.contains(each) for mine, each in zip(self.patterns, other.patterns, strict=True))
        )

    def _holds_peers_of(self, other: Box) -> bool:
        if other.by_token is not None or self.peers.trust_domain != other.peers.trust_domain:
            return False
        return other.rule.needs_token or not self.rule.needs_token

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two boxes of the same effect that hold the same."""
        needed = self.by_token if self.by_token is not None else self.rule.needs_token
        return (self.rule.effect, self.peers.trust_domain, self.patterns, self.method, needed)


def boxes_of(rule: Rule) -> Iterator[Box]:
    """Take a rule apart into its boxes."""
    conditions: list[tuple[str | None, Pattern]] = [(each.method, each.path) for each in rule.http]
    conditions = conditions or [(None, ANYTHING)]
    for i, source, by_token in _sources_of(rule):
        for j, target in enumerate(rule.targets):
            for k, (method, request) in enumerate(conditions):
                yield Box(rule, source, (source.path, target, request), method, (i, j, k), by_token)


def _sources_of(rule: Rule) -> Iterator[tuple[int, PeerPattern, str | None]]:
    yield from ((at, source, None) for at, source in enumerate(rule.sources))
    for at, peer in enumerate(rule.peers, len(rule.sources)):
        yield from ((at, source, None) for source in peer.spiffe)
        yield at, PeerPattern(None, ANYTHING), peer.name


class BoxIndex:
    """Finds the boxes that intersect a pattern of peers and one of targets.

    Args:
        boxes: The boxes.
    """

    def __init__(self, boxes: Iterable[Box]) -> None:
        self._by_path: PatternIndex[PatternIndex[list[Box]]] = PatternIndex()
        for box in boxes:
            path, target, _ = box.patterns
            self._by_path.setdefault(path, PatternIndex[list[Box]]).setdefault(target, list[Box]).append(box)

    def intersecting(self, path: Pattern, target: Pattern) -> Iterator[Box]:
        """Yield the boxes that have a peer's path and a target in common with these."""
        for by_target in self._by_path.intersecting(path):
            for boxes in by_target.intersecting(target):
                yield from boxes

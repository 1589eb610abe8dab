"""A second reading of policies and diffs: which points of a small world they speak of, as bits of a number.

It knows the words of the documentation, and none of the code that finds what changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import TypeAlias

import attrs

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy import Area, Change, Policy, Rule

pattern_of = cache(Pattern.parse)
peers_of = cache(PeerPattern.parse)

Peer: TypeAlias = tuple[SpiffeId, str | None]
"""A certificate, and the name of a token beside it: None without; "" for a JWT-SVID that gives none."""

Asked: TypeAlias = tuple[str, str] | None
"""Method and path; None for a connection without requests."""


@attrs.frozen
class World:
    """All that there is.

    Attributes:
        peers: The peers.
        targets: The targets.
        requests: The requests.
    """

    peers: tuple[Peer, ...]
    targets: tuple[str, ...]
    requests: tuple[Asked, ...]

    def bits(self, peers: list[bool], targets: list[bool], requests: list[bool]) -> int:
        """Return the product of three sets."""
        found = _number(requests)
        found = _number([bool(each) for each in targets], found, len(requests))
        return _number(peers, found, len(requests) * len(targets))

    def points(self, bits: int) -> Iterator[tuple[Peer, str, Asked]]:
        """Yield the points of a set."""
        for at, point in enumerate(product(self.peers, self.targets, self.requests)):
            if bits >> at & 1:
                yield point


def _number(given: list[bool], each: int = 1, width: int = 1) -> int:
    return sum(each << (at * width) for at, is_in in enumerate(given) if is_in)


@attrs.frozen
class Reading:
    """How a policy, or what a diff says of it, is read.

    Attributes:
        world: All that there is.
        policy: The policy, without rules that are over.
    """

    world: World
    policy: Policy

    @property
    def _own(self) -> tuple[TrustDomain, ...]:
        return self.policy.environment.trust_domains

    def allowed(self) -> int:
        """Return what is allowed."""
        rules = [rule for rule in self.policy.rules if not rule.observe]
        allow, deny = 0, 0
        for rule in rules:
            if rule.effect == "allow":
                allow |= self.rule(rule)
            else:
                deny |= self.rule(rule)
        return allow & ~deny & self.judged()

    def judged(self) -> int:
        """Return all points but those with a method that the policy does not judge."""
        named = {each.method for rule in self.policy.rules for each in (*rule.http, *rule.not_http)}
        named |= {"GET", "PUT", "POST"}
        world = self.world
        asked = [each is None or each[0] in named for each in world.requests]
        return world.bits([True] * len(world.peers), [True] * len(world.targets), asked)

    def rule(self, rule: Rule) -> int:
        """Return what a rule matches; at a connection without requests, a deny rule matches all of them."""
        return self.area(
            Area(
                peers=tuple(f"{each}{' with a token' * rule.needs_token}" for each in rule.who),
                targets=tuple(map(str, rule.targets)),
                requests=tuple(map(str, rule.http)) or ("* /**",),
                connections=not rule.needs_request or rule.effect == "deny",
                not_peers=tuple(map(str, rule.not_sources)),
                not_requests=tuple(map(str, rule.not_http)),
            )
        )

    def area(self, area: Area) -> int:
        """Return the points of an area, as it is written."""
        return self.world.bits(
            [self._has_peer(area, each) for each in self.world.peers],
            [
                not area.targets or any(pattern_of(one).matches(each) for one in area.targets)
                for each in self.world.targets
            ],
            [_has_request(area, each) for each in self.world.requests],
        )

    def _has_peer(self, area: Area, peer: Peer) -> bool:
        return (
            (not area.peers or any(self._is_peer(each, peer) for each in area.peers))
            and (not area.only_peers or any(self._has_id(each, peer) for each in area.only_peers))
            and not any(self._has_id(each, peer) for each in area.not_peers)
        )

    def _has_id(self, pattern: str, peer: Peer) -> bool:
        return peers_of(pattern).matches(peer[0], self._own)

    def _is_peer(self, entry: str, peer: Peer) -> bool:
        """Tell whether an entry is about a peer: a pattern, or ``@name``, and what is needed with it."""
        who, needs_token, token = entry.partition(" with a token")
        if needs_token and not _fits(token.strip(), peer[1]):
            return False
        if not who.startswith("@"):
            return self._has_id(who, peer)
        name, by_token, domain = who.partition(" by token beside ")
        if by_token:
            return peer[1] == name[1:] and self._has_id(domain, peer)
        name, by_certificate, pattern = who.partition(" by certificate ")
        patterns = [pattern] if by_certificate else self._aliases(name[1:])
        return any(self._has_id(each, peer) for each in patterns) or (
            not by_certificate and peer[1] == name[1:]
        )

    def _aliases(self, name: str) -> list[str]:
        return [str(each) for peer in self.policy.peers if peer.name == name for each in peer.spiffe]


def _has_request(area: Area, request: Asked) -> bool:
    if request is None:
        return area.connections and not area.only_requests
    return (
        any(_meets(each, request) for each in area.requests)
        and (not area.only_requests or any(_meets(each, request) for each in area.only_requests))
        and not any(_meets(each, request) for each in area.not_requests)
    )


def _meets(condition: str, request: tuple[str, str]) -> bool:
    method, path = condition.split(" ", 1)
    return method in {"*", request[0]} and pattern_of(path).matches(request[1])


def _fits(token: str, name: str | None) -> bool:
    if name is None:
        return False
    if not token or token == "of any name":  # noqa: S105 - no secret
        return True
    none_of = "that names none of "
    return any(
        name not in {one[1:] for one in each.removeprefix(none_of).split(", ")}
        if each.startswith(none_of)
        else name == each.removeprefix("that names @")
        for each in token.split(" or ")
    )


def area_of(change: Change, allowing: Reading, other: Reading) -> int:
    """Return the points that a change is about, with those that are excepted."""
    of = allowing if change.effect == "allow" or not change.area.peers else other
    found = of.area(change.area) & allowing.judged()
    if change.allowed_by:
        rules = [rule for rule in allowing.policy.rules if rule.id in change.allowed_by]
        allowed = 0
        for rule in rules:
            allowed |= allowing.rule(rule)
        found &= allowed
    return found


def excepted(change: Change, allowing: Reading, other: Reading) -> list[int]:
    """Return what each exception of a change is about."""
    return [(allowing if each.effect == "deny" else other).area(each.area) for each in change.unchanged]

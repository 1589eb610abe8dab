"""A second reading of a diff: what its words claim, point by point, without any of the code that found them."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import attrs

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy import Area, Change, Policy, Rule

pattern_of = cache(Pattern.parse)
peers_of = cache(PeerPattern.parse)

_Own: TypeAlias = tuple[TrustDomain, ...]


@attrs.frozen
class Point:
    """One access.

    Attributes:
        spiffe_id: The peer.
        target: The target.
        request: Method and path; None for a connection without requests.
        name: The name that a token gives; "" for a JWT-SVID of the certificate's own that gives none; None
            without a token.
    """

    spiffe_id: SpiffeId
    target: str
    request: tuple[str, str] | None
    name: str | None = None


@attrs.frozen
class Claims:
    """What a diff claims in one direction.

    Attributes:
        allowing: The policy that allows.
        other: The one that does not.
    """

    allowing: Policy
    other: Policy

    def claims(self, change: Change, point: Point) -> bool:
        """Tell whether a change is said of a point."""
        return self.is_in_area(change, point) and not any(
            self.is_in(each.area, point, self.allowing if each.effect == "deny" else self.other)
            for each in change.unchanged
        )

    def is_in_area(self, change: Change, point: Point) -> bool:
        """Tell whether a point lies in the area of a change, whether or not it is excepted."""
        of = self.allowing if change.effect == "allow" or not change.area.peers else self.other
        if not self.is_in(change.area, point, of) or not judges(self.allowing, point):
            return False
        rules = [rule for rule in self.allowing.rules if rule.id in change.allowed_by]
        return not rules or any(self.is_about(rule, point, self.allowing) for rule in rules)

    def is_in(self, area: Area, point: Point, policy: Policy) -> bool:
        """Tell whether a point lies in an area."""
        own = policy.environment.trust_domains
        if point.request is None:
            asked = area.connections and not area.only_requests
        else:
            asked = (
                any(_meets(each, point.request) for each in area.requests)
                and (
                    not area.only_requests or any(_meets(each, point.request) for each in area.only_requests)
                )
                and not any(_meets(each, point.request) for each in area.not_requests)
            )
        return (
            asked
            and (not area.peers or any(_is_peer(each, point, policy) for each in area.peers))
            and (not area.targets or any(pattern_of(each).matches(point.target) for each in area.targets))
            and (not area.only_peers or any(_has_id(each, point, own) for each in area.only_peers))
            and not any(_has_id(each, point, own) for each in area.not_peers)
        )

    def is_about(self, rule: Rule, point: Point, policy: Policy) -> bool:
        """Tell whether an allow rule matches a point."""
        own = policy.environment.trust_domains
        area = Area(
            peers=tuple(f"{each}{' with a token' * rule.needs_token}" for each in rule.who),
            targets=tuple(map(str, rule.targets)),
            requests=tuple(map(str, rule.http)) or ("* /**",),
            connections=not rule.needs_request,
            not_requests=tuple(map(str, rule.not_http)),
        )
        return self.is_in(area, point, policy) and not rule.excepts(point.spiffe_id, own)


def judges(policy: Policy, point: Point) -> bool:
    """Tell whether a policy judges the method of a point."""
    if point.request is None:
        return True
    method = point.request[0]
    named = {each.method for rule in policy.rules for each in (*rule.http, *rule.not_http)}
    return method in {"GET", "PUT", "POST"} or method in named


def _meets(condition: str, request: tuple[str, str]) -> bool:
    method, path = condition.split(" ", 1)
    return method in {"*", request[0]} and pattern_of(path).matches(request[1])


def _has_id(pattern: str, point: Point, own: _Own) -> bool:
    return peers_of(pattern).matches(point.spiffe_id, own)


def _is_peer(entry: str, point: Point, policy: Policy) -> bool:
    """Tell whether an entry is about the peer of a point: a pattern, or ``@name``, and what is needed with it."""
    own = policy.environment.trust_domains
    who, needs_token, token = entry.partition(" with a token")
    if needs_token and not _fits(token.strip(), point):
        return False
    if not who.startswith("@"):
        return _has_id(who, point, own)
    name, by_token, domain = who.partition(" by token beside ")
    if by_token:
        return point.name == name[1:] and _has_id(domain, point, own)
    name, by_certificate, pattern = who.partition(" by certificate ")
    patterns = [pattern] if by_certificate else _aliases(policy, name[1:])
    return any(_has_id(each, point, own) for each in patterns) or (
        not by_certificate and point.name == name[1:]
    )


def _aliases(policy: Policy, name: str) -> list[str]:
    return [str(each) for peer in policy.peers if peer.name == name for each in peer.spiffe]


def _fits(token: str, point: Point) -> bool:
    if point.name is None:
        return False
    if not token or token == "of any name":  # noqa: S105 - no secret
        return True
    return any(
        point.name not in {name[1:] for name in each.removeprefix("that names none of ").split(", ")}
        if each.startswith("that names none of ")
        else point.name == each.removeprefix("that names @")
        for each in token.split(" or ")
    )

"""What a policy is made of: values, already checked."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from enum import StrEnum

import attrs

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy.isolation import Isolation
from meshid.policy.issuers import Issuer
from meshid.policy.named_peers import NamedPeer, PeerSet
from meshid.policy.requests import Request

ANY_METHOD = "*"

_DAY = 86400.0
"""Seconds; POSIX time has no leap seconds."""


class Effect(StrEnum):
    """What a rule does to the peers that it matches."""

    ALLOW = "allow"
    """It lets them in, where no deny rule matches."""
    DENY = "deny"
    """It keeps them out."""


@attrs.frozen
class Environment:
    """The environment that a policy is loaded for.

    Attributes:
        name: Its name in the file.
        trust_domains: Its own trust domains: the current one first, then aliases for a migration.
        federates_with: Trust domains of others, which rules may name.
        elsewhere: Trust domains that only other environments of its file know; they decide nothing.
    """

    name: str
    trust_domains: tuple[TrustDomain, ...]
    federates_with: tuple[TrustDomain, ...] = ()
    elsewhere: tuple[TrustDomain, ...] = attrs.field(default=(), eq=False)


@attrs.frozen
class HttpCondition:
    """One condition ``METHOD path`` of a rule.

    Attributes:
        method: The method; ``*`` for any.
        path: The pattern of the path.
    """

    method: str
    path: Pattern

    def matches(self, request: Request) -> bool:
        """Tell whether *request* meets the condition."""
        return self.method in {ANY_METHOD, request.method} and self.path.matches(request.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@attrs.frozen(kw_only=True)
class Rule:
    """One rule.

    Attributes:
        id: Its name, unique in the policy.
        effect: Allow or deny.
        why: What it is for; for people, decides nothing.
        owner: Who answers for it; for people, decides nothing.
        reviewer: Who looked at it last; for people, decides nothing.
        until: The last day on which it counts, in UTC; None for ever. Only an allow rule has one.
        sources: Patterns of the peers that it is about (``from``), with those of the sets that it names.
        peers: The peers by name that it is about (``@name`` in ``from``), with those of the sets.
        sets: The names of the sets of peers in ``from``, whose members are in *sources* and *peers*, and of
            those in ``not_from``; for people, decide nothing.
        listed_from: The entries of ``from`` as they are written; for people, decide nothing.
        not_sources: Patterns of the peers that it is not about, by their certificates (``not_from``).
        listed_not_from: The entries of ``not_from`` as they are written; for people, decide nothing.
        needs_token: Whether a peer must prove itself with a token, too (``evidence``).
        targets: Patterns of what they want to reach (``to``).
        http: The requests that it is about; empty for all.
        not_http: The requests that it is not about.
        observe: Whether it decides nothing and only records what it would have decided.
        place: Where it is in its file, such as ``allow[3]``; for people, decides nothing.
    """

    id: str
    effect: Effect
    why: str = ""
    owner: str = ""
    reviewer: str = ""
    until: date | None = None
    sources: tuple[PeerPattern, ...]
    peers: tuple[NamedPeer, ...] = ()
    sets: tuple[str, ...] = attrs.field(default=(), eq=False)
    listed_from: tuple[str, ...] = attrs.field(eq=False)
    not_sources: tuple[PeerPattern, ...] = ()
    listed_not_from: tuple[str, ...] = attrs.field(eq=False)
    needs_token: bool = False
    targets: tuple[Pattern, ...]
    http: tuple[HttpCondition, ...] = ()
    not_http: tuple[HttpCondition, ...] = ()
    observe: bool = False
    place: str = ""

    @listed_from.default
    def _what_is_listed(self) -> tuple[str, ...]:
        return self.who

    @listed_not_from.default
    def _what_is_excepted(self) -> tuple[str, ...]:
        return tuple(map(str, self.not_sources))

    @property
    def could_allow(self) -> bool:
        """Whether it can let a peer in."""
        return self.effect is Effect.ALLOW and not self.observe

    @property
    def needs_request(self) -> bool:
        """Whether it is about some requests only, so that nothing is known of it at a handshake."""
        return bool(self.http or self.not_http)

    @property
    def ends_at(self) -> float | None:
        """When it stops to count, in POSIX seconds: the end of its last day; None for never."""
        return None if self.until is None else _end_of(self.until)

    def has_ended(self, now: float) -> bool:
        """Tell whether its last day is over at *now*, in POSIX seconds: then it is no rule."""
        return self.until is not None and _end_of(self.until) <= now

    def counts_until(self, instant: float) -> bool:
        """Tell whether it counts up to an instant, in POSIX seconds: whether it ends no earlier."""
        return self.until is None or _end_of(self.until) >= instant

    @property
    def known_by(self) -> tuple[PeerPattern, ...]:
        """The patterns of the SPIFFE IDs that it is about: its own, and those of its peers by name."""
        if not self.peers:
            return self.sources
        return (*self.sources, *(pattern for peer in self.peers for pattern in peer.spiffe))

    @property
    def who(self) -> tuple[str, ...]:
        """What its ``from`` means, with each set as its members: the patterns, then the peers by name."""
        return (*map(str, self.sources), *(f"@{peer.name}" for peer in self.peers))

    def is_for(self, request: Request) -> bool:
        """Tell whether it is about this request."""
        if self.http and not any(each.matches(request) for each in self.http):
            return False
        return not any(each.matches(request) for each in self.not_http)

    def excepts(self, spiffe_id: SpiffeId, own: tuple[TrustDomain, ...]) -> bool:
        """Tell whether ``not_from`` leaves a certificate's name out.

        Args:
            spiffe_id: The name.
            own: The trust domains that a pattern without one means.
        """
        return any(each.matches(spiffe_id, own) for each in self.not_sources)

    def __str__(self) -> str:
        return f"{self.effect}: {self.id}"


@attrs.frozen
class RuleSet:
    """Everything that a file says for one environment.

    Attributes:
        environment: The environment.
        rules: The rules, sorted by id.
        observe: Whether the whole policy only observes.
        peers: The peers that have names, sorted by name.
        issuers: The issuers of the environment, sorted by name.
        isolation: What is proven of all environments of the file; None for a file without peers by name
            and issuers.
        sets: The sets of peers, sorted by name; for people, decide nothing: the rules have their members.
    """

    environment: Environment
    rules: tuple[Rule, ...]
    observe: bool
    peers: tuple[NamedPeer, ...] = ()
    issuers: tuple[Issuer, ...] = ()
    isolation: Isolation | None = attrs.field(default=None, eq=False)
    sets: tuple[PeerSet, ...] = attrs.field(default=(), eq=False)

    def at(self, now: float) -> RuleSet:
        """Return it without the rules whose last day is over at *now*, in POSIX seconds."""
        left = tuple(rule for rule in self.rules if not rule.has_ended(now))
        return self if len(left) == len(self.rules) else attrs.evolve(self, rules=left)

    def hash(self) -> str:
        """Return SHA-256, in hex, over the canonical form.

        That is JSON without white space and with sorted keys: the environment with its
        trust domains (the first one first, the others sorted), whether the policy
        observes, and for each rule, sorted by id, its effect, its patterns (each list
        sorted, without repetitions) and whether it observes. ``why``, ``owner`` and ``reviewer``
        decide nothing and do not count; a set of peers counts as what is in it. Peers by name, issuers,
        the evidence that a rule wants, its exceptions and its last day are members only where there
        are any: a file without them has the hash that it always had.
        """
        first, *aliases = map(str, self.environment.trust_domains)
        form: dict[str, object] = {
            "format": "meshid-policy-1",
            "environment": self.environment.name,
            "trust_domains": [first, *sorted(aliases)],
            "federates_with": sorted(map(str, self.environment.federates_with)),
            "observe": self.observe,
            "rules": [_canonical(rule) for rule in self.rules],
        }
        if self.peers:
            form["peers"] = [_canonical_peer(peer) for peer in sorted(self.peers, key=lambda peer: peer.name)]
        if self.issuers:
            issuers = sorted(self.issuers, key=lambda issuer: issuer.name)
            form["issuers"] = [_canonical_issuer(issuer) for issuer in issuers]
        return hashlib.sha256(json.dumps(form, separators=(",", ":"), sort_keys=True).encode()).hexdigest()


def _end_of(day: date) -> float:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    # Not the next day's midnight: the last day of the calendar has no next one.
    return midnight.timestamp() + _DAY


def _canonical(rule: Rule) -> dict[str, object]:
    form: dict[str, object] = {
        "id": rule.id,
        "effect": rule.effect,
        "from": sorted({str(each) for each in rule.sources}),
        "to": sorted({"/".join(each.segments) for each in rule.targets}),
        "http": sorted({str(each) for each in rule.http}),
        "observe": rule.observe,
    }
    if rule.peers:
        form["peers"] = sorted({peer.name for peer in rule.peers})
    if rule.needs_token:
        form["evidence"] = ["token", "x509"]
    if rule.not_sources:
        form["not_from"] = sorted({str(each) for each in rule.not_sources})
    if rule.not_http:
        form["not_http"] = sorted({str(each) for each in rule.not_http})
    if rule.until is not None:
        form["until"] = rule.until.isoformat()
    return form


def _canonical_peer(peer: NamedPeer) -> dict[str, object]:
    tokens = {(each.issuer, "/".join(each.principal.segments)) for each in peer.tokens}
    return {
        "name": peer.name,
        "spiffe": sorted({str(each) for each in peer.spiffe}),
        "tokens": sorted(map(list, tokens)),
    }


def _canonical_issuer(issuer: Issuer) -> dict[str, object]:
    values = attrs.asdict(issuer, filter=lambda field, _: bool(field.eq))
    values["audience"] = sorted(set(issuer.audience))
    values["pins"] = sorted([pin.claim, pin.value] for pin in issuer.pins)
    values["pinned_keys"] = sorted(set(issuer.pinned_keys))
    usual = {field.name: field.default for field in attrs.fields(Issuer)}
    # What is as it is without a key does not count: so a key that is new one day changes no old hash.
    return {name: value for name, value in values.items() if value and value != usual[name]}

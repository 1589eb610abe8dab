"""What is probably not meant about peers by name and issuers: that nothing uses them, or proves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import attrs

from meshid.names.pattern import Pattern
from meshid.names.pattern_index import PatternIndex
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.automata import Words, shortest
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.policy.named_peers import NamedPeer, PeerSet
from meshid.policy.rules import Effect, RuleSet
from meshid.support.quoting import quote


def about_names(rules: RuleSet) -> Iterator[Finding]:
    """Yield what is to be said of the peers by name and the issuers of an environment."""
    named = {peer.name for rule in rules.rules for peer in rule.peers}
    needs_token = any(rule.needs_token for rule in rules.rules)
    for peer in rules.peers:
        for place, why in peer.idle:
            yield Finding(FindingKind.NOT_HERE, place, None, f"it counts for nothing here: {why}")
        # Where a rule needs a token, a name counts without being in any rule: both must agree on it.
        if peer.name not in named and not needs_token:
            words = "is in no rule: it reaches nothing by this name; remove it, or add a rule"
            yield Finding(FindingKind.UNUSED_PEER, peer.place, None, f"peer {_at(peer)} {words}")
    for issuer in rules.issuers:
        if not _is_used(issuer, rules, needs_token=needs_token):
            words = "no peer has an alias of this issuer: its tokens name nobody; remove it, or add an alias"
            yield Finding(FindingKind.UNUSED_ISSUER, issuer.place, None, words)
    yield from _avoidable(rules)


def about_sets(rules: RuleSet, budget: Budget) -> Iterator[Finding]:
    """Yield what is to be said of the sets of peers of an environment.

    Raises:
        PolicyTooComplex: If the budget does not last.
    """
    named = {name for rule in rules.rules for name in rule.sets}
    for each in rules.sets:
        for place, why in each.idle:
            yield Finding(FindingKind.NOT_HERE, place, None, f"it counts for nothing here: {why}")
        if each.name not in named:
            words = f"set {_at(each)} is in no rule: remove it, or add a rule"
            yield Finding(FindingKind.UNUSED_SET, each.place, None, words)
        yield from _covered_members(each, rules.environment.trust_domains, budget)


def _covered_members(peers: PeerSet, own: tuple[TrustDomain, ...], budget: Budget) -> Iterator[Finding]:
    members: PatternIndex[_Members] = PatternIndex()

    def at(member: PeerPattern) -> _Members:
        return members.setdefault(member.path, lambda: _Members(member.path))

    for each in (*peers.sources, *(pattern for peer in peers.peers for pattern in peer.spiffe)):
        at(each).count.update(each.domains(own))
    for member in reversed(peers.sources):
        mine = at(member).count
        mine.subtract(member.domains(own))
        meeting = list(members.intersecting(member.path, budget.spend))
        if all(_are_covering(meeting, member.path, domain, budget) for domain in member.domains(own)):
            words = f"{quote(str(member))} is pointless, and can go: other members of {_at(peers)} cover it"
            yield Finding(FindingKind.POINTLESS, f"{peers.place}.members", None, words)
        else:
            mine.update(member.domains(own))


@attrs.frozen
class _Members:
    """The members of a set that have one path, by their trust domains."""

    path: Pattern
    count: Counter[TrustDomain] = attrs.field(factory=Counter[TrustDomain])


def _are_covering(members: list[_Members], path: Pattern, domain: TrustDomain, budget: Budget) -> bool:
    budget.spend(len(members))
    others = tuple(each.path for each in members if each.count[domain] > 0)
    return bool(others) and shortest(Words.PEER_PATHS, (path,), others, budget) is None


def _avoidable(rules: RuleSet) -> Iterator[Finding]:
    for rule in rules.rules:
        for peer in rule.peers if rule.effect is Effect.DENY else ():
            if peer.tokens and not peer.spiffe:
                words = (
                    f"{_at(peer)} is proved only by tokens here, so it avoids this rule by sending none:"
                    " deny SPIFFE IDs, or give it an alias with spiffe"
                )
                yield Finding(FindingKind.AVOIDABLE, f"{rule.place}.from", rule.id, words)


def _is_used(issuer: Issuer, rules: RuleSet, *, needs_token: bool) -> bool:
    if issuer.profile is not IssuerProfile.JWT_SVID:
        return any(alias.issuer == issuer.name for peer in rules.peers for alias in peer.tokens)
    own = set(rules.environment.trust_domains)
    named = any(
        own.intersection(each.domains(rules.environment.trust_domains))
        for peer in rules.peers
        for each in peer.spiffe
    )
    return needs_token or named


def _at(peer: NamedPeer | PeerSet) -> str:
    return repr(f"@{peer.name}")

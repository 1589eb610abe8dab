"""What is probably not meant about peers by name and issuers: that nothing uses them, or proves them."""

from __future__ import annotations

from collections.abc import Iterator

from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.policy.named_peers import NamedPeer
from meshid.policy.rules import Effect, RuleSet


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


def _at(peer: NamedPeer) -> str:
    return repr(f"@{peer.name}")

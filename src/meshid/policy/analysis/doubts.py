"""What makes a proof worth little: that what it is about is the name of nothing that is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshid.errors import InvalidPattern
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.policy.analysis.lint import EVERY_PATH
from meshid.policy.analysis.typos import respelt
from meshid.policy.rules import Environment, RuleSet
from meshid.support.did_you_mean import Suggestions
from meshid.support.quoting import quote


def check_trust_domain(peers: PeerPattern, environment: Environment) -> None:
    """Check that a trust domain is one that the policy file names: a proof about another says nothing.

    Raises:
        InvalidPattern: If no environment of the file has it or federates with it.
    """
    known = (*environment.trust_domains, *environment.federates_with, *environment.elsewhere)
    domain = peers.trust_domain
    if domain is None or domain in known:
        return
    near = Suggestions().to(domain.name, (each.name for each in known))
    hint = f"did you mean {near}?" if near else "nobody of it is let in, whatever the rules say"
    where = f"environment {quote(environment.name)} neither has nor federates with {domain}"
    msg = f"{quote(str(peers))}: {where}, nor does another environment of its file; {hint}"
    raise InvalidPattern(msg)


def doubts_of(rules: RuleSet, peers: PeerPattern, targets: Pattern) -> Iterator[str]:
    """Yield what speaks against the worth of a proof that no such peer reaches any such target."""
    own = rules.environment.trust_domains
    domains = set(peers.domains(own))
    known = [each.path for each in _named(rules) if domains.intersection(each.domains(own))]
    is_elsewhere = peers.trust_domain in rules.environment.elsewhere
    if not is_elsewhere and not _is_known(peers.path, known):
        meant = respelt(peers.path, known)
        hint = f"; did you mean {quote(str(PeerPattern(peers.trust_domain, meant)))}?" if meant else ""
        yield f"nothing that is loaded can be called {quote(str(peers))}{hint}"
    reached = [each for rule in rules.rules if rule.could_allow for each in rule.targets]
    if not any(map(targets.intersects, reached)):
        near = Suggestions().to(str(targets), dict.fromkeys(map(str, reached)))
        hint = f"; did you mean {quote(near)}?" if near else ""
        yield f"no allow rule is about {quote(str(targets))}, so this holds for every peer{hint}"


def _named(rules: RuleSet) -> Iterator[PeerPattern]:
    for rule in rules.rules:
        yield from rule.sources
        yield from rule.not_sources
    for each in rules.sets:
        yield from each.sources
    for peer in rules.peers:
        yield from peer.spiffe


def _is_known(asked: Pattern, known: Iterable[Pattern]) -> bool:
    """Tell whether a pattern may be about what others name; those that match everybody name nobody."""
    if asked.contains(EVERY_PATH):
        return True
    return any(asked.intersects(each) and not each.contains(EVERY_PATH) for each in known)

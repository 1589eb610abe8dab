"""Lint: what is in a policy and probably not meant.

Whether a rule is pointless or swallowed is decided over all names, targets and requests.
What looks like a typo is a guess, and its message says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.coverage import Coverage, place_of
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.analysis.lint_names import about_names
from meshid.policy.analysis.token_states import ANYTHING
from meshid.policy.analysis.typos import lookalikes
from meshid.policy.rules import Rule, RuleSet


def lint(rules: RuleSet, ignore: Collection[FindingKind] = ()) -> list[Finding]:
    """Return the findings in the order of the file, without the kinds to *ignore*.

    Raises:
        PolicyTooComplex: If the rules are too entangled for an exact answer.
    """
    found = [
        *_unused_federations(rules),
        *about_names(rules),
        *Coverage(rules, Budget(rules)).findings(),
        *(finding for rule in rules.rules for finding in (*_wide(rule, rules), *_without_why(rule))),
        *lookalikes(rules.rules),
    ]
    kept = [finding for finding in found if finding.kind not in ignore]
    order = {rule.id: number for number, rule in enumerate(sorted(rules.rules, key=place_of))}
    return sorted(kept, key=lambda finding: (order.get(finding.rule or "", -1), finding.where, finding.kind))


# -- Rules that do too much ----------------------------------------------------


def _wide(rule: Rule, rules: RuleSet) -> Iterator[Finding]:
    if not rule.could_allow:
        return
    for number, source in enumerate(rule.sources):
        if source.path.contains(ANYTHING):
            where = f"{rule.place}.from" + ("" if rule.peers else f"[{number}]")
            yield _wide_source(rule, where, source, rules)
    for peer in rule.peers:
        for number, source in enumerate(peer.spiffe):
            if source.path.contains(ANYTHING):
                yield _wide_source(rule, f"{peer.place}.spiffe[{number}]", source, rules)
    for number, target in enumerate(rule.targets):
        if target.contains(ANYTHING):
            words = "it allows every target; name the ones you mean"
            yield Finding(FindingKind.WIDE, f"{rule.place}.to[{number}]", rule.id, words)


def _wide_source(rule: Rule, where: str, source: PeerPattern, rules: RuleSet) -> Finding:
    token = " that has a token" if rule.needs_token else ""
    words = f"it allows {_everybody(source.trust_domain, rules, token)}"
    return Finding(FindingKind.WIDE, where, rule.id, words)


def _everybody(domain: TrustDomain | None, rules: RuleSet, token: str) -> str:
    if domain in rules.environment.federates_with:
        return f"every workload of {domain}{token}, whatever its name; name the ones you mean"
    return f"every workload of this environment{token}; name the ones you mean"


def _unused_federations(rules: RuleSet) -> Iterator[Finding]:
    named = {source.trust_domain for rule in rules.rules for source in rule.known_by}
    for number, domain in enumerate(rules.environment.federates_with):
        if domain not in named:
            where = f"environments.{rules.environment.name}.federates_with[{number}]"
            words = f"no rule names {domain}: its peers reach nothing; remove it, or add a rule"
            yield Finding(FindingKind.UNUSED_FEDERATION, where, None, words)


def _without_why(rule: Rule) -> Iterator[Finding]:
    if not rule.why:
        words = "the rule has no `why`; say what it is for"
        yield Finding(FindingKind.NO_WHY, rule.place, rule.id, words)

"""Lint: what is in a policy and probably not meant.

Whether a rule is pointless or swallowed is decided over all names, targets and requests.
What looks like a typo is a guess, and its message says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.coverage import Coverage, place_of
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.analysis.lint_exceptions import Exceptions
from meshid.policy.analysis.lint_names import about_names, about_sets
from meshid.policy.analysis.typos import lookalikes
from meshid.policy.analysis.written import WrittenLists
from meshid.policy.rules import Rule, RuleSet

EVERY_PATH = Pattern.parse("/*/**")
"""It matches every path of a SPIFFE ID, and every target: they have at least one segment."""


def lint(
    rules: RuleSet,
    ignore: Collection[FindingKind] = (),
    now: float | None = None,
    *,
    budget: Budget | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Return the findings in the order of the file, without the kinds to *ignore*.

    Args:
        rules: Everything that a file says for an environment.
        ignore: The kinds of findings to leave out.
        now: The POSIX time in seconds: rules whose last day is over are no rules; None if none has one.
        budget: What it is paid from; None for one of its own.
        progress: Is told how many rules are done, of how many.

    Raises:
        PolicyTooComplex: If the rules are too entangled for an exact answer.
    """
    in_force = rules if now is None else rules.at(now)
    found = [
        *_expired(rules, in_force),
        # What a rule names cannot go before the rule, even if that has ended.
        *_unused_federations(rules),
        *about_names(rules),
        *_of_rules(in_force, rules, budget or Budget(in_force), progress),
    ]
    kept = [finding for finding in found if finding.kind not in ignore]
    order = {rule.id: number for number, rule in enumerate(sorted(rules.rules, key=place_of))}
    return sorted(kept, key=lambda finding: (order.get(finding.rule or "", -1), finding.where, finding.kind))


def _of_rules(
    rules: RuleSet, written: RuleSet, budget: Budget, progress: Callable[[int, int], None] | None
) -> Iterator[Finding]:
    yield from about_sets(written, budget)
    coverage = Coverage(rules, budget)
    yield from coverage.findings(progress)
    yield from Exceptions(rules, budget).findings(coverage.left())
    lists = WrittenLists(rules)
    for rule in rules.rules:
        yield from _wide(rule, rules, lists)
        yield from _without_why(rule)
    yield from lookalikes(rules)


def _expired(rules: RuleSet, in_force: RuleSet) -> Iterator[Finding]:
    kept = {rule.id for rule in in_force.rules}
    for rule in rules.rules:
        if rule.id not in kept:
            words = f"the rule ended on {rule.until}: remove it, or set a new last day"
            yield Finding(FindingKind.EXPIRED, f"{rule.place}.until", rule.id, words)


# -- Rules that do too much ----------------------------------------------------


def _wide(rule: Rule, rules: RuleSet, lists: WrittenLists) -> Iterator[Finding]:
    if not rule.could_allow:
        return
    for entry in lists.sources(rule):
        for number in sorted(each for each in entry.numbers if each < len(rule.sources)):
            source = rule.sources[number]
            if source.path.contains(EVERY_PATH):
                through = f", by {entry.text!r}," if entry.text.startswith("@") else ""
                yield Finding(
                    FindingKind.WIDE, entry.where, rule.id, _everybody(rule, source, rules, through)
                )
    for peer in rule.peers:
        for number, source in enumerate(peer.spiffe):
            if source.path.contains(EVERY_PATH):
                where = f"{peer.place}.spiffe[{number}]"
                yield Finding(FindingKind.WIDE, where, rule.id, _everybody(rule, source, rules))
    for number, target in enumerate(rule.targets):
        if target.contains(EVERY_PATH):
            words = "it allows every target; name the ones you mean"
            yield Finding(FindingKind.WIDE, f"{rule.place}.to[{number}]", rule.id, words)


def _everybody(rule: Rule, source: PeerPattern, rules: RuleSet, through: str = "") -> str:
    who = (" that has a token" if rule.needs_token else "") + (
        ", but for its exceptions" if rule.not_sources else ""
    )
    own = rules.environment.trust_domains
    if set(source.domains(own)) == set(own):
        return f"it allows{through} every workload of this environment{who}; name the ones you mean"
    domain = source.trust_domain
    return f"it allows{through} every workload of {domain}{who}, whatever its name; name the ones you mean"


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

"""What changes of rules beside whom they let in today: their last days, and what they say for people."""

from __future__ import annotations

from collections.abc import Iterator

from meshid.policy.analysis.changed_names import changed_domains
from meshid.policy.rules import Rule, RuleSet
from meshid.support.quoting import quote


def changed_ends(before: RuleSet, after: RuleSet) -> Iterator[str]:
    """Yield a sentence for each rule of both policies that has another last day."""
    for old, new in _pairs(before, after):
        if old.until != new.until:
            now = f"until {new.until}" if new.until else "without a last day"
            was = f"until {old.until}" if old.until else "without one"
            yield f'{new.effect} "{new.id}": {now}, was {was}'


def changed_notes(before: RuleSet, after: RuleSet) -> Iterator[str]:
    """Yield a sentence for each rule with another owner or reviewer, and for what rules begin to observe."""
    yield from changed_domains(before, after)
    known = {rule.id for rule in before.rules}
    for old, new in _pairs(before, after):
        for what, one, two in (("owner", old.owner, new.owner), ("reviewer", old.reviewer, new.reviewer)):
            if one != two:
                yield f'{new.effect} "{new.id}": {what} {_shown(two)}, was {_shown(one)}'
        if old.observe != new.observe:
            yield f'{new.effect} "{new.id}": {_observes(new)}'
    for rule in after.rules:
        if rule.id not in known and rule.observe:
            yield f'{rule.effect} "{rule.id}" (new): only observes'


def _pairs(before: RuleSet, after: RuleSet) -> Iterator[tuple[Rule, Rule]]:
    new = {rule.id: rule for rule in after.rules}
    yield from ((rule, new[rule.id]) for rule in before.rules if rule.id in new)


def _observes(rule: Rule) -> str:
    return "only observes from now on" if rule.observe else "decides from now on; it only observed"


def _shown(text: str) -> str:
    return quote(text) if text else "nobody"

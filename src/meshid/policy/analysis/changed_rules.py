"""What changes of rules and sets beside whom they let in today.

Their last days; what they say for people; and whatever is edited and lets in nobody else, so that no
guard goes unseen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from meshid.policy.analysis.changed_names import changed_domains, come_and_gone
from meshid.policy.rules import Rule, RuleSet
from meshid.support.quoting import quote


def changed_ends(before: RuleSet, after: RuleSet) -> Iterator[str]:
    """Yield a sentence for each rule of both policies that has another last day."""
    for old, new in _pairs(before, after):
        if old.until != new.until:
            now = f"until {new.until}" if new.until else "without a last day"
            was = f"until {old.until}" if old.until else "without one"
            yield f'{new.effect} "{new.id}": {now}, was {was}'


def changed_notes(before: RuleSet, after: RuleSet, told: Collection[str]) -> Iterator[str]:
    """Yield a sentence for whatever else is edited: owners, rules that observe, sets, rules of no effect.

    Args:
        before: The one policy.
        after: The other.
        told: The ids of the rules of which is told already whom they let in, or keep out.
    """
    yield from changed_domains(before, after)
    yield from _changed_sets(before, after)
    for old, new in _pairs(before, after):
        for what, one, two in (("owner", old.owner, new.owner), ("reviewer", old.reviewer, new.reviewer)):
            if one != two:
                yield f'{new.effect} "{new.id}": {what} {_shown(two)}, was {_shown(one)}'
        if old.observe != new.observe:
            yield f'{new.effect} "{new.id}": {_observes(new)}'
    yield from _quiet(before, after, told)


def _changed_sets(before: RuleSet, after: RuleSet) -> Iterator[str]:
    new = {each.name: each for each in after.sets}
    for old in before.sets:
        if old.name in new and (words := come_and_gone(old.members, new[old.name].members)):
            yield f"'@{old.name}' is {words}"


def _quiet(before: RuleSet, after: RuleSet, told: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each rule that is new, gone or edited, and of which nothing else is told."""
    old, new = ({rule.id: rule for rule in each.rules} for each in (before, after))
    for name in sorted((old.keys() | new.keys()) - set(told)):
        rule = new.get(name) or old[name]
        if name not in new:
            status = "gone"
        elif name not in old:
            status = "new"
        elif _said(old[name]) != _said(new[name]):
            status = "edited"
        else:
            continue
        does = "only observes" if rule.observe else "nobody's access changes by it today"
        yield f'{rule.effect} "{name}" ({status}): {does}'


def _said(rule: Rule) -> tuple[object, ...]:
    """Return what a rule says of peers, targets and requests; names and sets as they are written."""
    written = rule.listed_from, rule.listed_not_from, rule.targets, rule.http, rule.not_http
    return (rule.effect, rule.needs_token, *map(frozenset, written))


def _pairs(before: RuleSet, after: RuleSet) -> Iterator[tuple[Rule, Rule]]:
    new = {rule.id: rule for rule in after.rules}
    yield from ((rule, new[rule.id]) for rule in before.rules if rule.id in new)


def _observes(rule: Rule) -> str:
    return "only observes from now on" if rule.observe else "decides from now on; it only observed"


def _shown(text: str) -> str:
    return quote(text) if text else "nobody"

"""Lint: what is in a policy and probably not meant.

Whether a rule is pointless or swallowed is decided over all names, targets and requests.
What looks like a typo is a guess, and its message says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

import attrs

from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.boxes import Box, BoxesByName, BoxIndex, boxes_of
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.analysis.lint_names import about_names
from meshid.policy.analysis.prove import Slice, cells
from meshid.policy.analysis.regions import shortest_access
from meshid.policy.analysis.token_states import ANYTHING, Naming
from meshid.policy.analysis.typos import lookalikes
from meshid.policy.methods import judged
from meshid.policy.rules import Effect, Rule, RuleSet
from meshid.support.quoting import some_of

_LISTS = ("from", "to", "http")
_FEW = 3


def lint(rules: RuleSet, ignore: Collection[FindingKind] = ()) -> list[Finding]:
    """Return the findings in the order of the file, without the kinds to *ignore*.

    Raises:
        PolicyTooComplex: If the rules are too entangled for an exact answer.
    """
    found = [
        *_unused_federations(rules),
        *about_names(rules),
        *_Coverage(rules).findings(),
        *(finding for rule in rules.rules for finding in (*_wide(rule, rules), *_without_why(rule))),
        *lookalikes(rules.rules),
    ]
    kept = [finding for finding in found if finding.kind not in ignore]
    order = {rule.id: number for number, rule in enumerate(sorted(rules.rules, key=_place))}
    return sorted(kept, key=lambda finding: (order.get(finding.rule or "", -1), finding.where, finding.kind))


def _place(rule: Rule) -> tuple[str, int]:
    effect, _, number = rule.place.rstrip("]").partition("[")
    return effect, int(number or 0)


# -- Rules that do nothing -----------------------------------------------------


class _Coverage:
    """Finds boxes that other boxes cover; what is found to do nothing covers nothing itself from then on."""

    def __init__(self, rules: RuleSet) -> None:
        self._own = rules.environment.trust_domains
        self._budget = Budget(rules)
        self._names = Naming(rules)
        self._boxes = {rule.id: list(boxes_of(rule)) for rule in rules.rules if not rule.observe}
        self._rules = [rule for rule in rules.rules if not rule.observe]
        self._methods = judged(rules.rules)
        self._index = {
            effect: BoxIndex(
                box for rule in self._rules if rule.effect is effect for box in self._boxes[rule.id]
            )
            for effect in Effect
        }
        observing = judged(rule for rule in rules.rules if rule.observe)
        self._naming: dict[str | None, list[Box]] = {each: [] for each in self._methods - observing}
        for box in chain.from_iterable(self._boxes.values()):
            self._naming.get(box.method, []).append(box)
        self._gone: set[tuple[str, tuple[int, int, int]]] = set()

    def findings(self) -> Iterator[Finding]:
        # The later of two equal rules is reported.
        for rule in sorted(self._rules, key=_place, reverse=True):
            yield from self._of_rule(rule)

    def _of_rule(self, rule: Rule) -> Iterator[Finding]:
        self._budget.turn_to(rule)
        boxes = self._boxes[rule.id]
        if self._covered_by(boxes, []) is not None:
            yield self._never(rule, boxes, rule.place)
            return
        denied = self._covered_by(boxes, [Effect.DENY]) if rule.effect is Effect.ALLOW else None
        if denied is not None:
            words = f"it allows nothing: {_by(denied, 'refuse')} all of it"
            yield self._drop(boxes, FindingKind.SWALLOWED, rule.place, words)
            return
        others = self._covered_by(boxes, _same_or_deny(rule))
        if others is not None and not self._name_alone(boxes):
            words = f"it is pointless, and can go: {_by(others, 'cover')} it"
            yield self._drop(boxes, FindingKind.POINTLESS, rule.place, words)
            return
        yield from self._of_entries(rule, boxes)

    def _never(self, rule: Rule, boxes: list[Box], where: str) -> Finding:
        """Say why boxes of a rule match nobody."""
        if all(box.by_token is not None for box in boxes):
            words = f"it matches nobody here: {_listed(rule.who)} counts for nothing in this environment"
            return self._drop(boxes, FindingKind.NOT_HERE, where, words)
        without = attrs.evolve(rule, needs_token=False)
        if self._covered_by([attrs.evolve(box, rule=without) for box in boxes], []) is None:
            words = "it matches nobody here: it needs a token, and no issuer here gives one to such peers"
            return self._drop(boxes, FindingKind.NOT_HERE, where, words)
        words = "it can never match: no SPIFFE ID is that long"
        return self._drop(boxes, FindingKind.NEVER_MATCHES, where, words)

    def _of_entries(self, rule: Rule, boxes: list[Box]) -> Iterator[Finding]:
        for kind, entries in enumerate((rule.who, rule.targets, rule.http)):
            for number in reversed(range(len(entries)) if len(entries) > 1 else ()):
                of_entry = [box for box in boxes if box.at[kind] == number and not self._is_gone(box)]
                others = self._covered_by(of_entry, _same_or_deny(rule))
                # Names and patterns stand in one list, and only patterns are in its order.
                at = "" if kind == 0 and rule.peers else f"[{number}]"
                where = f"{rule.place}.{_LISTS[kind]}{at}"
                if others and not self._name_alone(of_entry):
                    words = f"{str(entries[number])!r} is pointless, and can go: {_by(others, 'cover')} it"
                    yield self._drop(of_entry, FindingKind.POINTLESS, where, words)
                # Of a name that counts for nothing here, the finding about the peer says so.
                elif of_entry and others == [] and not all(box.by_token is not None for box in of_entry):
                    yield self._never(rule, of_entry, where)

    def _name_alone(self, boxes: list[Box]) -> bool:
        """Tell whether, without these, a method would be one that is neither registered nor named."""
        mine = {(box.rule.id, box.at) for box in boxes} | self._gone
        naming = [self._naming[method] for method in {box.method for box in boxes} if method in self._naming]
        return any(all((box.rule.id, box.at) in mine for box in each) for each in naming)

    def _cells(self, box: Box, others: list[Box]) -> Iterator[Slice]:
        return cells(box, others, self._names.domains(box), self._names, self._methods)

    def _drop(self, boxes: list[Box], kind: FindingKind, where: str, words: str) -> Finding:
        self._gone |= {(box.rule.id, box.at) for box in boxes}
        return Finding(kind, where, boxes[0].rule.id, words)

    def _is_gone(self, box: Box) -> bool:
        return (box.rule.id, box.at) in self._gone

    def _covered_by(self, boxes: list[Box], effects: Iterable[Effect]) -> list[Rule] | None:
        """Return the rules that cover all of the boxes; None if something is left."""
        effects = tuple(effects)
        covering: dict[str, Rule] = {}
        mine = {box.at for box in boxes}
        for box in boxes:
            names = self._names.names_of(box)
            others = [
                each
                for effect in effects
                for each in self._index[effect].meeting(box)
                if (each.by_token is None or names is None or each.by_token in names)
                and not self._is_gone(each)
                and not (each.rule is box.rule and each.at in mine)
            ]
            # Most that are covered are so by one alone: then no slice of them needs a look.
            one = next((each for each in others if each.covers(box)), None)
            if one is not None and self._covered_by([box], []) is None:
                covering[one.rule.id] = one.rule
                continue
            named = BoxesByName(others)
            for cell in self._cells(box, others):
                method = cell.method
                outside = {
                    each.extent(cell.domain, self._own, method): each.rule
                    for each in named.of(cell.domain, self._own, method, cell.state)
                }
                inside = box.extent(cell.domain, self._own, method)
                region = cell.region((inside,), tuple(outside))
                if shortest_access([region], self._budget) is not None:
                    return None
                whole = [rule for extent, rule in outside.items() if extent.contains(inside)]
                covering |= {rule.id: rule for rule in whole[:1] or outside.values()}
        return list(covering.values())


def _same_or_deny(rule: Rule) -> tuple[Effect, ...]:
    return (Effect.DENY,) if rule.effect is Effect.DENY else (Effect.ALLOW, Effect.DENY)


def _listed(names: Sequence[str]) -> str:
    return some_of(names, _FEW, repr)


def _by(rules: list[Rule], verb: str) -> str:
    ids = [f'{rule.effect} rule "{rule.id}"' for rule in rules]
    if len(ids) == 1:
        return f"{ids[0]} {verb}s"
    shown = [*ids[:_FEW], *([f"{len(ids) - _FEW} more"] if len(ids) > _FEW else [])]
    return f"{', '.join(shown[:-1])} and {shown[-1]} together {verb}"


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

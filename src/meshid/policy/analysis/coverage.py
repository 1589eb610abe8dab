"""Which rules, and which entries of rules, do nothing: decided over all names, targets and requests.

A rule is looked at as a product of its lists: most that do nothing do so by one other rule, which is seen
from the lists alone, and of most that do something, the first box is enough.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import attrs

from meshid.names.pattern import Pattern
from meshid.policy.analysis.automata import Words, shortest
from meshid.policy.analysis.box_index import BoxIndex
from meshid.policy.analysis.boxes import (
    ALL,
    COVER,
    HANDSHAKE,
    Box,
    BoxesByName,
    Product,
    of_request,
    slabs_of,
)
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.extent import Extent, Point
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.analysis.lint_words import (
    by_rules,
    covered_by,
    never_here,
    never_matches,
    of_entry,
    some_names,
)
from meshid.policy.analysis.prove import cells
from meshid.policy.analysis.regions import Region, shortest_access
from meshid.policy.analysis.token_states import Naming
from meshid.policy.analysis.written import WrittenEntry, WrittenLists
from meshid.policy.methods import judged
from meshid.policy.rules import ANY_METHOD, Effect, Rule, RuleSet

_TRIED = 4
"""Rules that are compared with a product entry by entry; they hold its first box."""

_MADE = 10
"""Steps for a box that is made."""

_Entry: TypeAlias = tuple[int, frozenset[int]]
"""A list of a rule, as a number, and indices of what stands in it."""


class Coverage:
    """Finds what others cover; what is found to do nothing covers nothing itself from then on.

    Args:
        rules: Everything that a file says for an environment.
        budget: What it is paid from.
    """

    def __init__(self, rules: RuleSet, budget: Budget) -> None:
        self._own = rules.environment.trust_domains
        self._budget = budget
        self._names = Naming(rules)
        self._lists = WrittenLists(rules)
        self._methods = judged(rules.rules)
        # The later of two equal rules is reported.
        self._rules = sorted((rule for rule in rules.rules if not rule.observe), key=place_of)
        self._first: dict[object, Rule] = {}
        for rule in self._rules:
            self._first.setdefault(_key(rule), rule)
        self._left = {rule.id: Product.of(rule) for rule in self._first.values()}
        self._index = {effect: self._index_of(effect) for effect in Effect}
        self._naming = self._naming_of(rule for rule in rules.rules if rule.observe)
        self._gone: dict[str, frozenset[tuple[int, int]]] = {}
        self._met: dict[tuple[object, ...], list[Box]] = {}

    def findings(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Finding]:
        """Yield what does nothing, from the last rule to the first.

        Args:
            progress: Is told how many rules are done, of how many.

        Raises:
            PolicyTooComplex: If the budget does not last.
        """
        done: dict[object, tuple[FindingKind, str] | None] = {}
        for number, rule in enumerate(reversed(self._rules)):
            if progress is not None:
                progress(number, len(self._rules))
            self._budget.turn_to(rule)
            self._met.clear()
            key = _key(rule)
            first = self._first[key]
            if first is rule:
                yield from self._of_rule(rule)
                continue
            if key not in done:
                done[key] = self._does_nothing(self._left[first.id])
            kind, words = done[key] or (FindingKind.POINTLESS, covered_by([first]))
            yield Finding(kind, rule.place, rule.id, words)

    def left(self) -> Iterator[Product]:
        """Yield what is left of each rule that is left, once `findings` has ended."""
        yield from self._left.values()

    def _index_of(self, effect: Effect) -> BoxIndex:
        rules = [rule for rule in self._first.values() if rule.effect is effect]
        return BoxIndex((slab for rule in rules for slab in slabs_of(rule, self._budget)), self._budget)

    def _naming_of(self, observing: Iterable[Rule]) -> dict[str, list[Rule]]:
        """Return the rules that name a method that would not be judged without them."""
        known = judged(observing)
        naming: defaultdict[str, list[Rule]] = defaultdict(list)
        for rule in self._first.values():
            for method in {each.method for each in (*rule.http, *rule.not_http)} - known - {ANY_METHOD}:
                naming[method].append(rule)
        return naming

    def _of_rule(self, rule: Rule) -> Iterator[Finding]:
        product = self._left[rule.id]
        if (nothing := self._does_nothing(product)) is not None:
            kind, words = nothing
            del self._left[rule.id]
            yield Finding(kind, rule.place, rule.id, words)
            return
        others = self._covered_by(product, _same_or_deny(rule))
        if others is not None and not self._name_alone(rule, None):
            del self._left[rule.id]
            yield Finding(FindingKind.POINTLESS, rule.place, rule.id, covered_by(others))
            return
        yield from self._of_entries(rule)

    def _does_nothing(self, product: Product) -> tuple[FindingKind, str] | None:
        """Tell of a rule that lets in, or keeps out, nobody."""
        if self._covered_by(product, ()) is not None:
            return self._never(product)
        if product.rule.effect is Effect.ALLOW:
            denied = self._covered_by(product, (Effect.DENY,))
            if denied is not None:
                return FindingKind.SWALLOWED, f"it allows nothing: {by_rules(denied, 'refuse')} all of it"
        return None

    def _never(self, product: Product) -> tuple[FindingKind, str]:
        """Say why a part of a rule matches nobody."""
        rule = product.rule
        if self._would_match(product, attrs.evolve(rule, not_sources=())):
            return never_matches("`not_from` leaves nothing of it")
        if self._would_match(product, attrs.evolve(rule, not_http=())):
            return never_matches("`not_http` leaves nothing of it")
        plain = attrs.evolve(rule, not_sources=(), not_http=())
        if self._would_match(product, plain):
            return never_matches("`not_from` leaves nothing of it, nor does `not_http`")
        if all(each.by_token is not None for each in product.sources):
            return never_here(f"{some_names(rule.listed_from)} counts for nothing in this environment")
        if self._would_match(product, attrs.evolve(plain, needs_token=False)):
            return never_here("it needs a token, and no issuer here gives one to such peers")
        return never_matches("no SPIFFE ID is that long")

    def _would_match(self, product: Product, rule: Rule) -> bool:
        """Tell whether a part of a rule, which matches nobody, would match somebody if it were of another."""
        return rule != product.rule and self._covered_by(attrs.evolve(product, rule=rule), ()) is None

    def _of_entries(self, rule: Rule) -> Iterator[Finding]:
        for kind, entries in enumerate(self._lists.included(rule)):
            count = Counter(number for entry in entries for number in entry.numbers)
            for entry in reversed(entries if len(entries) > 1 else ()):
                alone = frozenset(number for number in entry.numbers if count[number] == 1)
                finding = self._of_entry(rule, kind, entry, alone)
                if finding is not None:
                    count.subtract(entry.numbers)
                    yield finding

    def _of_entry(self, rule: Rule, kind: int, entry: WrittenEntry, alone: frozenset[int]) -> Finding | None:
        """Tell of an entry that does nothing, of which no other entry of its list has some *alone*."""
        left = self._left[rule.id]
        part, rest = left.only(kind, alone), left.without(kind, alone)
        is_once = len(alone) == len(entry.numbers)
        if not rest.size or (is_once and not part.size):
            return None
        others = self._covered_by(part, _same_or_deny(rule), (kind, alone)) if part.size else [rule]
        if others == [] and is_once:
            # Of a name that counts for nothing here, the finding about the peer says so.
            if all(each.by_token is not None for each in part.sources):
                return None
            found, words = self._never(part)
        elif others is not None and not self._name_alone(rule, rest):
            found = FindingKind.POINTLESS
            words = covered_by(others or [rule])
        else:
            return None
        self._left[rule.id] = rest
        self._gone[rule.id] = self._gone.get(rule.id, frozenset()) | {(kind, number) for number in alone}
        return Finding(found, entry.where, rule.id, of_entry(entry.text, words))

    def _name_alone(self, rule: Rule, rest: Product | None) -> bool:
        """Tell whether, with a rest of a rule only, a method would be neither registered nor named."""
        lost = self._left[rule.id].methods - (rest.methods if rest and rest.size else set())
        return any(
            not any(
                each is not rule and each.id in self._left and method in self._left[each.id].methods
                for each in self._naming[method]
            )
            for method in lost & self._naming.keys()
        )

    def _covered_by(
        self, part: Product, effects: Sequence[Effect], entry: _Entry | None = None
    ) -> list[Rule] | None:
        """Return the rules that cover all of a part of a rule; None if something is left.

        Args:
            part: The part.
            effects: The effects of these rules.
            entry: The list, and the indices of all that the part has of it; None for a whole rule.
        """
        covering: dict[str, Rule] = {}
        waiting = [part]
        while waiting:
            product = waiting.pop()
            box = next(product.boxes())
            covered = self._alone(product, box, self._holding(box, effects, entry), entry)
            if covered is not None and self._together(box, []) is None:
                rule, whole = covered
                covering[rule.id] = rule
            else:
                if covered is None and self._stands_out(box, effects, entry):
                    return None
                rules = self._together(box, list(self._others(box, effects, entry)))
                if rules is None:
                    return None
                covering |= rules
                whole = product.first
            self._budget.spend(len(product.sources) + len(product.targets) + len(product.requests))
            waiting += product.less(whole)
        return list(covering.values())

    def _holding(self, box: Box, effects: Sequence[Effect], entry: _Entry | None) -> list[Box]:
        """Return those of the others that may hold all of a box: they hold its shortest names."""
        if _is_about_tokens(box):
            return list(self._others(box, effects, entry))
        path, target, request = (
            shortest(words, (pattern,), (), self._budget) or ""
            for words, pattern in zip(Words, box.patterns, strict=True)
        )
        slabs = (slab for effect in effects for slab in self._index[effect].holding(path, target, request))
        return [each for slab in slabs for each in self._left_of(slab, box, entry)]

    def _stands_out(self, box: Box, effects: Sequence[Effect], entry: _Entry | None) -> bool:
        """Tell whether others leave something of the simplest slice of a box, as most do of most boxes.

        They are looked up point by point: few of those that meet the box ever matter. If nothing of the slice
        is left, more has to be looked at; so it has where a token makes a difference.
        """
        domains = box.peers.domains(self._own)
        if _is_about_tokens(box) or not domains:
            return False
        domain, method = domains[0], self._simplest(box)

        def holding(point: Point) -> Iterator[Extent]:
            path, target, request = point
            asked = None if method == HANDSHAKE else request
            for effect in effects:
                for slab in self._index[effect].holding(path, target, asked):
                    for each in self._left_of(slab, box, entry):
                        if each.is_of(domain, self._own, method):
                            extent = each.extent(domain, self._own, method)
                            self._budget.spend(extent.cost)
                            if extent.holds(point):
                                yield extent

        region = Region(domain, method, (box.extent(domain, self._own, method),), ())
        return shortest_access([region], self._budget, holding) is not None

    def _simplest(self, box: Box) -> str:
        """Return a method of the requests of a box, or none if it has handshakes."""
        if box.is_for(HANDSHAKE):
            return HANDSHAKE
        return "GET" if box.method is None or box.method == ANY_METHOD else box.method

    def _others(self, box: Box, effects: Sequence[Effect], entry: _Entry | None) -> Iterator[Box]:
        """Yield the boxes that may have something in common with one, but for those of its own part."""
        names = self._names.names_of(box)
        for slab in self._slabs(box, effects):
            if slab.by_token is None or names is None or slab.by_token in names:
                yield from self._left_of(slab, box, entry)

    def _left_of(self, slab: Box, box: Box, entry: _Entry | None) -> Iterator[Box]:
        """Yield the boxes of a slab that may meet one, without what is gone and what is of its own part."""
        left = self._left.get(slab.rule.id)
        gone = self._gone.get(slab.rule.id, frozenset())
        if slab.rule.id == box.rule.id:
            if entry is None:
                return
            kind, numbers = entry
            gone |= {(kind, number) for number in numbers}
        if left is None or not gone.isdisjoint(enumerate(slab.at)):
            return
        if slab.at[2] != ALL:
            if _may_meet(box, slab.method, slab.patterns[2]):
                yield slab
            return
        self._budget.spend(len(left.requests))
        for k, method, request in left.requests:
            if (2, k) not in gone and _may_meet(box, method, request):
                self._budget.spend(_MADE)
                yield of_request(slab, k, method, request)

    def _slabs(self, box: Box, effects: Sequence[Effect]) -> Iterator[Box]:
        for effect in effects:
            key = (effect, box.patterns[:2], box.at[:2], box.by_token)
            if key not in self._met:
                self._met[key] = list(self._index[effect].meeting(box))
            yield from self._met[key]

    def _alone(
        self, product: Product, box: Box, others: list[Box], entry: _Entry | None
    ) -> tuple[Rule, Product] | None:
        """Return a rule that holds the first box of a product alone, and what it holds of the product."""
        self._budget.spend(COVER * len(others))
        holding = {each.rule.id: each for each in others if each.covers(box)}
        found = None
        for by in list(holding.values())[:_TRIED]:
            if product.size == 1:
                return by.rule, product
            mine = self._left[by.rule.id]
            if entry is not None and by.rule.id == product.rule.id:
                mine = mine.without(*entry)
            part = product.held_by(box, mine, by, self._budget)
            if part.size == product.size:
                return by.rule, part
            if found is None or part.size > found[1].size:
                found = by.rule, part
        return found

    def _together(self, box: Box, others: list[Box]) -> dict[str, Rule] | None:
        """Return rules that hold all of a box together; None if something is left."""
        covering: dict[str, Rule] = {}
        named = BoxesByName(others)
        for cell in cells(box, others, self._names.domains(box), self._names, self._methods):
            self._budget.spend(len(others))
            outside = {
                each.extent(cell.domain, self._own, cell.method): each.rule
                for each in named.of(cell.domain, self._own, cell.method, cell.state)
            }
            inside = box.extent(cell.domain, self._own, cell.method)
            region = cell.region((inside,), tuple(outside))
            if shortest_access([region], self._budget) is not None:
                return None
            if inside.holes and shortest_access([cell.region((inside,), ())], self._budget) is None:
                # Nothing covers what is nothing.
                continue
            whole = [rule for extent, rule in outside.items() if extent.contains(inside)]
            covering |= {rule.id: rule for rule in whole[:1] or outside.values()}
        return covering


def place_of(rule: Rule) -> tuple[str, int]:
    """Return the place of a rule in its file, to sort by."""
    effect, _, number = rule.place.rstrip("]").partition("[")
    return effect, int(number or 0)


def _key(rule: Rule) -> tuple[object, ...]:
    """Equal for two rules that mean the same."""
    return (
        rule.effect,
        frozenset(rule.sources),
        frozenset(each.name for each in rule.peers),
        rule.needs_token,
        frozenset(rule.not_sources),
        frozenset(rule.targets),
        frozenset(rule.http),
        frozenset(rule.not_http),
    )


def _is_about_tokens(box: Box) -> bool:
    return box.by_token is not None or box.rule.needs_token


def _may_meet(box: Box, method: str | None, request: Pattern) -> bool:
    """Tell whether a box may have something in common with a condition."""
    if box.method is None or box.rule.effect is Effect.DENY:
        # At a handshake, a deny rule for some requests denies all.
        return True
    is_of_method = method in {None, ANY_METHOD, box.method} or box.method == ANY_METHOD
    return is_of_method and request.intersects(box.patterns[2])


def _same_or_deny(rule: Rule) -> tuple[Effect, ...]:
    return (Effect.DENY,) if rule.effect is Effect.DENY else (Effect.ALLOW, Effect.DENY)

"""The two sides of a diff, and what one point of the one is called on the other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import attrs

from meshid.names.pattern import Pattern
from meshid.names.pattern_index import PatternIndex
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.box_index import BoxIndex
from meshid.policy.analysis.boxes import HANDSHAKE, Box, boxes_of
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.extent import Extent
from meshid.policy.analysis.prove import Slice
from meshid.policy.analysis.regions import Region
from meshid.policy.analysis.token_states import ANYTHING, NO_TOKEN, Elsewhere, Naming, TokenState
from meshid.policy.methods import judged
from meshid.policy.rules import Effect, Rule, RuleSet

COMPARED = 4
"""Steps for a box that another is compared with, for a method."""


class DiffSide:
    """One of the two policies.

    Args:
        rules: Its rules, as they are in force.
        budget: The budget of the diff.
    """

    def __init__(self, rules: RuleSet, budget: Budget) -> None:
        self.environment = rules.environment
        self.own = rules.environment.trust_domains
        self.naming = Naming(rules)
        self.methods = judged(rules.rules)
        self.rules = {rule.id: rule for rule in rules.rules}
        self.boxes: dict[str, list[Box]] = {}
        self._budget = budget
        self._of: dict[Effect, BoxIndex] = {}
        self._keys: set[tuple[object, ...]] = set()
        self._met: dict[tuple[Effect, int], list[Box]] = {}

    def take_apart(self, concerns: Concerns) -> None:
        """Take the rules apart into boxes that have something to do with what changes."""
        for rule in self.rules.values():
            if not rule.observe and concerns.holds(rule):
                self.boxes[rule.id] = boxes_of(rule, self._budget)
        self._of = {effect: BoxIndex(self._boxes(effect), self._budget) for effect in Effect}
        self._keys = {box.key for boxes in self.boxes.values() for box in boxes}

    def _boxes(self, effect: Effect) -> Iterator[Box]:
        for boxes in self.boxes.values():
            yield from (box for box in boxes if box.rule.effect is effect)

    def enforced(self, effect: Effect) -> Iterator[Rule]:
        """Yield the rules of an effect that decide something."""
        yield from (self.rules[each] for each in self.boxes if self.rules[each].effect is effect)

    def meeting(self, box: Box, effect: Effect) -> list[Box]:
        """Return the boxes of an effect that may have something in common with one; each is looked up once.

        Args:
            box: A box of either side, which lives as long as the diff.
            effect: The effect.
        """
        key = (effect, id(box))
        if key not in self._met:
            self._met[key] = list(self._of[effect].meeting(box))
        return self._met[key]

    def has(self, box: Box) -> bool:
        """Tell whether it has a box of the same effect that is written in the same way."""
        return box.key in self._keys

    def judges(self, method: str) -> bool:
        """Tell whether it judges requests of a method, or refuses them as unsafe."""
        return method == HANDSHAKE or method in self.methods


@attrs.frozen
class DiffCell:
    """Peers of one trust domain in one state: what they are on either side.

    Attributes:
        domain: The trust domain on the side that allows.
        there: What it is called on the other side.
        state: What the peers show beside their certificates.
        state_there: What counts of it on the other side.
    """

    domain: TrustDomain
    there: TrustDomain
    state: TokenState
    state_there: TokenState


class Pair:
    """The side that allows, and the one that does not.

    A token that does not count on the other side changes nothing there: it is as if there were none. One
    that counts only there is not gone through: whoever has it can leave it out. Where both sides know a
    name, and only one of them lets its token stand beside a certificate, `changed_names` tells it.

    Args:
        side: The side that allows.
        other: The other side.
        is_gain: Whether the side that allows is the new one.
    """

    def __init__(self, side: DiffSide, other: DiffSide, *, is_gain: bool) -> None:
        self.side, self.other = side, other
        self.is_gain = is_gain
        self.has_names_alike = side.naming.is_like(other.naming)
        self.is_same_environment = side.environment.name == other.environment.name
        self.has_own_alike = not self.is_same_environment or set(side.own) == set(other.own)
        self.has_domains_alike = self.has_own_alike and not (
            not self.is_same_environment
            and (
                set(side.environment.federates_with) & set(other.own)
                or set(other.environment.federates_with) & set(side.own)
            )
        )

    def is_alike(self, box: Box) -> bool:
        """Tell whether a box holds the same on both sides, if both have it."""
        return self.has_domains_alike and (self.has_names_alike or not needs_tokens(box))

    def states(self, box: Box, names: frozenset[str], denied: Box | None = None) -> Iterator[TokenState]:
        """Yield the states of the peers of a box, and of one that denies it on the other side if given."""
        if box.by_token is not None:
            yield TokenState(has_token=True, name=box.by_token)
        elif box.rule.needs_token and box.name is not None:
            # A token agrees with a certificate that has a name only if it gives the same.
            yield TokenState(has_token=True, name=box.name)
        elif box.rule.needs_token:
            yield from self.side.naming.with_token(names)
            if self.side.naming.has_svids and not self.other.naming.has_svids:
                every = names | self.side.naming.provable
                # Only their own JWT-SVIDs are left.
                yield from [TokenState(has_token=True, others=every)] if every != names else []
        elif denied is not None and denied.by_token is not None:
            yield TokenState(has_token=True, name=denied.by_token)
        else:
            yield NO_TOKEN

    def cells(self, box: Box, names: frozenset[str], denied: Box | None = None) -> Iterator[DiffCell]:
        """Yield each trust domain and state of a box of the side that allows."""
        here, there = self.side.naming, self.other.naming
        for state in self.states(box, names, denied):
            for domain in here.domains(box):
                if here.is_possible(domain, state) and box.is_with(state):
                    called = self._name_there(domain)
                    counts = state.has_token and there.is_possible(called, state)
                    yield DiffCell(domain, called, state, state if counts else NO_TOKEN)

    def _name_there(self, domain: TrustDomain) -> TrustDomain:
        return domain if self.is_same_environment or domain not in self.side.own else self.other.own[0]

    def names_told(self, rule: Rule) -> frozenset[str]:
        """Return the names that have a state of their own for a rule that needs a token."""
        if not rule.needs_token:
            return frozenset()
        boxes = self.side.boxes[rule.id]
        met = (
            each.by_token
            for box in boxes
            for side in (self.side, self.other)
            for effect in Effect
            for each in side.meeting(box, effect)
        )
        here, there = self.side.naming.provable, self.other.naming.provable
        return frozenset(each for each in met if each is not None) | (here ^ there)

    def extent(self, side: DiffSide, box: Box, cell: DiffCell, method: str) -> Extent | None:
        """Return what a box of a side holds in a cell for a method; None if nothing."""
        domain, state = (cell.domain, cell.state) if side is self.side else (cell.there, cell.state_there)
        if not box.is_of(domain, side.own, method, state):
            return None
        return box.extent(domain, side.own, method)

    def extents(self, side: DiffSide, boxes: Iterable[Box], cell: DiffCell, method: str) -> list[Extent]:
        """Return what boxes of a side hold."""
        found = (self.extent(side, each, cell, method) for each in boxes)
        return [each for each in found if each is not None]

    def region(
        self, cell: DiffCell, method: str, inside: Collection[Extent], outside: Collection[Extent]
    ) -> Region:
        """Return what is in all of *inside* and none of *outside*."""
        elsewhere: tuple[Elsewhere, ...] = ()
        if cell.state_there.has_token:
            elsewhere = (Elsewhere(self.other.naming, cell.there, cell.state_there),)
        part = Slice(cell.domain, method, cell.state, self.side.naming)
        return part.region(tuple(inside), tuple(outside), elsewhere)


class Concerns:
    """Which rules may have something in common with a rule that is not the same on both sides.

    Most changes are small: the other rules need not be looked at.

    Args:
        pair: The two sides.
        budget: The budget of the diff.
    """

    def __init__(self, pair: Pair, budget: Budget) -> None:
        one, two = pair.side, pair.other
        self._all = not pair.has_domains_alike or one.methods != two.methods
        self._budget = budget
        self._paths: PatternIndex[bool] = PatternIndex()
        self._targets: PatternIndex[bool] = PatternIndex()
        if self._all:
            return
        here, there = ({_key(rule): rule for rule in each.rules.values()} for each in (one, two))
        names = () if pair.has_names_alike else (*here.values(), *there.values())
        changed = [here.get(key) or there[key] for key in here.keys() ^ there.keys()]
        changed += [rule for rule in names if rule.peers or rule.needs_token]
        for rule in changed:
            for path in _paths(rule):
                self._paths.setdefault(path, lambda: True)
            for target in rule.targets:
                self._targets.setdefault(target, lambda: True)

    def holds(self, rule: Rule) -> bool:
        """Tell whether a rule may have something in common with what changes."""
        if self._all:
            return True
        self._budget.turn_to(rule)
        self._budget.spend(len(rule.targets) + len(rule.who))
        return _any_meets(self._targets, rule.targets) and _any_meets(self._paths, _paths(rule))


def _any_meets(index: PatternIndex[bool], patterns: Iterable[Pattern]) -> bool:
    return any(True for each in patterns for _ in index.intersecting(each))


def _paths(rule: Rule) -> Iterator[Pattern]:
    # A token may give a name to any certificate.
    return iter((ANYTHING,)) if rule.peers else (each.path for each in rule.sources)


def _key(rule: Rule) -> tuple[object, ...]:
    lists = (rule.sources, rule.targets, rule.http, rule.not_sources, rule.not_http)
    peers = frozenset((each.name, frozenset(each.spiffe)) for each in rule.peers)
    return rule.effect, rule.observe, rule.needs_token, peers, *map(frozenset, lists)


def needs_tokens(box: Box) -> bool:
    """Tell whether nobody is in a box by a certificate alone."""
    return box.by_token is not None or box.rule.needs_token

"""What changes between two policies, and for which peers, exactly.

Two policies for one environment are compared name by name. For two environments, the own
peers of one are compared with the own peers of the other: their names differ by intent.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.answers import Access, Change, PolicyDiff
from meshid.policy.analysis.boxes import HANDSHAKE, Box, BoxIndex, Patterns, boxes_of
from meshid.policy.analysis.changed_names import changed_names
from meshid.policy.analysis.prove import Slice, cells_of, methods_told
from meshid.policy.analysis.regions import Region, shortest_access
from meshid.policy.analysis.token_states import ANYTHING, NO_TOKEN, Naming, TokenState
from meshid.policy.methods import judged
from meshid.policy.rules import Effect, RuleSet


def compare(before: RuleSet, after: RuleSet) -> PolicyDiff:
    """Compare what the rules of two policies allow.

    Raises:
        PolicyTooComplex: If the rules are too entangled for an exact answer.
    """
    old, new = _Side(before), _Side(after)
    return PolicyDiff(
        gains=tuple(dict.fromkeys(_changes(new, old))),
        losses=tuple(dict.fromkeys(_changes(old, new))),
        observes=(before.observe, after.observe),
        names=tuple(changed_names(before, after)),
        environments=(before.environment.name, after.environment.name),
        hashes=(before.hash(), after.hash()),
    )


class _Side:
    """One of the two policies."""

    def __init__(self, rules: RuleSet) -> None:
        self.environment = rules.environment
        self.own = rules.environment.trust_domains
        self.naming = Naming(rules)
        self.methods = judged(rules.rules)
        boxes = [box for rule in rules.rules if not rule.observe for box in boxes_of(rule)]
        self.allowing = [box for box in boxes if box.rule.effect is Effect.ALLOW]
        self.denying = {box.key for box in boxes if box.rule.effect is Effect.DENY}
        self.known = {box.key for box in self.allowing}
        self.allows = BoxIndex(self.allowing)
        self.denies = BoxIndex(box for box in boxes if box.rule.effect is Effect.DENY)

    def judges(self, method: str) -> bool:
        """Tell whether it judges requests of a method, or refuses them as unsafe."""
        return method == HANDSHAKE or method in self.methods

    def names_as(self, other: _Side) -> bool:
        """Tell whether each trust domain, and each name, means the same to the rules of both sides."""
        if not self.naming.is_like(other.naming):
            return False
        if self.environment.name == other.environment.name:
            return set(self.own) == set(other.own)
        return not (
            set(self.environment.federates_with) & set(other.own)
            or set(other.environment.federates_with) & set(self.own)
        )

    def as_named_by(self, other: _Side, domain: TrustDomain) -> TrustDomain:
        """Return what a trust domain of the *other* side is called on this one."""
        same = self.environment.name == other.environment.name
        return domain if same or domain not in other.own else self.own[0]


def _changes(side: _Side, other: _Side) -> Iterator[Change]:
    """Yield what *side* allows and *other* does not."""
    alike = side.names_as(other)
    denied_alike = alike and side.denying == other.denying
    for box in side.allowing:
        # Most rules of most changes are the same on both sides.
        if denied_alike and box.key in other.known and side.methods <= other.methods:
            continue
        path, target, _ = box.patterns
        comparison = _Comparison(side, other, box, list(side.denies.intersecting(path, target)))
        allowed_there = list(other.allows.intersecting(path, target))
        yield from comparison.change(None, allowed_there)
        for deny in other.denies.intersecting(path, target):
            if allowed_there and not (alike and deny.key in side.denying):
                yield from comparison.change(deny, [])


@attrs.frozen
class _Comparison:
    """One box of what one side allows, and what the same side denies of it."""

    side: _Side
    other: _Side
    box: Box
    denied: list[Box]

    def change(self, within: Box | None, allowed_there: list[Box]) -> Iterator[Change]:
        """Yield what is in the box, *within* a deny of the other side if given, and not allowed there."""
        involved = [*self.denied, *allowed_there, *([within] if within else [])]
        regions: list[Region] = []
        unless: set[str] = set()
        domains = self.side.naming.domains(self.box)
        for cell in self._cells(involved, domains):
            if not self.side.judges(cell.method):
                continue
            for region, rules in self._regions(cell, within, allowed_there):
                if not region.is_plainly_empty:
                    regions.append(region)
                    unless |= rules
        if (example := shortest_access(regions)) is not None:
            yield self._told(within, tuple(sorted(unless)), example)

    def _regions(
        self, cell: Slice, within: Box | None, allowed_there: list[Box]
    ) -> Iterator[tuple[Region, set[str]]]:
        """Yield what may change of a cell, with the rules by which parts of it do not."""
        side, other, method = self.side, self.other, cell.method
        there = other.as_named_by(side, cell.domain)
        still = [each for each in self.denied if each.is_of(cell.domain, side.own, method, cell.state)]
        for state, inside_there, outside_there in self._states_there(cell, there):
            if within is not None and not within.is_of(there, other.own, method, state):
                continue
            already = [
                each
                for each in (allowed_there if other.judges(method) else ())
                if each.is_of(there, other.own, method, state)
            ]
            inside = [each.seen_with(method) for each in (self.box, within) if each is not None]
            outside = [each.seen_with(method) for each in (*still, *already)]
            region = cell.region((*inside, *inside_there), (*outside, *outside_there))
            yield region, {str(each.rule) for each in (*still, *already)}

    def _states_there(
        self, cell: Slice, there: TrustDomain
    ) -> Iterator[tuple[TokenState, list[Patterns], list[Patterns]]]:
        """Yield what the token of a cell is on the other side: for all of it, or by aliases.

        A token that does not count there changes nothing there: it is as if there were none.
        """
        state, naming = cell.state, self.other.naming
        if not state.has_token or naming.is_like(self.side.naming):
            yield state, [], []
            return
        if not naming.is_possible(there, state):
            yield NO_TOKEN, [], []
            return
        path, _, _ = self.box.patterns
        elsewhere = naming.elsewhere(there, state, path)
        yield state, [], [(alias, ANYTHING, ANYTHING) for _, alias in elsewhere]
        known = {alias for _, alias in cell.naming.elsewhere(cell.domain, state, path)}
        # A JWT-SVID of the certificate's own SPIFFE ID agrees on both sides, whatever its name is there.
        own = state.name is None and cell.naming.has_own_svid(cell.domain) and naming.has_own_svid(there)
        for name, alias in elsewhere:
            if alias not in known:
                state_there = TokenState(has_token=True, name=name) if own else NO_TOKEN
                yield state_there, [(alias, ANYTHING, ANYTHING)], []

    def _cells(self, involved: list[Box], domains: tuple[TrustDomain, ...]) -> Iterator[Slice]:
        """Yield each trust domain, method and state in which the two sides may differ."""
        side = self.side
        states = list(self._states(involved))
        told = methods_told(self.box, involved, side.methods & self.other.methods)
        yield from cells_of(self.box, domains, side.naming, told, states)
        # A method that only this side names is refused as unsafe on the other.
        named = {each.method for each in (self.box, *involved)}
        alone = sorted(side.methods - self.other.methods - named)
        yield from cells_of(self.box, domains, side.naming, alone, states)

    def _states(self, involved: list[Box]) -> Iterator[TokenState]:
        naming, there = self.side.naming, self.other.naming
        names = frozenset(each.by_token for each in involved if each.by_token is not None)
        if self.box.by_token is not None:
            yield from naming.states(self.box, involved)
        elif not self.box.rule.needs_token:
            yield NO_TOKEN
            # With a token, only more is allowed on the other side, unless a deny rule matches by it.
            denied = {each.by_token for each in involved if each.rule.effect is Effect.DENY}
            yield from (TokenState(has_token=True, name=name) for name in sorted(names & denied))
        else:
            yield from naming.with_token(names if naming.is_like(there) else names | self._named_otherwise())

    def _named_otherwise(self) -> frozenset[str]:
        """Return the names in which the two sides may differ, of all that a token can give to these peers.

        For a certificate without a name, one name that only this side knows stands for all of them.
        """
        here, there = self.side.naming, self.other.naming
        path, _, _ = self.box.patterns
        only_one = (here.provable - there.provable, there.provable - here.provable)
        return here.names_at(path) | there.names_at(path) | {min(each) for each in only_one if each}

    def _told(self, within: Box | None, unless: tuple[str, ...], example: Access) -> Change:
        i, j, k = self.box.at
        rule = self.box.rule
        return Change(
            rule=rule.id,
            peers=rule.who[i],
            targets=str(rule.targets[j]),
            requests=str(rule.http[k]) if rule.http else None,
            within=str(within.rule) if within else None,
            unless=unless,
            example=example,
        )

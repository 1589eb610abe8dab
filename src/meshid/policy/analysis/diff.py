"""What changes between two policies, and for which peers, exactly.

Two policies for one environment are compared name by name. For two environments, the own
peers of one are compared with the own peers of the other: their names differ by intent.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from meshid.errors import PolicyTooComplex
from meshid.names.pattern import Pattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.answers import Access, Change, PolicyDiff
from meshid.policy.analysis.boxes import HANDSHAKE, Box, BoxesByName, BoxIndex, boxes_of
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.changed_names import changed_names
from meshid.policy.analysis.extent import Extent
from meshid.policy.analysis.prove import Slice, cells_of, methods_told
from meshid.policy.analysis.regions import Region, shortest_access
from meshid.policy.analysis.token_states import ANYTHING, NO_TOKEN, Elsewhere, Naming, TokenState
from meshid.policy.methods import judged
from meshid.policy.rules import Effect, RuleSet

MAX_STEPS = 750_000
"""Steps for peers with tokens, in each direction; for 500 peers by name, one of them new, some 20 000."""

_REGION = 10
"""Steps for a region, beside one for each of its boxes."""


def compare(before: RuleSet, after: RuleSet) -> PolicyDiff:
    """Compare what the rules of two policies allow.

    Raises:
        PolicyTooComplex: If the rules are too entangled for an exact answer.
    """
    budget = Budget(before, after)
    old, new = _Side(before, budget), _Side(after, budget)
    return PolicyDiff(
        gains=tuple(dict.fromkeys(_changes(new, old, budget))),
        losses=tuple(dict.fromkeys(_changes(old, new, budget))),
        observes=(before.observe, after.observe),
        names=tuple(changed_names(before, after)),
        environments=(before.environment.name, after.environment.name),
        hashes=(before.hash(), after.hash()),
    )


class _Side:
    """One of the two policies."""

    def __init__(self, rules: RuleSet, budget: Budget) -> None:
        self.environment = rules.environment
        self.own = rules.environment.trust_domains
        self.naming = Naming(rules)
        self.methods = judged(rules.rules)
        boxes = [box for rule in rules.rules if not rule.observe for box in boxes_of(rule, budget)]
        self.allowing = [box for box in boxes if box.rule.effect is Effect.ALLOW]
        self.denying = {box.key for box in boxes if box.rule.effect is Effect.DENY}
        self.known = {box.key for box in self.allowing}
        self.allows = BoxIndex(self.allowing, budget)
        self.denies_names = any(box.by_token for box in boxes if box.rule.effect is Effect.DENY)
        self.denies = BoxIndex((box for box in boxes if box.rule.effect is Effect.DENY), budget)

    def judges(self, method: str) -> bool:
        """Tell whether it judges requests of a method, or refuses them as unsafe."""
        return method == HANDSHAKE or method in self.methods

    def names_as(self, other: _Side) -> bool:
        """Tell whether each trust domain, and each name, means the same to the rules of both sides."""
        return self.naming.is_like(other.naming) and self.has_domains_of(other)

    def has_domains_of(self, other: _Side) -> bool:
        """Tell whether each trust domain means the same to the rules of both sides."""
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


def _changes(side: _Side, other: _Side, budget: Budget) -> Iterator[Change]:
    """Yield what *side* allows and *other* does not."""
    alike = side.names_as(other)
    moves = _Moves(side, other)
    denied_alike = side.denying == other.denying and side.has_domains_of(other)
    by_names = side.denies_names or other.denies_names
    for box in side.allowing:
        # Most rules of most changes are the same on both sides.
        if denied_alike and box.key in other.known and side.methods <= other.methods:
            # Names make no difference to a rule about certificates, unless a token can be denied.
            about_names = by_names or box.by_token is not None or box.rule.needs_token
            if alike or not about_names:
                continue
        budget.turn_to(box.rule)
        comparison = _Comparison(side, other, moves, box, list(side.denies.meeting(box)), budget)
        allowed_there = list(other.allows.meeting(box, moves.names))
        yield from comparison.change(None, allowed_there)
        for deny in other.denies.meeting(box, moves.names):
            if allowed_there and not (alike and deny.key in side.denying):
                yield from comparison.change(deny, [])


class _Moves:
    """Which certificates have another name on the other side, for the trust domains that tokens count for.

    Attributes:
        names: The names whose certificates or tokens are not the same on both sides.
    """

    def __init__(self, side: _Side, other: _Side) -> None:
        self._aliases: dict[TrustDomain, list[tuple[str, Pattern]]] = {}
        here, there = side.naming, other.naming
        names = set(here.provable ^ there.provable)
        for domain in here.known:
            at = here.aliases_at(domain), there.aliases_at(other.as_named_by(side, domain))
            names |= {
                name for one, two in (at, at[::-1]) for alias, name in one.items() if two.get(alias) != name
            }
            self._aliases[domain] = [(name, alias) for alias, name in at[1].items() if name in names]
        self.names = frozenset(names)
        self._left = MAX_STEPS

    def spend(self, steps: int) -> None:
        """Count steps; who has another name on the other side is compared with each token, one by one.

        Raises:
            PolicyTooComplex: If there are more than `MAX_STEPS`.
        """
        self._left -= steps
        if self._left < 0:
            msg = (
                f"too many peers by name differ for an exact answer: none after {MAX_STEPS} steps; compare"
                " smaller changes, one after the other"
            )
            raise PolicyTooComplex(msg)

    def aliases(self, domain: TrustDomain) -> list[tuple[str, Pattern]]:
        """Return the aliases of such names on the other side, for a trust domain of this one."""
        return self._aliases[domain]


@attrs.frozen
class _Comparison:
    """One box of what one side allows, and what the same side denies of it."""

    side: _Side
    other: _Side
    moves: _Moves
    box: Box
    denied: list[Box]
    budget: Budget

    def change(self, within: Box | None, allowed_there: list[Box]) -> Iterator[Change]:
        """Yield what is in the box, *within* a deny of the other side if given, and not allowed there."""
        involved = [*self.denied, *allowed_there, *([within] if within else [])]
        regions: list[Region] = []
        unless: set[str] = set()
        domains = self.side.naming.domains(self.box)
        named = BoxesByName(self.denied), BoxesByName(allowed_there)
        for cell in self._cells(involved, domains):
            if not self.side.judges(cell.method):
                continue
            for region, rules in self._regions(cell, within, *named):
                if cell.state.has_token:
                    self.moves.spend(_REGION + len(region.outside))
                if not region.is_plainly_empty:
                    regions.append(region)
                    unless |= rules
        if (example := shortest_access(regions, self.budget)) is not None:
            yield self._told(within, tuple(sorted(unless)), example)

    def _regions(
        self, cell: Slice, within: Box | None, denied: BoxesByName, allowed_there: BoxesByName
    ) -> Iterator[tuple[Region, set[str]]]:
        """Yield what may change of a cell, with the rules by which parts of it do not."""
        side, other, method = self.side, self.other, cell.method
        there = other.as_named_by(side, cell.domain)
        still = denied.of(cell.domain, side.own, method, cell.state)
        for state, holder, inside_there, elsewhere_there in self._states_there(cell, there):
            if within is not None and not within.is_of(there, other.own, method, state):
                continue
            already = (
                allowed_there.of(there, other.own, method, state, holder) if other.judges(method) else []
            )
            inside = [self.box.extent(cell.domain, side.own, method)]
            inside += [within.extent(there, other.own, method)] if within is not None else []
            outside = [
                *(each.extent(cell.domain, side.own, method) for each in still),
                *(each.extent(there, other.own, method) for each in already),
            ]
            region = cell.region((*inside, *inside_there), tuple(outside), elsewhere_there)
            yield region, {str(each.rule) for each in (*still, *already)}

    def _states_there(
        self, cell: Slice, there: TrustDomain
    ) -> Iterator[tuple[TokenState, str | None, list[Extent], tuple[Elsewhere, ...]]]:
        """Yield what the token of a cell is on the other side: of all of it, or by alias, with its name.

        A token that does not count there changes nothing there: it is as if there were none. One that
        counts only there is not gone through: whoever has it can leave it out.
        """
        state, naming = cell.state, self.other.naming
        if not state.has_token:
            yield state, None, [], ()
            return
        if not naming.is_possible(there, state):
            yield NO_TOKEN, None, [], ()
            return
        yield state, None, [], (Elsewhere(naming, there, state),)
        path, _, _ = self.box.patterns
        here = cell.naming.aliases_at(cell.domain)
        # A JWT-SVID of the certificate's own SPIFFE ID agrees on both sides, whatever its name is there.
        own = state.name is None and cell.naming.has_own_svid(cell.domain) and naming.has_own_svid(there)
        for name, alias in self.moves.aliases(cell.domain):
            is_here = alias not in here or cell.naming.may_be(here[alias], state)
            if is_here and not naming.may_be(name, state) and alias.intersects(path):
                state_there = TokenState(has_token=True, name=name) if own else NO_TOKEN
                yield state_there, name, [Extent((alias, ANYTHING, ANYTHING))], ()

    def _cells(self, involved: list[Box], domains: tuple[TrustDomain, ...]) -> Iterator[Slice]:
        """Yield each trust domain, method and state in which the two sides may differ."""
        side = self.side
        states = list(self._states(involved))
        told = methods_told(self.box, involved, side.methods & self.other.methods)
        yield from cells_of(self.box, domains, side.naming, told, states)
        # A method that only this side names is refused as unsafe on the other.
        named = {method for each in (self.box, *involved) for method in each.methods}
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
        told_apart = (here.names_at(path) | there.names_at(path)) & self.moves.names
        return told_apart | {min(each) for each in only_one if each}

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

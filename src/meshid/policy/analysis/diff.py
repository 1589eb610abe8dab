"""What changes between two policies, and for whom.

An access is gained in one of three ways: an allow rule allows it that none allowed before; a deny
rule is gone that refused it, where an allow rule had let it in; or its method is one that the old policy
did not know. What is lost is what would be gained in the other direction. Each is told of
one rule, as products of its entries, with what of them does not change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from itertools import chain

import attrs

from meshid.policy.analysis.boxes import HANDSHAKE, Box
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.change_lines import Hole, Piece, Who, lines_of_pieces
from meshid.policy.analysis.changed_names import changed_names
from meshid.policy.analysis.changed_rules import changed_ends, changed_notes
from meshid.policy.analysis.diff_sides import COMPARED, Concerns, DiffCell, DiffSide, Pair, needs_tokens
from meshid.policy.analysis.diff_telling import LineTelling, change_of_methods
from meshid.policy.analysis.extent import Extent
from meshid.policy.analysis.policy_diff import Change, PolicyDiff
from meshid.policy.analysis.prove import methods_told
from meshid.policy.analysis.regions import shortest_access
from meshid.policy.analysis.token_states import NO_TOKEN
from meshid.policy.rules import ANY_METHOD, Effect, Rule, RuleSet


def compare(
    before: RuleSet, after: RuleSet, now: float | None = None, *, budget: Budget | None = None
) -> PolicyDiff:
    """Compare what the rules of two policies allow.

    Args:
        before: The one policy.
        after: The other.
        now: When, in POSIX seconds, for rules that have a last day; None to compare as if all were in force.
        budget: What it is paid from; None for one of its own.

    Raises:
        PolicyTooComplex: If the rules are too entangled for an exact answer.
    """
    budget = budget or Budget(before, after)
    old, new = (DiffSide(each if now is None else each.at(now), budget) for each in (before, after))
    concerns = Concerns(Pair(old, new, is_gain=False), budget)
    old.take_apart(concerns)
    new.take_apart(concerns)
    names = tuple(changed_names(before, after))
    # A rule that both files have is neither new nor gone: its last day is over, or was.
    kept, found = ({(rule.id, rule.effect) for rule in each.rules} for each in (before, after))
    gains, losses = (
        tuple(_by_time(each, kept & found) for each in _changes(pair, budget))
        for pair in (Pair(new, old, is_gain=True), Pair(old, new, is_gain=False))
    )
    told = {change.rule for change in (*gains, *losses)}
    return PolicyDiff(
        gains=gains,
        losses=losses,
        observes=(before.observe, after.observe),
        names=names,
        ends=tuple(changed_ends(before, after)),
        notes=tuple(each for each in changed_notes(before, after, told) if each not in names),
        environments=(before.environment.name, after.environment.name),
        hashes=(before.hash(), after.hash()),
    )


def _by_time(change: Change, both: Collection[tuple[str, Effect]]) -> Change:
    by_time = {"gone": "ended", "new": "in force again"}
    if (change.rule, change.effect) in both and change.status in by_time:
        return attrs.evolve(change, status=by_time[change.status])
    return change


def _changes(pair: Pair, budget: Budget) -> Iterator[Change]:
    """Yield what one side allows and the other does not."""
    search = _Search(pair, budget)
    for rule in pair.side.enforced(Effect.ALLOW):
        yield from search.of_allow(rule)
    for rule in pair.other.enforced(Effect.DENY):
        yield from search.of_deny(rule)
    yield from search.of_methods()


@attrs.frozen
class _Search:
    pair: Pair
    budget: Budget

    # -- What an allow rule allows that none allows on the other side ----------

    def of_allow(self, rule: Rule) -> Iterator[Change]:
        side, other = self.pair.side, self.pair.other
        boxes = side.boxes[rule.id]
        # Most rules of most changes are the same on both sides.
        if all(self._is_known(other, box) for box in boxes):
            return
        self.budget.turn_to(rule)
        names = self.pair.names_told(rule)
        telling = LineTelling(self.pair, self.budget, rule, side)
        pieces: list[Piece] = []
        for box in boxes:
            is_known = self._is_known(other, box)
            for cell in self.pair.cells(box, names):
                self.budget.spend()
                who = Who(box.at[0], box.peers, box.by_token, cell.domain, cell.state)
                telling.looked_at(who)
                if not is_known:
                    pieces += self._allowed(box, cell, who)
        for line in lines_of_pieces(pieces):
            yield telling.change(line)

    def _is_known(self, side: DiffSide, box: Box) -> bool:
        return side.has(box) and self.pair.is_alike(box)

    def _allowed(self, box: Box, cell: DiffCell, who: Who) -> Iterator[Piece]:
        side, other = self.pair.side, self.pair.other
        pair, is_any = self.pair, box.method in {None, ANY_METHOD}
        denied, allowed = side.meeting(box, Effect.DENY), other.meeting(box, Effect.ALLOW)
        involved = [*denied, *allowed, *other.meeting(box, Effect.DENY)]
        self.budget.spend(COMPARED * len(involved))
        told = [each for each in methods_told(box, involved, side.methods) if side.judges(each)]
        self.budget.spend(COMPARED * len(told) * (len(denied) + len(allowed)))
        for is_request in (False, True):
            methods = [each for each in told if (each != HANDSHAKE) is is_request and box.is_for(each)]
            if not methods:
                continue
            outside = {
                method: [
                    *pair.extents(side, denied, cell, method),
                    *(pair.extents(other, allowed, cell, method) if other.judges(method) or is_any else []),
                ]
                for method in methods
            }
            # A method that this side alone judges was never allowed, whatever the rules of the other say.
            compares = is_any or other.judges(methods[0])
            for hole in self._lifted(box, allowed if compares else (), other, cell, methods[0]):
                piece = Piece(
                    box, who, cell, is_request, hole, None, tuple(methods), compares_allowed=compares
                )
                if (found := self._first(piece, outside)) is not None:
                    yield found

    def _first(self, piece: Piece, outside: dict[str, list[Extent]], also: Box | None = None) -> Piece | None:
        """Return a piece with its shortest access that lies *outside*; None if there is none.

        Args:
            piece: The piece.
            outside: What it must not lie in, for each method.
            also: A box of the other side that it must lie in.
        """
        pair, cell = self.pair, piece.cell
        regions = []
        for method, out in outside.items():
            held = piece.extents(pair, method)
            if held is None:
                continue
            if also is not None:
                extent = pair.extent(pair.other, also, cell, method)
                if extent is None:
                    continue
                held.append(extent)
            regions.append(pair.region(cell, method, held, out))
        example = shortest_access(regions, self.budget)
        return None if example is None else attrs.evolve(piece, example=example)

    def _lifted(
        self, box: Box, others: Iterable[Box], side: DiffSide, cell: DiffCell, method: str
    ) -> Iterator[Hole | None]:
        """Yield the exceptions that another box has beyond those of this one, if that is all it lacks.

        If there is no such box, None: then it is to be compared as a whole.
        """
        found = [
            _holes_beyond(box.rule, twin.rule, side, is_request=method != HANDSHAKE)
            for twin in others
            if _is_twin(twin, box) and self.pair.extent(side, twin, cell, method)
        ]
        yield from min(found, key=len) if found else [None]

    # -- What a deny rule of the other side refuses, and is not denied on this one ----

    def of_deny(self, rule: Rule) -> Iterator[Change]:
        side, other = self.pair.side, self.pair.other
        boxes = other.boxes[rule.id]
        if all(self._is_known(side, box) for box in boxes):
            return
        self.budget.turn_to(rule)
        telling = LineTelling(self.pair, self.budget, rule, other)
        pieces: list[Piece] = []
        for box in boxes:
            is_known = self._is_known(side, box)
            for allowing in side.meeting(box, Effect.ALLOW):
                names = self.pair.names_told(allowing.rule)
                if box.by_token is not None and allowing.rule.needs_token:
                    names |= {box.by_token}
                for cell in self.pair.cells(allowing, names, box):
                    self.budget.spend()
                    if not box.is_in(cell.there, other.own) or not box.is_with(cell.state_there):
                        continue
                    who = Who(
                        box.at[0],
                        box.peers,
                        box.by_token,
                        cell.there,
                        cell.state if needs_tokens(box) else NO_TOKEN,
                    )
                    telling.looked_at(who)
                    if not is_known:
                        pieces += self._denied(box, allowing, cell, who)
        for line in lines_of_pieces(each for each in pieces if each.example is not None):
            yield telling.change(line, pieces)

    def _denied(self, box: Box, allowing: Box, cell: DiffCell, who: Who) -> Iterator[Piece]:
        side, other = self.pair.side, self.pair.other
        denied = side.meeting(allowing, Effect.DENY)
        allowed = self._allowed_by(allowing)
        involved = [allowing, *denied, *(each for each in allowed if each is not None)]
        self.budget.spend(COMPARED * len(involved))
        told = methods_told(box, involved, side.methods & other.methods)
        self.budget.spend(COMPARED * len(told) * len(denied))
        told = [each for each in told if side.judges(each) and box.is_for(each) and allowing.is_for(each)]
        for is_request in (False, True):
            methods = [each for each in told if (each != HANDSHAKE) is is_request]
            # With other methods, nothing was allowed; what denies them is an exception nevertheless.
            outside = {
                method: self.pair.extents(side, denied, cell, method)
                for method in methods
                if other.judges(method)
            }
            if not outside:
                continue
            for hole in self._lifted(box, denied, side, cell, methods[0]):
                piece = Piece(box, who, cell, is_request, hole, allowing, tuple(methods))
                tries = (self._first(piece, outside, each) for each in allowed)
                yield next((each for each in tries if each is not None), piece)

    def _allowed_by(self, box: Box) -> list[Box | None]:
        """Return boxes of the other side, of one of which must be what is told; None if all of a box is."""
        other = self.pair.other
        if self._is_known(other, box):
            return [None]
        met = other.meeting(box, Effect.ALLOW)
        return [*sorted(met, key=lambda each: each.rule.id != box.rule.id)]

    # -- Methods that only this side judges ------------------------------------

    def of_methods(self) -> Iterator[Change]:
        """Yield what is allowed with methods that are unsafe on the other side, by rules for any method."""
        side, other = self.pair.side, self.pair.other
        found: defaultdict[frozenset[str], list[tuple[str, list[Piece]]]] = defaultdict(list)
        for method in sorted(side.methods - other.methods):
            pieces: list[Piece] = []
            for rule in side.enforced(Effect.ALLOW):
                self.budget.turn_to(rule)
                of_rule = [
                    piece
                    for box in side.boxes[rule.id]
                    if box.is_for(method)
                    for piece in self._with(method, box)
                ]
                # A rule that is named is named with all that it is about.
                pieces += of_rule if any(each.example is not None for each in of_rule) else []
            if pieces:
                found[frozenset(each.box.rule.id for each in pieces)].append((method, pieces))
        for same in found.values():
            methods, pieces_of = zip(*same, strict=True)
            yield change_of_methods(self.pair, self.budget, list(chain(*pieces_of)), methods)

    def _with(self, method: str, box: Box) -> Iterator[Piece]:
        side = self.pair.side
        denied = side.meeting(box, Effect.DENY)
        also: list[Box | None] = []
        if box.method in {None, ANY_METHOD}:
            also = self._allowed_by(box)
        for cell in self.pair.cells(box, self.pair.names_told(box.rule)):
            self.budget.spend(1 + len(also))
            who = Who(box.at[0], box.peers, box.by_token, cell.domain, cell.state)
            outside = {method: self.pair.extents(side, denied, cell, method)}
            piece = Piece(
                box,
                who,
                cell,
                is_request=True,
                hole=None,
                allowing=None,
                methods=(method,),
                compares_allowed=False,
            )
            tries = (self._first(piece, outside, each) for each in also)
            yield next((each for each in tries if each is not None), piece)


def _is_twin(one: Box, box: Box) -> bool:
    return one.patterns == box.patterns and one.method in {None, ANY_METHOD, box.method}


def _holes_beyond(rule: Rule, other: Rule, side: DiffSide, *, is_request: bool) -> list[Hole]:
    found = [Hole(side, peers=each) for each in other.not_sources if each not in rule.not_sources]
    if is_request:
        found += [Hole(side, request=each) for each in other.not_http if each not in rule.not_http]
    return found

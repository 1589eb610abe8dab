"""How a line of a diff is told: which entries it is of, and what of them does not change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.policy.analysis.answers import Access
from meshid.policy.analysis.automata import Words, shortest
from meshid.policy.analysis.boxes import Box
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.change_lines import Line, Piece, Who
from meshid.policy.analysis.change_words import ALL_REQUESTS
from meshid.policy.analysis.diff_sides import COMPARED, DiffSide, Pair, needs_tokens
from meshid.policy.analysis.extent import Extent
from meshid.policy.analysis.policy_diff import Area, Change, Unchanged
from meshid.policy.analysis.regions import shortest_access
from meshid.policy.analysis.token_states import ANYTHING
from meshid.policy.rules import ANY_METHOD, Effect, HttpCondition, Rule

_COMPARED = 200
_ANY_REQUEST = (HttpCondition(ANY_METHOD, ANYTHING),)


class LineTelling:
    """Tells the lines of one rule.

    Args:
        pair: The two sides.
        budget: The budget of the diff.
        rule: The rule.
        side: The side that it is of.
    """

    def __init__(self, pair: Pair, budget: Budget, rule: Rule, side: DiffSide) -> None:
        self._pair = pair
        self._budget = budget
        self._rule = rule
        self._side = side
        self._entries: defaultdict[int, set[Who]] = defaultdict(set)

    def looked_at(self, who: Who) -> None:
        """Note a part of an entry, so that the entry is told as a whole only if all of its parts change."""
        self._entries[who.entry].add(who)

    def change(self, line: Line, looked_at: Iterable[Piece] = ()) -> Change:
        """Return a line as a change.

        Args:
            line: The line.
            looked_at: For a deny rule, all pieces of it. A line is about each of its entries with each of the
                rules that allow them, even where just that combination does not change.
        """
        allowed_by = {each.allowing.rule.id for each in line.pieces if each.allowing}
        parts = _Parts(self._pair, self._budget)
        for piece in line.pieces:
            parts.look_at(piece)
        for piece in looked_at:
            allowing = piece.allowing.rule.id if piece.allowing and piece.example is None else None
            if allowing in allowed_by and line.is_about(piece):
                parts.look_at(piece)
        conditions = self._rule.http or _ANY_REQUEST
        conditions = tuple(conditions[at] for at in sorted(line.requests))
        peers = tuple(self._peers(line))
        return Change(
            rule=self._rule.id,
            effect=self._rule.effect,
            status=_status(self._pair, self._rule, self._side),
            area=Area(
                peers=peers,
                targets=tuple(str(self._rule.targets[at]) for at in sorted(line.targets)),
                requests=tuple(map(str, conditions)),
                connections=line.connections,
                only_peers=tuple(map(str, line.only_peers)),
                only_requests=tuple(map(str, line.only_requests)),
                not_peers=tuple(
                    map(str, self._left_out_peers(_paths_of(line.who), line.only_peers, self._rule))
                ),
                not_requests=tuple(
                    map(str, self._left_out_requests(conditions, line.only_requests, self._rule))
                ),
            ),
            allowed_by=tuple(sorted(allowed_by)),
            unchanged=tuple(self._unchanged(parts, line, conditions)),
            reached_without_token=parts.reached_without_token,
            example=_shortest(line.pieces),
        )

    # -- Whom ------------------------------------------------------------------

    def _peers(self, line: Line) -> Iterator[str]:
        found: defaultdict[int, set[Who]] = defaultdict(set)
        for who in line.who:
            found[who.entry].add(who)
        for entry, parts in sorted(found.items()):
            every = self._entries[entry]
            if line.only_peers:
                domains = {each for hole in line.only_peers for each in hole.domains(self._side.own)}
                every = {each for each in every if each.domain in domains}
            is_clear = self._pair.has_own_alike or all(
                each.by_token or each.peers.trust_domain is not None for each in parts
            )
            if every == parts and is_clear:
                yield f"{self._rule.who[entry]}{' with a token' if self._rule.needs_token else ''}"
            else:
                yield from self._parts_of(entry, parts)

    def _parts_of(self, entry: int, parts: set[Who]) -> Iterator[str]:
        name = f"{self._rule.who[entry]} " if entry >= len(self._rule.sources) else ""
        shown: defaultdict[str, set[str]] = defaultdict(set)
        for who in parts:
            if who.by_token is not None:
                where = f"{name}by token beside spiffe://{who.domain}/**"
            else:
                where = f"{name}{'by certificate ' if name else ''}spiffe://{who.domain}{who.peers.path}"
            shown[where].add(self._token(who))
        for where in sorted(shown):
            tokens = sorted(filter(None, shown[where]))
            yield f"{where}{' with a token ' * bool(tokens)}{' or '.join(tokens)}"

    def _token(self, who: Who) -> str:
        if not self._rule.needs_token or who.by_token is not None:
            return ""
        if who.state.name is not None:
            return f"that names @{who.state.name}"
        others = sorted(who.state.others)
        return f"that names none of {', '.join('@' + each for each in others)}" if others else "of any name"

    # -- What does not change ----------------------------------------------------

    def _unchanged(
        self, parts: _Parts, line: Line, conditions: tuple[HttpCondition, ...]
    ) -> Iterator[Unchanged]:
        told = [
            (Effect.DENY, self._pair.side, parts.denied),
            (Effect.ALLOW, self._pair.other, parts.allowed),
        ]
        for effect, side, boxes in told:
            by_rule: defaultdict[str, list[Box]] = defaultdict(list)
            for box in _without_covered(boxes.values()):
                by_rule[box.rule.id].append(box)
            for rule_id in sorted(by_rule, key=lambda each: (each != self._rule.id, each)):
                area = self._area_of(by_rule[rule_id], side, line, conditions)
                yield Unchanged(rule_id, effect, area)

    def _area_of(
        self, boxes: list[Box], side: DiffSide, line: Line, conditions: tuple[HttpCondition, ...]
    ) -> Area:
        rule = boxes[0].rule
        peers = dict.fromkeys(
            each for box in sorted(boxes, key=lambda each: each.at) for each in self._entry_of(box, side)
        )
        kept = tuple((rule.http or _ANY_REQUEST)[at] for at in sorted({box.at[2] for box in boxes}))
        paths = [
            (one.path, two.peers.path) if two.by_token is None else (one.path,)
            for one in (box.peers for box in boxes)
            for two in line.who
        ]
        return Area(
            peers=tuple(peers),
            targets=tuple(str(rule.targets[at]) for at in sorted({box.at[1] for box in boxes})),
            requests=tuple(map(str, kept)) if line.requests else (),
            connections=line.connections and (rule.effect is Effect.DENY or not rule.needs_request),
            not_peers=tuple(map(str, self._left_out_peers(paths, line.only_peers, rule))),
            not_requests=tuple(map(str, self._left_out_requests(kept, conditions, rule)))
            if line.requests
            else (),
        )

    def _entry_of(self, box: Box, side: DiffSide) -> Iterator[str]:
        token = " with a token" if box.rule.needs_token else ""
        domain = box.peers.trust_domain
        if self._pair.has_own_alike or box.name is not None or domain is not None:
            yield f"{box.rule.who[box.at[0]]}{token}"
        else:
            yield from (f"spiffe://{each}{box.peers.path}{token}" for each in side.own)

    def _left_out_peers(
        self, paths: Iterable[tuple[Pattern, ...]], only: tuple[PeerPattern, ...], rule: Rule
    ) -> Iterator[PeerPattern]:
        """Yield the entries of ``not_from`` that have something in common with paths."""
        paths = list(dict.fromkeys(paths))
        narrower: tuple[tuple[Pattern, ...], ...] = tuple((each.path,) for each in only) or ((),)
        for hole in rule.not_sources:
            if any(
                shortest(Words.PEER_PATHS, (hole.path, *some, *more), (), self._budget) is not None
                for some in paths
                for more in narrower
            ):
                yield hole

    def _left_out_requests(
        self, some: tuple[HttpCondition, ...], only: tuple[HttpCondition, ...], rule: Rule
    ) -> Iterator[HttpCondition]:
        """Yield the entries of ``not_http`` that have something in common with conditions."""
        narrower: list[tuple[HttpCondition, ...]] = [(each,) for each in only]
        narrower = narrower or [()]
        groups = [(one, *more) for one in some for more in narrower]
        for hole in rule.not_http:
            paths = [(hole.path, *(one.path for one in each)) for each in groups if _have_one(hole, *each)]
            if any(shortest(Words.REQUEST_PATHS, each, (), self._budget) is not None for each in paths):
                yield hole


def _have_one(*conditions: HttpCondition) -> bool:
    return len({each.method for each in conditions} - {ANY_METHOD}) <= 1


def _paths_of(whos: Iterable[Who]) -> list[tuple[Pattern, ...]]:
    return [(each.peers.path,) for each in whos]


def _shortest(pieces: Iterable[Piece]) -> Access:
    return min((each.example for each in pieces if each.example is not None), key=_length_of)


def _length_of(access: Access) -> tuple[int, str]:
    shown = f"{access.spiffe_id}{access.target}{access.request or ''}"
    return len(shown), shown


def _status(pair: Pair, rule: Rule, side: DiffSide) -> str:
    opposite = pair.other if side is pair.side else pair.side
    twin = opposite.rules.get(rule.id)
    if twin is None or twin.effect is not rule.effect:
        # In a gain, an allow rule is of the new policy, and a deny rule of the old one.
        return "new" if pair.is_gain is (rule.effect is Effect.ALLOW) else "gone"
    return "the same" if _decisive(rule) == _decisive(twin) else "edited"


def _decisive(rule: Rule) -> tuple[object, ...]:
    lists = (rule.sources, rule.targets, rule.http, rule.not_sources, rule.not_http)
    names = {each.name for each in rule.peers}
    return (*map(frozenset, lists), names, rule.needs_token, rule.observe)


def _without_covered(boxes: Iterable[Box]) -> list[Box]:
    boxes, kept = list(boxes), list[Box]()
    # Each is compared with each; nobody reads so many that it would be worth it.
    for box in boxes if len(boxes) <= _COMPARED else ():
        if not any(each.covers(box) for each in kept):
            kept = [*(each for each in kept if not box.covers(each)), box]
    return kept or boxes


class _Parts:
    """The boxes by which parts of a change do not change."""

    def __init__(self, pair: Pair, budget: Budget) -> None:
        self._pair = pair
        self._budget = budget
        self.denied: dict[int, Box] = {}
        self.allowed: dict[int, Box] = {}
        self.reached_without_token = False

    def look_at(self, piece: Piece) -> None:
        """Look at the boxes that a piece has something in common with."""
        side, other = self._pair.side, self._pair.other
        denied = side.meeting(piece.allowing or piece.box, Effect.DENY)
        self._budget.spend(len(denied))
        for box in denied:
            if id(box) not in self.denied and self._is_hit(piece, side, box):
                self.denied[id(box)] = box
        if piece.allowing is not None or not piece.compares_allowed:
            return
        refused = other.meeting(piece.box, Effect.DENY)
        allowed = other.meeting(piece.box, Effect.ALLOW)
        self._budget.spend(len(allowed))
        for box in allowed:
            is_without = piece.cell.state.has_token and not needs_tokens(box)
            if self.reached_without_token if is_without else id(box) in self.allowed:
                continue
            if self._is_hit(piece, other, box, *self._denying(box, denied, refused)):
                if is_without:
                    self.reached_without_token = True
                else:
                    self.allowed[id(box)] = box

    def _denying(self, box: Box, denied: list[Box], refused: list[Box]) -> tuple[list[Box], list[Box]]:
        """Return what of the deny rules on either side may deny something of a box."""
        if not self._pair.has_names_alike:
            return denied, refused
        return self._pair.side.meeting(box, Effect.DENY), self._pair.other.meeting(box, Effect.DENY)

    def _is_hit(
        self,
        piece: Piece,
        side: DiffSide,
        box: Box,
        denied: Sequence[Box] = (),
        refused: Sequence[Box] = (),
    ) -> bool:
        """Tell whether something of a piece lies in a box and is denied by none of others, of either side."""
        pair, cell = self._pair, piece.cell
        regions = []
        self._budget.spend(COMPARED * len(piece.methods) * (1 + len(denied) + len(refused)))
        for method in piece.methods:
            if side is pair.other and not side.judges(method):
                continue
            held = piece.extents(pair, method)
            extent = pair.extent(side, box, cell, method)
            if held is None or extent is None:
                continue
            outside: list[Extent] = [
                *pair.extents(pair.side, denied, cell, method),
                *pair.extents(pair.other, refused, cell, method),
            ]
            regions.append(pair.region(cell, method, [*held, extent], outside))
        return shortest_access(regions, self._budget) is not None


def change_of_methods(pair: Pair, budget: Budget, pieces: list[Piece], methods: tuple[str, ...]) -> Change:
    """Return the change that a policy judges methods that the other one refuses as unsafe."""
    parts = _Parts(pair, budget)
    for piece in pieces:
        parts.look_at(piece)
    rule = next(
        rule
        for rule in pair.side.rules.values()
        if any(each.method == methods[0] for each in (*rule.http, *rule.not_http))
    )
    unchanged = []
    for box in _without_covered(parts.denied.values()):
        area = Area(
            peers=(f"{box.rule.who[box.at[0]]}{' with a token' * box.rule.needs_token}",),
            targets=(str(box.rule.targets[box.at[1]]),),
            requests=(str(box.rule.http[box.at[2]]),) if box.rule.http else ALL_REQUESTS,
            not_peers=tuple(map(str, box.rule.not_sources)),
            not_requests=tuple(map(str, box.rule.not_http)),
        )
        unchanged.append(Unchanged(box.rule.id, Effect.DENY, area))
    return Change(
        rule=rule.id,
        effect=rule.effect,
        status=_status(pair, rule, pair.side),
        area=Area((), (), tuple(f"{each} /**" for each in methods)),
        allowed_by=tuple(sorted({each.box.rule.id for each in pieces})),
        unchanged=tuple(unchanged),
        reached_without_token=False,
        example=_shortest(pieces),
    )

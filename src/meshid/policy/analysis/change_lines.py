"""The lines of a rule in a diff: as few products of its entries as hold exactly what changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeAlias, TypeVar

import attrs

from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.answers import Access
from meshid.policy.analysis.boxes import Box
from meshid.policy.analysis.diff_sides import DiffCell, DiffSide, Pair
from meshid.policy.analysis.extent import Extent
from meshid.policy.analysis.token_states import ANYTHING, TokenState
from meshid.policy.rules import ANY_METHOD, HttpCondition

_One = TypeVar("_One", bound=Hashable)
_Two = TypeVar("_Two", bound=Hashable)


@attrs.frozen
class Hole:
    """What one exception of a rule leaves out.

    Attributes:
        side: The side that the rule is of.
        peers: The entry of ``not_from``; None if it is none.
        request: The entry of ``not_http``; None if it is none.
    """

    side: DiffSide = attrs.field(eq=False, repr=False)
    peers: PeerPattern | None = None
    request: HttpCondition | None = None

    def extent(self, pair: Pair, cell: DiffCell, method: str) -> Extent | None:
        """Return what it holds of a cell, with requests of a method; None if nothing."""
        if self.peers is not None:
            domain = cell.domain if self.side is pair.side else cell.there
            held = domain in self.peers.domains(self.side.own)
            return Extent((self.peers.path, ANYTHING, ANYTHING)) if held else None
        if self.request is not None and self.request.method in {ANY_METHOD, method}:
            return Extent((ANYTHING, ANYTHING, self.request.path))
        return None


@attrs.frozen
class Who:
    """The part of an entry of ``from`` in one trust domain, and one state.

    Attributes:
        entry: The index of the entry.
        peers: The pattern of the peers.
        by_token: The name that a token must give; None if the certificate is enough.
        domain: The trust domain.
        state: What they show beside their certificates.
    """

    entry: int
    peers: PeerPattern
    by_token: str | None
    domain: TrustDomain
    state: TokenState


@attrs.frozen
class Piece:
    """One combination of entries of a rule of which something changes.

    Attributes:
        box: The combination.
        who: Which part of the entry of ``from``.
        cell: The same, on both sides.
        is_request: Whether it is of requests; otherwise, of connections without.
        hole: If only what lies in an exception of the other side changes, that.
        allowing: If the box is one of a deny rule, a box of the other side that allows it.
        methods: The methods in which it may differ; `HANDSHAKE` for connections.
        example: The shortest access that changes; None before it is looked for.
        compares_allowed: Whether what was allowed does not change.
    """

    box: Box
    who: Who
    cell: DiffCell
    is_request: bool
    hole: Hole | None
    allowing: Box | None
    methods: tuple[str, ...]
    example: Access | None = None
    compares_allowed: bool = True

    def extents(self, pair: Pair, method: str) -> list[Extent] | None:
        """Return what it is in all of, for a method; None if it is empty."""
        if self.allowing is None:
            found = [pair.extent(pair.side, self.box, self.cell, method)]
        else:
            found = [
                pair.extent(pair.side, self.allowing, self.cell, method),
                pair.extent(pair.other, self.box, self.cell, method),
            ]
        if self.hole is not None:
            found.append(self.hole.extent(pair, self.cell, method))
        held = [each for each in found if each is not None]
        return held if len(held) == len(found) else None


@attrs.frozen
class Line:
    """A product of entries: all of its combinations change, in the same way.

    Attributes:
        who: The parts of the entries of ``from``.
        targets: The indices of the entries of ``to``.
        requests: The indices of the conditions; empty if no requests change.
        connections: Whether connections without requests change.
        only_peers: Exceptions of the other side; if there are any, only what lies in them changes.
        only_requests: The same, of requests.
        pieces: The combinations.
    """

    who: frozenset[Who]
    targets: frozenset[int]
    requests: frozenset[int]
    connections: bool
    only_peers: tuple[PeerPattern, ...]
    only_requests: tuple[HttpCondition, ...]
    pieces: tuple[Piece, ...] = attrs.field(eq=False, repr=False)

    def is_about(self, piece: Piece) -> bool:
        """Tell whether a piece is of its entries, whether or not anything of it changes."""
        asked = piece.box.at[2] in self.requests if piece.is_request else self.connections
        return asked and piece.who in self.who and piece.box.at[1] in self.targets


_Asked: TypeAlias = tuple[bool, frozenset[int], HttpCondition | None]
"""Whether connections change, and which requests: the indices of conditions, and the exception."""

_Group: TypeAlias = tuple[frozenset[_One], frozenset[_Two], _Asked]


def lines_of_pieces(pieces: Iterable[Piece]) -> list[Line]:
    """Group pieces into lines."""
    kinds: defaultdict[tuple[bool, PeerPattern | None], list[Piece]] = defaultdict(list)
    for piece in pieces:
        kinds[piece.compares_allowed, piece.hole.peers if piece.hole else None].append(piece)
    found: dict[Hashable, Line] = {}
    for (compares, only), some in kinds.items():
        for line in _lines(some, (only,) if only else ()):
            # The same of two exceptions is one line.
            asked = (line.requests, line.connections, line.only_requests)
            same = (compares, bool(only), line.who, line.targets, *asked)
            old = found.get(same)
            found[same] = line if old is None else _joined(old, line)
    return list(found.values())


def _joined(one: Line, two: Line) -> Line:
    return attrs.evolve(
        one,
        only_peers=tuple(dict.fromkeys((*one.only_peers, *two.only_peers))),
        only_requests=tuple(dict.fromkeys((*one.only_requests, *two.only_requests))),
        pieces=(*one.pieces, *two.pieces),
    )


def _lines(pieces: list[Piece], only_peers: tuple[PeerPattern, ...]) -> Iterator[Line]:
    at: defaultdict[tuple[Who, int], list[Piece]] = defaultdict(list)
    for piece in pieces:
        at[piece.who, piece.box.at[1]].append(piece)
    asked = {place: _asked(some) for place, some in at.items()}
    by_peers = _groups(asked, lambda place: place)
    by_target = [
        (who, targets, what) for targets, who, what in _groups(asked, lambda place: (place[1], place[0]))
    ]
    merged: dict[Hashable, Line] = {}
    for who, targets, (connections, requests, only) in min(by_peers, by_target, key=len):
        held = tuple(
            piece
            for one in who
            for target in targets
            for piece in at[one, target]
            if _is_of(piece, connections=connections, requests=requests, only=only)
        )
        line = Line(who, targets, requests, connections, only_peers, (only,) if only else (), held)
        same = (who, targets, requests, connections, bool(only))
        merged[same] = _joined(merged[same], line) if same in merged else line
    yield from merged.values()


def _asked(pieces: list[Piece]) -> frozenset[_Asked]:
    """Return what changes of some peers at a target; connections are told with the requests, if there are."""
    requests: defaultdict[HttpCondition | None, set[int]] = defaultdict(set)
    for piece in pieces:
        if piece.is_request:
            requests[piece.hole.request if piece.hole else None].add(piece.box.at[2])
    connections = any(not piece.is_request for piece in pieces)
    whole = requests.pop(None, set())
    found = {(False, frozenset(some), only) for only, some in requests.items()}
    if whole or connections:
        found.add((connections, frozenset(whole), None))
    return frozenset(found)


def _is_of(piece: Piece, *, connections: bool, requests: frozenset[int], only: HttpCondition | None) -> bool:
    if not piece.is_request:
        return connections
    hole = piece.hole.request if piece.hole else None
    return hole == only and piece.box.at[2] in requests


def _groups(
    asked: dict[tuple[Who, int], frozenset[_Asked]],
    order: Callable[[tuple[Who, int]], tuple[_One, _Two]],
) -> list[_Group[_One, _Two]]:
    """Return products: the firsts that have the same seconds, with the seconds of which the same changes."""
    rows: defaultdict[_One, dict[_Two, frozenset[_Asked]]] = defaultdict(dict)
    for place, what in asked.items():
        first, second = order(place)
        rows[first][second] = what
    alike: defaultdict[frozenset[tuple[_Two, frozenset[_Asked]]], list[_One]] = defaultdict(list)
    for first, row in rows.items():
        alike[frozenset(row.items())].append(first)
    found: list[_Group[_One, _Two]] = []
    for row_items, firsts in alike.items():
        seconds: defaultdict[_Asked, set[_Two]] = defaultdict(set)
        for second, whats in row_items:
            for each in whats:
                seconds[each].add(second)
        found += [(frozenset(firsts), frozenset(some), what) for what, some in seconds.items()]
    return found

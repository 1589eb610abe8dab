"""The content of the report: peers against targets, with the verdict and its rules for each pair.

Rows are the patterns of peers in the rules, columns the patterns of targets. A cell is
about *all* peers of its row at *all* targets of its column, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Self

import attrs

from meshid.names.pattern import Pattern
from meshid.names.pattern_index import PatternIndex
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.boxes import ANYTHING, HANDSHAKE, Box, BoxIndex, Patterns, boxes_of
from meshid.policy.analysis.finding import Finding, by_environment
from meshid.policy.analysis.prove import cells
from meshid.policy.analysis.regions import Region, shortest_access
from meshid.policy.methods import judged
from meshid.policy.policy import Policy
from meshid.policy.rules import Effect, Rule

MAX_PEERS = 1000
"""Rows of a matrix; a longer table helps no one."""


class Verdict(StrEnum):
    """What is true of all peers of a row at all targets of a column."""

    ALLOWED = "allowed"
    REQUESTS = "some requests"
    PARTLY = "partly"
    DENIED = "denied"

    @property
    def meaning(self) -> str:
        """What it means, in a sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    Verdict.ALLOWED: "All of these peers may reach all of these targets, with any request.",
    Verdict.REQUESTS: "All of these peers may reach all of these targets, with requests that the rules name.",
    Verdict.PARTLY: "Some of these peers may reach some of these targets with some request; not all of them.",
    Verdict.DENIED: "None of these peers reaches any of these targets, because a rule forbids it.",
}


@attrs.frozen
class Cell:
    """One verdict.

    Attributes:
        verdict: What is true of all its peers and targets.
        rules: The ids of the rules behind it; denies first, then allows.
        is_named: Whether one of them names all of these peers and all of these targets.
            Otherwise they are about parts, which have cells of their own.
    """

    verdict: Verdict
    rules: tuple[str, ...]
    is_named: bool


@attrs.frozen
class Matrix:
    """One environment.

    Attributes:
        policy: The policy, loaded for it.
        findings: What lint says of it.
        cells: By the pattern of the peers and that of the targets; without a cell, all are refused.
        peers: The patterns of peers, sorted.
        targets: The patterns of targets, sorted.
        left_out: How many patterns of peers are not shown, because there are too many.
    """

    policy: Policy
    findings: tuple[Finding, ...]
    cells: dict[tuple[str, str], Cell]
    peers: tuple[str, ...]
    targets: tuple[str, ...]
    left_out: int

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """Make the matrix of a policy.

        Raises:
            PolicyTooComplex: If the rules are too entangled for an exact answer.
        """
        judge = _Judge(policy)
        sources = {str(source): source for rule in policy.rules for source in rule.sources}
        peers = sorted(sources)
        shown = peers[:MAX_PEERS]
        found = {(peer, target): cell for peer in shown for target, cell in judge.row(sources[peer])}
        return cls(
            policy,
            tuple(policy.lint()),
            found,
            tuple(shown),
            tuple(sorted(str(target) for target in judge.targets)),
            len(peers) - len(shown),
        )

    def column(self, target: str) -> Iterator[tuple[str, Cell]]:
        """Yield the named cells of one target, with the patterns of the peers."""
        for peer in self.peers:
            cell = self.cells.get((peer, target))
            if cell and cell.is_named:
                yield peer, cell


@attrs.frozen
class Report:
    """One policy file, in all of its environments.

    Attributes:
        matrices: One for each environment, in the order given.
        rules: All rules, as the file has them.
    """

    matrices: tuple[Matrix, ...]
    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, policies: Sequence[Policy]) -> Self:
        """Make a report of one file, loaded for each environment.

        Raises:
            PolicyTooComplex: If the rules are too entangled for an exact answer.
        """
        rules = {rule.id: rule for policy in policies for rule in policy.rules}
        return cls(tuple(map(Matrix.of, policies)), tuple(rules[each] for each in sorted(rules)))

    @property
    def findings(self) -> dict[Finding, list[str]]:
        """Each finding once, with the environments that it is true of."""
        return by_environment((each.policy.environment.name, each.findings) for each in self.matrices)

    @property
    def alike(self) -> tuple[tuple[Matrix, ...], ...]:
        """The matrices, those with the same cells together."""
        groups: list[list[Matrix]] = []
        for matrix in self.matrices:
            for group in groups:
                if group[0].cells == matrix.cells:
                    group.append(matrix)
                    break
            else:
                groups.append([matrix])
        return tuple(map(tuple, groups))


@attrs.frozen
class _Asked:
    """All peers of a row at all targets of a column."""

    path: Pattern
    target: Pattern
    domains: tuple[TrustDomain, ...]

    @property
    def patterns(self) -> Patterns:
        return (self.path, self.target, ANYTHING)


class _Judge:
    """Finds the verdicts of one policy; observing rules decide nothing."""

    def __init__(self, policy: Policy) -> None:
        self._own = policy.environment.trust_domains
        self._methods = judged(policy.rules)
        boxes = [box for rule in policy.rules if not rule.observe for box in boxes_of(rule)]
        self._index = {
            effect: BoxIndex(box for box in boxes if box.rule.effect is effect) for effect in Effect
        }
        self.targets = {target for rule in policy.rules for target in rule.targets}
        self._columns: PatternIndex[list[Pattern]] = PatternIndex()
        for target in self.targets:
            self._columns.setdefault(target, list[Pattern]).append(target)

    def row(self, peers: PeerPattern) -> Iterator[tuple[str, Cell]]:
        for target in self._columns_of(peers.path):
            if (cell := self._cell(_Asked(peers.path, target, peers.domains(self._own)))) is not None:
                yield str(target), cell

    def _columns_of(self, path: Pattern) -> Iterable[Pattern]:
        met = {
            box.patterns[1] for index in self._index.values() for box in index.intersecting(path, ANYTHING)
        }
        return {
            column for target in met for columns in self._columns.intersecting(target) for column in columns
        }

    def _cell(self, asked: _Asked) -> Cell | None:
        denies, allows = (self._meeting(effect, asked) for effect in (Effect.DENY, Effect.ALLOW))
        is_named = any(self._holds(box, asked) for box in (*denies, *allows))
        if not self._lets_anybody_in(asked, allows, denies):
            denied = denies and (allows or is_named)
            return Cell(Verdict.DENIED, _ids(denies), is_named) if denied else None
        verdict = Verdict.PARTLY
        if not denies and self._let_everybody_in(asked, allows):
            verdict = Verdict.REQUESTS
            if self._let_everybody_in(asked, [box for box in allows if box.is_for(HANDSHAKE)]):
                verdict = Verdict.ALLOWED
        return Cell(verdict, _ids([*denies, *allows]), is_named)

    def _meeting(self, effect: Effect, asked: _Asked) -> list[Box]:
        met = self._index[effect].intersecting(asked.path, asked.target)
        return [box for box in met if any(box.is_in(each, self._own) for each in asked.domains)]

    def _holds(self, box: Box, asked: _Asked) -> bool:
        path, target, _ = box.patterns
        return (
            path.contains(asked.path)
            and target.contains(asked.target)
            and all(box.is_in(each, self._own) for each in asked.domains)
        )

    def _lets_anybody_in(self, asked: _Asked, allows: list[Box], denies: list[Box]) -> bool:
        regions = (
            Region(
                domain,
                method,
                (asked.patterns, allow.seen_with(method)),
                tuple(deny.seen_with(method) for deny in denies if deny.is_of(domain, self._own, method)),
            )
            for allow in allows
            for domain, method in cells(allow, denies, asked.domains, self._own, self._methods)
        )
        return shortest_access(regions) is not None

    def _let_everybody_in(self, asked: _Asked, allows: list[Box]) -> bool:
        """Tell whether the boxes hold all that is asked about, with any request."""
        outside = (
            Region(
                domain,
                HANDSHAKE,
                (asked.patterns,),
                tuple(allow.seen_with(HANDSHAKE) for allow in allows if allow.is_in(domain, self._own)),
            )
            for domain in asked.domains
        )
        return shortest_access(outside) is None


def _ids(boxes: Iterable[Box]) -> tuple[str, ...]:
    """Return the ids of the rules, sorted, the denies first."""
    rules = {(box.rule.effect is Effect.ALLOW, box.rule.id) for box in boxes}
    return tuple(rule for _, rule in sorted(rules))

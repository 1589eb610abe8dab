"""Peers against targets in one environment, with the verdict and its rules for each pair.

Rows are what the rules list in ``from``: patterns of peers, peers by name, sets; columns the patterns of
targets. A
cell is about *all* peers of its row at *all* targets of its column, exactly. Whom a token gives a name is
in the row of that name only: the others are about certificates.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Self

import attrs

from meshid.names.pattern import Pattern
from meshid.names.pattern_index import PatternIndex
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.finding import Finding
from meshid.policy.analysis.lint import lint
from meshid.policy.policy import Policy
from meshid.policy.report.cell_judge import CellJudge
from meshid.policy.report.verdicts import Cell, Verdict
from meshid.policy.rules import RuleSet

MAX_PEERS = 1000
"""Rows of a matrix; a longer table helps no one."""

MAX_GRID = (24, 10)
"""Peers and targets up to which each pair has its cell; beyond, only those that rules name."""

_LOOK = 2
"""Steps to compare two patterns."""

_KEPT = 10
"""Steps for what is kept of it, and shown."""


@attrs.frozen
class Matrix:
    """One environment.

    Attributes:
        policy: The policy, loaded for it.
        findings: What lint says of it.
        cells: By the pattern of the peers and that of the targets; those that rules name, or all of a small
            policy about which there is a rule.
        peers: The patterns of peers; with an ``@``, the peers by name and the sets; sorted.
        targets: The patterns of targets, sorted.
        wider: For each target, the other ones that hold all of it: what their cells say is true of it, too.
        left_out: How many patterns of peers are not shown, because there are too many.
    """

    policy: Policy
    findings: tuple[Finding, ...]
    cells: dict[tuple[str, str], Cell]
    peers: tuple[str, ...]
    targets: tuple[str, ...]
    wider: dict[str, list[str]]
    left_out: int

    @classmethod
    def of(cls, policy: Policy, rules: RuleSet, budget: Budget, now: float) -> Self:
        """Make the matrix of a policy.

        Args:
            policy: The policy.
            rules: Everything that its file says for the environment.
            budget: The budget of the whole report.
            now: The time, in POSIX seconds.

        Raises:
            PolicyTooComplex: If the rules are too entangled for an exact answer.
        """
        in_force = rules.at(now)
        peers = sorted({each for rule in in_force.rules for each in rule.listed_from})
        pairs = _Pairs(in_force, peers[:MAX_PEERS], budget)
        return cls(
            policy,
            tuple(lint(rules, now=now, budget=budget)),
            pairs.cells,
            tuple(pairs.peers),
            tuple(sorted(pairs.targets)),
            pairs.wider(),
            len(peers) - len(pairs.peers),
        )

    @property
    def is_small(self) -> bool:
        """Whether each pair about which there is a rule has its cell."""
        return _is_small(self.peers, self.targets)

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many of the named cells have each verdict."""
        found = Counter(cell.verdict for cell in self.cells.values() if cell.is_named)
        return {verdict: found[verdict] for verdict in Verdict}

    def column(self, target: str) -> Iterator[tuple[str, Cell]]:
        """Yield the named cells of one target, with the patterns of the peers."""
        for peer in self.peers:
            cell = self.cells.get((peer, target))
            if cell and cell.is_named:
                yield peer, cell


class _Pairs:
    """The cells of a policy, as they are found: what rules name, then what wider cells leave open."""

    def __init__(self, rules: RuleSet, peers: list[str], budget: Budget) -> None:
        self.peers = peers
        self.targets = {str(target): target for rule in rules.rules for target in rule.targets}
        self.cells: dict[tuple[str, str], Cell] = {}
        self._judge = CellJudge(rules, budget)
        self._budget = budget
        self._columns: PatternIndex[list[Pattern]] = PatternIndex()
        for target in self.targets.values():
            self._columns.setdefault(target, list[Pattern]).append(target)
        self._add_named(rules)
        if _is_small(tuple(peers), tuple(self.targets)):
            for peer in peers:
                for target in self.targets.values():
                    self._add(peer, target, is_named=False)

    def wider(self) -> dict[str, list[str]]:
        """Return, for each target, the other ones that hold all of it."""
        return {target: list(self._holding(self.targets[target])) for target in sorted(self.targets)}

    def _holding(self, target: Pattern) -> Iterator[str]:
        for each in self._near(target):
            if each != target and each.contains(target):
                self._budget.spend(_KEPT)
                yield str(each)

    def _add_named(self, rules: RuleSet) -> None:
        named: defaultdict[str, set[Pattern]] = defaultdict(set)
        for rule in rules.rules:
            for peer in rule.listed_from:
                named[peer].update(rule.targets)
        for peer in self.peers:
            for target in sorted(named[peer], key=str):
                self._add(peer, target, is_named=True)
            for target in sorted(named[peer], key=str):
                if self._is_partly(peer, target):
                    for narrower in self._within(target):
                        self._add(peer, narrower, is_named=True, unless=Verdict.NO_RULE)

    def _is_partly(self, peer: str, target: Pattern) -> bool:
        cell = self.cells.get((peer, str(target)))
        return cell is not None and Verdict.PARTLY in {cell.verdict, cell.if_enforced}

    def _within(self, target: Pattern) -> Iterator[Pattern]:
        return (each for each in self._near(target) if target.contains(each))

    def _near(self, target: Pattern) -> Iterator[Pattern]:
        for columns in self._columns.intersecting(target, self._budget.spend):
            self._budget.spend(_LOOK * len(columns))
            yield from columns

    def _add(self, peer: str, target: Pattern, *, is_named: bool, unless: Verdict | None = None) -> None:
        key = (peer, str(target))
        if key in self.cells:
            return
        found = self._judge.judge(self._judge.asked(peer, target))
        if found is not None and found.verdict is not unless:
            self.cells[key] = Cell(found.verdict, found.behind, is_named, found.if_enforced)


def _is_small(peers: tuple[str, ...], targets: tuple[str, ...]) -> bool:
    rows, columns = MAX_GRID
    return len(peers) <= rows and len(targets) <= columns

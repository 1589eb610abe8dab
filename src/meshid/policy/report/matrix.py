"""The content of the report: peers against targets, with the verdict and its rules for each pair.

Rows are the patterns of peers in the rules, and the peers by name; columns the patterns of targets. A
cell is about *all* peers of its row at *all* targets of its column, exactly. Whom a token gives a name is
in the row of that name only: the others are about certificates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Self

import attrs

from meshid.names.pattern import Pattern
from meshid.names.pattern_index import PatternIndex
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.boxes import HANDSHAKE, Box, BoxIndex, boxes_of
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.extent import Extent
from meshid.policy.analysis.finding import Finding, by_environment
from meshid.policy.analysis.prove import Slice, cells_of, methods_told
from meshid.policy.analysis.regions import shortest_access
from meshid.policy.analysis.token_states import ANYTHING, NO_TOKEN, Naming, TokenState
from meshid.policy.methods import judged
from meshid.policy.policy import Policy
from meshid.policy.rules import Effect, Rule, RuleSet

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
    Verdict.PARTLY: "Some of these peers may reach some of these targets with some request; not all of them,"
    " or only with a token.",
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
        peers: The patterns of peers, and the peers by name with an ``@``, sorted.
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
        peers = sorted({each for rule in policy.rules for each in rule.who})
        shown = peers[:MAX_PEERS]
        found = {(peer, target): cell for peer in shown for target, cell in judge.row(peer)}
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
    """Peers of a row at all targets of a column.

    Attributes:
        path: The pattern of the paths in their certificates.
        target: The pattern of the targets.
        domains: Their trust domains.
        by_token: The name that their tokens give; None for peers without a token.
    """

    path: Pattern
    target: Pattern
    domains: tuple[TrustDomain, ...]
    by_token: str | None = None

    @property
    def extent(self) -> Extent:
        return Extent((self.path, self.target, ANYTHING))

    @property
    def state(self) -> TokenState:
        return NO_TOKEN if self.by_token is None else TokenState(has_token=True, name=self.by_token)

    def counts(self, box: Box) -> bool:
        """Tell whether a box may be about these peers."""
        return box.by_token is None or box.by_token == self.by_token


class _Judge:
    """Finds the verdicts of one policy; observing rules decide nothing."""

    def __init__(self, policy: Policy) -> None:
        self._own = policy.environment.trust_domains
        self._naming = Naming(
            RuleSet(policy.environment, policy.rules, policy.observe, policy.peers, policy.issuers)
        )
        self._methods = judged(policy.rules)
        self._budget = Budget(RuleSet(policy.environment, policy.rules, policy.observe))
        boxes = [box for rule in policy.rules if not rule.observe for box in boxes_of(rule, self._budget)]
        self._index = {
            effect: BoxIndex((box for box in boxes if box.rule.effect is effect), self._budget)
            for effect in Effect
        }
        self._sources = {str(source): source for rule in policy.rules for source in rule.sources}
        self._peers = {f"@{peer.name}": peer for peer in policy.peers}
        self.targets = {target for rule in policy.rules for target in rule.targets}
        self._columns: PatternIndex[list[Pattern]] = PatternIndex()
        for target in self.targets:
            self._columns.setdefault(target, list[Pattern]).append(target)

    def row(self, peers: str) -> Iterator[tuple[str, Cell]]:
        parts = list(self._parts(peers))
        columns = {
            column
            for path, _, by_token in parts
            for column in self._columns_of(_Asked(path, ANYTHING, (), by_token))
        }
        for target in columns:
            asked = [_Asked(path, target, domains, by_token) for path, domains, by_token in parts]
            if (cell := self._cell(asked, peers)) is not None:
                yield str(target), cell

    def _parts(self, peers: str) -> Iterator[tuple[Pattern, tuple[TrustDomain, ...], str | None]]:
        if peers in self._sources:
            source = self._sources[peers]
            yield source.path, source.domains(self._own), None
            return
        peer = self._peers[peers]
        yield from ((each.path, each.domains(self._own), None) for each in peer.spiffe)
        if peer.name in self._naming.provable:
            yield ANYTHING, self._naming.known, peer.name

    def _columns_of(self, asked: _Asked) -> Iterable[Pattern]:
        met = {box.patterns[1] for effect in Effect for box in self._near(effect, asked)}
        return {
            column for target in met for columns in self._columns.intersecting(target) for column in columns
        }

    def _cell(self, asked: list[_Asked], peers: str) -> Cell | None:
        denies, allows = (
            list({id(box): box for each in asked for box in self._meeting(effect, each)}.values())
            for effect in (Effect.DENY, Effect.ALLOW)
        )
        is_named = any(self._holds(box, asked, peers) for box in (*denies, *allows))
        if not any(self._lets_anybody_in(each, allows, denies) for each in asked):
            denied = denies and (allows or is_named)
            return Cell(Verdict.DENIED, _ids(denies), is_named) if denied else None
        verdict = Verdict.PARTLY
        if not denies and all(self._let_everybody_in(each, allows) for each in asked):
            verdict = Verdict.REQUESTS
            at_once = [box for box in allows if box.is_for(HANDSHAKE)]
            if all(self._let_everybody_in(each, at_once) for each in asked):
                verdict = Verdict.ALLOWED
        return Cell(verdict, _ids([*denies, *allows]), is_named)

    def _meeting(self, effect: Effect, asked: _Asked) -> list[Box]:
        return [
            box
            for box in self._near(effect, asked)
            if any(box.is_in(each, self._own) for each in asked.domains)
        ]

    def _near(self, effect: Effect, asked: _Asked) -> Iterator[Box]:
        index = self._index[effect]
        if asked.by_token is not None:
            return index.named(asked.by_token, asked.target)
        return index.by_certificate(asked.path, asked.target)

    def _holds(self, box: Box, asked: list[_Asked], peers: str) -> bool:
        """Tell whether a box names all of the peers, at all of the targets."""
        path, target, _ = box.patterns
        if not target.contains(asked[0].target):
            return False
        if peers in self._peers:
            return peers in box.rule.who
        return path.contains(asked[0].path) and all(box.is_in(each, self._own) for each in asked[0].domains)

    def _lets_anybody_in(self, asked: _Asked, allows: list[Box], denies: list[Box]) -> bool:
        regions = (
            cell.region(
                (asked.extent, allow.extent(cell.domain, self._own, cell.method)),
                tuple(
                    deny.extent(cell.domain, self._own, cell.method)
                    for deny in denies
                    if deny.is_of(cell.domain, self._own, cell.method, cell.state)
                ),
            )
            for allow in allows
            if asked.counts(allow)
            for cell in self._cells(asked, allow, denies)
        )
        # One after the other: of many rules that let somebody in, the first is enough.
        return any(shortest_access([region], self._budget) is not None for region in regions)

    def _cells(self, asked: _Asked, allow: Box, denies: list[Box]) -> Iterator[Slice]:
        told = methods_told(allow, denies, self._methods)
        counting = [deny for deny in denies if asked.counts(deny)]
        states = self._naming.states(allow, counting) if asked.by_token is None else [asked.state]
        return cells_of(allow, asked.domains, self._naming, told, states)

    def _let_everybody_in(self, asked: _Asked, allows: list[Box]) -> bool:
        """Tell whether the boxes hold all that is asked about, with any request."""
        outside = (
            Slice(domain, HANDSHAKE, asked.state, self._naming).region(
                (asked.extent,),
                tuple(
                    allow.extent(domain, self._own, HANDSHAKE)
                    for allow in allows
                    if allow.is_in(domain, self._own) and allow.is_with(asked.state)
                ),
            )
            for domain in asked.domains
        )
        return shortest_access(outside, self._budget) is None


def names_of(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """Yield each peer by name, what proves it, and the pattern of what it is called there."""
    for peer in policy.peers:
        yield from ((f"@{peer.name}", "certificate", str(each)) for each in peer.spiffe)
        yield from ((f"@{peer.name}", each.issuer, str(each.principal)) for each in peer.tokens)


def _ids(boxes: Iterable[Box]) -> tuple[str, ...]:
    """Return the ids of the rules, sorted, the denies first."""
    rules = {(box.rule.effect is Effect.ALLOW, box.rule.id) for box in boxes}
    return tuple(rule for _, rule in sorted(rules))

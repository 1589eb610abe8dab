"""What is told: peers against targets, and for each pair the verdict and the rules behind it.

The rows are the patterns of peers that rules name, the columns those of targets. A cell
speaks of *all* peers of its row at *all* targets of its column, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Self

import attrs

from meshid.names import TrustDomain
from meshid.pattern_index import PatternIndex
from meshid.patterns import Pattern
from meshid.peer_patterns import PeerPattern
from meshid.policy.analysis.boxes import ANYTHING, HANDSHAKE, Box, BoxIndex, boxes_of
from meshid.policy.analysis.prove import cells
from meshid.policy.analysis.regions import Region, shortest_access
from meshid.policy.engine import Policy
from meshid.policy.findings import Finding
from meshid.policy.model import Effect, Rule

MAX_PEERS = 1000
"""Rows of a matrix; nobody reads on after that."""


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
    Verdict.PARTLY: "Some of these peers may reach some of these targets; the rules are about a part.",
    Verdict.DENIED: "None of these peers reaches any of these targets, because a rule forbids it.",
}


@attrs.frozen
class Cell:
    """One verdict.

    Attributes:
        verdict: What is true of all of them.
        rules: The ids of the rules behind it; denies first, then allows.
    """

    verdict: Verdict
    rules: tuple[str, ...]


@attrs.frozen
class Matrix:
    """One environment.

    Attributes:
        policy: The policy, loaded for it.
        findings: What lint says of it.
        cells: By the pattern of the peers and that of the targets; where there is none, nobody gets in.
        peers: The patterns of peers, sorted.
        targets: The patterns of targets, sorted.
        left_out: How many patterns of peers are too many to be shown.
    """

    policy: Policy
    findings: tuple[Finding, ...]
    cells: dict[tuple[str, str], Cell]
    peers: tuple[str, ...]
    targets: tuple[str, ...]
    left_out: int

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """Work out the matrix of a policy.

        Raises:
            PolicyTooComplex: If the rules are too entangled to tell.
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
            PolicyTooComplex: If the rules are too entangled to tell.
        """
        rules = {rule.id: rule for policy in policies for rule in policy.rules}
        return cls(tuple(map(Matrix.of, policies)), tuple(rules[each] for each in sorted(rules)))

    @property
    def findings(self) -> tuple[tuple[Finding, tuple[str, ...]], ...]:
        """Each finding once, with the environments that it is true of."""
        found: dict[Finding, list[str]] = {}
        for matrix in self.matrices:
            for finding in matrix.findings:
                found.setdefault(finding, []).append(matrix.policy.environment.name)
        return tuple((finding, tuple(names)) for finding, names in found.items())


class _Judge:
    """Judges the cells of one policy; what only observes decides nothing."""

    def __init__(self, policy: Policy) -> None:
        self._own = policy.environment.trust_domains
        boxes = [box for rule in policy.rules if not rule.observe for box in boxes_of(rule)]
        self._index = {
            effect: BoxIndex(box for box in boxes if box.rule.effect is effect) for effect in Effect
        }
        self.targets = {target for rule in policy.rules for target in rule.targets}
        self._columns: PatternIndex[Pattern] = PatternIndex()
        for target in self.targets:
            self._columns.at(target, lambda target=target: target)  # type: ignore[misc]

    def row(self, peers: PeerPattern) -> Iterator[tuple[str, Cell]]:
        domains = self._own if peers.trust_domain is None else (peers.trust_domain,)
        columns: dict[Pattern, None] = {}
        for index in self._index.values():
            for box in index.meeting(peers.path, ANYTHING):
                if self._is_about(box, domains):
                    columns |= dict.fromkeys(self._columns.meeting(box.patterns[1]))
        for target in columns:
            if (cell := self._cell(peers.path, target, domains)) is not None:
                yield str(target), cell

    def _is_about(self, box: Box, domains: tuple[TrustDomain, ...]) -> bool:
        return any(domain in self._own if box.domain is None else domain == box.domain for domain in domains)

    def _cell(self, path: Pattern, target: Pattern, domains: tuple[TrustDomain, ...]) -> Cell | None:
        denies, allows = (
            [box for box in self._index[effect].meeting(path, target) if self._is_about(box, domains)]
            for effect in (Effect.DENY, Effect.ALLOW)
        )
        asked = (path, target, ANYTHING)
        regions = [
            Region(domain, method, (asked, allow.seen_with(method)), self._of(denies, domain, method))
            for allow in allows
            for domain, method in cells(allow, denies, domains, self._own)
        ]
        if shortest_access(regions) is None:
            return Cell(Verdict.DENIED, _ids(denies)) if denies else None
        if denies:
            return Cell(Verdict.PARTLY, _ids(denies) + _ids(allows))
        all_requests = [
            Region(domain, HANDSHAKE, (asked,), self._of(allows, domain, HANDSHAKE)) for domain in domains
        ]
        if shortest_access(all_requests) is None:
            return Cell(Verdict.ALLOWED, _ids(allows))
        some_requests = [
            Region(
                domain,
                HANDSHAKE,
                (asked,),
                tuple((*box.patterns[:2], ANYTHING) for box in self._in(allows, domain)),
            )
            for domain in domains
        ]
        verdict = Verdict.REQUESTS if shortest_access(some_requests) is None else Verdict.PARTLY
        return Cell(verdict, _ids(allows))

    def _of(
        self, boxes: list[Box], domain: TrustDomain, method: str
    ) -> tuple[tuple[Pattern, Pattern, Pattern], ...]:
        return tuple(box.seen_with(method) for box in self._in(boxes, domain) if box.is_for(method))

    def _in(self, boxes: list[Box], domain: TrustDomain) -> list[Box]:
        return [box for box in boxes if self._is_about(box, (domain,))]


def _ids(boxes: list[Box]) -> tuple[str, ...]:
    return tuple(sorted({box.rule.id for box in boxes}))

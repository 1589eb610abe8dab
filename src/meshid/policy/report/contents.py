"""What the report says: the matrix of each environment, the rules, and what stands at its head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Self

import attrs

from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.diff import compare
from meshid.policy.analysis.finding import Finding, by_environment
from meshid.policy.analysis.policy_diff import PolicyDiff
from meshid.policy.policy import Policy
from meshid.policy.report.matrix import Matrix
from meshid.policy.rules import Rule

SOON = 30
"""Days before its last one at which a rule is marked as one that expires soon."""

_DAY = 86400.0


@attrs.frozen(kw_only=True)
class Occasion:
    """What is reported, when, and by what.

    Attributes:
        now: The time, in POSIX seconds.
        revision: The revision of the policy, or the name of its file; empty if it is not known.
        version: The version of meshid; empty if it is not known.
        since: The file of the version that was signed last; empty if the report compares with none.
    """

    now: float
    revision: str = ""
    version: str = ""
    since: str = ""

    @property
    def moment(self) -> str:
        """The time, in UTC, to the minute."""
        return datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%d %H:%M UTC")

    @property
    def day(self) -> date:
        """The day, in UTC."""
        return datetime.fromtimestamp(self.now, UTC).date()


@attrs.frozen
class Report:
    """One policy file, in all of its environments.

    Attributes:
        matrices: One for each environment, in the order given.
        rules: All rules, as the file has them, by id.
        occasion: What is reported, and when.
        changes: For each environment, what changed since the version that was signed last; a sentence for
            one that only one of both versions has. None if the report compares with none.
    """

    matrices: tuple[Matrix, ...]
    rules: tuple[Rule, ...]
    occasion: Occasion
    changes: dict[str, PolicyDiff | str] | None = None

    @classmethod
    def of(
        cls, policies: Sequence[Policy], occasion: Occasion, since: Sequence[Policy] | None = None
    ) -> Self:
        """Make a report of one file, loaded for each environment.

        Args:
            policies: The file, loaded for each environment.
            occasion: What is reported, and when.
            since: The version that was signed last, loaded for each environment that it has.

        Raises:
            PolicyTooComplex: If the rules are too entangled for an exact answer.
        """
        rules = {rule.id: rule for policy in policies for rule in policy.rules}
        # Twice: lint looks at them, too.
        budget = Budget(*(each.rule_set for each in (*policies, *policies, *(since or ()))))
        matrices = tuple(Matrix.of(each, each.rule_set, budget, occasion.now) for each in policies)
        changes = None if since is None else _changes(since, policies, occasion.now, budget)
        return cls(matrices, tuple(rules[each] for each in sorted(rules)), occasion, changes)

    @property
    def in_force(self) -> tuple[Rule, ...]:
        """The rules whose last day is not over."""
        return tuple(rule for rule in self.rules if not self.is_expired(rule))

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

    def by_names(
        self, of: Callable[[Policy], list[tuple[str, ...]]]
    ) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
        """Yield some rows of each environment, with its name; those of environments that agree once.

        Args:
            of: The rows of the policy of an environment; one without any is left out.
        """
        found: dict[tuple[tuple[str, ...], ...], list[str]] = {}
        for matrix in self.matrices:
            found.setdefault(tuple(of(matrix.policy)), []).append(matrix.policy.environment.name)
        yield from ((", ".join(names), list(rows)) for rows, names in found.items() if rows)

    def is_expired(self, rule: Rule) -> bool:
        """Tell whether the last day of a rule is over, so that it is no rule."""
        return rule.has_ended(self.occasion.now)

    def expires_soon(self, rule: Rule) -> bool:
        """Tell whether a rule counts, and its last day is within `SOON` days."""
        return rule.ends_at is not None and 0 < rule.ends_at - self.occasion.now <= (SOON + 1) * _DAY


def _changes(
    since: Sequence[Policy], policies: Sequence[Policy], now: float, budget: Budget
) -> dict[str, PolicyDiff | str]:
    before = {policy.environment.name: policy for policy in since}
    found: dict[str, PolicyDiff | str] = {}
    for policy in policies:
        name = policy.environment.name
        old = before.pop(name, None)
        found[name] = "the environment is new: that version had none of this name"
        if old is not None:
            found[name] = compare(old.rule_set, policy.rule_set, now, budget=budget)
    return found | dict.fromkeys(before, "the environment is gone: only that version had it")


def peers_of(policy: Policy) -> list[tuple[str, ...]]:
    """Return each peer by name, what proves it, and the pattern of what it is called there."""
    return [
        proof
        for peer in policy.peers
        for proof in (
            *((f"@{peer.name}", "certificate", str(each)) for each in peer.spiffe),
            *((f"@{peer.name}", each.issuer, str(each.principal)) for each in peer.tokens),
        )
    ]


def sets_of(policy: Policy) -> list[tuple[str, ...]]:
    """Return each set of peers, and then its members that count in the environment."""
    return [(f"@{each.name}", *each.members) for each in policy.sets]


def issuers_of(policy: Policy) -> list[tuple[str, ...]]:
    """Return each issuer, its profile, ``iss``, audience and pins."""
    return [
        (
            each.name,
            str(each.profile),
            each.issuer or "none",
            ", ".join(each.audience),
            ", ".join(f"{pin.claim} = {pin.value}" for pin in each.pins) or "none",
        )
        for each in policy.issuers
    ]


def changed_lines(environment: str, diff: PolicyDiff | str) -> list[str]:
    """Return what changed in an environment, a line each, as `PolicyDiff` says it."""
    return [f"{environment}: {diff}"] if isinstance(diff, str) else str(diff).splitlines()

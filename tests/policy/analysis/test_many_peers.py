"""What the analyses take for many peers by name: a number of steps that grows as the peers do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshid.names.pattern import Pattern
from meshid.policy import Policy
from meshid.policy.analysis.boxes import Box
from meshid.policy.analysis.budget import Budget
from meshid.policy.report.matrix import Matrix
from meshid.policy.rules import RuleSet
from tests.helpers.named_world import document_of, policy_of

MANY = 300
STEPS_EACH = 300
"""If each peer is compared with each, it is many times as much."""


def crowd(*, moved: int = 1, needs_token: bool = False, size: int = MANY) -> Policy:
    """Return as many peers, each with a rule for one target; some with certificates of another namespace."""
    numbers = range(size)
    peers = [
        {
            "name": f"n{each}",
            "spiffe": [f"/{'moved' if each < moved else 'app'}/n{each}"],
            "kubernetes": [f"ns/n{each}"],
        }
        for each in numbers
    ]
    rules: list[dict[str, Any]] = [
        {
            "effect": "allow",
            "from": [f"@n{each}"],
            "to": ["pay"],
            "why": "Because.",
            "needs_token": needs_token,
        }
        for each in numbers
    ]
    return policy_of(document_of(rules, peers, ["cluster"]))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Note each comparison of patterns, and each look at a box."""
    made: list[object] = []

    def counted(owner: type, name: str) -> None:
        original: Callable[..., object] = getattr(owner, name)

        def count(*given: object) -> object:
            made.append(name)
            return original(*given)

        monkeypatch.setattr(owner, name, count)

    for name in ("matches", "contains", "intersects"):
        counted(Pattern, name)
    counted(Box, "is_of")
    return made


@pytest.mark.parametrize("needs_token", [False, True], ids=["certificate", "token"])
def test_the_steps_grow_as_the_peers_do(*, needs_token: bool, steps: list[object]) -> None:
    before, after = crowd(moved=0, needs_token=needs_token), crowd(needs_token=needs_token)
    rules = RuleSet(after.environment, after.rules, after.observe, after.peers, after.issuers)
    for analyse in (
        after.lint,
        lambda: before.diff(after),
        lambda: after.prove("/z"),
        lambda: Matrix.of(after, rules, Budget(rules), 0.0),
    ):
        steps.clear()
        analyse()
        assert 0 < len(steps) < STEPS_EACH * MANY


def test_many_names_that_differ_have_an_answer() -> None:
    diff = crowd(moved=0, needs_token=True, size=60).diff(crowd(moved=50, needs_token=True, size=60))
    assert len(diff.names) == 50

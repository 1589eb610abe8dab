"""The worst inputs end: with an answer, or with the rules that cost most."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from meshid.errors import PolicyTooComplex
from meshid.names.pattern import Pattern
from meshid.policy import FindingKind, Policy
from meshid.policy.analysis.box_index import BoxIndex
from meshid.policy.analysis.boxes import Box, boxes_of, of_request
from meshid.policy.analysis.budget import Budget
from meshid.policy.report.contents import Occasion, Report
from meshid.policy.rules import RuleSet
from tests.policy.analysis import worst_inputs

SECONDS = 15
"""A quiet machine needs less than 10; these are of processor time, which a shared one stretches, too."""

MEGABYTES = 300

CALLS = (("lint",), ("prove", "diff"), ("report",))
"""Each Python tries one of them with each input, and the next Python the next: together they try all."""

ONCE = """
import sys
from meshid.errors import PolicyTooComplex
from meshid.policy import Policy
from meshid.policy.report.contents import Occasion, Report
from tests.policy.analysis import worst_inputs
policy = Policy.from_json(worst_inputs.text_of(getattr(worst_inputs, sys.argv[1])), "prod")
calls = {
    "lint": policy.lint,
    "prove": lambda: policy.prove("/**/zz/**", "**/z"),
    "diff": lambda: Policy.from_json(worst_inputs.text_of(worst_inputs.many_exceptions), "prod").diff(policy),
    "report": lambda: Report.of([policy], Occasion(now=0.0)),
}
try:
    calls[sys.argv[2]]()
except PolicyTooComplex as error:
    assert "most of them for" in str(error)
"""


def policy_of(make: Callable[[], dict[str, Any]]) -> Policy:
    return Policy.from_json(json.dumps(make()), "prod")


@pytest.mark.slow
@pytest.mark.parametrize("make", worst_inputs.INPUTS, ids=lambda each: each.__name__)
def test_it_ends_in_time_and_in_memory(make: Callable[[], dict[str, Any]]) -> None:
    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_DATA, (MEGABYTES << 20, MEGABYTES << 20))

    turn = worst_inputs.INPUTS.index(make) + sys.version_info.minor
    for call in CALLS[turn % len(CALLS)]:
        subprocess.run([sys.executable, "-c", ONCE, make.__name__, call], check=True, preexec_fn=bound)


@pytest.mark.parametrize(
    "make",
    [
        worst_inputs.one_cube,
        worst_inputs.cube_of_denies,
        worst_inputs.equal_rules,
        worst_inputs.peers_in_wide_rules,
        worst_inputs.few_deep_chains,
    ],
    ids=lambda each: each.__name__,
)
def test_what_has_an_easy_answer_gets_it(
    make: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshid.policy.analysis.budget._STEPS", 2_000_000)
    monkeypatch.setattr("meshid.policy.analysis.budget._STEPS_OF_A_RULE", 0)
    assert policy_of(make).lint()


@pytest.mark.parametrize(
    "make", [worst_inputs.wide_square, worst_inputs.cubes], ids=lambda each: each.__name__
)
def test_boxes_are_paid_before_they_are_made(make: Callable[[], dict[str, Any]]) -> None:
    with pytest.raises(PolicyTooComplex, match=r"no exact answer after \d+ steps, most of them for .allow"):
        policy_of(make).lint()


def test_what_a_report_looks_at_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def count(box: Box, at: int, method: str | None, request: Pattern) -> Box:
        made.append(at)
        return of_request(box, at, method, request)

    monkeypatch.setattr("meshid.policy.report.cell_judge.of_request", count)
    # For each cell, the conditions of each deny rule are taken apart: that may be a million.
    policy = policy_of(worst_inputs.cube_of_denies)
    with pytest.raises(PolicyTooComplex, match="most of them for"):
        Report.of([policy], Occasion(now=0.0))
    assert 0 < len(made) < 140_000


def test_what_a_look_up_finds_is_paid() -> None:
    policy = policy_of(worst_inputs.all_sources_one_target)
    budget = Budget(RuleSet(policy.environment, policy.rules, policy.observe))
    index = BoxIndex((box for rule in policy.rules for box in boxes_of(rule, budget)), budget)
    anything = Pattern.parse("/**")

    def ask() -> None:
        # A step for each box, at least.
        for _ in range(4_000):
            assert len(list(index.intersecting(anything, anything))) == len(policy.rules)

    with pytest.raises(PolicyTooComplex):
        ask()


def test_lint_tells_how_far_it_is() -> None:
    policy = policy_of(worst_inputs.peers_in_wide_rules)
    told: list[tuple[int, int]] = []
    policy.lint(progress=lambda done, of: told.append((done, of)))
    assert told == [(number, 100) for number in range(100)]


def test_tokens_of_one_name_cover_no_certificates_of_another() -> None:
    document = worst_inputs.many_peers(2)
    rule = {"why": "w", "to": ["pay"], "evidence": ["x509", "token"]}
    document["allow"] = [{"id": "a", "from": ["/m0"], **rule}, {"id": "b", "from": ["@n1"], **rule}]
    document["deny"] = []
    policy = Policy.from_json(json.dumps(document), "prod")
    assert not [each for each in policy.lint() if each.kind in {FindingKind.POINTLESS, FindingKind.SWALLOWED}]


def test_a_report_has_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Budget] = []
    start = Budget.__init__

    def init(self: Budget, *rules: RuleSet) -> None:
        start(self, *rules)
        # A question about a name alone, such as the shortest of a pattern, has one of no rules.
        if rules:
            made.append(self)

    policies = [policy_of(worst_inputs.peers_in_wide_rules)] * 2
    monkeypatch.setattr(Budget, "__init__", init)
    Report.of(policies, Occasion(now=0.0), policies)
    assert len(made) == 1


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshid.policy.analysis.budget._REMEMBERED", 1_000)
    policy = Policy.from_json(json.dumps(worst_inputs.equal_rules()), "prod")
    budget = Budget(RuleSet(policy.environment, policy.rules, policy.observe))
    asked: list[int] = []

    def answer(number: int) -> str:
        asked.append(number)
        return "/a"

    for number in (0, 1, 0, *range(2, 100), 0):
        assert budget.remember(number, 10, partial(answer, number)) == "/a"
    assert asked.count(0) == 2

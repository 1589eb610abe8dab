"""An expired rule is no rule, at whatever instant, in whatever order instants are asked about."""

from __future__ import annotations

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid import REQUEST_FOLLOWS, Policy, Reason, SpiffeId
from meshid.policy import RequestLike
from meshid.policy.stages import Stages
from tests.helpers.cost import calls_of
from tests.helpers.ending_rule import policy_until
from tests.helpers.named_world import IDS, PLACES, REQUESTS, TOKENS, Reading, documents, policy_of

DAYS = ["2027-01-30", "2027-01-31", "9999-12-31"]
INSTANTS = [
    datetime(2027, 1, 30, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2027, 1, 31, tzinfo=UTC),
    datetime(2027, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2027, 2, 1, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
]
ASKED: list[RequestLike] = [*REQUESTS[:3], REQUEST_FOLLOWS]

ENDING = SpiffeId.parse("spiffe://prod.example.org/ns/ending/x")
POLICY = policy_until("2027-01-31")
END = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
BEFORE = math.nextafter(END, 0)


@pytest.mark.slow
@settings(max_examples=40)
@given(documents(days=DAYS), st.permutations(INSTANTS))
def test_each_decision_is_that_of_a_second_reading(
    document: dict[str, Any], instants: list[datetime]
) -> None:
    policy = policy_of(document)
    for now in [*instants, instants[0]]:
        reading = Reading(document, now)
        for spiffe_id, token, target, request in product(IDS[::3], TOKENS[::3], PLACES, ASKED):
            decision = policy.decide(spiffe_id, target, request, token=token, now=now.timestamp())
            assert str(decision.reason) == reading.reason(spiffe_id, token, target, request), (now, spiffe_id)
            assert decision.policy_hash == policy.hash
            explanation = policy.explain(spiffe_id, target, request, token=token, now=now.timestamp())
            assert explanation.decision == decision


def test_the_last_day_is_whole_and_what_follows_is_not() -> None:
    for now, allowed in ((BEFORE, True), (END, False), (BEFORE, True), (0.0, True)):
        assert POLICY.decide(ENDING, "payments", now=now).allowed is allowed
        assert (POLICY.explain(ENDING, "payments", now=now).nearest == ()) is allowed
        assert (POLICY.prove(never="/ns/ending/**", now=now).counterexample is not None) is allowed
        assert (POLICY.diff(policy_until("2027-02-01"), now=now).gains == ()) is allowed
        assert (policy_until("2027-02-01").diff(POLICY, now=now).losses == ()) is allowed
    for never in (math.inf, math.nan):
        assert not POLICY.decide(ENDING, "payments", now=never)


def test_of_two_policies_either_may_have_a_last_day() -> None:
    for_ever = Policy.from_toml(
        'version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]', "prod"
    )
    over, to_come = policy_until("2001-01-01"), policy_until("9999-12-31")
    assert len(for_ever.diff(over).gains) + 1 == len(for_ever.diff(to_come).gains)
    assert len(over.diff(for_ever).losses) + 1 == len(to_come.diff(for_ever).losses)


def test_what_is_over_is_said() -> None:
    detail = 'allow rule "ending" would match, but its last day was 2027-01-31 (until)'
    assert POLICY.decide(ENDING, "payments", now=END).detail == detail
    assert str(POLICY.explain(ENDING, "payments", now=END).nearest[0]) == detail
    elsewhere = POLICY.explain(ENDING, "payment", now=END).nearest[0]
    assert str(elsewhere) == (
        "allow rule \"ending\" would match, except for the target: it is 'payment', the rule wants"
        " 'payments'; and its last day was 2027-01-31 (until)"
    )


def test_without_an_instant_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for over, allowed in (("2001-01-01", False), ("9999-12-31", True)):
        policy = policy_until(over)
        assert policy.decide(ENDING, "payments").allowed is allowed
        assert policy.explain(ENDING, "payments").decision.allowed is allowed
        assert policy.prove(never="/ns/ending/**").holds is not allowed
        assert policy.lint() is not None

    def clock() -> float:
        raise AssertionError

    timeless = Policy.from_toml(
        'version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]', "prod"
    )
    monkeypatch.setattr(time, "time", clock)
    assert not timeless.decide(ENDING, "payments"), "no clock is read where no rule ends"
    assert timeless.next_end(0.0) == math.inf


def test_when_the_next_rule_ends() -> None:
    assert POLICY.next_end(0.0) == POLICY.next_end(BEFORE) == END
    assert POLICY.next_end(END) == math.inf


def test_what_is_remembered_belongs_to_its_stage() -> None:
    """The second answer of each stage is remembered; the one of the other is not used."""
    for request in (None, "GET /x", REQUEST_FOLLOWS):
        for now in (BEFORE, END, BEFORE, END):
            assert POLICY.decide(ENDING, "payments", request, now=now).allowed is (now == BEFORE)
    POLICY.decide(ENDING, "payments", now=BEFORE)
    again = calls_of(lambda: POLICY.decide(ENDING, "payments", now=BEFORE))
    assert again <= 12
    # Around the end, the stage that another thread has just asked about is a look-up.
    POLICY.decide(ENDING, "payments", now=END)
    assert calls_of(lambda: POLICY.decide(ENDING, "payments", now=BEFORE)) <= again + 12


def test_at_an_end_nothing_is_indexed_again() -> None:
    document = {
        "version": 1,
        "environments": {"prod": {"trust_domains": ["prod.example.org"]}},
        "allow": [
            {"id": f"r{n}", "from": [f"/ns/n{n}"], "to": ["t"], "until": "2027-01-31"} for n in range(1000)
        ],
    }
    policy = Policy.from_json(json.dumps(document), "prod")
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/n7")
    policy.decide(peer, "t", now=BEFORE)
    assert calls_of(lambda: policy.decide(peer, "t", now=END)) < 300


def test_threads_that_ask_about_two_instants_get_two_answers() -> None:
    def ask(now: float) -> set[bool]:
        return {POLICY.decide(ENDING, "payments", "GET /x", now=now).allowed for _ in range(2000)}

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, [BEFORE, END, BEFORE, END]))
    assert answers == [{True}, {False}, {True}, {False}]


def test_a_stage_that_is_made_while_another_is_asked_about_is_its_own() -> None:
    asked: list[float] = []

    def make(until: float) -> float:
        # As another thread would, between any two steps.
        if until == 30.0 and not asked:
            asked.append(stages.at(5.0))
        return until

    stages = Stages([10.0, 20.0, 30.0, 20.0], make)
    assert (stages.at(25.0), asked) == (30.0, [10.0])
    for now, until in ((25.0, 30.0), (5.0, 10.0), (10.0, 20.0), (30.0, math.inf), (-math.inf, 10.0)):
        assert (stages.at(now), stages.next_end(now)) == (until, until)


@pytest.mark.parametrize("rest", [True, False], ids=["allowed to all", "alone"])
def test_a_method_that_only_an_expired_rule_names_is_judged_no_more(*, rest: bool) -> None:
    rules = [
        {"id": "tea", "from": ["/ns/ending/x"], "to": ["t"], "http": ["BREW /**"], "until": "2027-01-31"}
    ]
    rules += [{"id": "all", "from": ["/**"], "to": ["t"]}] if rest else []
    document = {
        "version": 1,
        "environments": {"prod": {"trust_domains": ["prod.example.org"]}},
        "allow": rules,
    }
    policy = Policy.from_json(json.dumps(document), "prod")
    for now, reason in ((BEFORE, Reason.ALLOWED), (END, Reason.UNSAFE_REQUEST)):
        assert policy.decide(ENDING, "t", "BREW /pot", now=now).reason is reason

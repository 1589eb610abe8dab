"""The analysis against brute force: every peer, target and request of a small world is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from meshid.errors import InvalidPattern
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.analysis import automata as languages
from tests.helpers.small_world import PEERS, RULES, SOURCES, TARGETS, allowed, policy_of


def length(access: tuple[SpiffeId, str, str | None]) -> int:
    peer, target, request = access
    return len(str(peer)) + len(target) + (len(request) - 1 if request else 0)


@pytest.mark.slow
class TestProve:
    @settings(max_examples=150)
    @given(RULES, SOURCES, TARGETS)
    def test_it_holds_exactly_if_nobody_gets_in(self, rules: list[Any], never: str, reach: str) -> None:
        policy = policy_of(rules)
        proof = policy.prove(never, reach)
        peers, targets = PeerPattern.parse(never), Pattern.parse(reach)
        own = policy.environment.trust_domains
        found = [
            access
            for access in allowed(policy, [peer for peer in PEERS if peers.matches(peer, own)])
            if targets.matches(access[1])
        ]
        if proof.counterexample is None:
            assert not found
            return
        access, decision = proof.counterexample.access, proof.counterexample.decision
        assert peers.matches(access.spiffe_id, own)
        assert targets.matches(access.target)
        assert decision.allowed
        assert decision == policy.decide(access.spiffe_id, access.target, access.request)
        shortest = min(map(length, found), default=10_000)
        assert length((access.spiffe_id, access.target, access.request)) <= shortest


@pytest.mark.slow
class TestDiff:
    @settings(max_examples=60)
    @given(RULES, RULES)
    def test_it_is_empty_exactly_if_everybody_gets_the_same_answers(
        self, one: list[Any], two: list[Any]
    ) -> None:
        before, after = policy_of(one), policy_of(two)
        diff = before.diff(after)
        old, new = set(allowed(before)), set(allowed(after))
        if not diff.gains:
            assert not new - old
        if not diff.losses:
            assert not old - new
        for change, refusing, allowing in (
            *((change, before, after) for change in diff.gains),
            *((change, after, before) for change in diff.losses),
        ):
            access = change.example
            assert allowing.decide(access.spiffe_id, access.target, access.request)
            assert not refusing.decide(access.spiffe_id, access.target, access.request)
        assert diff.is_empty == (not diff.gains and not diff.losses)

    @given(RULES)
    def test_a_policy_does_not_differ_from_itself(self, rules: list[Any]) -> None:
        assert policy_of(rules).diff(policy_of(rules)).is_empty


@pytest.mark.slow
class TestLint:
    @settings(max_examples=150)
    @given(RULES)
    def test_what_is_pointless_or_swallowed_changes_nothing_when_it_goes(self, rules: list[Any]) -> None:
        found = policy_of(rules).lint()
        gone = {
            finding.rule
            for finding in found
            if finding.kind in {"pointless", "swallowed"}
            and finding.where.endswith("]")
            and "." not in finding.where
        }
        kept = [rule for number, rule in enumerate(rules) if f"r{number}" not in gone]
        assert policy_of(rules).diff(policy_of(kept)).is_empty

    @settings(max_examples=150)
    @given(RULES)
    def test_a_rule_that_is_not_named_does_something(self, rules: list[Any]) -> None:
        named = {
            finding.rule for finding in policy_of(rules).lint() if finding.kind in {"pointless", "swallowed"}
        }
        kept = [rule for number, rule in enumerate(rules) if f"r{number}" not in named]
        for rule in kept:
            if rule["effect"] == "allow" and not rule["observe"]:
                without = [each for each in kept if each is not rule]
                assert not policy_of(kept).diff(policy_of(without)).is_empty


def test_only_patterns_are_asked_about() -> None:
    with pytest.raises(InvalidPattern, match="must begin with '/'"):
        policy_of([]).prove("ns/a")


def test_a_search_ends_where_no_word_is_left() -> None:
    """Neither pattern contains the other, neither is a literal, and no word matches both."""
    one, other = Pattern.parse("/*/a"), Pattern.parse("/*/b")
    assert languages.shortest(languages.Words.PEER_PATHS, (one, other)) is None

"""Where it is said that nobody is let in, nobody is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.admission.question import Question
from meshid.health.entrance import why_nobody
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy import REQUEST_FOLLOWS, Policy
from meshid.policy.file.strings import condition
from meshid.policy.requests import Follows
from meshid.policy.rules import Effect, Environment, HttpCondition, Rule, RuleSet
from tests.helpers.named_world import IDS, documents
from tests.helpers.named_world import PLACES as NAMED_PLACES
from tests.helpers.named_world import policy_of as named_policy_of
from tests.helpers.small_world import OLD, PARTNER, PEERS, PLACES, PROD, RULES, policy_of

NOW = 0.0
"""No rule ends here, but in the test of one that does."""

DOMAINS = [TrustDomain(each) for each in (PROD, OLD, PARTNER)]


@given(
    RULES,
    st.sampled_from(PLACES),
    st.sampled_from([None, REQUEST_FOLLOWS]),
    st.sets(st.sampled_from(DOMAINS)),
)
def test_nobody_means_nobody(
    rules: list[dict[str, Any]], target: str, request: Follows | None, vouching: set[TrustDomain]
) -> None:
    policy = policy_of(rules)
    question = Question(target=target, request=request)
    let_in = [
        peer
        for peer in PEERS
        if peer.trust_domain in vouching and policy.decide(peer, target, request).allowed
    ]
    if why_nobody(policy, question, vouching, NOW):
        assert let_in == []


@given(RULES, st.sampled_from(PLACES), st.sampled_from([None, REQUEST_FOLLOWS]))
def test_without_deny_rules_it_is_exact(
    rules: list[dict[str, Any]], target: str, request: Follows | None
) -> None:
    """Every pattern matches some peer; only the small world may not have it."""
    policy = policy_of([{**rule, "effect": "allow", "from": ["/**"]} for rule in rules])
    question = Question(target=target, request=request)
    let_in = any(policy.decide(peer, target, request).allowed for peer in PEERS)
    assert (why_nobody(policy, question, DOMAINS, NOW) is None) is let_in


@given(documents(), st.sampled_from(NAMED_PLACES), st.sampled_from([None, REQUEST_FOLLOWS]))
def test_nobody_means_nobody_with_a_token_either(
    document: dict[str, Any], target: str, request: Follows | None
) -> None:
    policy = named_policy_of(document)
    if why_nobody(policy, Question(target=target, request=request), DOMAINS, NOW):
        known = [peer for peer in IDS if peer.trust_domain in DOMAINS]
        assert not any(policy.decide(peer, target, request) for peer in known)


def rule(effect: Effect, who: str, *but: str, not_http: tuple[HttpCondition, ...] = ()) -> Rule:
    return Rule(
        id=f"{effect} {who}",
        effect=effect,
        sources=(PeerPattern.parse(who),),
        not_sources=tuple(map(PeerPattern.parse, but)),
        targets=(Pattern.parse("pay"),),
        not_http=not_http,
    )


@pytest.mark.parametrize(
    ("rules", "let_in"),
    [
        pytest.param([rule(Effect.ALLOW, "/a/**", "/a/b")], True, id="some are left out"),
        pytest.param([rule(Effect.ALLOW, "/a/**", "/x", "/**")], False, id="all are left out"),
        pytest.param(
            [rule(Effect.ALLOW, "/a/**", f"spiffe://{PARTNER}/**")],
            True,
            id="another trust domain is left out",
        ),
        pytest.param(
            [rule(Effect.ALLOW, "/a/**"), rule(Effect.DENY, "/**", "/a/b")],
            True,
            id="a deny rule leaves one of them out",
        ),
        pytest.param(
            [rule(Effect.ALLOW, "/a/**", "/a/b"), rule(Effect.DENY, "/**", "/a/b", "/c")],
            False,
            id="both leave the same out",
        ),
        pytest.param(
            [rule(Effect.ALLOW, "/a/**"), rule(Effect.DENY, "/**", "/c/**")],
            False,
            id="a deny rule leaves others out",
        ),
        pytest.param(
            [rule(Effect.ALLOW, "/a", not_http=(condition("* /x"),))], False, id="all requests but some"
        ),
        pytest.param(
            [rule(Effect.ALLOW, "/a"), rule(Effect.DENY, "/**", not_http=(condition("* /x"),))],
            False,
            id="a deny rule for all requests but some",
        ),
    ],
)
def test_what_rules_leave_out_counts(rules: list[Rule], *, let_in: bool) -> None:
    environment = Environment("prod", tuple(DOMAINS[:2]), tuple(DOMAINS[2:]))
    ordered = tuple(sorted(rules, key=lambda each: each.id))
    policy = Policy(RuleSet(environment, ordered, observe=False))
    why = why_nobody(policy, Question(target="pay"), DOMAINS, NOW)
    assert (why is None) is let_in
    peers = [SpiffeId.parse(f"spiffe://{PROD}{path}") for path in ("/a", "/a/b", "/a/c")]
    assert any(policy.decide(peer, "pay") for peer in peers) is let_in


def test_a_rule_that_has_ended_lets_nobody_in() -> None:
    ending = attrs.evolve(rule(Effect.ALLOW, "/a"), id="ending", until=date(2027, 1, 31))
    earlier = attrs.evolve(ending, id="earlier", until=date(2027, 1, 30))
    policy = Policy(RuleSet(Environment("prod", tuple(DOMAINS[:2])), (earlier, ending), observe=False))
    end = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
    for question in (Question(target="pay"), Question(target="pay", request=REQUEST_FOLLOWS)):
        assert why_nobody(policy, question, DOMAINS, end - 1) is None
        assert why_nobody(policy, question, DOMAINS, end) == (
            "each allow rule about it has ended, so no client is let in: the last, 'ending', with 2027-01-31"
            " (until); give it a later day, or add another rule"
        )
        assert why_nobody(policy, question, DOMAINS, end - 1) is None, "the clock has stepped back"

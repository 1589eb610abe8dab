"""Every decision explains itself: the rule, or the one that nearly let the peer in."""

from __future__ import annotations

import pytest

from meshid import REQUEST_FOLLOWS, Policy, SpiffeId
from meshid.policy import RequestLike

TOML = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[environments.dev]
trust_domains = ["dev.example.org"]
[[allow]]
id = "checkout-charges-cards"
from = ["/ns/checkout/sa/api"]
to = ["payments"]
[[allow]]
id = "support-reads"
from = ["/ns/support/**"]
to = ["payments"]
http = ["GET /v1/charges/*"]
[[allow]]
id = "watched"
from = ["/ns/watched/**"]
to = ["payments"]
observe = true
[[deny]]
id = "no-ci"
from = ["/ns/ci/**"]
to = ["**"]
http = ["DELETE /**"]
"""

POLICY = Policy.from_toml(TOML, environment="prod")


def nearest(peer: str, target: str = "payments", request: RequestLike = None) -> str:
    return POLICY.decide(SpiffeId.parse(f"spiffe://{peer}"), target, request).detail


@pytest.mark.parametrize(
    ("peer", "target", "request_", "sentence"),
    [
        pytest.param(
            "dev.example.org/ns/checkout/sa/api",
            "payments",
            None,
            'allow rule "checkout-charges-cards" matches but for the trust domain:'
            " peer is dev.example.org, rule is prod.example.org",
            id="trust domain",
        ),
        pytest.param(
            "prod.example.org/ns/checkout/sa/apis",
            "payments",
            None,
            'allow rule "checkout-charges-cards" matches but for the peer:'
            " it is '/ns/checkout/sa/apis', the rule is from '/ns/checkout/sa/api'",
            id="path",
        ),
        pytest.param(
            "prod.example.org/ns/checkout/sa/api",
            "payment",
            None,
            'allow rule "checkout-charges-cards" matches but for the target:'
            " it is 'payment', the rule is to 'payments'",
            id="target",
        ),
        pytest.param(
            "prod.example.org/ns/support/x",
            "payments",
            None,
            'allow rule "support-reads" matches but for the request:'
            " there is none to judge, the rule is for 'GET /v1/charges/*'",
            id="no request",
        ),
        pytest.param(
            "prod.example.org/ns/support/x",
            "payments",
            "POST /v1/charges/1",
            'allow rule "support-reads" matches but for the request:'
            " it is 'POST /v1/charges/1', the rule is for 'GET /v1/charges/*'",
            id="other request",
        ),
        pytest.param(
            "prod.example.org/ns/nobody/x",
            "orders",
            None,
            "no allow rule comes near spiffe://prod.example.org/ns/nobody/x at 'orders'",
            id="nothing near",
        ),
        pytest.param(
            "dev.example.org/ns/support/x",
            "orders",
            REQUEST_FOLLOWS,
            'allow rule "support-reads" matches but for the trust domain:'
            " peer is dev.example.org, rule is prod.example.org,"
            " and for the target: it is 'orders', the rule is to 'payments'",
            id="two things",
        ),
    ],
)
def test_a_refusal_names_the_nearest_miss(
    peer: str, target: str, request_: RequestLike, sentence: str
) -> None:
    assert nearest(peer, target, request_) == sentence


def test_a_rule_that_only_observes_is_near_no_door() -> None:
    assert '"watched"' not in nearest("prod.example.org/ns/watched/x")


def test_an_explanation_reads_from_top_to_bottom() -> None:
    explanation = POLICY.explain(SpiffeId.parse("spiffe://dev.example.org/ns/checkout/sa/api"), "payments")
    assert str(explanation).splitlines() == [
        "refused: spiffe://dev.example.org/ns/checkout/sa/api at 'payments'",
        "  No allow rule matches.",
        (
            '  near: allow rule "checkout-charges-cards" matches but for the trust domain:'
            " peer is dev.example.org, rule is prod.example.org"
        ),
        (
            "  near: allow rule \"support-reads\" matches but for the peer: it is '/ns/checkout/sa/api',"
            " the rule is from '/ns/support/**', and for the request: there is none to judge,"
            " the rule is for 'GET /v1/charges/*'"
        ),
        f"  policy {POLICY.hash}",
    ]


def test_what_lets_a_peer_in_is_shown_with_what_else_matches() -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/support/x")
    explanation = POLICY.explain(peer, "payments", "GET /v1/charges/1")
    assert str(explanation).splitlines()[:3] == [
        "allowed: spiffe://prod.example.org/ns/support/x at 'payments' for GET /v1/charges/1",
        "  An allow rule matches and no deny rule does.",
        '  allow rule "support-reads" matches',
    ]
    assert explanation.nearest == ()
    assert [look.rule.id for look in explanation.rules] == [rule.id for rule in POLICY.rules]


def test_an_observing_rule_says_so() -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/watched/x")
    assert '  allow rule "watched" observes and matches' in str(POLICY.explain(peer, "payments"))


@pytest.mark.parametrize(
    ("request_", "matches"),
    [(None, True), ("DELETE /x", True), ("GET /x", False), (REQUEST_FOLLOWS, True)],
)
def test_a_deny_rule_with_conditions_is_looked_at_as_it_is_judged(
    request_: RequestLike, *, matches: bool
) -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/ci/x")
    (look,) = [x for x in POLICY.explain(peer, "payments", request_).rules if x.rule.id == "no-ci"]
    assert look.matches is matches
    assert (look.distance == 0) is matches


def test_an_unsafe_request_is_explained_by_itself() -> None:
    explanation = POLICY.explain(SpiffeId.parse("spiffe://prod.example.org/x"), "payments", "GET /..")
    assert explanation.rules == explanation.nearest == ()
    assert "cannot be normalised safely" in str(explanation)

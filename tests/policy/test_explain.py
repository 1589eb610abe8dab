"""Every decision explains itself: the rule, or the one that nearly let the peer in."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from meshid import REQUEST_FOLLOWS, Policy, Reason, SpiffeId, TrustDomain
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.policy import RequestLike
from meshid.policy.explain import MAX_LOOKED_AT
from meshid.policy.file.strings import condition
from meshid.policy.rules import Effect, Environment, Rule, RuleSet

TOML = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["partner.example"]
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
            'allow rule "checkout-charges-cards" would match, except for the trust domain:'
            " the peer is in dev.example.org, the rule wants prod.example.org"
            " (environment 'prod' neither has nor federates with dev.example.org)",
            id="trust domain",
        ),
        pytest.param(
            "prod.example.org/ns/checkout/sa/apis",
            "payments",
            None,
            'allow rule "checkout-charges-cards" would match, except for the peer:'
            " it is '/ns/checkout/sa/apis', the rule wants '/ns/checkout/sa/api'",
            id="path",
        ),
        pytest.param(
            "prod.example.org/ns/checkout/sa/api",
            "payment",
            None,
            'allow rule "checkout-charges-cards" would match, except for the target:'
            " it is 'payment', the rule wants 'payments'",
            id="target",
        ),
        pytest.param(
            "prod.example.org/ns/support/x",
            "payments",
            None,
            "allow rule \"support-reads\" is about requests only, 'GET /v1/charges/*', and none is promised:"
            " pass http=True to server_context(), and check() each request",
            id="no request",
        ),
        pytest.param(
            "prod.example.org/ns/support/x",
            "payments",
            "POST /v1/charges/1",
            'allow rule "support-reads" would match, except for the request:'
            " it is 'POST /v1/charges/1', the rule wants 'GET /v1/charges/*'",
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
            'allow rule "support-reads" would match, except for the trust domain:'
            " the peer is in dev.example.org, the rule wants prod.example.org"
            " (environment 'prod' neither has nor federates with dev.example.org),"
            " and for the target: it is 'orders', the rule wants 'payments'",
            id="two things",
        ),
        pytest.param(
            "partner.example/ns/checkout/sa/api",
            "payments",
            None,
            'allow rule "checkout-charges-cards" would match, except for the trust domain:'
            " the peer is in partner.example, the rule wants prod.example.org",
            id="a federated trust domain",
        ),
        pytest.param(
            "dev.example.org/ns/nobody/x",
            "payments",
            REQUEST_FOLLOWS,
            'allow rule "support-reads" would match, except for the trust domain:'
            " the peer is in dev.example.org, the rule wants prod.example.org"
            " (environment 'prod' neither has nor federates with dev.example.org),"
            " and for the peer: it is '/ns/nobody/x', the rule wants '/ns/support/**'",
            id="trust domain and path",
        ),
        pytest.param(
            "dev.example.org/ns/nobody/x",
            "orders",
            None,
            "no allow rule comes near spiffe://dev.example.org/ns/nobody/x at 'orders'"
            " (environment 'prod' neither has nor federates with dev.example.org)",
            id="a stranger",
        ),
    ],
)
def test_a_refusal_names_the_nearest_miss(
    peer: str, target: str, request_: RequestLike, sentence: str
) -> None:
    assert nearest(peer, target, request_) == sentence


PLAIN = Rule(
    id="all-but-some",
    effect=Effect.ALLOW,
    sources=(PeerPattern.parse("/ns/**"),),
    targets=(Pattern.parse("payments"),),
)
BUT = (PeerPattern.parse("/ns/x/**"), PeerPattern.parse("/ns/*/old"))
GET_ONLY = (condition("GET /v1/**"),)
NOT_INTERNAL = (condition("* /v1/internal/**"),)


@pytest.mark.parametrize(
    ("change", "peer", "target", "request_", "sentence"),
    [
        pytest.param(
            {"not_sources": BUT},
            "/ns/x/a",
            "payments",
            None,
            "would match, but the rule leaves out '/ns/x/**' (not_from)",
            id="a peer",
        ),
        pytest.param(
            {"not_sources": BUT},
            "/ns/x/old",
            "payment",
            None,
            "would match, except for the target: it is 'payment', the rule wants 'payments'; and the rule"
            " leaves out '/ns/x/**', '/ns/*/old' (not_from)",
            id="a peer, at another target",
        ),
        pytest.param(
            {"not_http": NOT_INTERNAL},
            "/ns/a",
            "payments",
            "PUT /v1/internal/x",
            "would match, but the rule leaves out '* /v1/internal/**' (not_http)",
            id="a request",
        ),
        pytest.param(
            {"not_http": NOT_INTERNAL},
            "/ns/a",
            "payments",
            None,
            "is about requests only, any but '* /v1/internal/**', and none is promised: pass http=True to"
            " server_context(), and check() each request",
            id="no request, where all but some count",
        ),
        pytest.param(
            {"http": GET_ONLY, "not_http": NOT_INTERNAL},
            "/ns/a",
            "payments",
            "PUT /v1/internal/x",
            "would match, except for the request: it is 'PUT /v1/internal/x', the rule wants 'GET /v1/**'",
            id="a request that it does not want either",
        ),
        pytest.param(
            {"http": GET_ONLY, "not_http": NOT_INTERNAL},
            "/ns/a",
            "payments",
            None,
            "is about requests only, 'GET /v1/**' but '* /v1/internal/**', and none is promised: pass"
            " http=True to server_context(), and check() each request",
            id="no request, where some but some count",
        ),
    ],
)
def test_what_a_rule_leaves_out_is_said(
    change: dict[str, Any], peer: str, target: str, request_: RequestLike, sentence: str
) -> None:
    policy = policy_of(attrs.evolve(PLAIN, **change))
    asked = SpiffeId.parse(f"spiffe://prod.example.org{peer}")
    detail = f'allow rule "all-but-some" {sentence}'
    assert policy.decide(asked, target, request_).detail == detail
    assert [str(each) for each in policy.explain(asked, target, request_).nearest] == [detail]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"not_http": NOT_INTERNAL}, "unless it is '* /v1/internal/**'", id="all but some"),
        pytest.param(
            {"http": GET_ONLY, "not_http": NOT_INTERNAL},
            "if the request is 'GET /v1/**', unless it is '* /v1/internal/**'",
            id="some but some",
        ),
    ],
)
@pytest.mark.parametrize("effect", [Effect.ALLOW, Effect.DENY])
def test_requests_to_come_are_awaited_by_a_rule_that_leaves_some_out(
    effect: Effect, change: dict[str, Any], words: str
) -> None:
    policy = policy_of(attrs.evolve(PLAIN, effect=effect, **change))
    asked = SpiffeId.parse("spiffe://prod.example.org/ns/a")
    explanation = policy.explain(asked, "payments", REQUEST_FOLLOWS)
    assert str(explanation.rules[0]) == f'{effect} rule "all-but-some" matches {words}'
    assert explanation.decision.reason is (
        Reason.REQUEST_AWAITED if effect is Effect.ALLOW else Reason.NO_RULE
    )


def policy_of(*rules: Rule) -> Policy:
    environment = Environment("prod", (TrustDomain("prod.example.org"),))
    return Policy(RuleSet(environment, rules, observe=False))


def test_a_rule_that_only_observes_is_near_no_door() -> None:
    assert '"watched"' not in nearest("prod.example.org/ns/watched/x")


def test_an_explanation_reads_from_top_to_bottom() -> None:
    explanation = POLICY.explain(SpiffeId.parse("spiffe://dev.example.org/ns/checkout/sa/api"), "payments")
    assert str(explanation).splitlines() == [
        "refused: spiffe://dev.example.org/ns/checkout/sa/api at 'payments'",
        "  No allow rule matches.",
        (
            '  near: allow rule "checkout-charges-cards" would match, except for the trust domain:'
            " the peer is in dev.example.org, the rule wants prod.example.org"
            " (environment 'prod' neither has nor federates with dev.example.org)"
        ),
        (
            '  near: allow rule "support-reads" would match, except for the trust domain:'
            " the peer is in dev.example.org, the rule wants prod.example.org"
            " (environment 'prod' neither has nor federates with dev.example.org),"
            " and for the peer: it is '/ns/checkout/sa/api',"
            " the rule wants '/ns/support/**', and for the request: there is none"
            ", and none is promised (http=True), the rule wants 'GET /v1/charges/*'"
        ),
        f"  policy {POLICY.hash}",
    ]


def test_what_lets_a_peer_in_is_shown_with_what_else_matches() -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/support/x")
    explanation = POLICY.explain(peer, "payments", "GET /v1/charges/1")
    assert str(explanation).splitlines()[:3] == [
        "allowed: spiffe://prod.example.org/ns/support/x at 'payments' for 'GET /v1/charges/1'",
        "  An allow rule matches and no deny rule does.",
        '  allow rule "support-reads" matches',
    ]
    assert explanation.nearest == ()
    assert [look.rule.id for look in explanation.rules] == [rule.id for rule in POLICY.rules]


def test_an_observing_rule_says_so() -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/watched/x")
    lines = str(POLICY.explain(peer, "payments")).splitlines()
    assert "  observed: allow: watched" in lines
    assert '  allow rule "watched" (observe only) matches' in lines


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (None, 'deny rule "no-ci" matches'),
        ("DELETE /x", 'deny rule "no-ci" matches'),
        (
            "GET /x",
            (
                'deny rule "no-ci" would match, except for the request:'
                " it is 'GET /x', the rule wants 'DELETE /**'"
            ),
        ),
        (REQUEST_FOLLOWS, "deny rule \"no-ci\" matches if the request is 'DELETE /**'"),
    ],
)
def test_a_deny_rule_with_conditions_is_looked_at_as_it_is_judged(
    request_: RequestLike, sentence: str
) -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/ci/x")
    (look,) = [x for x in POLICY.explain(peer, "payments", request_).rules if x.rule.id == "no-ci"]
    assert str(look) == sentence


def test_a_rule_that_waits_for_a_request_is_shown_and_nothing_is_near() -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/support/x")
    explanation = POLICY.explain(peer, "payments", REQUEST_FOLLOWS)
    assert "  allow rule \"support-reads\" matches if the request is 'GET /v1/charges/*'" in str(explanation)
    assert explanation.nearest == ()


def test_without_a_request_some_requests_may_be_allowed() -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/support/x")
    explanation = POLICY.explain(peer, "payments")
    waits = "allow rule \"support-reads\" matches if the request is 'GET /v1/charges/*'"
    assert str(explanation).splitlines() == [
        "some requests: spiffe://prod.example.org/ns/support/x at 'payments'",
        "  without requests: No allow rule matches.",
        f"  with requests (http=True): {waits}",
        f"  near: {explanation.decision.detail}",
        "  near: " + str(explanation.nearest[1]),
        f"  policy {POLICY.hash}",
    ]
    assert explanation.as_dict()["some_requests"] == [waits]
    for asked in (REQUEST_FOLLOWS, "GET /v1/charges/1", "POST /v1/charges/1"):
        assert POLICY.explain(peer, "payments", asked).some_requests == ()
    for refused in ("/ns/nobody/x", "/ns/watched/x"):
        asked_for = SpiffeId.parse(f"spiffe://prod.example.org{refused}")
        assert POLICY.explain(asked_for, "payments").some_requests == ()


def test_what_is_denied_without_requests_only_may_be_allowed_with_some() -> None:
    deny = attrs.evolve(PLAIN, id="no-deletes", effect=Effect.DENY, http=(condition("DELETE /**"),))
    explanation = policy_of(PLAIN, deny).explain(SpiffeId.parse("spiffe://prod.example.org/ns/a"), "payments")
    assert explanation.decision.reason is Reason.DENIED
    assert [str(look) for look in explanation.some_requests] == [
        'allow rule "all-but-some" matches',
        "deny rule \"no-deletes\" matches if the request is 'DELETE /**'",
    ]


def test_a_denied_peer_is_near_nothing() -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/ci/sa/api")
    explanation = POLICY.explain(peer, "payments")
    assert explanation.decision.rule == "no-ci"
    assert explanation.nearest == ()


def test_what_an_observing_policy_would_have_refused_is_explained_as_well() -> None:
    watching = Policy.from_toml("observe = true\n" + TOML, environment="prod")
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/checkout/sa/apis")
    explanation = watching.explain(peer, "payments")
    lines = str(explanation).splitlines()
    assert lines[0].startswith("allowed: ")
    assert "  observed: no_rule" in lines
    assert lines[3] == f"  near: {explanation.decision.detail}"


def test_nothing_comes_near_an_unknown_peer() -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/nobody/x")
    assert str(POLICY.explain(peer, "orders")).splitlines()[2] == (
        "  no allow rule comes near spiffe://prod.example.org/ns/nobody/x at 'orders'"
    )


def test_an_unsafe_request_of_an_observing_policy_is_explained_too() -> None:
    watching = Policy.from_toml("observe = true\n" + TOML, environment="prod")
    explanation = watching.explain(SpiffeId.parse("spiffe://prod.example.org/x"), "payments", "GET /..")
    assert explanation.decision.observed == ("unsafe_request",)
    assert explanation.rules == ()


def test_an_unsafe_request_is_explained_by_itself() -> None:
    explanation = POLICY.explain(SpiffeId.parse("spiffe://prod.example.org/x"), "payments", "GET /..")
    assert explanation.rules == explanation.nearest == ()
    assert "cannot be normalised safely" in str(explanation)
    first, *others = str(explanation).splitlines()
    assert first.endswith(" at 'payments' for 'GET /..'")
    assert "  the path '/..' has a dot segment" in others


def test_what_a_request_says_cannot_forge_a_line() -> None:
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/support/x")
    explanation = POLICY.explain(peer, "payments\u2028allowed", "GET /%E2%80%AE%E2%80%A8allowed")
    assert str(explanation).isascii()
    assert str(explanation).splitlines()[0].startswith("refused: ")
    assert len(str(explanation).splitlines()) == 2 + len(explanation.nearest) + 1


def test_the_words_are_bounded_whatever_the_rules_are() -> None:
    domains = [f"{'d' * 200}{number}" for number in range(100)]
    policy = Policy.from_json(
        json.dumps(
            {
                "version": 1,
                "environments": {"prod": {"trust_domains": ["own"], "federates_with": domains}},
                "allow": [
                    {
                        "id": "long",
                        "from": [f"spiffe://{domain}/{'x' * 500}" for domain in domains],
                        "to": ["t" * 2000, "u" * 2000, "v", "w"],
                        "http": [f"GET /{'y' * 2000}/{number}" for number in range(100)],
                    }
                ],
            }
        ),
        environment="prod",
    )
    peer = SpiffeId.parse(f"spiffe://own/{'x' * 500}")
    words = policy.decide(peer, "t" * 100_000, "GET /" + "z" * 8000).detail
    assert " or 97 more" in words
    assert "the target" in words
    assert "the request" in words
    assert len(words) < 4096


@pytest.mark.parametrize(("count", "is_looked_at"), [(MAX_LOOKED_AT, True), (MAX_LOOKED_AT + 1, False)])
def test_a_rule_of_very_many_patterns_is_named_and_not_looked_at(count: int, *, is_looked_at: bool) -> None:
    sources = [f"/ns/{number}" for number in range(count - 1)]
    policy = Policy.from_toml(
        f"""
        version = 1
        [environments.prod]
        trust_domains = ["prod.example.org"]
        [[allow]]
        id = "long"
        from = {sources}
        to = ["payments"]
        """,
        environment="prod",
    )
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/0")
    detail = policy.decide(peer, "orders").detail
    assert detail.startswith('allow rule "long"')
    assert ("except for the target" in detail) is is_looked_at
    assert (f"it has {count} patterns" in detail) is not is_looked_at
    # Whoever asks why is told all the same.
    assert "except for the target" in str(policy.explain(peer, "orders").nearest[0])


def test_an_explanation_is_a_value() -> None:
    peer = SpiffeId.parse("spiffe://dev.example.org/ns/checkout/sa/api")
    one, two = POLICY.explain(peer, "payments"), POLICY.explain(peer, "payments")
    assert one == two
    assert hash(one) == hash(two)


class TestAsPlainData:
    """What does not apply is left out."""

    def test_a_refusal_has_its_near_misses(self) -> None:
        peer = SpiffeId.parse("spiffe://dev.example.org/ns/checkout/sa/api")
        explanation = POLICY.explain(peer, "payments", "POST /v1/charges")
        detail, *others = map(str, explanation.nearest)
        assert json.loads(json.dumps(explanation.as_dict())) == {
            "verdict": "refused",
            "reason": "no_rule",
            "target": "payments",
            "request": "POST /v1/charges",
            "detail": detail,
            "meaning": Reason.NO_RULE.meaning,
            "clause": Reason.NO_RULE.clause,
            "what_to_do": Reason.NO_RULE.remedy,
            "spiffe_id": str(peer),
            **({"near_misses": others} if others else {}),
            "environment": "prod",
            "policy_hash": POLICY.hash,
        }

    def test_what_is_allowed_needs_no_remedy(self) -> None:
        peer = SpiffeId.parse("spiffe://prod.example.org/ns/checkout/sa/api")
        assert POLICY.explain(peer, "payments").as_dict() == {
            "verdict": "admitted",
            "reason": "allowed",
            "rule": "checkout-charges-cards",
            "target": "payments",
            "spiffe_id": str(peer),
            "matching_rules": ['allow rule "checkout-charges-cards" matches'],
            "environment": "prod",
            "policy_hash": POLICY.hash,
        }

    def test_what_an_observing_rule_would_have_decided_is_in_it(self) -> None:
        peer = SpiffeId.parse("spiffe://prod.example.org/ns/watched/x")
        facts = POLICY.explain(peer, "payments").as_dict()
        assert facts["observed"] == ["allow: watched"]
        assert facts["matching_rules"] == ['allow rule "watched" (observe only) matches']

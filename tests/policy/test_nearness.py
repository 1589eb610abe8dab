"""The near miss is near: by segments and letters, and at a cost that no number of rules changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshid import Policy, SpiffeId
from meshid.names.pattern import Pattern
from meshid.policy import RequestLike
from meshid.policy.nearness import OTHER, Distances, Nearby, distance, near_ones
from tests.helpers.cost import calls_of

ORDER = [
    ("/ns/checkout/sa/api", "/ns/checkout/sa/api"),
    ("/ns/**", "/ns/checkout/sa/api"),
    ("/ns/checkout/sa/api", "/ns/checkout/sa/ap"),
    ("/ns/checkout/sa/api", "/ns/chekout/sa/apis"),
    ("/ns/checkout/sa/api", "/ns/checkout/sa/web"),
    ("/ns/checkout/sa/api", "/ns/checkout/api"),
    ("/ns/checkout/*/api/**", "/ns/checkout/sa/web/x"),
    ("/ns/checkout/sa/api", "/ns/shop/sa/web"),
    ("/ns/checkout/sa/api", "/x"),
]
"""Pairs of a pattern and a text, the nearest first."""


def test_the_order_of_what_is_near() -> None:
    far = [distance(Pattern.parse(pattern), text) for pattern, text in ORDER]
    assert far[:2] == [0, 0]
    assert far[2:] == sorted(far[2:])
    assert 0 < far[2] < far[3] < OTHER / 2 < far[4]


@pytest.mark.parametrize(
    ("wanted", "found", "is_slip"),
    [
        ("payments", "payment", True),
        ("payments", "paymetns", True),
        ("payments", "xpayments", True),
        ("api", "apis", True),
        ("api", "web", False),
        ("a", "b", False),
        ("api", "a-very-long-name", False),
        ("api-*", "ap-1", False),
        ("a" * 100, "a" * 99, False),
        ("one-team-of-many", "one-name-of-many", True),
        ("abcdefghijklmnop", "axxxxxhijklmnopp", False),
        ("**/xyz", "y/z/xz", True),
        ("**/x", "y/z/w", False),
    ],
    ids=str,
)
def test_a_slip_of_the_pen_is_nearer_than_another_word(wanted: str, found: str, *, is_slip: bool) -> None:
    assert (distance(Pattern.parse(wanted), found) < OTHER / 2) is is_slip


def test_only_so_many_are_compared() -> None:
    patterns = [Pattern.parse(f"a{number}") for number in range(5)]
    distances = Distances("a0", 3)
    assert [distances.to(each) for each in patterns] == [0, 8, 8, None, None]
    assert distances.to(patterns[1]) == 8, "known already"


def test_of_many_patterns_those_are_found_that_begin_or_end_alike() -> None:
    paths = [f"/ns/team-{number}/sa/app-{number % 7}" for number in range(1000)]
    nearby = Nearby((Pattern.parse(path), number) for number, path in enumerate([*paths, *paths]))
    for text, path in (("/ns/team-503/sa/ap-6", paths[503]), ("/n/team-503/sa/app-6", paths[503])):
        found = [(str(pattern), numbers) for pattern, numbers in nearby.around(text)]
        assert (path, [503, 1503]) in found
        assert len(found) <= 8


def test_of_many_patterns_of_one_rule_those_are_compared_that_begin_alike() -> None:
    patterns = [Pattern.parse(f"/ns/team-{number}/x") for number in range(500)] + [Pattern.parse("/**")]
    found = near_ones(patterns, "/ns/team-499/y")
    assert len(found) == 64
    assert {str(each) for each in found} >= {"/ns/team-499/x", "/**"}


def test_an_explanation_compares_as_few_of_a_rule() -> None:
    policy = policy_of({"from": [f"/ns/team-{number}/x" for number in range(200)]})
    asked = SpiffeId.parse("spiffe://prod.example.org/ns/team-150/y")
    (near,) = policy.explain(asked, "payments").nearest
    assert "the rule wants '/ns/team-150/x', '/ns/team-0/x'" in str(near)


def policy_of(*allow: dict[str, Any], **more: object) -> Policy:
    environment = {"trust_domains": ["prod.example.org"], "federates_with": ["partner.example"]}
    rules = [{"id": f"r{number:05}", "to": ["payments"], **rule} for number, rule in enumerate(allow)]
    document = {"version": 1, "environments": {"prod": environment}, "allow": rules, **more}
    return Policy.from_json(json.dumps(document), "prod")


POLICY = policy_of(
    {"id": "a-first-rule", "from": ["/ns/web/**", "/ns/desk/**"]},
    {"id": "every-peer", "from": ["/**"], "to": ["metrics"]},
    {"id": "partner", "from": ["spiffe://partner.example/ns/checkout/sa/*"]},
    {"id": "checkout", "from": ["/ns/other/**", "/ns/checkout/sa/api"]},
    {"id": "reads", "from": ["/ns/desk/sa/x"], "to": ["orders"], "http": ["GET /v1/orders"]},
    {"id": "writes", "from": ["/ns/desk/sa/x"], "to": ["orders"], "http": ["GET /a", "PUT /v1/charges"]},
)


@pytest.mark.parametrize(
    ("peer", "target", "request_", "rule", "says"),
    [
        pytest.param(
            "/ns/checkout/sa/web",
            "payments",
            None,
            "partner",
            "the peer is in prod.example.org, the rule wants partner.example",
            id="the same path in another trust domain",
        ),
        pytest.param(
            "/ns/chekout/sa/api",
            "payments",
            None,
            "checkout",
            "it is '/ns/chekout/sa/api', the rule wants '/ns/checkout/sa/api', '/ns/other/**'",
            id="a slip in the peer; the nearest pattern is shown first",
        ),
        pytest.param("/ns/x", "metric", None, "every-peer", "it is 'metric'", id="a slip in the target"),
        pytest.param(
            "/ns/desk/sa/x",
            "orders",
            "PUT /v1/charge",
            "writes",
            "the rule wants 'PUT /v1/charges', 'GET /a'",
            id="a slip in the request",
        ),
        pytest.param(
            "/ns/desk/sa/x",
            "orders",
            "POST /v1/orders",
            "reads",
            "the rule wants 'GET /v1/orders'",
            id="another method",
        ),
    ],
)
def test_a_refusal_names_what_was_probably_meant(
    peer: str, target: str, request_: RequestLike, rule: str, says: str
) -> None:
    asked = SpiffeId.parse(f"spiffe://prod.example.org{peer}")
    detail = POLICY.decide(asked, target, request_).detail
    assert detail.startswith(f'allow rule "{rule}"')
    assert says in detail
    assert str(POLICY.explain(asked, target, request_).nearest[0]) == detail


def test_the_alphabet_counts_last() -> None:
    policy = policy_of(
        {"id": "a-first-rule", "from": ["/ns/web/sa/front"]}, {"id": "z", "from": ["/ns/checkout/sa/api"]}
    )
    asked = SpiffeId.parse("spiffe://prod.example.org/ns/checkout/sa/ap")
    assert policy.decide(asked, "payments").detail.startswith('allow rule "z"')
    assert [look.rule.id for look in policy.explain(asked, "payments").nearest] == ["z", "a-first-rule"]


MANY = 3000


@pytest.mark.parametrize(
    ("rule", "asked", "target", "named", "most"),
    [
        pytest.param(
            {"from": ["/ns/n{0}/sa/api"]}, "/ns/n77/sa/ap", "payments", "r00077", 2000, id="peers of a target"
        ),
        pytest.param(
            {"from": ["/ns/n/sa/api"], "to": ["service-n{0}"]},
            "/ns/n/sa/api",
            "servic-n77",
            "r00077",
            2000,
            id="targets of a peer",
        ),
        pytest.param(
            {"from": ["/ns/n/sa/api"], "http": ["GET /n{0}/list"]},
            "/ns/n/sa/api",
            "payments",
            "r00077",
            2000,
            id="requests",
        ),
        pytest.param(
            {"from": ["/ns/n{0}/**"], "to": ["p*{0}", "**"]},
            "/ns/n77x",
            "payments",
            "r0077",
            2500,
            id="patterns",
        ),
    ],
)
def test_a_refusal_of_a_stranger_costs_the_same_whatever_the_number_of_rules(
    rule: dict[str, Any], asked: str, target: str, named: str, most: int
) -> None:
    policy = policy_of(
        *({key: [each.format(n) for each in value] for key, value in rule.items()} for n in range(MANY))
    )
    peer, request = (
        SpiffeId.parse(f"spiffe://prod.example.org{asked}"),
        "GET /n77/lis" if "http" in rule else None,
    )
    # What the rules are about is put in order once.
    assert policy.decide(peer, target, request).detail.startswith(f'allow rule "{named}')
    stranger = SpiffeId.parse("spiffe://prod.example.org/ns/n/sa/api" if "/ns/n/" in asked else f"{peer}x")
    other = None if request is None else "GET /n78/lis"
    assert calls_of(lambda: policy.decide(stranger, target, other)) < most


def test_a_rule_of_many_peers_and_targets_takes_no_memory_for_each_pair() -> None:
    many = [f"n{number}" for number in range(1000)]
    policy = policy_of({"id": "wide", "from": [f"/{each}" for each in many], "to": many})
    peer = SpiffeId.parse("spiffe://prod.example.org/n0")
    assert "it has 2000 patterns" in policy.decide(peer, "n").detail
    stranger = SpiffeId.parse("spiffe://prod.example.org/n")
    assert "it has 2000 patterns" in policy.decide(stranger, "n7").detail

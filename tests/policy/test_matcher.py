"""The compiled rules say what a reading of every rule says, and their number costs nothing."""

from __future__ import annotations

import json
import tracemalloc
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy import REQUEST_FOLLOWS, Environment, Policy, Request, RequestLike
from meshid.policy.agreement import Standing
from meshid.policy.file.loading import read_json
from meshid.policy.matcher import Matcher
from meshid.policy.rules import Rule, RuleSet
from meshid.reasons import Reason
from tests.helpers.cost import calls_of

DOMAINS = ["prod.example.org", "old.example.org", "partner.example"]
ENVIRONMENT = {"trust_domains": DOMAINS[:2], "federates_with": DOMAINS[2:]}
SOURCES = st.one_of(
    st.sampled_from(["/a", "/a/b", "/*/b", "/**", "/a/**", "/**/b", "/a*", "/a/*"]),
    st.builds("spiffe://{}{}".format, st.sampled_from(DOMAINS), st.sampled_from(["/a", "/**", "/*/b"])),
)
TARGETS = st.sampled_from(["pay", "pay/card", "*", "**", "pay/*", "p*", "ship"])
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "effect": st.sampled_from(["allow", "allow", "deny"]),
            "from": st.lists(SOURCES, min_size=1, max_size=3),
            "to": st.lists(TARGETS, min_size=1, max_size=3),
            "observe": st.booleans(),
            "not_from": st.lists(SOURCES, max_size=2),
        }
    ),
    max_size=6,
)
PEERS = [
    SpiffeId.parse(f"spiffe://{domain}{path}")
    for domain, path in product([*DOMAINS, "dev.example.org"], ["/a", "/a/b", "/c", "/c/b", "/ab"])
]


def rules_of(drawn: list[dict[str, Any]]) -> tuple[Environment, tuple[Rule, ...]]:
    document: dict[str, Any] = {"version": 1, "environments": {"prod": ENVIRONMENT}, "allow": [], "deny": []}
    for number, rule in enumerate(drawn):
        values = {key: value for key, value in rule.items() if key != "effect" and value != []}
        document[rule["effect"]].append({"id": f"r{number}", **values})
    read = read_json(json.dumps(document), "prod")
    return read.environment, read.rules


def is_about(rule: Rule, peer: SpiffeId, target: str, own: tuple[TrustDomain, ...]) -> bool:
    return (
        any(each.matches(target) for each in rule.targets)
        and any(each.matches(peer, own) for each in rule.sources)
        and not any(each.matches(peer, own) for each in rule.not_sources)
    )


@given(RULES, st.sampled_from(PEERS), st.sampled_from(["pay", "pay/card", "ship", "other"]))
def test_it_finds_what_each_rule_alone_would_say(drawn: list[Any], peer: SpiffeId, target: str) -> None:
    environment, rules = rules_of(drawn)
    found = Matcher(rules, environment.trust_domains).about(Standing(peer), target).rules
    assert found == tuple(rule for rule in rules if is_about(rule, peer, target, environment.trust_domains))


def _more_of(rule: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    days = st.sampled_from(["2027-01-31", "9999-12-31"])
    return st.fixed_dictionaries(
        {},
        optional={
            "http": st.lists(st.sampled_from(["GET /a", "* /b", "PUT /a/bc"]), min_size=1, max_size=2),
            "not_http": st.just(["GET /a/bd"]),
            **({"until": days} if rule["effect"] == "allow" else {}),
        },
    ).map(lambda more: rule | more)


@given(
    RULES.flatmap(lambda rules: st.tuples(*map(_more_of, rules))),
    st.sampled_from(PEERS),
    st.sampled_from(["pay", "pay/card", "ship", "shop", "other"]),
)
def test_a_refusal_names_the_rule_that_an_explanation_finds_the_nearest(
    drawn: tuple[dict[str, Any], ...], peer: SpiffeId, target: str
) -> None:
    """The one looks at a few of the rules, the other at all."""
    environment, rules = rules_of([*drawn])
    policy = Policy(RuleSet(environment, rules, observe=False))
    asked: list[RequestLike] = [None, REQUEST_FOLLOWS, "GET /b", "PUT /a/bd", "GET /a/bd"]
    for request, now in product(asked, (0.0, 2e9)):
        decision = policy.decide(peer, target, request, now=now)
        near = policy.explain(peer, target, request, now=now).nearest
        if decision.reason is Reason.NO_RULE:
            says = str(near[0]) if near else f"no allow rule comes near {peer} at '{target}'"
            assert decision.detail.startswith(says), (request, now)


def policy_of(*rules: dict[str, object]) -> Policy:
    document = {"version": 1, "environments": {"prod": ENVIRONMENT}, "allow": list(rules)}
    return Policy.from_json(json.dumps(document), "prod")


def test_a_rule_of_many_patterns_each_way_is_found_by_each_of_them() -> None:
    sources, targets = [f"/peer-{n}" for n in range(300)], [f"target-{n}" for n in range(300)]
    policy = policy_of(
        {"id": "many", "from": sources, "to": targets}, {"id": "one", "from": ["/x"], "to": ["y"]}
    )
    peers = [SpiffeId.parse(f"spiffe://prod.example.org{path}") for path in (*sources, "/x", "/peer-300")]
    allowed = {
        (peer.path, target)
        for peer, target in product(peers, [*targets[:3], "target-300", "y"])
        if policy.decide(peer, target)
    }
    assert allowed == {*product(sources, targets[:3]), ("/x", "y")}


@pytest.mark.parametrize("number", [0, 57, 99])
def test_conditions_on_requests_are_found_among_many(number: int) -> None:
    conditions = [f"GET /v1/thing-{n}" for n in range(100)]
    rules: list[dict[str, object]] = [
        {"id": f"r{n}", "from": ["/a"], "to": ["t"], "http": [each]} for n, each in enumerate(conditions)
    ]
    policy = policy_of(*rules)
    peer = SpiffeId.parse("spiffe://prod.example.org/a")
    assert policy.decide(peer, "t", f"GET /v1/thing-{number}").rule == f"r{number}"
    assert not policy.decide(peer, "t", f"POST /v1/thing-{number}")


CONDITIONS = st.lists(st.sampled_from(["GET /a", "* /a", "GET /*", "PUT /**", "* /a/*"]), max_size=2)


@given(
    st.lists(st.tuples(CONDITIONS, CONDITIONS), max_size=4),
    st.sampled_from(["GET /a", "PUT /a", "GET /a/b", "PUT /b", "PATCH /"]),
)
def test_requests_are_found_as_each_rule_alone_would_say(
    drawn: list[tuple[list[str], list[str]]], asked: str
) -> None:
    plain = {"effect": "allow", "from": ["/a"], "to": ["t"]}
    _, rules = rules_of([plain | ({"http": http} if http else {}) | {"not_http": but} for http, but in drawn])
    candidates = Matcher(rules, [TrustDomain(DOMAINS[0])]).about(Standing(PEERS[0]), "t")
    request = Request.parse(asked)
    assert candidates.matching(request) == [rule for rule in rules if rule.is_for(request)]


@pytest.mark.parametrize("what", ["not_from", "not_http"])
def test_thousands_of_exceptions_cost_a_look_and_not_a_scan(what: str) -> None:
    """Shared by two rules, they are looked at once."""
    many = [f"/n{number}/*" for number in range(5000)]
    written = many if what == "not_from" else [f"GET {each}" for each in many]
    plain = {"effect": "allow", "from": ["/**"], "to": ["t"], what: written}
    environment, rules = rules_of([plain, plain])
    policy = Policy(RuleSet(environment, rules, observe=False))
    peers = [SpiffeId.parse(f"spiffe://prod.example.org/n{number}/a") for number in (0, 4999, 5000)]

    def decide() -> list[bool]:
        if what == "not_from":
            return [policy.decide(peer, "t").allowed for peer in peers]
        return [policy.decide(peers[0], "t", f"GET {peer.path}").allowed for peer in peers]

    assert decide() == [False, False, True]
    policy.decide(peers[0], "t", "GET /n7/a")
    new = SpiffeId.parse("spiffe://prod.example.org/n77/a")
    assert calls_of(lambda: policy.decide(new, "t", "GET /n77/a")) < 500


def test_peers_with_the_same_rules_share_what_is_remembered() -> None:
    environment, rules = rules_of([{"effect": "allow", "from": ["/**"], "to": ["t"]}])
    matcher = Matcher(rules, environment.trust_domains)
    assert matcher.about(Standing(PEERS[0]), "t") is matcher.about(Standing(PEERS[1]), "t")


def test_a_rule_costs_the_sum_of_its_lists_and_not_their_product() -> None:
    names = [f"d{number}" for number in range(3000)]
    document = {
        "version": 1,
        "environments": {"prod": {"trust_domains": ["prod.example.org"], "federates_with": names}},
        "allow": [
            {
                "id": "r",
                "from": [*(f"spiffe://{each}/a" for each in names), *(f"/{each}/*" for each in names)],
                "to": names,
            }
        ],
    }
    tracemalloc.start()
    try:
        policy = Policy.from_json(json.dumps(document), "prod")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150 * 1024 * 1024  # the product is 9 million
    assert policy.decide(SpiffeId.parse("spiffe://d2999/a"), "d2999").rule == "r"

"""Deny beats allow, no matching allow is a refusal, and order means nothing."""

from __future__ import annotations

import json
import random
import tomllib
from itertools import product
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import REQUEST_FOLLOWS, BundleSet, ChainVerifier, Policy, Reason, Request, SpiffeId
from meshid.policy import Effect, RequestLike
from meshid.testing import CA

PROD = "spiffe://prod.example.org"
DEV = "spiffe://dev.example.org"
OLD = "spiffe://old.example.org"
PARTNER = "spiffe://partner.example"

TOML = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org", "old.example.org"]
federates_with = ["partner.example"]
[environments.dev]
trust_domains = ["dev.example.org"]
federates_with = ["partner.example"]
[[allow]]
id = "checkout"
why = "Checkout charges cards."
from = ["/ns/checkout/sa/api", "/ns/shop/**"]
to = ["payments", "ledger/*"]
[[allow]]
id = "partner"
from = ["spiffe://partner.example/ns/pay/*"]
to = ["payments"]
[[allow]]
id = "support"
from = ["/ns/support/**"]
to = ["payments"]
http = ["GET /v1/charges/*", "* /health"]
[[deny]]
id = "no-ci"
from = ["/ns/ci/**", "/ns/shop/sa/ci"]
to = ["**"]
[[deny]]
id = "no-deletes"
from = ["/ns/shop/sa/web"]
to = ["payments"]
http = ["DELETE /**"]
"""


def name(text: str) -> SpiffeId:
    return SpiffeId.parse(text)


def policy(toml: str = TOML, environment: str = "prod") -> Policy:
    return Policy.from_toml(toml, environment=environment)


@pytest.mark.parametrize(
    ("peer", "target", "reason", "rule"),
    [
        (f"{PROD}/ns/checkout/sa/api", "payments", Reason.ALLOWED, "checkout"),
        (f"{PROD}/ns/checkout/sa/api", "ledger/prod", Reason.ALLOWED, "checkout"),
        (f"{PROD}/ns/checkout/sa/api", "ledger", Reason.NO_RULE, None),
        (f"{PROD}/ns/checkout/sa/api", "Payments", Reason.NO_RULE, None),
        (f"{PROD}/ns/checkout/sa/apis", "payments", Reason.NO_RULE, None),
        (f"{PROD}/ns/checkout/sa/API", "payments", Reason.NO_RULE, None),
        (f"{OLD}/ns/checkout/sa/api", "payments", Reason.ALLOWED, "checkout"),
        (f"{DEV}/ns/checkout/sa/api", "payments", Reason.NO_RULE, None),
        (f"{PARTNER}/ns/checkout/sa/api", "payments", Reason.NO_RULE, None),
        (f"{PARTNER}/ns/pay/x", "payments", Reason.ALLOWED, "partner"),
        (f"{PROD}/ns/pay/x", "payments", Reason.NO_RULE, None),
        (f"{PROD}/ns/shop/sa/ci", "payments", Reason.DENIED, "no-ci"),
        (f"{PROD}/ns/ci/sa/runner", "anything/at/all", Reason.DENIED, "no-ci"),
        (f"{DEV}/ns/ci/sa/runner", "payments", Reason.NO_RULE, None),
        (f"{PROD}/ns/nobody/sa/x", "payments", Reason.NO_RULE, None),
    ],
)
def test_the_decision_is_that_of_the_rules(peer: str, target: str, reason: Reason, rule: str | None) -> None:
    decision = policy().decide(name(peer), target)
    assert (decision.reason, decision.rule) == (reason, rule)
    assert decision.allowed is bool(decision) is (reason is Reason.ALLOWED)
    assert (decision.name, decision.target, decision.request) == (peer, target, None)
    assert decision.policy_hash == policy().hash


class TestOneFileForEveryEnvironment:
    """The same file in dev and in prod gives each its own peers."""

    @pytest.mark.parametrize(("environment", "own", "other"), [("prod", PROD, DEV), ("dev", DEV, PROD)])
    def test_a_path_means_the_environments_own_trust_domain(
        self, environment: str, own: str, other: str
    ) -> None:
        loaded = policy(environment=environment)
        assert loaded.decide(name(f"{own}/ns/checkout/sa/api"), "payments")
        assert not loaded.decide(name(f"{other}/ns/checkout/sa/api"), "payments")

    def test_a_trust_domain_in_a_rule_means_that_one_in_each(self) -> None:
        for environment in ("prod", "dev"):
            assert policy(environment=environment).decide(name(f"{PARTNER}/ns/pay/x"), "payments")


class TestAtTheHandshake:
    """There is no request yet; it is never looser than the file reads."""

    @pytest.mark.parametrize(
        ("peer", "request_", "reason", "rule"),
        [
            # An allow rule with conditions
            ("/ns/support/x", None, Reason.NO_RULE, None),
            ("/ns/support/x", REQUEST_FOLLOWS, Reason.REQUEST_AWAITED, "support"),
            ("/ns/support/x", "GET /v1/charges/1", Reason.ALLOWED, "support"),
            ("/ns/support/x", "POST /v1/charges/1", Reason.NO_RULE, None),
            ("/ns/support/x", "GET /v1/charges/1/2", Reason.NO_RULE, None),
            ("/ns/support/x", "TRACE /health", Reason.ALLOWED, "support"),
            # A deny rule with conditions, and an allow rule without
            ("/ns/shop/sa/web", None, Reason.DENIED, "no-deletes"),
            ("/ns/shop/sa/web", REQUEST_FOLLOWS, Reason.ALLOWED, "checkout"),
            ("/ns/shop/sa/web", "DELETE /v1/charges/1", Reason.DENIED, "no-deletes"),
            ("/ns/shop/sa/web", "GET /v1/charges/1", Reason.ALLOWED, "checkout"),
            # Neither has any
            ("/ns/checkout/sa/api", REQUEST_FOLLOWS, Reason.ALLOWED, "checkout"),
            ("/ns/checkout/sa/api", "GET /x", Reason.ALLOWED, "checkout"),
            ("/ns/ci/x", REQUEST_FOLLOWS, Reason.DENIED, "no-ci"),
            ("/ns/ci/x", "GET /health", Reason.DENIED, "no-ci"),
        ],
    )
    def test_a_condition_is_undecided_only_if_requests_are_promised(
        self, peer: str, request_: RequestLike, reason: Reason, rule: str | None
    ) -> None:
        decision = policy().decide(name(PROD + peer), "payments", request_)
        assert (decision.reason, decision.rule) == (reason, rule)

    def test_a_rule_for_all_requests_is_named_before_one_for_some(self) -> None:
        both = (
            TOML + '[[allow]]\nid = "a-some"\nfrom = ["/ns/checkout/**"]\nto = ["**"]\nhttp = ["GET /**"]\n'
        )
        decision = policy(both).decide(name(f"{PROD}/ns/checkout/sa/api"), "payments", REQUEST_FOLLOWS)
        assert (decision.reason, decision.rule) == (Reason.ALLOWED, "checkout")
        decision = policy(both).decide(name(f"{PROD}/ns/checkout/sa/api"), "payments", "GET /x")
        assert (decision.reason, decision.rule) == (Reason.ALLOWED, "a-some"), "else the smallest id is named"


@pytest.mark.parametrize("sent", ["GET /v1/../health", "GET", "GET //health", "GET /health%00"])
def test_an_unsafe_request_is_refused_whatever_the_rules_say(sent: str) -> None:
    decision = policy().decide(name(f"{PROD}/ns/checkout/sa/api"), "payments", sent)
    assert decision.reason is Reason.UNSAFE_REQUEST
    assert decision.detail
    assert decision.request is not None
    assert decision.request.isprintable()


def test_the_query_of_an_unsafe_request_is_not_shown() -> None:
    decision = policy().decide(name(f"{PROD}/x"), "payments", "GET /..?token=secret")
    assert decision.request == "'GET /..'"
    assert "secret" not in decision.detail


def test_a_request_may_be_given_as_a_value() -> None:
    decision = policy().decide(name(f"{PROD}/ns/support/x"), "payments", Request("GET", "/v1/charges/7?x=1"))
    assert (decision.allowed, decision.request) == (True, "GET /v1/charges/7")


def test_a_verified_peer_is_judged_by_its_name() -> None:
    ca = CA("prod.example.org")
    peer = ChainVerifier(BundleSet([ca.bundle()])).verify(ca.issue("/ns/shop/sa/web").chain)
    assert policy().decide(peer, "ledger/x") == policy().decide(peer.spiffe_id, "ledger/x")
    assert policy().explain(peer, "ledger/x").decision.allowed


class TestObserve:
    """`observe = true` decides nothing, and records what it would have decided."""

    def test_an_observing_rule_decides_nothing(self) -> None:
        watching = TOML.replace('id = "no-ci"', 'id = "no-ci"\nobserve = true')
        decision = policy(watching).decide(name(f"{PROD}/ns/shop/sa/ci"), "payments")
        assert (decision.reason, decision.rule, decision.observed) == (
            Reason.ALLOWED,
            "checkout",
            ("deny: no-ci",),
        )

    def test_an_observing_allow_rule_lets_nobody_in(self) -> None:
        watching = TOML.replace('id = "checkout"', 'id = "checkout"\nobserve = true')
        decision = policy(watching).decide(name(f"{PROD}/ns/checkout/sa/api"), "payments")
        assert (decision.reason, decision.observed) == (Reason.NO_RULE, ("allow: checkout",))

    @pytest.mark.parametrize(
        ("peer", "request_", "observed"),
        [
            ("/ns/checkout/sa/api", None, ("allow: checkout",)),
            ("/ns/ci/x", None, ("deny: no-ci",)),
            ("/ns/nobody", None, ("no_rule",)),
            ("/ns/nobody", "GET /..", ("unsafe_request",)),
            ("/ns/support/x", REQUEST_FOLLOWS, ("allow: support",)),
        ],
    )
    def test_an_observing_policy_lets_every_verified_peer_in_and_records(
        self, peer: str, request_: RequestLike, observed: tuple[str, ...]
    ) -> None:
        decision = policy("observe = true\n" + TOML).decide(name(PROD + peer), "payments", request_)
        assert (decision.allowed, decision.reason, decision.rule) == (True, Reason.OBSERVED, None)
        assert decision.observed == observed

    def test_both_at_once_are_both_recorded(self) -> None:
        watching = "observe = true\n" + TOML.replace('id = "no-ci"', 'id = "no-ci"\nobserve = true')
        decision = policy(watching).decide(name(f"{PROD}/ns/shop/sa/ci"), "payments")
        assert decision.observed == ("allow: checkout", "deny: no-ci")


def test_a_repeated_question_gets_the_same_answer_object() -> None:
    loaded = policy()
    peer = name(f"{PROD}/ns/checkout/sa/api")
    assert loaded.decide(peer, "payments") is loaded.decide(name(str(peer)), "payments")


def test_an_empty_policy_lets_nobody_in() -> None:
    empty = policy('version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]')
    decision = empty.decide(name(f"{PROD}/ns/checkout/sa/api"), "payments")
    assert (decision.allowed, decision.reason) == (False, Reason.NO_RULE)


def test_a_pattern_of_everything_means_ones_own_peers_only() -> None:
    text = """
    version = 1
    [environments.prod]
    trust_domains = ["prod.example.org"]
    federates_with = ["partner.example"]
    [[allow]]
    id = "all"
    from = ["**"]
    to = ["**"]
    """
    assert policy(text).decide(name(f"{PROD}/x"), "payments")
    assert not policy(text).decide(name(f"{PARTNER}/x"), "payments")
    assert policy(text) == policy(text.replace('["**"]\n    to', '["/**"]\n    to'))


# -- The hash -----------------------------------------------------------------


def shuffled(document: object, seed: float) -> object:
    """Put everything whose order means nothing into another order."""
    order = random.Random(seed)  # noqa: S311 - no secret is made of it
    if isinstance(document, dict):
        items = list(document.items())
        order.shuffle(items)
        return {
            key: value if key == "trust_domains" else shuffled(value, order.random()) for key, value in items
        }
    if isinstance(document, list):
        elements = [shuffled(element, order.random()) for element in document]
        order.shuffle(elements)
        return elements
    return document


@given(st.integers())
def test_the_same_rules_have_the_same_hash_in_any_order_and_format(seed: int) -> None:
    document = shuffled(tomllib.loads(TOML), seed)
    assert Policy.from_json(json.dumps(document), environment="prod").hash == policy().hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"/ns/checkout/sa/api"', '"/ns/checkout/sa/ap"'),
        ('id = "partner"', 'id = "partners"'),
        ('to = ["**"]', 'to = ["*"]'),
        ('http = ["DELETE /**"]', 'http = ["DELETE /*"]'),
        ('http = ["DELETE /**"]', ""),
        ('id = "no-ci"', 'id = "no-ci"\nobserve = true'),
        ("version = 1", "version = 1\nobserve = true"),
        (', "old.example.org"', ""),
        ('"prod.example.org", "old.example.org"', '"old.example.org", "prod.example.org"'),
        ('[[deny]]\nid = "no-ci"', '[[allow]]\nid = "no-ci"'),
    ],
)
def test_another_meaning_is_another_hash(old: str, new: str) -> None:
    assert old in TOML
    assert policy(TOML.replace(old, new, 1)).hash != policy().hash


def test_what_a_rule_is_for_does_not_count() -> None:
    assert policy(TOML.replace("charges cards", "does")) == policy()
    assert hash(policy(TOML.replace("charges cards", "does"))) == hash(policy())


def test_a_policy_never_changes() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy().rules = ()  # type: ignore[misc]


def test_a_policy_is_equal_to_policies_only() -> None:
    same_hash: object = policy().hash
    assert policy() != same_hash
    assert policy() != policy(environment="dev")
    assert "for prod, 5 rules" in repr(policy())


# -- Against a reference ------------------------------------------------------

_PATHS = ["/a", "/b", "/a/b"]
_SOURCES = ["/a", "/*", "/**", "spiffe://partner.example/a", "spiffe://prod.example.org/*"]
_TARGETS = ["t", "u"]
_HTTP = [[], ["GET /x"], ["* /x"], ["GET /**"]]
_RULES = st.lists(
    st.tuples(
        st.sampled_from(["allow", "deny"]),
        st.sampled_from(_SOURCES),
        st.sampled_from([*_TARGETS, "*"]),
        st.sampled_from(_HTTP),
        st.booleans(),
    ),
    max_size=5,
)


def covers(source: str, peer: str) -> bool:
    """Read one `from` of `_SOURCES` in the words of the design."""
    domain, path = peer.removeprefix("spiffe://").split("/", 1)
    wanted, pattern = "prod.example.org", source.removeprefix("/")
    if source.startswith("spiffe://"):
        wanted, pattern = source.removeprefix("spiffe://").split("/", 1)
    return domain == wanted and (pattern in {"**", path} or (pattern == "*" and "/" not in path))


def asks(http: list[str], request: str) -> bool:
    """Read one `http` of `_HTTP`."""
    method, path = request.split(" ")
    return any(condition in {f"{m} {p}" for m in ("*", method) for p in ("/**", path)} for condition in http)


def reference(
    rules: list[Any], peer: str, target: str, request: RequestLike
) -> tuple[str, str | None, tuple[str, ...]]:
    """Say the reason, the rule and what was observed, in the words of the design."""
    found: dict[str, list[str]] = {"allow": [], "deny": [], "await": [], "observed": []}
    for number, (effect, source, to, http, observe) in enumerate(rules):
        if not covers(source, peer) or to not in {"*", target}:
            continue
        does = effect
        if http and request is None and effect == "allow":
            continue
        if http and request is REQUEST_FOLLOWS:
            if effect == "deny":
                continue
            does = "await"
        if http and isinstance(request, str) and not asks(http, request):
            continue
        if observe:
            found["observed"].append(f"{effect}: r{number}")
        else:
            found[does].append(f"r{number}")
    observed = tuple(sorted(found["observed"]))
    for does, reason in (("deny", "denied"), ("allow", "allowed"), ("await", "request_awaited")):
        if found[does]:
            return reason, min(found[does]), observed
    return "no_rule", None, observed


@pytest.mark.slow
@given(_RULES)
def test_decide_agrees_with_a_naive_reading_and_explain_with_decide(rules: list[Any]) -> None:
    document: dict[str, Any] = {
        "version": 1,
        "environments": {
            "prod": {"trust_domains": ["prod.example.org"], "federates_with": ["partner.example"]}
        },
        "allow": [],
        "deny": [],
    }
    for number, (effect, source, to, http, observe) in enumerate(rules):
        rule = {"id": f"r{number}", "from": [source], "to": [to], "observe": observe}
        document[effect].append(rule | ({"http": http} if http else {}))
    loaded = Policy.from_json(json.dumps(document), environment="prod")
    watching = Policy.from_json(json.dumps(document | {"observe": True}), environment="prod")
    peers = [domain + path for domain, path in product([PROD, PARTNER], _PATHS)]
    requests: list[RequestLike] = [None, REQUEST_FOLLOWS, "GET /x", "POST /x", "GET /y"]
    for peer, target, request in product(peers, _TARGETS, requests):
        decision = loaded.decide(name(peer), target, request)
        assert (decision.reason, decision.rule, decision.observed) == reference(rules, peer, target, request)
        assert_explained(loaded, name(peer), target, request)
        watched = watching.decide(name(peer), target, request)
        assert (watched.reason, watched.observed[1:]) == (Reason.OBSERVED, decision.observed)
        assert watched.observed[0].split(": ")[-1] == (decision.rule or decision.reason)


def assert_explained(loaded: Policy, peer: SpiffeId, target: str, request: RequestLike) -> None:
    explanation = loaded.explain(peer, target, request)
    decision = explanation.decision
    assert decision == loaded.decide(peer, target, request)
    assert [look.rule for look in explanation.rules] == list(loaded.rules)
    deciding = [look for look in explanation.rules if not look.rule.observe]
    matching = {
        effect: [x.rule.id for x in deciding if x.matches and x.rule.effect == effect] for effect in Effect
    }
    awaiting = [x.rule.id for x in deciding if x.awaits and x.rule.effect is Effect.ALLOW]
    for ids, reason in (
        (matching[Effect.DENY], Reason.DENIED),
        (matching[Effect.ALLOW], Reason.ALLOWED),
        (awaiting, Reason.REQUEST_AWAITED),
    ):
        if ids:
            assert (decision.reason, decision.rule, explanation.nearest) == (reason, ids[0], ())
            return
    assert decision.reason is Reason.NO_RULE
    if explanation.nearest:
        assert decision.detail == str(explanation.nearest[0])
    else:
        assert decision.detail.startswith("no allow rule comes near")


@pytest.mark.parametrize("ask", [Policy.decide, Policy.explain])
def test_an_argument_of_a_wrong_type_is_a_mistake_of_the_caller(ask: Any) -> None:  # noqa: ANN401 - with wrong types
    peer = name(f"{PROD}/ns/checkout/sa/api")
    with pytest.raises(TypeError, match=r"^a peer must be a Peer or a SpiffeId, not str$"):
        ask(policy(), str(peer), "payments")
    with pytest.raises(TypeError, match=r"^target must be a str, not NoneType$"):
        ask(policy(), peer, None)
    with pytest.raises(TypeError, match=r"^a request must be a str, not bytes$"):
        ask(policy(), peer, "payments", b"GET /")


class TestRemembering:
    def test_only_short_requests_that_are_allowed_are_remembered(self) -> None:
        policy = Policy.from_toml(TOML, environment="prod")
        support, web = name(f"{PROD}/ns/support/sa/a"), name(f"{PROD}/ns/shop/sa/web")
        longest = "/v1/charges/" + "a" * 500
        for peer, target, request, allowed in (
            (support, "payments", Request("GET", "/v1/charges/1"), True),
            (support, "payments", Request("POST", "/v1/charges/1"), False),
            (support, "ledger/a", Request("GET", "/v1/charges/1"), False),
            (web, "payments", Request("DELETE", "/v1/charges/1"), False),
            (web, "payments", Request("GET", longest), True),
            (web, "payments", Request("GET", f"{longest}a"), True),
        ):
            decisions = [policy.decide(peer, target, request) for _ in range(2)]
            decisions.append(policy.decide(peer, target, str(request)))
            assert [each.allowed for each in decisions] == [allowed] * 3
            assert decisions[0] == decisions[1] == decisions[2]
            remembered = allowed and len(request.path) <= len(longest)
            assert (decisions[0] is decisions[1]) == (decisions[0] is decisions[2]) == remembered

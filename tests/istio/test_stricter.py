"""What has no equivalent is imported by asking only, and never so that more is let in than by Istio."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid import Policy, SpiffeId
from meshid.istio import Imported, import_istio
from tests.helpers.istio_proxies import Workload, actions
from tests.istio.test_istio import OWN, document

RULE = "'mesh.yaml': shop/p: spec.rules[0]"
LESS = ": less is allowed than by Istio"
MORE = ": more is denied than by Istio"


def imported(*policies: dict[str, Any]) -> Imported:
    data = "\n---\n".join(map(json.dumps, policies)).encode()
    return import_istio([("mesh.yaml", data)], environment="prod", trust_domains=[OWN], stricter=True)


def tables(*policies: dict[str, Any]) -> list[tuple[list[str], list[str], list[str], list[str]]]:
    """Return whom and what each rule is about, and whom and what it leaves out."""
    rules = Policy.from_toml(imported(*policies).toml, "prod").rules
    return [
        tuple(
            [str(each) for each in part]
            for part in (rule.sources, rule.http, rule.not_sources, rule.not_http)
        )  # type: ignore[misc]
        for rule in rules
    ]


def test_an_entry_of_an_allow_is_left_out_and_the_others_stay() -> None:
    policy = document(
        rules=[
            {
                "from": [
                    {"source": {"namespaces": ["a"], "requestPrincipals": ["*"]}},
                    {"source": {"namespaces": ["b"]}},
                ],
                "to": [
                    {"operation": {"paths": ["/a"], "hosts": ["x.example"]}},
                    {"operation": {"paths": ["/b"]}},
                ],
            }
        ]
    )
    assert tables(policy) == [(["/ns/b/sa/*"], ["* /b"], [], [])]
    assert imported(policy).notes[:2] == (
        f"{RULE}.from[0].source.requestPrincipals: is about the token of an end user{LESS}",
        f"{RULE}.to[0].operation.hosts: is about the header Host, which is not judged{LESS}",
    )


@pytest.mark.parametrize(
    "rule",
    [
        {"from": [{"source": {"ipBlocks": ["192.0.2.0/24"]}}]},
        {"to": [{"operation": {"notPorts": ["80"]}}]},
        {"when": [{"key": "request.headers[x-a]", "values": ["b"]}]},
        {"when": [{"key": "destination.port", "values": ["80"], "notValues": ["81"]}]},
    ],
    ids=str,
)
def test_an_allow_whose_entries_are_all_left_out_lets_nobody_in(rule: dict[str, Any]) -> None:
    assert tables(document(rules=[rule])) == []
    assert imported(document(rules=[rule])).notes[0].endswith(LESS)


def test_a_deny_denies_without_what_has_no_equivalent() -> None:
    policy = document(
        action="DENY",
        rules=[
            {
                "from": [{"source": {"namespaces": ["a"], "notRequestPrincipals": ["*"]}}],
                "to": [{"operation": {"paths": ["/a"], "notHosts": ["x.example"]}}],
                "when": [{"key": "source.ip", "values": ["192.0.2.1"]}],
            }
        ],
    )
    assert tables(policy) == [(["/**/ns/a/*/**"], ["* /a"], [], [])]
    assert [each.endswith(MORE) for each in imported(policy).notes] == [True, True, True, False, False]


def test_what_is_left_of_a_deny_may_be_everything() -> None:
    policy = document(action="DENY", rules=[{"from": [{"source": {"notRequestPrincipals": ["*"]}}]}])
    assert tables(policy) == [(["/**"], [], [], [])]
    assert imported(policy).notes[1] == (
        "'mesh.yaml': shop/p: spec.rules[0]: now denies everything to everybody"
    )


def test_a_policy_of_waypoints_is_left_out_or_denies_in_the_whole_namespace() -> None:
    spec: Any = {"targetRefs": [{"kind": "Service", "group": "", "name": "pay"}], "rules": [{}]}
    assert tables(document(**spec)) == []
    (rule,) = Policy.from_toml(imported(document(action="DENY", **spec)).toml, "prod").rules
    assert (rule.effect, list(map(str, rule.targets))) == ("deny", ["shop/**"])


def test_a_star_in_the_middle_of_a_path_lets_in_less() -> None:
    paths = {"paths": ["/a/*/b", "/c", "/d/**"]}
    rules: Any = [{"to": [{"operation": {**paths, "notPaths": ["*/e/*", "*/f*/g"]}}]}]
    not_http = ["* /**/e/*", "* /**/f*/g"]
    assert tables(document(rules=rules)) == [(["/**"], ["* /c"], [], not_http)]
    wide = ["* /a/*/b", "* /c", "* /d/*/**"]
    assert tables(document(action="DENY", rules=rules)) == [(["/**"], wide, [], [])]
    only = [{"to": [{"operation": {"paths": ["/a/*/b"]}}]}]
    assert tables(document(rules=only)) == []


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("/a/{*}", "/a/*"),
        ("/a/{*}/b", "/a/*/b"),
        ("/a/{**}", "/a/**"),
        ("{**}/a", "/**/a"),
        ("/a/{**}.txt", "/a/**/*.txt"),
        ("/a/b{**}", "/a/b*/**"),
    ],
)
def test_a_template_is_read_widely_in_a_deny_only(template: str, pattern: str) -> None:
    rules: Any = [{"to": [{"operation": {"paths": [template]}}]}]
    assert tables(document(action="DENY", rules=rules)) == [(["/**"], [f"* {pattern}"], [], [])]
    assert tables(document(rules=rules)) == []


def test_custom_is_left_out_by_asking_and_told() -> None:
    policies = [document(name="ask", action="CUSTOM", provider={"name": "x"}), document(rules=[{}])]
    data = "\n---\n".join(map(json.dumps, policies)).encode()
    result = import_istio([("mesh.yaml", data)], environment="prod", trust_domains=[OWN], without_custom=True)
    assert [rule.id for rule in Policy.from_toml(result.toml, "prod").rules] == ["shop.p.0"]
    assert result.notes[0] == (
        "'mesh.yaml': shop/ask: is left out, so everything that its extension provider would refuse is not"
        " refused"
    )


# -- Never looser --------------------------------------------------------------

PATHS = st.sampled_from(["/v", "/v/*", "*/w", "/v/*/w", "*/v/*", "/v/**"])
OPERATIONS = st.fixed_dictionaries(
    {"paths": st.lists(PATHS, min_size=1, max_size=2)},
    optional={"notPaths": st.lists(PATHS, min_size=1, max_size=2)},
)
UNJUDGED = st.fixed_dictionaries(
    {"namespaces": st.just(["a"])},
    optional={"requestPrincipals": st.just(["*"]), "notIpBlocks": st.just(["::/0"])},
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(UNJUDGED.map(lambda each: {"source": each}), min_size=1, max_size=2),
        "to": st.lists(OPERATIONS.map(lambda each: {"operation": each}), min_size=1, max_size=2),
        "when": st.just([{"key": "request.headers[x-a]", "values": ["b"]}]),
    },
)
POLICIES = st.lists(
    st.tuples(st.sampled_from(["ALLOW", "ALLOW", "DENY"]), st.lists(RULES, min_size=1, max_size=2)),
    min_size=1,
    max_size=3,
).map(
    lambda found: [
        document(name=f"p{n}", action=action, rules=rules) for n, (action, rules) in enumerate(found)
    ]
)
PEERS = [SpiffeId.parse(f"spiffe://{OWN}{path}") for path in ("/ns/a/sa/x", "/ns/b/sa/x")]
REQUESTS = [f"GET {path}" for path in ("/v", "/v/x", "/v/x/w", "/v/*/w", "/x/v/*", "/v/*", "/w", "/v/x/y/w")]


def at_worst(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a policy with what is not judged as it is when least is let in."""
    is_deny = policy["spec"]["action"] == "DENY"
    rules = []
    for rule in policy["spec"]["rules"]:
        if "when" in rule and not is_deny:
            continue
        sources = [each for each in rule.get("from", []) if is_deny or set(each["source"]) == {"namespaces"}]
        if "from" in rule and not sources:
            continue
        rules.append(
            {**{key: rule[key] for key in ("to",) if key in rule}, **({"from": sources} if sources else {})}
        )
    return {**policy, "spec": {**policy["spec"], "rules": rules}}


@pytest.mark.slow
@settings(max_examples=60)
@given(POLICIES)
def test_nobody_is_let_in_whom_istio_could_refuse(policies: list[dict[str, Any]]) -> None:
    policy = Policy.from_toml(imported(*policies).toml, "prod")
    worst = [at_worst(each) for each in policies]
    workload = Workload("shop", {"app": "pay"}, "80")
    for peer, request in product(PEERS, REQUESTS):
        if policy.decide(peer, "shop/pay", request).allowed:
            assert actions(worst, str(peer), workload, request, [OWN]) == {"ALLOW"}, (str(peer), request)

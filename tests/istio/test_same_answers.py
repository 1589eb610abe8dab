"""Everybody gets the answer of Istio's proxies: an ALLOW that all of them give, a DENY that any gives."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from meshid import Policy, SpiffeId
from meshid.istio import InvalidIstioPolicy
from tests.helpers.istio_proxies import Workload, actions
from tests.istio.test_istio import OLD, OWN, PARTNER, document, imported, of

PRINCIPALS = st.sampled_from(
    [
        "*",
        "cluster.local/ns/a/sa/x",
        f"{OWN}/ns/a/sa/x",
        f"{PARTNER}/ns/a/sa/x",
        "cluster.local/ns/a/*",
        "cluster.local/ns/a*",
        f"{PARTNER}/ns*",
        "cluster.local/*",
        "*/sa/x",
        "*x",
        "*a/sa/x",
        "*org/ns/a/sa/x",
        "*d/ns/a/sa/x",
        "*e/ns/a/sa/x",
        "*l/ns/a/sa/x",
        "*/ns/a/sa/x",
        "*local/sa/x",
        "cluster.local/ns/a/sa/*",
        f"{OLD}/ns/a/sa/x",
        f"{OLD}/ns/a/*",
        f"{OWN}/ns/a/sa/x/*",
        "cluster.local/ns/a",
    ]
)
NAMES = st.sampled_from(["*", "a", "a*", "*a", "ab"])
ACCOUNTS = st.sampled_from(["x", "a/x", "ab/xy"])
METHODS = st.sampled_from(["GET", "PUT", "*"])
PATHS = st.sampled_from(["*", "/", "/v", "/v/", "/v*", "/v/*", "/*", "*/v", "*v", "/v/w", "/v/w*"])
PORTS = st.sampled_from(["80", "81"])


def some(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(values, min_size=1, max_size=2, unique=True)


SOURCES = st.fixed_dictionaries(
    {},
    optional={
        "principals": some(PRINCIPALS),
        "notPrincipals": some(PRINCIPALS),
        "namespaces": some(NAMES),
        "notNamespaces": some(NAMES),
        "serviceAccounts": some(ACCOUNTS),
        "notServiceAccounts": some(ACCOUNTS),
    },
).filter(lambda source: 0 < len(source) < 4)
OPERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "methods": some(METHODS),
        "notMethods": some(METHODS),
        "paths": some(PATHS),
        "notPaths": some(PATHS),
        "ports": some(PORTS),
    },
).filter(bool)


def condition(key: str, values: st.SearchStrategy[str], *names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"key": st.just(key)}, optional=dict.fromkeys(names, some(values))).filter(
        lambda each: len(each) > 1
    )


CONDITIONS = st.one_of(
    condition("source.principal", PRINCIPALS, "values", "notValues"),
    condition("source.namespace", NAMES, "values", "notValues"),
    condition("source.serviceAccount", ACCOUNTS, "values", "notValues"),
    condition("destination.port", PORTS, "values"),
)
ISTIO_RULES = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(SOURCES.map(lambda each: {"source": each}), min_size=1, max_size=2),
        "to": st.lists(OPERATIONS.map(lambda each: {"operation": each}), min_size=1, max_size=2),
        "when": st.lists(CONDITIONS, min_size=1, max_size=1),
    },
)
SELECTORS = st.sampled_from(
    [{}, {"app": "pay"}, {"app": "ship"}, {"tier": "1"}, {"app": "ship", "tier": "1"}]
)


def istio_policy(
    namespace: str, labels: dict[str, str], action: str | None, rules: list[Any], *, dry_run: bool
) -> dict[str, Any]:
    spec: dict[str, Any] = {"rules": rules}
    if labels:
        spec["selector"] = {"matchLabels": labels}
    if action:
        spec["action"] = action
    policy = {**document(namespace=namespace), "spec": spec}
    if dry_run:
        policy["metadata"]["annotations"] = {"istio.io/dry-run": "true"}
    return policy


def named(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for number, policy in enumerate(policies):
        policy["metadata"]["name"] = f"p{number}"
    return policies


POLICIES = st.lists(
    st.builds(
        istio_policy,
        st.sampled_from(["shop", "a", "istio-system"]),
        SELECTORS,
        st.sampled_from(["ALLOW", "DENY", "AUDIT", None]),
        st.lists(ISTIO_RULES, max_size=2),
        dry_run=st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=3,
).map(named)

# -- A small world -------------------------------------------------------------

IDS = [
    "/ns/a/sa/x",
    "/ns/ab/sa/x",
    "/ns/ab/sa/xy",
    "/ns/a",
    "/ns/shop/sa/x",
    "/ns/b/sa/y",
    "/q/ns/a/sa/x",
    "/sa/x",
    "/ns/a/sa/x/y",
    "/ns/a/r/1/sa/x",
    "/ns/a/b/c",
    "/ns/b/ns/a/sa/x",
    "/ns/ns/sa/x",
]
PEERS = [
    SpiffeId.parse(f"spiffe://{domain}{path}")
    for domain, paths in {OWN: IDS, OLD: IDS[:5], PARTNER: IDS[:7], "cluster.local": IDS[:2]}.items()
    for path in paths
]
# It makes these known, as they are to a mesh that federates with them, and says nothing else.
FEDERATED = document(
    name="f",
    namespace="other",
    rules=[{"from": [{"source": {"principals": [f"{PARTNER}/none", "cluster.local/none"]}}]}],
)
REQUESTS = [f"{m} {p}" for m, p in product(["GET", "PUT"], ["/", "/v", "/v/", "/v/w", "/w/v"])]
WORKLOADS = [
    Workload("shop", {"app": "pay"}, "80"),
    Workload("shop", {"app": "ship", "tier": "1"}, "80"),
    Workload("shop", {"app": "ship", "tier": "2"}, "81"),
    Workload("a", {"tier": "1"}, "81"),
]


def target(policies: list[dict[str, Any]], workload: Workload) -> str:
    """Call a workload as the notes of the import say."""
    keys: dict[str, set[str]] = {"istio-system": set(), workload.namespace: set()}
    for policy in policies:
        labels = policy["spec"].get("selector", {}).get("matchLabels", {})
        keys.setdefault(policy["metadata"]["namespace"], set()).update(labels)
    first = sorted(keys["istio-system"])
    order = first + sorted(keys[workload.namespace] - set(first)) or ["app"]
    parts = [workload.namespace, *(workload.labels.get(key, "-") for key in order)]
    has_ports = any(word in str(policies) for word in ("'ports'", "destination.port"))
    return "/".join([*parts, workload.port] if has_ports else parts)


def answers_differ(policies: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return the questions to which the imported policy and Istio's proxies have different answers."""
    policies = [*policies, FEDERATED]
    policy = Policy.from_toml(imported(*policies, aliases=[OLD]).toml, environment="prod")
    differ = []
    for workload in WORKLOADS:
        name = target(policies, workload)
        for peer, request in product(PEERS, REQUESTS):
            taken = actions(policies, str(peer), workload, request, [OWN, OLD])
            allowed = "ALLOW" in taken and "DENY" not in taken
            if policy.decide(peer, name, request).allowed != allowed:
                differ.append((str(peer), name, request))
    return differ


@pytest.mark.slow
@settings(max_examples=60)
@given(POLICIES)
def test_everybody_gets_the_same_answer_as_from_istio(policies: list[dict[str, Any]]) -> None:
    try:
        differ = answers_differ(policies)
    except InvalidIstioPolicy as error:
        # Two fields of one source that no pattern says together.
        assert all("overlap in part" in str(problem) for problem in error.problems)
        reject()
    assert differ == []


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize(
    "source",
    [
        {"principals": ["cluster.local/ns/a/*"]},
        {"principals": ["cluster.local/ns/a/sa/*"]},
        {"principals": ["cluster.local/ns/a/sa/x/y"]},
        {"principals": [f"{OWN}/ns/a/*"]},
        {"principals": [f"{OLD}/ns/a/sa/x"]},
        {"principals": ["*d/ns/a/sa/x"]},
        {"principals": ["*d/sa/x"]},
        {"principals": ["*org/ns/a/sa/x"]},
        {"namespaces": ["a"]},
        {"namespaces": ["a*"]},
        {"namespaces": ["*b"]},
        {"namespaces": ["*"]},
        {"serviceAccounts": ["a/x"]},
        {"serviceAccounts": ["x"]},
        {"principals": ["prod*"]},
        {"principals": [f"{OWN}/ns/*/sa/x", "_", "/ns/a", f"{OWN}/ns/b/sa/y"]},
        {"notPrincipals": ["cluster.local/ns/a/sa/x", "*y"]},
        {"notPrincipals": ["*"]},
        {"notPrincipals": ["_"]},
        {"notNamespaces": ["a"]},
        {"notNamespaces": ["a*", "*p"]},
        {"notServiceAccounts": ["x", "a/x"]},
        {"namespaces": ["a"], "notServiceAccounts": ["a/x"]},
        {"namespaces": ["a*"], "notNamespaces": ["ab"]},
        {"namespaces": ["ns"], "notNamespaces": ["sa"]},
        {"namespaces": ["a*"], "notPrincipals": ["cluster.local/ns/a/sa/x"]},
        {"principals": ["*"], "notNamespaces": ["a"]},
        {"principals": ["cluster.local/ns/a/sa/x", "cluster.local/ns/b/sa/y"], "namespaces": ["a"]},
        {"principals": [f"{OLD}/ns/a/*"], "notNamespaces": ["b"], "namespaces": ["a"]},
        {"principals": [f"{PARTNER}/ns/a/sa/x", f"{OLD}/ns/a/sa/x/y"], "namespaces": ["a"]},
        {"namespaces": ["*"], "serviceAccounts": ["a/x"]},
        {"namespaces": ["b"], "principals": ["cluster.local/ns/a/sa/x"]},
    ],
    ids=str,
)
def test_each_source_means_what_it_means_to_istio(action: str, source: dict[str, list[str]]) -> None:
    assert answers_differ(of(action, **source)) == []


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize(
    "rule",
    [
        {"when": [{"key": "source.namespace", "values": ["a"], "notValues": ["ab"]}]},
        {"when": [{"key": "source.principal", "notValues": ["cluster.local/ns/a/sa/x"]}]},
        {
            "when": [{"key": "source.serviceAccount", "values": ["a/x"]}],
            "from": [{"source": {"namespaces": ["a"]}}],
        },
        {
            "when": [{"key": "destination.port", "values": ["80"]}],
            "to": [{"operation": {"ports": ["80", "81"]}}],
        },
        {"when": [{"key": "destination.port", "values": ["80"]}], "to": [{"operation": {"ports": ["81"]}}]},
        {"to": [{"operation": {"ports": ["80"]}}, {"operation": {"ports": ["80"], "paths": ["/v"]}}]},
        {"to": [{"operation": {"notPaths": ["/v/*"], "notMethods": ["PUT"]}}]},
        {
            "to": [
                {"operation": {"notPaths": ["/v"]}},
                {"operation": {"methods": ["PUT"], "notPaths": ["*/w"]}},
            ]
        },
        {"to": [{"operation": {"ports": ["80"]}}, {"operation": {"ports": ["81"], "paths": ["/v"]}}]},
        {
            "from": [{"source": {"notNamespaces": ["a"]}}, {"source": {"namespaces": ["a"]}}],
            "to": [{"operation": {"methods": ["GET"]}}, {"operation": {"ports": ["81"]}}],
        },
    ],
    ids=str,
)
def test_each_rule_means_what_it_means_to_istio(action: str, rule: dict[str, Any]) -> None:
    policies = [document(name="p", action=action, rules=[rule])]
    assert (
        answers_differ(policies if action == "ALLOW" else [*policies, document(name="all", rules=[{}])]) == []
    )

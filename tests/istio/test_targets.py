"""Targets are called so that two workloads that Istio tells apart have two names."""

from __future__ import annotations

from typing import Any

import pytest

from meshid import Policy
from tests.istio.test_istio import document, imported

PORTS = [{"operation": {"ports": ["8080"]}}]


def selecting(labels: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    selector = {"selector": {"matchLabels": labels}} if labels else {}
    policy = document(name="-".join([*labels.values(), *spec]).lower())
    return {**policy, "spec": {**selector, **spec}}


def targets(*policies: dict[str, Any]) -> list[list[str]]:
    """Return the targets of each rule, in the order of the policies."""
    rules = Policy.from_toml(imported(*policies).toml, "prod").rules
    ids = [f"{each['metadata']['namespace']}.{each['metadata']['name']}.0" for each in policies]
    by_id = {rule.id: [str(target) for target in rule.targets] for rule in rules}
    return [by_id[each] for each in ids]


def in_root(policy: dict[str, Any]) -> dict[str, Any]:
    return {**policy, "metadata": {**policy["metadata"], "namespace": "istio-system"}}


ALL: dict[str, Any] = {"rules": [{}]}
DENY = {"action": "DENY", "rules": [{}]}
PORT = {"rules": [{"to": PORTS}]}
DENY_PORT = {"action": "DENY", "rules": [{"to": PORTS}]}
APP, TIER, BOTH = {"app": "pay"}, {"tier": "1"}, {"app": "pay", "tier": "1"}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        pytest.param([selecting({}, ALL)], [["shop/**"]], id="a namespace"),
        pytest.param([selecting(APP, ALL)], [["shop/pay"]], id="an app"),
        pytest.param([selecting(TIER, ALL)], [["shop/1"]], id="another label"),
        pytest.param(
            [selecting(APP, ALL), selecting(TIER, ALL), selecting(BOTH, ALL)],
            [["shop/pay/**"], ["shop/*/1"], ["shop/pay/1"]],
            id="two labels",
        ),
        pytest.param([selecting(BOTH, DENY)], [["shop/pay/1", "shop/pay"]], id="a deny with two labels"),
        pytest.param([selecting({}, PORT)], [["shop/*/8080"]], id="a port in a namespace"),
        pytest.param(
            [selecting({}, DENY_PORT)], [["shop/*/8080", "shop/*"]], id="a deny of a port in a namespace"
        ),
        pytest.param(
            [selecting(APP, PORT), selecting({"app": "ship"}, ALL)],
            [["shop/pay/8080"], ["shop/ship/**"]],
            id="a port, and all of them",
        ),
        pytest.param(
            [selecting(APP, DENY_PORT)], [["shop/pay/8080", "shop/pay"]], id="a deny of a port of an app"
        ),
        pytest.param(
            [selecting(TIER, DENY_PORT), selecting(BOTH, PORT)],
            [["shop/*/1/8080", "shop/*", "shop/*/1"], ["shop/pay/1/8080"]],
            id="a port and two labels",
        ),
        pytest.param([in_root(selecting({}, ALL))], [["**"]], id="everywhere"),
        pytest.param([in_root(selecting({}, PORT))], [["*/*/**/8080"]], id="a port everywhere"),
        pytest.param(
            [in_root(selecting({}, DENY_PORT))], [["*/*/**/8080", "*/*"]], id="a deny of a port everywhere"
        ),
        pytest.param(
            [in_root(selecting(TIER, ALL)), selecting(APP, ALL), selecting({}, ALL)],
            [["*/1/**"], ["shop/*/pay"], ["shop/**"]],
            id="a label everywhere",
        ),
        pytest.param(
            [in_root(selecting(TIER, DENY_PORT))],
            [["*/1/**/8080", "*/1"]],
            id="a port of a label everywhere",
        ),
    ],
)
def test_each_selector_has_its_pattern(policies: list[dict[str, Any]], expected: list[list[str]]) -> None:
    assert targets(*policies) == expected


def test_without_labels_a_selector_selects_the_namespace() -> None:
    assert targets(document(selector={}, rules=[{}])) == [["shop/**"]]
    assert targets(document(selector={"matchLabels": {}}, rules=[{}])) == [["shop/**"]]


def test_labels_and_ports_are_told() -> None:
    result = imported(
        selecting({"version": "2", "app": "pay"}, PORT),
        in_root(selecting({"istio": "gateway"}, ALL)),
    )
    assert result.notes[1:] == (
        (
            "targets are called namespace/app/port: name each service like that, as in"
            " Mesh(service='shop/payments/8080')"
        ),
        ("in shop, app is the value of the labels istio/app/version; write '-' for one that a service lacks"),
        (
            "in every other namespace, app is the value of the label istio; write '-' for one"
            " that a service lacks"
        ),
        "Istio lets everybody reach a workload that no ALLOW policy selects; here, nobody may",
    )


def test_ports_in_a_condition_are_ports() -> None:
    when = [{"key": "destination.port", "values": ["80", "8080"]}]
    assert targets(document(rules=[{"when": when}])) == [["shop/*/80", "shop/*/8080"]]
    assert targets(document(rules=[{"to": PORTS, "when": when}])) == [["shop/*/8080"]]
    more = [*when, {"key": "destination.port", "values": ["81", "80"]}]
    assert targets(document(rules=[{"when": more}])) == [["shop/*/80"]]
    assert not Policy.from_toml(imported(document(rules=[{"to": PORTS, "when": more}])).toml, "prod").rules

"""However much is in a file, and whatever it is: what it takes to say so is bounded."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from meshid import InvalidInput
from meshid.istio import import_istio
from meshid.istio.fields import MAX_PATTERNS, FieldReader
from meshid.istio.policies import IstioPolicy
from meshid.istio.problems import Problems
from meshid.istio.rule_reader import RuleReader
from meshid.istio.targets import TargetReader
from meshid.istio.yaml_documents import MAX_EVENTS
from tests.helpers.cost import calls_of
from tests.istio.test_istio import OWN, document


def imported(*policies: object) -> str:
    data = "---\n".join(map(yaml.safe_dump, policies)).encode()
    return import_istio([("mesh.yaml", data)], environment="prod", trust_domains=[OWN]).toml


def refused(data: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        import_istio([("mesh.yaml", data)], environment="prod", trust_domains=[OWN])
    return str(caught.value)


def to(**operation: list[str]) -> dict[str, Any]:
    return document(rules=[{"to": [{"operation": operation}]}])


def test_the_product_of_two_lists_is_refused_before_it_is_made() -> None:
    methods, paths = [f"M{n}" for n in range(400)], [f"/{n}" for n in range(400)]
    policy = to(methods=methods, paths=paths)
    data = yaml.safe_dump(policy).encode()
    tracemalloc.start()
    try:
        assert refused(data) == f"the policy file would have more than {MAX_PATTERNS} patterns"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 1024 * 1024


def test_so_are_rules_for_everybody_in_many_trust_domains() -> None:
    principals = [f"d{number}.example/x" for number in range(1000)]
    known = document(name="known", rules=[{"from": [{"source": {"principals": principals}}]}])
    assert "more than" in refused(
        yaml.safe_dump_all([known, document(name="all", rules=[{} for _ in range(100)])]).encode()
    )
    namespaces = {"namespaces": [f"n{number}" for number in range(100)]}
    assert "more than" in refused(
        yaml.safe_dump_all([known, document(name="all", rules=[{"from": [{"source": namespaces}]}])]).encode()
    )


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(
            {
                "from": [{"source": {"notNamespaces": [f"n{n}"]}} for n in range(80)],
                "to": [{"operation": {"ports": [str(n)]}} for n in range(1, 81)],
            },
            id="sources times operations",
        ),
        pytest.param(
            {
                "to": [{"operation": {"paths": [f"/{n}"]}} for n in range(80)],
                "when": [{"key": "destination.port", "values": [str(n) for n in range(1, 81)]}],
            },
            id="operations times ports",
        ),
        pytest.param(
            {
                "from": [{"source": {"namespaces": [f"n{n}"]}} for n in range(80)],
                "when": [{"key": "source.namespace", "values": [f"n{n}" for n in range(80)]}],
            },
            id="sources times conditions",
        ),
        pytest.param(
            {
                "from": [
                    {
                        "source": {
                            "namespaces": [f"n{n}" for n in range(80)],
                            "serviceAccounts": [f"n/{n}" for n in range(80)],
                        }
                    }
                ]
            },
            id="namespaces times accounts",
        ),
    ],
)
def test_what_is_multiplied_is_counted_before(rule: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshid.istio.fields.MAX_PATTERNS", 3000)
    data = yaml.safe_dump(document(rules=[rule])).encode()
    tracemalloc.start()
    try:
        assert refused(data) == "the policy file would have more than 3000 patterns"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 1024 * 1024


@pytest.mark.parametrize(
    "policies",
    [
        pytest.param(lambda n: [document(rules=[{} for _ in range(n)])], id="rules"),
        pytest.param(
            lambda n: [
                document(
                    rules=[{"from": [{"source": {"principals": [f"{OWN}/{each}" for each in range(n)]}}]}]
                )
            ],
            id="principals",
        ),
    ],
)
def test_a_file_twice_as_long_costs_about_twice_as_much(policies: Callable[[int], list[object]]) -> None:
    once, twice = (calls_of(lambda n=n: imported(*policies(n))) for n in (60, 120))  # type: ignore[misc]
    assert twice <= 2.3 * once  # the square would be 4


def test_a_target_has_a_few_parts_at_most() -> None:
    policies = [
        document(name=f"p{n}", action="DENY", selector={"matchLabels": {f"label{n}": "x"}}, rules=[{}])
        for n in range(9)
    ]
    assert imported(*policies[:8]).count("[[deny]]") == 8
    assert refused(yaml.safe_dump_all(policies).encode()) == (
        "shop: selectors name 9 labels, and a target has 8 of them at most"
    )


def test_ids_of_long_names_take_linear_time() -> None:
    spec = document(rules=[{}])["spec"]
    policies = [
        IstioPolicy("mesh.yaml", "shop", f"{'n' * 60}{each}", spec, is_dry_run=False)
        for each in range(20_000)
    ]
    began = time.process_time()
    problems = Problems()
    fields = FieldReader(problems, stricter=False)
    reader = RuleReader(fields, TargetReader(problems, policies), [OWN], [])
    ids = {rule["id"] for policy in policies for rule in reader.rules(policy)}
    assert len(ids) == len(policies)
    assert time.process_time() - began < 5  # the square would be half a minute


@pytest.mark.parametrize(
    "unit", [b"a,", b"{},", b"[],", b"{a: },"], ids=["scalars", "mappings", "lists", "pairs"]
)
def test_a_file_has_a_bound_in_parts_as_well_as_in_bytes(
    unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_EVENTS == 400_000
    monkeypatch.setattr("meshid.istio.yaml_documents.MAX_EVENTS", 1000)
    assert "it has more than 1000 parts: is it the right file?" in refused(b"[" + unit * 2000)

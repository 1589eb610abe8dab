"""Public policies of Istio: most are imported, and every other one is refused with the field that is why.

`manifests/README.md` says where they are from, and what `manifests/expected.toml` means.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from meshid import Policy, SpiffeId
from meshid.errors import InvalidIstioPolicy
from meshid.istio import Imported, import_istio
from meshid.policy import FindingKind
from meshid.policy.rules import Effect

MANIFESTS = Path(__file__).with_name("manifests")
CASES: dict[str, dict[str, Any]] = tomllib.loads((MANIFESTS / "expected.toml").read_text("utf-8"))
REFUSED = sorted(name for name in CASES if "refused" in CASES[name])
IMPORTED = sorted(set(CASES) - set(REFUSED))
EXACT = [name for name in IMPORTED if "inexact" not in CASES[name]]
INEXACT = [name for name in IMPORTED if "inexact" in CASES[name]]
OF_NO_USE = [name for name in INEXACT if "lets_nobody_in" in CASES[name]]


def imported(name: str, options: dict[str, Any]) -> Imported:
    source = (f"{name}.yaml", (MANIFESTS / f"{name}.yaml").read_bytes())
    return import_istio([source], environment="prod", trust_domains=["cluster.local"], **options)


def why_refused(name: str, options: dict[str, Any]) -> list[str]:
    """Return the fields, without the numbers of entries; or the line, where it is no YAML."""
    with pytest.raises(InvalidIstioPolicy) as caught:
        imported(name, options)
    places = (
        problem.where.rpartition(": ")[2] if ": " in problem.where else problem.what.partition(":")[0]
        for problem in caught.value.problems
    )
    return sorted({re.sub(r"\[\d+\]", "", place) for place in places})


def is_allowed(policy: Policy, question: str) -> bool:
    peer, arrow, rest = question.partition(" -> ")
    target, space, request = rest.partition(" ")
    assert arrow, question
    assert space, question
    return policy.decide(SpiffeId.parse(f"spiffe://{peer}"), target, request).allowed


def test_each_manifest_is_known_with_its_source() -> None:
    files = {path.stem for path in MANIFESTS.glob("*.yaml")}
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| \S+/\S+: `[^`]+` at [0-9a-f]{12} \| ",
        (MANIFESTS / "README.md").read_text("utf-8"),
        re.MULTILINE,
    )
    assert sorted(files) == sorted(CASES) == sorted(rows)


def test_no_fewer_are_imported_than_before() -> None:
    assert len(CASES) >= 163
    assert len(IMPORTED) >= 155
    assert len(IMPORTED) - len(OF_NO_USE) >= 128
    assert len(EXACT) >= 97


@pytest.mark.parametrize("name", IMPORTED)
def test_an_imported_one_loads_and_gives_the_answers_of_istio(name: str) -> None:
    case = CASES[name]
    policy = Policy.from_toml(imported(name, case.get("options", {})).toml, "prod")
    wrong = [each for each in case.get("allowed", []) if not is_allowed(policy, each)]
    wrong += [each for each in case.get("denied", []) if is_allowed(policy, each)]
    assert wrong == []
    never = [each.rule for each in policy.lint() if each.kind is FindingKind.NEVER_MATCHES]
    assert never == case.get("never_matches", [])


@pytest.mark.parametrize("name", INEXACT)
def test_what_is_left_of_an_inexact_one_lets_somebody_in_or_is_said_not_to(name: str) -> None:
    case = CASES[name]
    policy = Policy.from_toml(imported(name, case["options"]).toml, "prod")
    swallowed = {each.rule for each in policy.lint() if each.kind is FindingKind.SWALLOWED}
    allowing = [rule for rule in policy.rules if rule.effect is Effect.ALLOW and not rule.observe]
    assert all(rule.id in swallowed for rule in allowing) == case.get("lets_nobody_in", False)


@pytest.mark.parametrize("name", INEXACT)
def test_what_has_no_equivalent_is_left_out_by_asking_only(name: str) -> None:
    options = {key: value for key, value in CASES[name]["options"].items() if key != "stricter"}
    assert why_refused(name, options) == CASES[name]["inexact"]


@pytest.mark.parametrize("name", REFUSED)
def test_every_other_one_is_refused_with_the_field_that_is_why(name: str) -> None:
    assert why_refused(name, CASES[name]["options"]) == CASES[name]["refused"]

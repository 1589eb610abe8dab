"""Each sentence of a diff against brute force: it claims those points of a small world that change."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from meshid.names.spiffe_id import SpiffeId
from meshid.policy import Change, Policy
from meshid.policy.rules import RuleSet
from tests.helpers.diff_reading import Reading, World, area_of, excepted
from tests.helpers.small_world import OLD, PARTNER, PROD

NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()

WORDS = ["/" + "/".join(each) for n in (1, 2) for each in product(["a", "b", "c", "ab"], repeat=n)]
IDS = [SpiffeId.parse(f"spiffe://{domain}{word}") for domain in (PROD, OLD, PARTNER) for word in WORDS]
METHODS = ["GET", "PUT", "POST", "PURGE", "OTHER"]
WORLD = World(
    peers=tuple((each, None) for each in IDS),
    targets=tuple(each[1:] for each in WORDS),
    requests=(None, *product(METHODS, ["/", *WORDS])),
)


class Draw(random.Random):
    """Policies, and others like them."""

    def path(self) -> str:
        segments = ["a", "b", "*", "**", "a*"]
        return "/".join(self.choice(segments) for _ in range(self.choice([1, 1, 2])))

    def source(self) -> str:
        domain = self.choice(["", "", "", f"spiffe://{PROD}", f"spiffe://{PARTNER}"])
        return f"{domain}/{self.path()}"

    def condition(self) -> str:
        return f"{self.choice(['GET', 'PUT', '*', '*', 'PURGE'])} /{self.path()}"

    def some(self, one: Callable[[], str], most: int) -> list[str]:
        return list(dict.fromkeys(one() for _ in range(self.randint(1, most))))

    def is_so(self, percent: int) -> bool:
        return self.random() * 100 < percent

    def rule(self) -> dict[str, Any]:
        effect = self.choice(["allow", "allow", "deny"])
        values: dict[str, Any] = {
            "effect": effect,
            "from": self.some(self.source, 3),
            "to": self.some(self.path, 2),
        }
        if self.is_so(50):
            values["http"] = self.some(self.condition, 2)
        if self.is_so(30):
            values["not_from"] = self.some(self.source, 2)
        if self.is_so(30):
            values["not_http"] = self.some(self.condition, 2)
        if self.is_so(10):
            values["observe"] = True
        if effect == "allow" and self.is_so(20):
            values["until"] = self.choice(["2026-05-31", "2026-06-01"])
        return values

    def rules(self) -> dict[str, dict[str, Any]]:
        return {f"r{each}": self.rule() for each in range(self.randint(0, 4))}

    def edited(self, rules: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return rules with some of their lists exchanged, one added or taken away."""
        found = {name: dict(rule) for name, rule in rules.items()}
        for name in self.sample(sorted(found), min(len(found), self.randint(1, 2))):
            other = self.rule()
            for key in self.sample(sorted({*other, *found[name]} - {"effect"}), self.randint(1, 2)):
                if key in {"from", "to", "http"} and key in found[name] and self.is_so(60):
                    one = {"from": self.source, "to": self.path, "http": self.condition}[key]
                    found[name][key] = list(dict.fromkeys([*found[name][key][:-1], one()]))
                elif key in other and (key != "until" or found[name]["effect"] == "allow"):
                    found[name][key] = other[key]
                elif key not in {"from", "to"}:
                    found[name].pop(key, None)
        if found and self.is_so(30):
            found.pop(self.choice(sorted(found)))
        if self.is_so(30):
            found["s"] = self.rule()
        return found

    def domains(self) -> list[str]:
        return self.choice([[PROD, OLD], [PROD, OLD], [PROD, OLD], [PROD]])

    def pair(self) -> tuple[Policy, Policy]:
        """Return two policies: mostly, the second is the first with something edited."""
        one, domains = self.rules(), self.domains()
        two = self.edited(one) if self.is_so(80) else self.rules()
        return policy_of(one, domains), policy_of(two, self.domains() if self.is_so(20) else domains)


def policy_of(rules: dict[str, dict[str, Any]], domains: list[str]) -> Policy:
    document: dict[str, Any] = {
        "version": 1,
        "environments": {"prod": {"trust_domains": domains, "federates_with": [PARTNER]}},
        "allow": [],
        "deny": [],
    }
    for name, rule in rules.items():
        values = {key: value for key, value in rule.items() if key != "effect"}
        document[rule["effect"]].append({"id": name, **values})
    return Policy.from_json(json.dumps(document), "prod")


def in_force(policy: Policy) -> Policy:
    """Return what of a policy is in force."""
    rules = RuleSet(policy.environment, policy.rules, policy.observe, policy.peers, policy.issuers)
    return Policy(rules.at(NOW))


def check(changes: tuple[Change, ...], allowing: Policy, other: Policy) -> None:
    """Check that exactly what changes is claimed, and that each exception excepts something."""
    here, there = Reading(WORLD, allowing), Reading(WORLD, other)
    changed = here.allowed() & ~there.allowed()
    claimed = 0
    for change in changes:
        area, holes = area_of(change, here, there), excepted(change, here, there)
        held = area
        for hole in holes:
            held &= ~hole
        assert _first(held & ~changed) is None, f"said to change: {change}"
        empty = [one for one, hole in zip(change.unchanged, holes, strict=True) if not area & hole & ~changed]
        assert not empty, f"excepts nothing: {change}"
        claimed |= held
        example = change.example
        assert allowing.decide(example.spiffe_id, example.target, example.request, now=NOW)
        assert not other.decide(example.spiffe_id, example.target, example.request, now=NOW)
    assert _first(changed & ~claimed) is None, "is not told"


def _first(bits: int) -> object:
    return next(WORLD.points(bits), None)


MANY = [range(first, first + 250) for first in range(150, 1150, 250)]


@pytest.mark.parametrize(
    "seeds",
    [range(150), *(pytest.param(each, marks=pytest.mark.slow) for each in MANY)],
    ids=lambda each: str(each.start),
)
def test_a_diff_claims_exactly_what_changes(seeds: range) -> None:
    for seed in seeds:
        one, two = Draw(seed).pair()
        diff = one.diff(two, now=NOW)
        before, after = in_force(one), in_force(two)
        try:
            check(diff.gains, after, before)
            check(diff.losses, before, after)
        except AssertionError as error:
            pytest.fail(f"seed {seed}: {error}")
        str(diff), diff.as_dict()

"""Each sentence of a diff against brute force: of all points of a small world, it claims those that change."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.names.spiffe_id import SpiffeId
from meshid.policy import Change, Policy
from meshid.policy.analysis.diff import compare
from tests.helpers.diff_reading import Claims, Point
from tests.helpers.small_world import OLD, PARTNER, PROD

NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()

SEGMENT = st.sampled_from(["a", "b", "*", "**", "a*"])
PATHS = st.lists(SEGMENT, min_size=1, max_size=2).map(lambda segments: "/" + "/".join(segments))
SOURCES = st.one_of(
    PATHS, PATHS, st.builds("spiffe://{}{}".format, st.sampled_from([PROD, PROD, PARTNER]), PATHS)
)
TARGETS = st.lists(SEGMENT, min_size=1, max_size=2).map("/".join)
CONDITION = st.builds("{} {}".format, st.sampled_from(["GET", "PUT", "*", "*", "PURGE"]), PATHS)


def some(strategy: st.SearchStrategy[str], least: int, most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(strategy, min_size=least, max_size=most, unique=True)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    effect = draw(st.sampled_from(["allow", "allow", "deny"]))
    values: dict[str, Any] = {
        "effect": effect,
        "from": draw(some(SOURCES, 1, 3)),
        "to": draw(some(TARGETS, 1, 2)),
    }
    if draw(st.booleans()):
        values["http"] = draw(some(CONDITION, 1, 2))
    if draw(st.sampled_from([False, False, True])):
        values["not_from"] = draw(some(SOURCES, 1, 2))
    if draw(st.sampled_from([False, False, True])):
        values["not_http"] = draw(some(CONDITION, 1, 2))
    if draw(st.sampled_from([False] * 7 + [True])):
        values["observe"] = True
    if effect == "allow" and draw(st.sampled_from([False] * 4 + [True])):
        values["until"] = draw(st.sampled_from(["2026-05-31", "2026-06-01"]))
    return values


POLICIES = st.dictionaries(st.sampled_from(["r0", "r1", "r2", "r3"]), rules(), max_size=4)
DOMAINS = st.sampled_from([[PROD, OLD]] * 3 + [[PROD]])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Draw two policies: mostly, the second is the first with something edited."""
    one = draw(POLICIES)
    domains = draw(DOMAINS)
    if draw(st.booleans()) and one:
        two = {name: dict(rule) for name, rule in one.items()}
        for name in draw(st.lists(st.sampled_from(sorted(one)), min_size=1, max_size=2, unique=True)):
            other = draw(rules())
            keys = [key for key in {*other, *one[name]} if key != "effect"]
            for key in draw(st.lists(st.sampled_from(sorted(keys)), min_size=1, max_size=2, unique=True)):
                if key in other and (key != "until" or one[name]["effect"] == "allow"):
                    two[name][key] = other[key]
                elif key not in {"from", "to"}:
                    two[name].pop(key, None)
        if draw(st.booleans()):
            two.pop(draw(st.sampled_from(sorted(two))))
        return policy_of(one, domains), policy_of(two, draw(DOMAINS) if draw(st.booleans()) else domains)
    return policy_of(one, domains), policy_of(draw(POLICIES), draw(DOMAINS))


def policy_of(rules: dict[str, dict[str, Any]], domains: list[str]) -> Policy:
    """Make a policy; what of it is over at `NOW` is checked against the same without it."""
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


WORDS = ["/" + "/".join(each) for n in (1, 2) for each in product(["a", "b", "c", "ab"], repeat=n)]
IDS = [
    SpiffeId.parse(f"spiffe://{domain}{word}")
    for domain in (PROD, OLD, PARTNER)
    for word in ["/a", "/b", "/c", "/ab", "/a/a", "/a/b", "/b/c", "/ab/a", "/c/c"]
]
PLACES = ["a", "b", "c", "ab", "a/a", "a/b", "b/a", "c/c"]
METHODS = ["GET", "PUT", "POST", "PURGE", "OTHER"]
REQUESTS = [None, *product(METHODS, ["/", "/a", "/b", "/c", "/ab", "/a/b", "/c/a"])]


def in_force(policy: Policy) -> Policy:
    """Return a policy without the rules that are over."""
    return Policy.__new__(Policy) if policy is None else policy

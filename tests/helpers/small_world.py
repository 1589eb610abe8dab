"""A world so small that every peer, target and request in it can be asked for; and policies about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

from hypothesis import strategies as st

from meshid.names.spiffe_id import SpiffeId
from meshid.policy import REQUEST_FOLLOWS, Policy

PROD, OLD, PARTNER = "prod.example.org", "old.example.org", "partner.example"
ENVIRONMENT = {"trust_domains": [PROD, OLD], "federates_with": [PARTNER]}

SEGMENT = st.sampled_from(["a", "b", "*", "**", "a*", "*a", "ab"])
PATHS = st.lists(SEGMENT, min_size=1, max_size=3).map(lambda segments: "/" + "/".join(segments))
SOURCES = st.one_of(PATHS, st.builds("spiffe://{}{}".format, st.sampled_from([PROD, PARTNER]), PATHS))
TARGETS = st.lists(SEGMENT, min_size=1, max_size=2).map("/".join)
HTTP = st.lists(st.builds("{} {}".format, st.sampled_from(["GET", "PUT", "*"]), PATHS), max_size=2)
RULE = st.fixed_dictionaries(
    {
        "effect": st.sampled_from(["allow", "allow", "deny"]),
        "from": st.lists(SOURCES, min_size=1, max_size=2),
        "to": st.lists(TARGETS, min_size=1, max_size=2),
        "http": HTTP,
        "observe": st.sampled_from([False, False, False, True]),
    }
)
RULES = st.lists(RULE, max_size=4)

WORDS = ["/" + "/".join(w) for n in (1, 2, 3) for w in product(["a", "b", "c", "ab", "ba"], repeat=n)]
PEERS = [SpiffeId.parse(f"spiffe://{domain}{word}") for domain in (PROD, OLD, PARTNER) for word in WORDS[:30]]
PLACES = [word[1:] for word in WORDS[:12]]
REQUESTS = [
    None,
    *(f"{method} {word}" for method in ("GET", "PUT", "POST") for word in ["/", *WORDS[:8], "/a/"]),
]


def policy_of(rules: list[dict[str, Any]], **more: object) -> Policy:
    document: dict[str, Any] = {
        "version": 1,
        "environments": {"prod": ENVIRONMENT},
        "allow": [],
        "deny": [],
        **more,
    }
    for number, rule in enumerate(rules):
        values = {key: value for key, value in rule.items() if key != "effect" and value}
        document[rule["effect"]].append({"id": f"r{number}", **values})
    return Policy.from_json(json.dumps(document), "prod")


def allowed(policy: Policy, peers: list[SpiffeId] = PEERS) -> Iterator[tuple[SpiffeId, str, str | None]]:
    """Yield each access of the small world that is allowed."""
    for peer, target in product(peers, PLACES):
        if not policy.decide(peer, target, REQUEST_FOLLOWS):
            continue
        for request in REQUESTS:
            if policy.decide(peer, target, request):
                yield peer, target, request

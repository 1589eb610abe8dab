"""The rules of a mesh as teams write them: all shapes mixed, the same each time.

Most name one or two workloads and one service, with or without requests. Some name a namespace, a few
have a `**` in the middle; some are denies, or have exceptions; and there are two own trust domains and one
of a partner.
"""

from __future__ import annotations

import json
import math
import random
from typing import Any

PROD, OLD, PARTNER = "prod.example.org", "old.example.org", "partner.example"

_VERBS = ("GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "*")
_NOUNS = ("orders", "charges", "users", "carts", "items", "refunds", "sessions", "reports")
_LOCAL_DENIES, _WITH_HTTP, _WITH_EXCEPTIONS = 0.05, 0.4, 0.03
"""Parts of all rules."""
_WIDE_DENIES = 10


def document(size: int) -> str:
    """Write so many rules as a policy of meshid, in JSON."""
    chance = random.Random(size)  # noqa: S311 - the same each time
    rules: dict[str, list[dict[str, Any]]] = {"allow": [], "deny": []}
    for number in range(size):
        effect, rule = _rule(chance, size, number)
        rules[effect].append({"id": f"r{number}", "why": "Because.", **rule})
    environment = {"trust_domains": [PROD, OLD], "federates_with": [PARTNER]}
    return json.dumps({"version": 1, "environments": {"prod": environment}, **rules})


def _rule(chance: random.Random, size: int, number: int) -> tuple[str, dict[str, Any]]:
    if number % (size // _WIDE_DENIES or 1) == 0:
        return "deny", {"from": [f"/ns/ci-{number}/**"], "to": ["**"]}
    teams = max(size // 10, 4)
    team = chance.randrange(teams)
    rule: dict[str, Any] = {"from": _peers(chance, team), "to": _targets(chance, size)}
    if chance.random() < _WITH_HTTP:
        rule["http"] = [_condition(chance) for _ in range(chance.choice((1, 1, 2, 3)))]
    if chance.random() < _WITH_EXCEPTIONS:
        rule["not_http"] = ["* /v1/internal/**"]
    if chance.random() < _WITH_EXCEPTIONS:
        rule["not_from"] = [f"/ns/team-{team}/sa/canary"]
    return ("deny" if chance.random() < _LOCAL_DENIES else "allow"), rule


def _peers(chance: random.Random, team: int) -> list[str]:
    shapes = {
        f"spiffe://{PARTNER}/ns/team-{team}/sa/*": 4,
        f"spiffe://{chance.choice((PROD, OLD))}/ns/team-{team}/sa/api-{chance.randrange(9)}": 4,
        f"/ns/team-{team}/**": 12,
        f"/ns/team-{team}/sa/job-*": 5,
        f"/ns/**/sa/robot-{team}": 1,
        f"/ns/*/sa/agent-{team}": 1,
        "": 73,
    }
    (shape,) = chance.choices(list(shapes), list(shapes.values()))
    if shape:
        return [shape]
    kinds = chance.sample(("api", "job", "web"), chance.choice((1, 1, 1, 2, 3)))
    return [f"/ns/team-{team}/sa/{kind}-{chance.randrange(9)}" for kind in kinds]


def _targets(chance: random.Random, size: int) -> list[str]:
    services = math.isqrt(size) * 2
    (shape,) = chance.choices(["service-{}/**", "service-{}*", "service-{}/8080"], [3, 2, 95])
    count = chance.choice((1, 1, 1, 2, 4)) if shape.endswith("8080") else 1
    return [shape.format(chance.randrange(services)) for _ in range(count)]


def _condition(chance: random.Random) -> str:
    noun, verb = chance.choice(_NOUNS), chance.choice(_VERBS)
    path = chance.choice(
        (f"/v1/{noun}", f"/v1/{noun}/*", f"/v1/{noun}/**", "/v1/**", f"/**/{noun}", "/healthz")
    )
    return f"{verb} {path}"

"""Filters that were exported, in the real Envoy: each of its answers is that of `Policy.decide`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import unquote

import attrs
import pytest

from meshid import Policy, SpiffeId
from meshid.envoy import export_rbac
from meshid.testing import CA
from tests.helpers.envoy_filters import JUDGED, Asked, Enforcing, Listening, enforcing_envoy
from tests.helpers.proxy_scene import SPEAKING
from tests.helpers.small_world import OLD, PARTNER, PROD

TARGET = "shop/payments"
POLICIES = 40
PEERS = 5
REQUESTS = 26

NAMES = (
    *(f"spiffe://{PROD}{path}" for path in ("/ns/a/sa/api", "/ns/b/sa/api", "/ns/a", "/a", "/ns/a.b/x-x/i")),
    *(f"spiffe://{OLD}{path}" for path in ("/ns/a/sa/api", "/ns/b/sa/web", "/ns")),
    *(f"spiffe://{PARTNER}{path}" for path in ("/ns/a/sa/api", "/ns/a/ab", "/api")),
)

# -- Random policies and requests -------------------------------------------------

NAME_SEGMENTS = ("ns", "a", "b", "sa", "api", "web", "a.b", "ap*", "*i", "*.*", "*", "*", "**", "**")
TARGETS = (TARGET, TARGET, TARGET, "shop/*", "**", "*/pay*", "other", "shop")
WORDS = (
    "v1",
    "charges",
    "a",
    "61",
    "%61",
    "a b",
    "x:y",
    "a+b",
    "a.b",
    ".a",
    "...",
    "~",
    "'\"",
    "[$^|{}]",
    "é",
)
PATH_SEGMENTS = (*(each for each in WORDS if "%" not in each), "*", "*", "a*", "*1", "*a*", "**", "**")
METHODS = ("GET", "GET", "POST", "DELETE", "*", "PURGE")
SENT_METHODS = ("GET", "GET", "GET", "POST", "DELETE", "HEAD", "OPTIONS", "PURGE", "PROPFIND")
ODD_METHODS = ("get", "FOO", "BASELINE-CONTROL", "Get", "QUERY")
"""Those that Envoy reads in HTTP/2 only."""
NASTY = (
    *("..", ".", "", "%2e", "%2E.", "a;b", "%3b", "%2F", "a%2fb", "\\", "%5C", "%25", "%2561", "%3f", "%23"),
    *("%00", "%0a", "%7f", "%zz", "%", "%C3%A9", "e%CC%81", "%FF", "%c0%ae", "%20", "...", "%2e%2e%2e"),
)
QUERIES = ("", "", "", "?", "?a=b", "?x=/../%2F;", "?a?b%zz")


def some(random: Random, of: tuple[str, ...], least: int, most: int) -> list[str]:
    return [random.choice(of) for _ in range(random.randint(least, most))]


def a_source(random: Random) -> str:
    domain = random.choice(("", "", "", f"spiffe://{PARTNER}", f"spiffe://{OLD}"))
    return f"{domain}/{'/'.join(some(random, NAME_SEGMENTS, 1, 4))}"


def a_condition(random: Random) -> str:
    path = "/".join(some(random, PATH_SEGMENTS, 0, 3)) + random.choice(("", "", "", "/"))
    return f"{random.choice(METHODS)} /{path.removeprefix('/')}"


def a_rule(random: Random, number: int, *, is_deny: bool) -> dict[str, Any]:
    http = [a_condition(random) for _ in range(random.choice((0, 1, 2, 3)))]
    if not is_deny:
        http = [each for each in http if each.isascii()]
    rule = {
        "id": f"r{number}",
        "from": [random.choice(("/**", "/**", "@team", "@api", a_source(random)))] * (not is_deny)
        + [a_source(random)],
        "not_from": [a_source(random)] if random.random() < 0.3 else [],
        "to": sorted(set(some(random, TARGETS, 1, 2))),
        "http": http,
        "not_http": [a_condition(random)] if random.random() < 0.3 else [],
        "until": "2001-01-01" if not is_deny and random.random() < 0.1 else None,
    }
    return {key: value for key, value in rule.items() if value}


def a_policy(random: Random) -> dict[str, Any]:
    allows, denies = random.randint(2, 5), random.choice((0, 1, 2))
    return {
        "version": 1,
        "environments": {"prod": {"trust_domains": [PROD, OLD], "federates_with": [PARTNER]}},
        "peers": [
            {"name": "api", "spiffe": ["/ns/b/sa/api", f"spiffe://{PARTNER}/ns/a/ab"]},
            {"name": "team", "members": ["/ns/a/**", "@api"]},
        ],
        "allow": [a_rule(random, number, is_deny=False) for number in range(allows)],
        "deny": [a_rule(random, allows + number, is_deny=True) for number in range(denies)],
    }


def sent(random: Random, text: str) -> str:
    """Return a text as it may be sent: what must be encoded, and now and then something else."""
    needless = random.choice((0.0, 0.0, 0.2, 1.0))

    def written(character: str) -> str:
        if character.isascii() and character not in " %" and random.random() >= needless:
            return character
        escapes = (f"%{octet:02x}" for octet in character.encode())
        return "".join(each.upper() if random.random() < 0.5 else each for each in escapes)

    return "".join(map(written, text))


def filled(random: Random, segment: str) -> str:
    """Put something in the place of each ``*``."""
    first, *others = segment.split("*")
    return first + "".join(random.choice(("", *WORDS)) + other for other in others)


def a_path(random: Random, like: str) -> str:
    """Return a path, often one that the pattern *like* matches."""
    if random.random() < 0.3:
        like = "/".join(some(random, WORDS, 0, 3))
    segments: list[str] = []
    for each in like.removeprefix("/").split("/"):
        words = some(random, WORDS, 0, 2) if each == "**" else [filled(random, each)]
        segments += (sent(random, word) for word in words)
    if random.random() < 0.2:
        segments.insert(random.randint(0, len(segments)), random.choice(NASTY))
    if random.random() < 0.2:
        segments.append("")
    return f"/{'/'.join(segments)}{random.choice(QUERIES)}"


def requests_about(random: Random, document: dict[str, Any], odd: tuple[str, ...]) -> Iterator[Asked]:
    rules = (*document["allow"], *document["deny"])
    conditions = [each for rule in rules for key in ("http", "not_http") for each in rule.get(key, ())]
    for _ in range(REQUESTS):
        method, _, like = random.choice((*conditions, "* /**", "GET /v1/*")).partition(" ")
        if method == "*" or random.random() < 0.2:
            method = random.choice((*SENT_METHODS, *odd))
        yield method, a_path(random, like)


# -- The same answers -------------------------------------------------------------


@attrs.frozen
class Case:
    """A policy, who asks a service that has it, and what for.

    Attributes:
        document: The policy.
        policy: The same, loaded.
        asked: The requests of each peer, and whether they are sent over HTTP/1.1 or HTTP/2.
    """

    document: dict[str, Any]
    policy: Policy
    asked: dict[str, tuple[str, list[Asked]]]


def a_case(seed: int) -> Case:
    random = Random(seed)  # noqa: S311 - the same in each run
    document = a_policy(random)
    asked: dict[str, tuple[str, list[Asked]]] = {}
    for name in random.sample(NAMES, PEERS):
        version = random.choice(("HTTP/1.1", "HTTP/1.1", "HTTP/2"))
        odd = ODD_METHODS if version == "HTTP/2" else ()
        asked[name] = version, list(requests_about(random, document, odd))
    return Case(document, Policy.from_json(json.dumps(document), "prod"), asked)


CASES = {f"random-{seed}": a_case(seed) for seed in range(POLICIES)}

WIDE = f"""
version = 1
[environments.prod]
trust_domains = ["{PROD}", "{OLD}"]
federates_with = ["{PARTNER}"]
[[allow]]
id = "everything"
from = ["/**"]
to = ["payments"]
http = ["GET /**"]
"""


def is_allowed(policy: Policy, name: str, method: str, target: str) -> bool:
    # The one difference, which the notes of each export tell.
    is_ascii = unquote(target.partition("?")[0], errors="replace").isascii()
    return is_ascii and policy.decide(SpiffeId.parse(name), TARGET, f"{method} {target}").allowed


@pytest.fixture(scope="module")
def authorities() -> dict[str, CA]:
    return {name: CA(name) for name in (PROD, OLD, PARTNER)}


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory, authorities: dict[str, CA]) -> Iterator[Listening]:
    chains = {name: Enforcing(export_rbac(case.policy, TARGET).yaml) for name, case in CASES.items()}
    with enforcing_envoy(tmp_path_factory.mktemp("envoy"), authorities, chains) as running:
        yield running


def test_every_answer_is_that_of_the_policy(envoy: Listening, authorities: dict[str, CA]) -> None:
    issued = {name: authorities[SpiffeId.parse(name).trust_domain.name].issue(name) for name in NAMES}
    different, judged = list[object](), Counter[int]()
    for chain, case in CASES.items():
        for name, (version, asked) in case.asked.items():
            statuses = envoy.ask(chain, issued[name], asked, SPEAKING[version])
            judged.update(statuses)
            different += [
                (chain, name, version, *request, status)
                for request, status in zip(asked, statuses, strict=True)
                if status in JUDGED and (status == 200) != is_allowed(case.policy, name, *request)
            ]
    assert different == []
    assert judged[200] >= 800
    assert judged[200] + judged[403] >= 5_000

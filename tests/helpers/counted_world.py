"""A world of which every point is a bit, so that what a policy allows is a number: a second reading.

It knows the file and the words of the documentation, and none of the code that it checks. The words are
as long, and of as many letters, as it takes to tell apart all that the patterns here can say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import product
from typing import Any, TypeAlias

from hypothesis import strategies as st

from meshid.names.pattern import Pattern

Document: TypeAlias = dict[str, Any]

PROD, OLD, PARTNER = "prod.example.org", "old.example.org", "partner.example"
TODAY, OVER, TO_COME = "2027-01-15", "2027-01-14", "2027-01-31"
NOW = 1_800_014_400.0
"""Noon of TODAY."""

PATHS = ["/" + "/".join(word) for n in (1, 2, 3) for word in product("abz", repeat=n)]
PEERS = [f"spiffe://{domain}{path}" for domain in (PROD, OLD, PARTNER) for path in PATHS]
TARGETS = ["pay", "ship", "z", "pay/z", "z/pay", "z/z", "z/z/z"]
METHODS = ["GET", "PUT", "POST", "FOO"]
REQUEST_PATHS = ["/", "/r", "/s", "/z", "/r/", "/r/z", "/z/z"]
REQUESTS = [None, *(f"{method} {path}" for method, path in product(METHODS, REQUEST_PATHS))]
_SIZE = len(PEERS), len(TARGETS), len(REQUESTS)
ALL = (1 << _SIZE[0] * _SIZE[1] * _SIZE[2]) - 1

_SEGMENT = st.sampled_from(["a", "b", "*", "**"])
_WHO = st.builds(
    "{}/{}".format,
    st.sampled_from(["", "", "", f"spiffe://{PARTNER}", f"spiffe://{PROD}"]),
    st.lists(_SEGMENT, min_size=1, max_size=2).map("/".join),
)
_TO = st.sampled_from(["pay", "pay", "ship", "*", "**", "pay/**", "*/**", "**/*"])
_HTTP = st.builds(
    "{} {}".format,
    st.sampled_from(["GET", "GET", "PUT", "*", "FOO"]),
    st.sampled_from(["/r", "/s", "/*", "/**", "/r/**"]),
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Draw a policy file with sets of peers, exceptions and last days."""
    sets = [
        {"name": name, "members": draw(st.lists(_WHO, min_size=1, max_size=3, unique=True))}
        for name in draw(st.sampled_from([[], [], ["s"], ["s", "t"]]))
    ]
    who = st.one_of(_WHO, st.sampled_from([f"@{each['name']}" for each in sets])) if sets else _WHO
    few = st.lists(who, max_size=2)
    rule = st.fixed_dictionaries(
        {
            "effect": st.sampled_from(["allow", "allow", "deny"]),
            "from": st.lists(who, min_size=1, max_size=3),
            "not_from": st.one_of(st.just([]), few),
            "to": st.lists(_TO, min_size=1, max_size=2),
            "http": st.one_of(st.just([]), st.lists(_HTTP, max_size=2)),
            "not_http": st.one_of(st.just([]), st.lists(_HTTP, max_size=2)),
            "observe": st.sampled_from([False, False, False, True]),
            "until": st.sampled_from(["", "", TODAY, OVER, TO_COME]),
        }
    )
    document: Document = {
        "version": 1,
        "environments": {"prod": {"trust_domains": [PROD, OLD], "federates_with": [PARTNER]}},
        **({"peers": sets} if sets else {}),
        "allow": [],
        "deny": [],
    }
    for number, each in enumerate(draw(st.lists(rule, min_size=1, max_size=4))):
        values = {key: value for key, value in each.items() if value and key != "effect"}
        if each["effect"] == "deny":
            values.pop("until", None)
        document[str(each["effect"])].append({"id": f"r{number}", "why": "Because.", **values})
    return document


# -- The second reading ---------------------------------------------------------


def in_force(rule: Document) -> bool:
    return str(rule.get("until", TODAY)) >= TODAY


def allowed(document: Document) -> int:
    """Return the points that are allowed."""
    allows, denies = (union(document, document[effect], effect) for effect in ("allow", "deny"))
    return allows & ~denies & ~unsafe(document)


def judged(document: Document) -> frozenset[str]:
    """Return the methods that are judged: those that are registered, and those that a rule names."""
    named = {
        condition.partition(" ")[0]
        for effect in ("allow", "deny")
        for rule in document[effect]
        if in_force(rule)
        for condition in (*rule.get("http", ()), *rule.get("not_http", ()))
    }
    return frozenset({"GET", "PUT", "POST", *named} - {"*"})


def unsafe(document: Document) -> int:
    """Return the points of methods that are not judged."""
    methods = judged(document)
    is_unsafe = _bits(REQUESTS, lambda each: each and each.partition(" ")[0] not in methods)
    return _product((1 << _SIZE[0]) - 1, (1 << _SIZE[1]) - 1, is_unsafe)


def union(document: Document, rules: Iterable[Document], effect: str) -> int:
    """Return the points of all rules of an effect together."""
    points = 0
    for rule in rules:
        if in_force(rule) and not rule.get("observe"):
            points |= points_of(document, rule, effect)
    return points


def points_of(document: Document, rule: Document, effect: str) -> int:
    """Return the points that a rule is about."""
    peers = who(document, rule["from"]) & ~who(document, rule.get("not_from", ()))
    targets = union_of(_targets(each) for each in rule["to"])
    needs_request = bool(rule.get("http") or rule.get("not_http"))
    requests = union_of(map(_requests, rule.get("http") or ["* /**"]))
    requests &= ~union_of(map(_requests, rule.get("not_http", ())))
    requests |= 0 if needs_request and effect == "allow" else 1
    return _product(peers, targets, requests)


def who(document: Document, entries: Iterable[str]) -> int:
    """Return the peers that entries are about."""
    sets = {each["name"]: each["members"] for each in document.get("peers", ())}
    return union_of(
        who(document, sets[each[1:]]) if each.startswith("@") else _peers(each) for each in entries
    )


def union_of(masks: Iterable[int]) -> int:
    """Return the bits of all masks together."""
    points = 0
    for mask in masks:
        points |= mask
    return points


def _bits(values: Sequence[Any], is_in: Callable[[Any], Any]) -> int:
    return sum(1 << number for number, value in enumerate(values) if is_in(value))


@cache
def _peers(text: str) -> int:
    domain, path = ("", text) if text.startswith("/") else text.removeprefix("spiffe://").split("/", 1)
    domains = {domain} if domain else {PROD, OLD}
    pattern = Pattern.parse("/" + path.removeprefix("/"))

    def is_in(peer: str) -> bool:
        its_domain, _, its_path = peer.removeprefix("spiffe://").partition("/")
        return its_domain in domains and pattern.matches("/" + its_path)

    return _bits(PEERS, is_in)


@cache
def _targets(text: str) -> int:
    return _bits(TARGETS, Pattern.parse(text).matches)


@cache
def _requests(text: str) -> int:
    method, _, path = text.partition(" ")
    pattern = Pattern.parse(path)

    def is_in(request: str | None) -> bool:
        its_method, _, its_path = (request or " ").partition(" ")
        return request is not None and method in {"*", its_method} and pattern.matches(its_path)

    return _bits(REQUESTS, is_in)


@cache
def _product(peers: int, targets: int, requests: int) -> int:
    # Nothing overlaps, so to multiply is to put a copy at each place.
    asked = (requests & (1 << _SIZE[2]) - 1) * _spread(targets, _SIZE[1], _SIZE[2])
    return asked * _spread(peers, _SIZE[0], _SIZE[1] * _SIZE[2])


@cache
def _spread(mask: int, size: int, width: int) -> int:
    return sum(1 << number * width for number in range(size) if mask >> number & 1)

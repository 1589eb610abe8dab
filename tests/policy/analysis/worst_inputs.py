"""Policies of 5 to 100 kB that ask for as much work, or as much memory, as so few bytes can."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

ENVIRONMENT: dict[str, Any] = {
    "trust_domains": ["prod.example.org", "old.example.org"],
    "federates_with": ["partner.example"],
}
ISSUERS = {
    "cluster": {
        "profile": "kubernetes",
        "issuer": "https://kubernetes.default.svc.cluster.local",
        "audience": ["meshid:prod"],
        "jwks": "https://kubernetes.default.svc/openid/v1/jwks",
    },
    "spire": {"profile": "jwt-svid", "audience": ["payments"]},
}

Entries = list[str]


def _document(
    allow: Iterable[dict[str, Any]], deny: Iterable[dict[str, Any]] = (), peers: Iterable[dict[str, Any]] = ()
) -> dict[str, Any]:
    environment = dict(ENVIRONMENT)
    document: dict[str, Any] = {"version": 1, "environments": {"prod": environment}}
    if listed := list(peers):
        environment["issuers"] = ISSUERS
        document["peers"] = listed
    for effect, rules in (("allow", allow), ("deny", deny)):
        document[effect] = [{"id": f"{effect}{number}", **each} for number, each in enumerate(rules)]
    return document


def _rule(
    source: str | Entries = "/**", target: str | Entries = "**", *http: str, **more: object
) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "from": [source] if isinstance(source, str) else source,
        "to": [target] if isinstance(target, str) else target,
        **more,
    }
    return rule | {"http": list(http)} if http else rule


def _cube(size: int, text: str = "{}") -> dict[str, Any]:
    return _rule(
        [f"/{text.format(f'a{each}')}" for each in range(size)],
        [text.format(f"t{each}") for each in range(size)],
        *(f"GET /{text.format(f'r{each}')}" for each in range(size)),
    )


def one_cube() -> dict[str, Any]:
    """One rule with three lists of 120."""
    return _document([_cube(120)])


def cubes() -> dict[str, Any]:
    """Such rules, each with one entry more than the one before."""
    return _document([_cube(60 + each) for each in range(30)])


def cube_denied() -> dict[str, Any]:
    """One that two denies refuse together, entry by entry."""
    return _document(
        [_cube(120)],
        [_rule("/**", "**", *(f"GET /{half}" for half in ("r*",))) | {"to": ["*", "t1*"]}, _cube(120, "*{}")],
    )


def cube_of_stars() -> dict[str, Any]:
    """One whose entries all have something in common."""
    return _document([_cube(120, "*{}*")])


def cube_of_denies() -> dict[str, Any]:
    """What is denied of everything is one such rule."""
    return _document([_rule()], [_cube(120)])


def wide_square() -> dict[str, Any]:
    """One rule with two lists of 5 000."""
    return _document([_rule([f"/a{each}" for each in range(5000)], [f"t{each}" for each in range(5000)])])


def deep_chains() -> dict[str, Any]:
    """A thousand rules, each with a chain of wildcards."""
    return _document(_rule(f"/**/a{each}/**/b*/**/c/**", "pay") for each in range(1000))


def deep_chains_denied() -> dict[str, Any]:
    """The same chains, as denies of one rule."""
    return _document(
        [_rule("/**", "pay")], [_rule(f"/**/a{each}/**/b*/**/c/**", "pay") for each in range(1000)]
    )


def deep_chains_of_each_kind() -> dict[str, Any]:
    """Chains of peers, targets and requests at once."""
    return _document(
        [
            _rule(f"/**/a{each}/**/b*/**", f"**/t{each}/**/u*/**", f"GET /**/r{each}/**/s*/**")
            for each in range(300)
        ],
        [
            _rule(f"/**/b/**/a{each}/**", f"**/u/**/t{each}/**", f"* /**/s/**/r{each}/**")
            for each in range(300)
        ],
    )


def few_deep_chains() -> dict[str, Any]:
    chain = "/".join(f"**/*{each}*" for each in "abcdefghij")
    return _document(
        [_rule(f"/{chain}/**", "pay")],
        [_rule(f"/**/{each}*/**/*{other}/**", "pay") for each in "abcdefghij" for other in "klmnopqrst"],
    )


def equal_rules() -> dict[str, Any]:
    """As many rules as fit, all equal."""
    return _document(_rule("/a", "pay") for _ in range(1900))


def nearly_equal_rules() -> dict[str, Any]:
    """Rules that differ by a literal in the last list."""
    return _document(_rule("/**", "**", f"GET /r{each}") for each in range(1700))


def nearly_equal_rules_of_stars() -> dict[str, Any]:
    """Rules that differ there by patterns that all meet."""
    return _document(_rule("/**", "**", f"GET /*r{each}*") for each in range(1700))


def all_sources_one_target() -> dict[str, Any]:
    """Patterns of peers that all meet."""
    return _document(_rule(f"/*{each}*", "pay") for each in range(1900))


def peers_in_wide_rules() -> dict[str, Any]:
    """A hundred rules about everybody, and about one peer by name."""
    return _document(
        [_rule(["/**", "@p"], f"t{each}") for each in range(50)]
        + [_rule(["/**", "@p"], "pay", f"GET /{each}") for each in range(50)],
        peers=[{"name": "p", "spiffe": ["/p"], "kubernetes": ["ns/p"]}],
    )


def many_peers(size: int = 400, **more: object) -> dict[str, Any]:
    return _document(
        [_rule(f"@n{each}", "pay", **more) for each in range(size)],
        [_rule("@n0", "pay")],
        peers=[
            {
                "name": f"n{each}",
                "spiffe": [f"/n{each}/*", f"/m{each}", f"spiffe://partner.example/n{each}"],
                "kubernetes": [f"ns/n{each}", f"ns/m{each}-*"],
            }
            for each in range(size)
        ],
    )


def many_peers_with_tokens() -> dict[str, Any]:
    """The same, in rules that need a token."""
    return many_peers(evidence=["x509", "token"])


def many_peers_in_each_rule() -> dict[str, Any]:
    """All of them in each of some rules."""
    document = many_peers(200)
    names = [f"@n{each}" for each in range(200)]
    document["allow"] = [
        {"id": f"r{each}", **_rule(names, f"t{each}", evidence=["x509", "token"])} for each in range(60)
    ]
    return document


def everybody_with_token_but_peers() -> dict[str, Any]:
    """Everybody with a token, but for each of many peers."""
    document = many_peers(300)
    document["allow"].append({"id": "all", **_rule("/**", "**", evidence=["x509", "token"])})
    document["deny"] = [{"id": f"no{each}", **_rule(f"@n{each}", "*a*")} for each in range(300)]
    return document


def many_methods() -> dict[str, Any]:
    """Two rules with a thousand methods."""
    return _document(
        [_rule("/**", "**", *(f"M{each} /**" for each in range(1000)))],
        [_rule("/a*", "t*", *(f"M{each} /r{each}/**" for each in range(1000)))],
    )


def a_method_for_each_rule() -> dict[str, Any]:
    """Methods that no other rule names."""
    return _document(_rule("/**", "**", f"M{each} /a", f"N{each} /**") for each in range(1200))


def many_domains() -> dict[str, Any]:
    """As many trust domains as fit, for rules about all of them."""
    document = _document(
        [_rule("/**", "**", f"GET /{each}") for each in range(300)], [_rule("/**/a", "**/a")]
    )
    document["environments"]["prod"] = {"trust_domains": [f"d{each}" for each in range(500)]}
    return document


def many_exceptions() -> dict[str, Any]:
    """Rules that except much, by patterns that all meet."""
    return _document(
        [
            _rule(
                "/**",
                "pay",
                not_from=[f"/*{each}*/*{number}" for each in range(30)],
                not_http=[f"* /*{each}*/{number}" for each in range(30)],
            )
            for number in range(40)
        ]
    )


def many_exceptions_of_one() -> dict[str, Any]:
    """One rule with 2 000 exceptions."""
    return _document(
        [_rule("/**", "pay", not_from=[f"/*{each}*" for each in range(2000)])],
        [_rule("/**", "pay", not_from=["/**/a/**/b/**", "/a/**/b/*c*/**"])],
    )


def exceptions_against_exceptions() -> dict[str, Any]:
    """Rules that differ by their exceptions only."""
    return _document(
        [_rule("/**", "pay", not_from=[f"/**/a{each}/**" for each in range(200)])],
        [_rule("/**", "pay", not_from=[f"/**/b{each}/**" for each in range(200)])] * 5,
    )


def many_wildcards() -> dict[str, Any]:
    """As many wildcards as a pattern may have."""
    deep = "/".join(f"**/{each % 3}" for each in range(31))
    return _document(
        [
            _rule(f"/{deep}/{number}/**", f"{deep}/{number}", f"GET /{deep}/{number}/**")
            for number in range(100)
        ],
        [
            _rule(f"/**/{number}/{deep}", f"**/{number}/{deep}", f"GET /**/{number}/{deep}")
            for number in range(100)
        ],
    )


def many_stars() -> dict[str, Any]:
    """As many in one segment."""
    return _document(
        [_rule("/" + "*a" * 15 + f"*{number}*", "pay") for number in range(300)],
        [_rule("/" + "*ab" * 15 + f"*{number}*", "pay") for number in range(300)],
    )


def long_literals() -> dict[str, Any]:
    long = "/" + "x" * 1900
    return _document(
        [_rule(f"{long}{number}*", "pay") for number in range(20)],
        [_rule(f"/*{'x' * 1900}*{number}", "pay") for number in range(20)],
    )


def long_blocks() -> dict[str, Any]:
    """As many segments as a pattern may have, between wildcards."""
    return _document(
        [_rule(f"/**/{'a/' * 40}b{number}/**", "pay") for number in range(300)],
        [_rule(f"/**/{'a/' * 41}c{number}/**", "pay") for number in range(300)],
    )


def _nth(number: int) -> str:
    return "/".join(f"{number:09b}")


def halves() -> dict[str, Any]:
    """A rule that others cover together only, each of them a corner of it."""
    return _document(
        [_rule("/**", "**", "GET /**")],
        [_rule(f"/*{a}*", f"*{b}*", f"GET /*{c}*") for a in "abcdefg" for b in "abcdefg" for c in "abcdefg"],
    )


def corners() -> dict[str, Any]:
    """The same, with `**`."""
    return _document(
        [_rule("/**", "**", "GET /**") for _ in range(1)],
        [
            _rule(f"/{a}*/**", f"**/{b}*", f"GET /**/{c}*/**")
            for a in "abcdefgh"
            for b in "abcdefgh"
            for c in "abcdefgh"
        ],
    )


def binary_prefixes() -> dict[str, Any]:
    """A tree of prefixes."""
    return _document(
        [_rule("/**", "**")], [_rule(f"/{_nth(each)}/**", f"{_nth(511 - each)}/**") for each in range(512)]
    )


INPUTS: list[Callable[[], dict[str, Any]]] = [
    one_cube,
    cubes,
    cube_denied,
    cube_of_stars,
    cube_of_denies,
    wide_square,
    deep_chains,
    deep_chains_denied,
    deep_chains_of_each_kind,
    few_deep_chains,
    equal_rules,
    nearly_equal_rules,
    nearly_equal_rules_of_stars,
    all_sources_one_target,
    peers_in_wide_rules,
    many_peers,
    many_peers_with_tokens,
    many_peers_in_each_rule,
    everybody_with_token_but_peers,
    many_methods,
    a_method_for_each_rule,
    many_domains,
    many_exceptions,
    many_exceptions_of_one,
    exceptions_against_exceptions,
    many_wildcards,
    many_stars,
    long_literals,
    long_blocks,
    halves,
    corners,
    binary_prefixes,
]


def text_of(make: Callable[[], dict[str, Any]]) -> str:
    """Return an input as a policy file in JSON."""
    return json.dumps(make())

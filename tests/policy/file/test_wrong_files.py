"""Whatever is in a file: everything that is wrong is told, with its place and what would be right."""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs
import pytest

from meshid import InvalidPolicy, Policy

ENVIRONMENTS = """\
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["partner.example"]
[environments.dev]
trust_domains = ["dev.example.org"]
"""


@attrs.frozen
class Wrong:
    """A wrong file: for each place, in order, words of what is told there."""

    case: str
    content: str | bytes
    told: Mapping[str, str]
    is_json: bool = False
    environment: str = "prod"


def rule(case: str, told: Mapping[str, str], /, **lines: str) -> Wrong:
    """Return a file whose only rule is wrong in these lines; an empty one is left out."""
    written = {"id": '"r"', "source": '["/a"]', "to": '["payments"]', **lines}
    body = [f"{key.replace('source', 'from')} = {value}" for key, value in written.items() if value]
    places = {f"allow[0]{'.' if place else ''}{place}": words for place, words in told.items()}
    return Wrong(case, "\n".join([ENVIRONMENTS, "[[allow]]", *body]), places)


def toml(case: str, content: str | bytes, /, **told: str) -> Wrong:
    return Wrong(case, content, {"": told.pop("file"), **told} if "file" in told else told)


def prod(case: str, lines: str, told: Mapping[str, str]) -> Wrong:
    """Return a file whose only environment is wrong."""
    places = {f"environments.prod{'.' if place else ''}{place}": words for place, words in told.items()}
    return Wrong(case, f"version = 1\n[environments.prod]\n{lines}", places)


def json_(case: str, document: object, told: Mapping[str, str]) -> Wrong:
    content = document if isinstance(document, str | bytes) else json.dumps(document)
    return Wrong(case, content, told, is_json=True)


GOOD_RULE = {"id": "r", "from": ["/a"], "to": ["payments"]}
GOOD = {"version": 1, "environments": {"prod": {"trust_domains": ["prod.example.org"]}}, "allow": [GOOD_RULE]}

WRONG = [
    # -- The top level --------------------------------------------------------
    toml("no version", ENVIRONMENTS.replace("version = 1\n", ""), version="is missing; write version = 1"),
    toml("a newer version", ENVIRONMENTS.replace("= 1", "= 2"), version="must be 1, not the number 2"),
    toml(
        "a version as text",
        ENVIRONMENTS.replace("= 1", '= "1"'),
        version="not the string '1'; write: version = 1",
    ),
    toml("a version as truth", ENVIRONMENTS.replace("= 1", "= true"), version="must be 1, not true"),
    toml(
        "a version as fraction", ENVIRONMENTS.replace("= 1", "= 1.0"), version="must be 1, not the number 1.0"
    ),
    toml("a version as a date", ENVIRONMENTS.replace("= 1", "= 1979-05-27"), version="not a date or time"),
    toml("a version that is no number", ENVIRONMENTS.replace("= 1", "= nan"), version="must be 1, not NaN"),
    toml("a version beyond all bounds", ENVIRONMENTS.replace("= 1", "= -inf"), version="not infinity"),
    toml("a huge version", ENVIRONMENTS.replace("= 1", f"= 0x{'f' * 9999}"), version="not a huge number"),
    toml("a misspelled key", f"alow = []\n{ENVIRONMENTS}", alow="is unknown; did you mean 'allow'?"),
    toml("a key in upper case", f"ALLOW = []\n{ENVIRONMENTS}", ALLOW="is unknown; did you mean 'allow'?"),
    toml(
        "a far-off key",
        f"zzz = 1\n{ENVIRONMENTS}",
        zzz="is unknown; known: version, environments, peers, allow, deny, observe",
    ),
    toml(
        "a key of a rule", f'from = ["/a"]\n{ENVIRONMENTS}', **{"from": "belongs under [[allow]] or [[deny]]"}
    ),
    toml(
        "a key of an environment",
        f'trust_domains = ["a"]\n{ENVIRONMENTS}',
        trust_domains="belongs under [environments.NAME]",
    ),
    Wrong("a hostile key", f'"a\\nb" = 1\n{ENVIRONMENTS}', {"'a\\nb'": "is unknown; known: version"}),
    Wrong(
        "a key of 10 000 characters",
        f"{'k' * 9999} = 1\n{ENVIRONMENTS}",
        {f"'{'k' * 64}'... (9999 characters)": "is unknown; known"},
    ),
    toml(
        "observe as a number",
        f"observe = 1\n{ENVIRONMENTS}",
        observe="must be true or false, not the number 1",
    ),
    toml("observe as text", f'observe = "true"\n{ENVIRONMENTS}', observe="not the string 'true'"),
    toml(
        "a rule that is no list",
        f'{ENVIRONMENTS}[allow]\nid = "r"',
        allow="must be a list of tables (in TOML: [[allow]]), not a table",
    ),
    toml("rules as text", f'deny = "all"\n{ENVIRONMENTS}', deny="(in TOML: [[deny]]), not the string 'all'"),
    toml(
        "an empty table",
        "[policy]",
        policy="is unknown; known",
        version="is missing; write version = 1",
        environments="is missing; write tables [environments.NAME], each with trust_domains",
    ),
    # -- What a rule leaves out, and until when it counts ---------------------
    rule(
        "exceptions that are wrong",
        {
            "not_from[0]": "must begin with '/' or 'spiffe://': write '/ns/a'",
            "not_from[1]": "neither has nor federates with other.example",
            "not_http[0]": "leave the query out",
            "not_http[1]": "must be a string, not the number 1",
        },
        not_from='["ns/a", "spiffe://other.example/a"]',
        not_http='["GET /a?b", 1]',
    ),
    rule(
        "exceptions that are none",
        {"not_from": "is empty; write at least one, or leave the key out", "not_http": "is empty"},
        not_from="[]",
        not_http="[]",
    ),
    rule("an owner that is a list", {"owner": "must be a string of at most 256"}, owner='["a"]'),
    rule("a reviewer that never ends", {"reviewer": "(257 characters)"}, reviewer=f'"{"a" * 257}"'),
    rule(
        "a last day with a time",
        {"until": "without a time, and all of that day counts, in UTC: write until = 2027-01-31"},
        until="2027-01-31T12:00:00Z",
    ),
    rule(
        "a last day as text",
        {"until": "not a string: write it without quotes, until = 2027-01-31"},
        until='"2027-01-31"',
    ),
    rule(
        "a last day that is no day",
        {"until": "must be a date, such as 2027-01-31, not the string 'soon'"},
        until='"soon"',
    ),
    rule("a last time of day", {"until": "must be a date, such as 2027-01-31, not a date"}, until="12:00:00"),
    rule(
        "a day that does not exist, as text",
        {"until": "must be a day of the calendar, and there is no 2027-02-30"},
        until='"2027-02-30"',
    ),
    toml(
        "a day that does not exist",
        f'{ENVIRONMENTS}[[allow]]\nid = "r"\nuntil = 2027-02-30\nfrom = ["/a"]\nto = ["t"]',
        file="Invalid date or datetime (at line 9",
    ),
    toml(
        "a deny rule that ends",
        f'{ENVIRONMENTS}[[deny]]\nid = "r"\nuntil = 1\nfrom = ["/a"]\nto = ["t"]',
        **{"deny[0].until": "is for allow rules only: a deny rule that ends would let peers in"},
    ),
    *(
        json_(
            f"a last day that is {what} in JSON",
            {**GOOD, "allow": [{**GOOD_RULE, "until": value}]},
            {"allow[0].until": told},
        )
        for what, value, told in (
            ("no day", "2027-02-29", "must be a day of the calendar, and there is no 2027-02-29"),
            ("year 0", "0000-01-01", "must be a day of the calendar, and there is no 0000-01-01"),
            ("without dashes", "20270131", 'must be a date, such as "2027-01-31", not the string'),
            ("of a week", "2027-W04-7", 'must be a date, such as "2027-01-31", not the string'),
            ("in other digits", "\u0662027-01-31", "must be a date"),
            ("a number", 20270131, 'must be a date, such as "2027-01-31", not the number 20270131'),
            ("null", None, "not null"),
            ("a time", "2027-01-31T00:00:00Z", 'must be a date, such as "2027-01-31", not the string'),
        )
    ),
    # -- Environments ---------------------------------------------------------
    toml("no environments", "version = 1", environments="is missing; write tables [environments.NAME]"),
    toml("empty environments", "version = 1\n[environments]", environments="not an empty table"),
    toml(
        "environments as a list",
        'version = 1\nenvironments = ["prod"]',
        environments="must be tables [environments.NAME], each with trust_domains, not a list",
    ),
    toml(
        "one environment in a list",
        'version = 1\n[[environments]]\nname = "prod"',
        environments="must be tables [environments.NAME], each with trust_domains, not a list",
    ),
    toml(
        "a misspelled table",
        ENVIRONMENTS.replace("environments", "enviroments"),
        enviroments="is unknown; did you mean 'environments'?",
        environments="is missing",
    ),
    Wrong(
        "an environment that is not there",
        ENVIRONMENTS,
        {"environments": "there is no environment 'staging'; there are: 'prod', 'dev'"},
        environment="staging",
    ),
    Wrong(
        "an environment misspelled",
        ENVIRONMENTS,
        {"environments": "no environment 'Prd'; did you mean 'prod'? there are: 'prod', 'dev'"},
        environment="Prd",
    ),
    Wrong(
        "an environment as text",
        'version = 1\nenvironments.prod = "prod.example.org"',
        {"environments.prod": "must be a table with trust_domains, not the string 'prod.example.org'"},
    ),
    Wrong(
        "a hostile name of an environment",
        f'{ENVIRONMENTS}[environments."a\\u001b"]',
        {"environments.'a\\x1b'.trust_domains": "is missing"},
    ),
    prod(
        "no trust domains",
        "",
        {"trust_domains": 'is missing; write a list of strings, such as ["prod.example.org"]'},
    ),
    prod(
        "a misspelled key in it",
        'trust_domains = ["a"]\ntrust_domain = "b"',
        {"trust_domain": "is unknown; did you mean 'trust_domains'?"},
    ),
    prod(
        "a key of the top level in it",
        'trust_domains = ["a"]\nobserve = true',
        {"observe": "is unknown; it belongs at the top level (in TOML: before the first [table])"},
    ),
    prod(
        "trust domains as text",
        'trust_domains = "a.example"',
        {"trust_domains": 'must be a list: write ["a.example"]'},
    ),
    prod(
        "no trust domain in the list",
        "trust_domains = []",
        {"trust_domains": 'is empty; write a list of strings, such as ["prod.example.org"]'},
    ),
    prod(
        "trust domains as a table",
        "trust_domains = { a = 1 }",
        {"trust_domains": 'must be a list of strings, such as ["prod.example.org"], not a table'},
    ),
    prod("a list in a list", 'trust_domains = [["a"]]', {"trust_domains[0]": "must be a string, not a list"}),
    prod(
        "a number as trust domain",
        'trust_domains = ["a", 1]',
        {"trust_domains[1]": "must be a string, not the number 1"},
    ),
    prod(
        "an empty trust domain",
        'trust_domains = [""]',
        {"trust_domains[0]": "is missing; write a name such as 'prod.example.org'"},
    ),
    prod(
        "a trust domain in upper case",
        'trust_domains = ["Prod.Example"]',
        {"trust_domains[0]": "write 'prod.example'"},
    ),
    prod(
        "a trust domain as URL",
        'trust_domains = ["https://a.example/"]',
        {"trust_domains[0]": "write 'a.example'"},
    ),
    prod(
        "a trust domain with a path", 'trust_domains = ["spiffe://a/ns/b"]', {"trust_domains[0]": "write 'a'"}
    ),
    prod(
        "a trust domain with a port",
        'trust_domains = ["a:443"]',
        {"trust_domains[0]": "such as 'prod.example.org'"},
    ),
    prod(
        "any trust domain",
        'trust_domains = ["*.example.org"]',
        {"trust_domains[0]": "a trust domain has no wildcards; name each one"},
    ),
    prod(
        "a trust domain that looks Latin",
        'trust_domains = ["\\u0430.example"]',
        {"trust_domains[0]": "'\\u0430.example' may hold only a-z"},
    ),
    prod(
        "an overlong trust domain",
        f'trust_domains = ["{"a" * 256}"]',
        {"trust_domains[0]": "is longer than 255 bytes"},
    ),
    prod(
        "federation with itself",
        'trust_domains = ["a", "b"]\nfederates_with = ["c", "b"]',
        {"federates_with[1]": "b is already this environment's own; leave it out here"},
    ),
    prod(
        "federation with nobody",
        'trust_domains = ["a"]\nfederates_with = []',
        {"federates_with": "is empty; write at least one, or leave the key out"},
    ),
    prod(
        "federation as text",
        'trust_domains = ["a"]\nfederates_with = "partner.example"',
        {"federates_with": 'must be a list: write ["partner.example"]'},
    ),
    Wrong(
        "a trust domain of two environments",
        'version = 1\n[environments]\nprod.trust_domains = ["a"]\ndev.trust_domains = ["b", "a"]',
        {"environments.dev.trust_domains[1]": "a already belongs to environment 'prod'; each environment"},
    ),
    Wrong(
        "a mistake in another environment",
        f"{ENVIRONMENTS}[environments.test]\ntrust_domains = [1]",
        {"environments.test.trust_domains[0]": "must be a string, not the number 1"},
    ),
    # -- Rules ----------------------------------------------------------------
    Wrong(
        "rules as texts",
        f'allow = ["r"]\n{ENVIRONMENTS}',
        {"allow[0]": "must be a table with id, from, to, not the string 'r'"},
    ),
    Wrong(
        "an empty rule",
        f"{ENVIRONMENTS}[[allow]]\n[[deny]]",
        {
            f"{effect}[0].{key}": words
            for effect in ("allow", "deny")
            for key, words in (
                ("id", 'is missing; write a name for the rule, such as "checkout-charges-cards"'),
                ("from", 'is missing; write a list of strings, such as ["/ns/checkout/**"]'),
                ("to", 'is missing; write a list of strings, such as ["payments"]'),
            )
        },
    ),
    rule(
        "a misspelled key in a rule",
        {"form": "is unknown; did you mean 'from'?", "from": "is missing"},
        source="",
        form='["/a"]',
    ),
    rule("a key of the top level in a rule", {"version": "belongs at the top level"}, version="1"),
    rule(
        "a key of an environment in a rule",
        {"trust_domains": "belongs under [environments.NAME]"},
        trust_domains='["a"]',
    ),
    rule(
        "a far-off key in a rule",
        {
            "principal": "is unknown; known: id, why, owner, reviewer, from, not_from, to, http, not_http, "
            "until, evidence, observe"
        },
        principal='"a"',
    ),
    rule("no id", {"id": "is missing; write a name for the rule"}, id=""),
    rule(
        "an empty id",
        {"id": "must be 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit, not"},
        id='""',
    ),
    rule("an id in upper case", {"id": "not the string 'Rule'; write 'rule'"}, id='"Rule"'),
    rule("an id with spaces", {"id": "write 'checkout-charges-cards'"}, id='"Checkout charges  cards!"'),
    rule("an id with a newline", {"id": "not the string 'r\\n'; write 'r'"}, id='"r\\n"'),
    rule(
        "an id that begins with a dot",
        {"id": "the first a letter or a digit, not the string '.r'; write 'r'"},
        id='".r"',
    ),
    rule("an id that is no Latin", {"id": "must be 1 to 64"}, id='"\\u540d"'),
    rule("an overlong id", {"id": "(65 characters); write"}, id=f'"{"r" * 65}"'),
    rule(
        "an id as number",
        {"id": "the first a letter or a digit, not the number 7"},
        id="7",
    ),
    rule("an id as list", {"id": "not a list"}, id='["r"]'),
    Wrong(
        "an id three times",
        "\n".join(
            [
                ENVIRONMENTS,
                *['[[allow]]\nid = "r"\nfrom = ["/a"]\nto = ["a"]'] * 2,
                '[[deny]]\nid = "r"\nfrom = ["/a"]\nto = ["a"]',
            ]
        ),
        {
            "allow[1].id": "'r' is already the id of allow[0]; give this rule another one",
            "deny[0].id": "'r' is already the id of allow[0]; give this rule another one",
        },
    ),
    rule(
        "why as list", {"why": "must be a string of at most 1024 Unicode characters, not a list"}, why='["x"]'
    ),
    rule("an overlong why", {"why": "(1025 characters)"}, why=f'"{"x" * 1025}"'),
    rule(
        "observe as text in a rule",
        {"observe": "must be true or false, not the string 'yes'"},
        observe='"yes"',
    ),
    rule("observe as number in a rule", {"observe": "must be true or false, not the number 0"}, observe="0"),
    # -- from -----------------------------------------------------------------
    rule("no from", {"from": 'is missing; write a list of strings, such as ["/ns/checkout/**"]'}, source=""),
    rule("from as text", {"from": 'must be a list: write ["/ns/a/**"]'}, source='"/ns/a/**"'),
    rule("from as a long text", {"from": "must be a list: put the string in [ ]"}, source=f'"/{"a" * 99}"'),
    rule("from as everybody", {"from": 'must be a list: write ["**"]'}, source='"**"'),
    rule(
        "from as table",
        {"from": 'must be a list of strings, such as ["/ns/checkout/**"], not a table'},
        source='{ path = "/a" }',
    ),
    rule("from as truth", {"from": "not true"}, source="true"),
    rule(
        "an empty from",
        {"from": 'is empty; write a list of strings, such as ["/ns/checkout/**"]'},
        source="[]",
    ),
    rule("a number in from", {"from[1]": "must be a string, not the number 7"}, source='["/a", 7]'),
    rule("a table in from", {"from[0]": "must be a string, not a table"}, source='[{ path = "/a" }]'),
    rule("an empty text in from", {"from[0]": "'' must begin with '/' or 'spiffe://'"}, source='[""]'),
    rule(
        "from without slash",
        {"from[0]": "must begin with '/' or 'spiffe://': write '/ns/a'"},
        source='["ns/a"]',
    ),
    rule("from with a space before", {"from[0]": "write '/ns/a'"}, source='[" /ns/a"]'),
    rule("from as one star", {"from[0]": "write '/*'"}, source='["*"]'),
    rule(
        "from as Istio writes it",
        {"from[0]": "write '/prod.example.org/ns/a' or 'spiffe://prod.example.org/ns/a'"},
        source='["prod.example.org/ns/a"]',
    ),
    rule(
        "a scheme in upper case",
        {"from[0]": "write 'spiffe://partner.example/a'"},
        source='["SPIFFE://Partner.example/a"]',
    ),
    rule(
        "a scheme with one slash",
        {"from[0]": "write 'spiffe://partner.example/a'"},
        source='["spiffe:/partner.example/a"]',
    ),
    rule(
        "a scheme without colon",
        {"from[0]": "write 'spiffe://partner.example/a'"},
        source='["spiffe//partner.example/a"]',
    ),
    rule(
        "another scheme",
        {"from[0]": "'https://partner.example/a' must begin with '/' or 'spiffe://'"},
        source='["https://partner.example/a"]',
    ),
    rule(
        "no trust domain after the scheme",
        {"from[0]": "a trust domain name is missing: write '/ns/a'"},
        source='["spiffe:///ns/a"]',
    ),
    rule(
        "a trust domain in upper case in from",
        {"from[0]": "write 'spiffe://partner.example/a'"},
        source='["spiffe://Partner.example/a"]',
    ),
    rule(
        "from any trust domain",
        {"from[0]": "a trust domain has no wildcards, name each"},
        source='["spiffe://*/a"]',
    ),
    rule(
        "from a whole trust domain",
        {"from[0]": "names no workload: write 'spiffe://partner.example/**' for all of them"},
        source='["spiffe://partner.example"]',
    ),
    rule(
        "from a trust domain and a slash",
        {"from[0]": "names no workload: write 'spiffe://partner.example/**' for all of them"},
        source='["spiffe://partner.example/"]',
    ),
    rule(
        "from a misspelled trust domain",
        {"from[0]": "neither has nor federates with prod.exmaple.org; did you mean prod.example.org?"},
        source='["spiffe://prod.exmaple.org/a"]',
    ),
    rule(
        "from a far-off trust domain",
        {"from[0]": "nor federates with zzz; it knows: prod.example.org, partner.example"},
        source='["spiffe://zzz/a"]',
    ),
    rule(
        "from the trust domain of another environment",
        {"from[0]": "it belongs to environment 'dev': write '/a' for the peers of"},
        source='["spiffe://dev.example.org/a"]',
    ),
    rule(
        "an empty segment in from",
        {"from[0]": "character 4: a segment is empty; write one '/' here"},
        source='["/a//b"]',
    ),
    rule(
        "a slash at the end of from",
        {"from[0]": "can never match a SPIFFE ID: it ends in '/': write '/a'"},
        source='["/a/"]',
    ),
    rule(
        "from as one slash",
        {"from[0]": "can never match a SPIFFE ID: it ends in '/': write '/**' for all of them"},
        source='["/"]',
    ),
    rule(
        "a space in from",
        {"from[0]": "segment 'a b' may hold only a-z, A-Z, 0-9, '.', '-', '_' and wildcards '*'"},
        source='["/a b"]',
    ),
    rule("braces in from", {"from[0]": "segment '{a,b}' may hold only"}, source='["/{a,b}"]'),
    rule("a regular expression in from", {"from[0]": "segment '[a-z]+' may hold only"}, source='["/[a-z]+"]'),
    rule("a percent in from", {"from[0]": "segment 'a%20b' may hold only"}, source='["/a%20b"]'),
    rule("a dot segment in from", {"from[0]": "'..'; write the path without it"}, source='["/a/../b"]'),
    rule(
        "half a wildcard in from",
        {"from[0]": "write '*', or '**' as a segment of its own"},
        source='["/a**"]',
    ),
    rule(
        "a control character in from",
        {"from[0]": "remove '\\x1b', a control character"},
        source='["/a\\u001b"]',
    ),
    rule(
        "too many wildcards in from",
        {"from[0]": "a pattern has at most 32 wildcards"},
        source=f'["{"/*" * 33}"]',
    ),
    rule(
        "an overlong from", {"from[0]": "a pattern has at most 2048 characters"}, source=f'["/{"a" * 2048}"]'
    ),
    # -- to -------------------------------------------------------------------
    rule("no to", {"to": 'is missing; write a list of strings, such as ["payments"]'}, to=""),
    rule("to as text", {"to": 'must be a list: write ["payments"]'}, to='"payments"'),
    rule("an empty to", {"to": 'is empty; write a list of strings, such as ["payments"]'}, to="[]"),
    rule("a number in to", {"to[0]": "must be a string, not the number 8443"}, to="[8443]"),
    rule(
        "an empty text in to",
        {"to[0]": "'' must be the name of a service, a port or an endpoint, such as 'payments'"},
        to='[""]',
    ),
    rule(
        "a slash before to",
        {"to[0]": "a target neither begins nor ends with '/'; write 'payments'"},
        to='["/payments"]',
    ),
    rule("a slash after to", {"to[0]": "write 'payments'"}, to='["payments/"]'),
    rule("to as one slash", {"to[0]": "write '**'"}, to='["/"]'),
    rule(
        "a space after to",
        {"to[0]": "'payments ', character 9: a target cannot have ' '; write 'payments'"},
        to='["payments "]',
    ),
    rule(
        "a tab in to",
        {"to[0]": "character 4: a target cannot have '\\t'; write it without"},
        to='["pay\\tments"]',
    ),
    rule(
        "to as URL",
        {"to[0]": "must be the name of a service, a port or an endpoint"},
        to='["https://payments"]',
    ),
    rule("half a wildcard in to", {"to[0]": "'**' is part of a longer segment; write '*'"}, to='["pay**"]'),
    rule("an overlong to", {"to[0]": "a pattern has at most 2048 characters"}, to=f'["{"a" * 2049}"]'),
    # -- http -----------------------------------------------------------------
    rule("http as text", {"http": 'must be a list: write ["GET /a"]'}, http='"GET /a"'),
    rule("an empty http", {"http": "is empty; write at least one, or leave the key out"}, http="[]"),
    rule("http as table", {"http": "must be a list of strings, not a table"}, http='{ method = "GET" }'),
    rule(
        "an empty text in http",
        {"http[0]": "must be one method, or '*' for any, a space and a path, such as 'GET /v1/**'"},
        http='[""]',
    ),
    rule(
        "http without method",
        {"http[0]": "one method in upper case, a space and a path: write '* /a'"},
        http='["/a"]',
    ),
    rule("http without path", {"http[0]": "write 'GET /**'"}, http='["GET"]'),
    rule(
        "http as any word",
        {"http[0]": "must be one method, or '*' for any, a space and a path, such as"},
        http='["health"]',
    ),
    rule("http without slash", {"http[0]": "write 'GET /a'"}, http='["GET a"]'),
    rule("http in lower case", {"http[0]": "write 'GET /a'"}, http='["get /a"]'),
    rule("http with two spaces", {"http[0]": "write 'GET /a'"}, http='["GET  /a"]'),
    rule("http with a tab", {"http[0]": "write 'GET /a'"}, http='["GET\\t/a"]'),
    rule("two methods with a comma", {"http[0]": "write 'GET /a', 'HEAD /a'"}, http='["GET,HEAD /a"]'),
    rule("two methods with a bar", {"http[0]": "write 'GET /a', 'HEAD /a'"}, http='["get|HEAD /a"]'),
    rule("half a method", {"http[0]": "must be one method, or '*' for any"}, http='["P* /a"]'),
    rule("a method that is none", {"http[0]": "must be one method, or '*' for any"}, http='["G(T /a"]'),
    rule(
        "an encoded path",
        {"http[0]": "no judged path has '%'; write the path decoded"},
        http='["GET /a%20b"]',
    ),
    rule(
        "a query",
        {"http[0]": "no judged path has '?'; leave the query out"},
        http='["GET /a?b=c"]',
    ),
    rule(
        "a parameter",
        {"http[0]": "no judged path has ';'; leave the parameters out"},
        http='["GET /a;b"]',
    ),
    rule(
        "a fragment",
        {"http[0]": "no judged path has '#'; leave the fragment out"},
        http='["GET /a#b"]',
    ),
    rule(
        "a backslash",
        {"http[0]": "no judged path has '\\\\'; put '/' in its place"},
        http="['GET /a\\b']",
    ),
    rule(
        "a decomposed path",
        {"http[0]": "every judged path is in Unicode's normal form C; write 'GET /caf\\xe9'"},
        http='["GET /cafe\\u0301"]',
    ),
    rule(
        "many segments",
        {"http[0]": "a pattern with wildcards has at most 64 segments"},
        http=f'["GET /**{"/a" * 64}"]',
    ),
    rule("a dot segment in a path", {"http[0]": "'..'; write the path without it"}, http='["GET /a/../b"]'),
    rule(
        "an empty segment in a path",
        {"http[0]": "a segment is empty; write one '/' here"},
        http='["GET /a//b"]',
    ),
    rule(
        "an overlong condition",
        {"http[0]": "must be one method, or '*' for any, a space and a path, such as"},
        http=f'["get /{"a" * 2048}"]',
    ),
    # -- Many at once ---------------------------------------------------------
    Wrong(
        "a mistake in everything",
        """
        version = "1"
        extra = 1
        "and more" = 1
        observe = "no"
        environments.dev = 1
        environments.prod.trust_domains = ["prod.example.org", "OLD"]
        environments.prod.federates_with = ["partner.example", 7]
        [[allow]]
        id = "A"
        from = ["x", "/ok", "spiffe://unknown/a"]
        to = "y"
        http = ["get /", "GET /ok", 7]
        [[allow]]
        id = "b"
        form = ["/a"]
        to = ["/t"]
        [[deny]]
        id = "b"
        from = []
        to = []
        """,
        {
            "extra": "is unknown",
            "'and more'": "is unknown",
            "version": "must be 1",
            "environments.dev": "must be a table with trust_domains, not the number 1",
            "environments.prod.trust_domains[1]": "write 'old'",
            "environments.prod.federates_with[1]": "must be a string",
            "allow[0].id": "write 'a'",
            "allow[0].from[0]": "write '/x'",
            "allow[0].to": 'write ["y"]',
            "allow[0].http[0]": "write 'GET /'",
            "allow[0].http[2]": "must be a string",
            "allow[1].form": "did you mean 'from'?",
            "allow[1].from": "is missing",
            "allow[1].to[0]": "write 't'",
            "deny[0].id": "'b' is already the id of allow[1]",
            "deny[0].from": "is empty; write",
            "deny[0].to": "is empty; write",
            "observe": "must be true or false",
        },
    ),
    Wrong(
        "a broken federation, and a rule that hangs on it",
        'version = 1\n[environments.prod]\ntrust_domains = ["a"]\nfederates_with = ["Partner"]\n'
        '[[allow]]\nid = "r"\nfrom = ["spiffe://partner/x"]\nto = ["t"]',
        {"environments.prod.federates_with[0]": "write 'partner'"},
    ),
    Wrong(
        "an environment that is not there, and a rule that hangs on it",
        ENVIRONMENTS + '[[allow]]\nid = "r"\nfrom = ["spiffe://partner.example/x"]\nto = ["t"]',
        {"environments": "did you mean 'dev'?"},
        environment="devel",
    ),
    Wrong(
        "two bad ids that are alike",
        ENVIRONMENTS + '[[allow]]\nid = "R"\nfrom = ["/a"]\nto = ["t"]\n' * 2,
        {"allow[0].id": "write 'r'", "allow[1].id": "write 'r'"},
    ),
    # -- JSON -----------------------------------------------------------------
    json_("a list", [], {"": "must be a table with version, environments, not an empty list"}),
    json_(
        "a text",
        "policy",
        {"": "it cannot be parsed as JSON: 'Expecting value: line 1 column 1 (char 0)'; is it TOML?"},
    ),
    json_(
        "a quoted text",
        '"policy"',
        {"": "must be a table with version, environments, not the string 'policy'"},
    ),
    json_("null", "null", {"": "must be a table with version, environments, not null"}),
    json_("not a number", "NaN", {"": "must be a table with version, environments, not NaN"}),
    json_("infinity", "-Infinity", {"": "must be a table with version, environments, not infinity"}),
    json_("beyond the floats", "1e400", {"": "must be a table with version, environments, not infinity"}),
    json_("null for a list", {**GOOD, "allow": [{**GOOD_RULE, "from": None}]}, {"allow[0].from": "not null"}),
    json_("null for a text", {**GOOD, "allow": [{**GOOD_RULE, "why": None}]}, {"allow[0].why": "not null"}),
    json_("null for a flag", {**GOOD, "observe": None}, {"observe": "must be true or false, not null"}),
    json_("null for rules", {**GOOD, "deny": None}, {"deny": "must be a list of tables"}),
    json_("null for environments", {**GOOD, "environments": None}, {"environments": "must be tables"}),
    json_("an empty key", {**GOOD, "": 1}, {"''": "is unknown; known: version"}),
    json_("a lone surrogate as a key", {**GOOD, "\ud800": 1}, {"'\\ud800'": "is unknown; known: version"}),
    json_(
        "a lone surrogate in from",
        {**GOOD, "allow": [{**GOOD_RULE, "from": ["/\ud800"]}]},
        {"allow[0].from[0]": "a control character or a lone surrogate"},
    ),
    json_(
        "a lone surrogate in to",
        {**GOOD, "allow": [{**GOOD_RULE, "to": ["a\ud800"]}]},
        {"allow[0].to[0]": "character 2: a target cannot have '\\ud800'"},
    ),
    json_(
        "a lone surrogate in http",
        {**GOOD, "allow": [{**GOOD_RULE, "http": ["GET /\ud800"]}]},
        {"allow[0].http[0]": "a lone surrogate"},
    ),
    json_(
        "a lone surrogate in why",
        {**GOOD, "allow": [{**GOOD_RULE, "why": "\ud800"}]},
        {"allow[0].why": "1024 Unicode characters, not the string '\\ud800'"},
    ),
    json_(
        "a NUL in from",
        {**GOOD, "allow": [{**GOOD_RULE, "from": ["/\0"]}]},
        {"allow[0].from[0]": "remove '\\x00', a control character"},
    ),
    json_(
        "a lone surrogate as a trust domain",
        {**GOOD, "environments": {"prod": {"trust_domains": ["\udfff"]}}},
        {"environments.prod.trust_domains[0]": "may hold only a-z"},
    ),
    json_(
        "a key twice",
        '{"version": 1, "version": 1}',
        {"": "the key 'version' occurs twice in one object; keep one of them"},
    ),
    json_("cut off", json.dumps(GOOD)[:-2], {"": "it cannot be parsed"}),
    json_("a comment", "// policy\n{}", {"": "line 1 column 1"}),
    json_("TOML in a .json", ENVIRONMENTS, {"": "it cannot be parsed"}),
    json_(
        "an integer of 100 000 digits",
        '{"version": ' + "1" * 100_000 + "}",
        {"": "an integer of thousands of digits"},
    ),
    json_("nested beyond the stack", "[" * 200_000, {"": "nested too deeply: is it the right file?"}),
    json_(
        "nested as far as the stack goes",
        '{"version": 1, "environments": ' + "[" * 300 + "]" * 300 + "}",
        {"environments": "not a list"},
    ),
    # -- Not even a document --------------------------------------------------
    toml("an empty file", "", file="it is empty"),
    json_("only spaces", " \n\n ", {"": "it is empty"}),
    toml("no value", "version = 1\nx = ?", file="Invalid value (at line 2, column 5)"),
    toml("a text that is not closed", 'version = "1', file="(at "),
    toml("a key twice in TOML", "version = 1\nversion = 1", file="Cannot overwrite a value"),
    toml("a table twice", "[environments.prod]\n[environments.prod]", file="Cannot declare"),
    toml("YAML", "version: 1\nenvironments:\n  prod:\n", file="Expected '=' after a key"),
    toml("JSON in a .toml", json.dumps(GOOD), file="which never begins with '{'; is it JSON?"),
    toml("nested beyond the stack in TOML", "a = " + "[" * 100_000, file="nested too deeply"),
    toml("tables nested beyond the stack", "a = " + "{a=" * 100_000, file="nested too deeply"),
    toml(
        "a key of many parts",
        "x = 1\n" + "a." * 99 + "a = 1",
        file="a key has more than 16 parts (at line 2)",
    ),
    toml(
        "an integer of 100 000 digits in TOML",
        "version = " + "1" * 100_000,
        file="an integer of thousands of digits",
    ),
    toml("a surrogate in TOML", 'why = "\\ud800"', file="not a Unicode scalar value"),
    toml(
        "Latin-1",
        'version = 1\nwhy = "Zür'.encode("latin-1"),
        file="it is not UTF-8, at byte 21 (line 2); save it as UTF-8",
    ),
    toml("a surrogate in UTF-8", b'"\xed\xa0\x80"', file="it is not UTF-8, at byte 2 (line 1)"),
    toml("UTF-16", ENVIRONMENTS.encode("utf-16"), file="it is UTF-16; save it as UTF-8"),
    toml(
        "UTF-16, the other end first",
        b"\xfe\xff" + ENVIRONMENTS.encode("utf-16-be"),
        file="it is UTF-16; save it as UTF-8",
    ),
    json_(
        "UTF-16 without a mark",
        json.dumps(GOOD).encode("utf-16-le"),
        {"": "it has a NUL at character 2, as UTF-16"},
    ),
    toml(
        "a byte order mark",
        b"\xef\xbb\xbf" + ENVIRONMENTS.encode(),
        file="byte order mark, which no editor shows; save it as UTF-8 without one",
    ),
    toml("a NUL", ENVIRONMENTS + "\0", file="it has a NUL at character"),
    toml("an archive", b"\x1f\x8b\x08\x00" * 99, file="it is not UTF-8, at byte 2"),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.case)
def test_every_error_in_a_file_is_reported(wrong: Wrong) -> None:
    content = wrong.content if isinstance(wrong.content, bytes) else wrong.content.encode()
    read = Policy.from_json if wrong.is_json else Policy.from_toml
    with pytest.raises(InvalidPolicy) as caught:
        read(content, environment=wrong.environment)
    assert [problem.where for problem in caught.value.problems] == list(wrong.told), str(caught.value)
    for problem in caught.value.problems:
        assert wrong.told[problem.where] in problem.what
        assert str(problem).isascii()
        assert str(problem).isprintable()
        assert len(str(problem)) < 1000


def test_there_are_a_hundred_of_them_and_no_two_are_one() -> None:
    assert len({(wrong.content, wrong.is_json, wrong.environment) for wrong in WRONG}) == len(WRONG) > 100
    assert len({wrong.case for wrong in WRONG}) == len(WRONG)


LISTS = [
    ("environments.prod.trust_domains", "prod.example.org"),
    ("environments.prod.federates_with", "partner.example"),
    ("allow[0].from", "/ns/pay/**"),
    ("allow[0].to", "payments"),
    ("allow[0].http", "GET /v1/**"),
    ("allow[0].not_from", "/ns/pay/**"),
    ("allow[0].not_http", "GET /v1/**"),
    ("peers[0].members", "/ns/pay/**"),
]


@pytest.mark.parametrize("text", ["", "*", "**", "/", None], ids=["empty", "star", "stars", "slash", "right"])
@pytest.mark.parametrize(("place", "right"), LISTS, ids=[place for place, _ in LISTS])
def test_a_string_where_a_list_belongs_is_never_taken_apart(place: str, right: str, text: str | None) -> None:
    value = right if text is None else text
    domains = {"trust_domains": ["a"], "federates_with": ["b"]}
    entry: dict[str, object] = {"id": "r", "from": ["/a"], "to": ["t"], "http": ["GET /"]}
    key = place.rpartition(".")[2]
    document: dict[str, object] = {
        "version": 1,
        "environments": {"prod": {**domains, key: value} if key in domains else domains},
        "allow": [entry if key in {*domains, "members"} else {**entry, key: value}],
    }
    if key == "members":
        document["peers"] = [{"name": "s", key: value}]
    with pytest.raises(InvalidPolicy) as caught:
        Policy.from_json(json.dumps(document), environment="prod")
    (problem,) = caught.value.problems
    assert problem.where == place
    assert problem.what == f'must be a list: write ["{value}"]'

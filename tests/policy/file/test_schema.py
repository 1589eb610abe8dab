"""The JSON Schema of a policy file says what the loader says, as far as form goes.

After a change: ``python -m tests.policy.file.test_schema --write``
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from meshid import InvalidPattern, InvalidPolicy, InvalidSpiffeId, Policy
from meshid.policy.file.form import FILE, TABLES
from meshid.policy.file.issuer_form import ISSUER
from meshid.policy.file.peer_form import ALIAS, NAMED_PEER
from meshid.policy.file.schema import schema
from meshid.policy.file.shapes import Table, Text, Texts
from meshid.policy.file.strings import condition, source, target, trust_domain
from tests.helpers.issuer_files import ISSUERS, PEER

ROOT = Path(__file__).parents[3]
FILE_NAME = "policy-1.schema.json"
IN_DOCS = ROOT / "docs" / FILE_NAME
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SCHEMA: dict[str, Any] = schema()
VALIDATOR = Draft7Validator(SCHEMA)


def text() -> str:
    return json.dumps(SCHEMA, indent=2) + "\n"


def loads(document: object) -> bool:
    try:
        Policy.from_json(json.dumps(document), environment="prod")
    except InvalidPolicy:
        return False
    return True


def as_json(document: object) -> object:
    """Return a TOML document as JSON has it: with strings in place of dates."""
    return json.loads(json.dumps(document, default=str))


# -- The file -----------------------------------------------------------------


def test_the_file_in_docs_is_the_schema() -> None:
    assert IN_DOCS.read_text("utf-8") == text(), "run: python -m tests.policy.file.test_schema --write"


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft7Validator.META_SCHEMA["$schema"]


def test_no_table_takes_other_keys_and_each_key_says_what_it_is_for() -> None:
    tables = [SCHEMA, *SCHEMA["definitions"].values()]
    assert len(tables) == len(TABLES)
    for table in tables:
        assert table["additionalProperties"] is False
        assert all(len(value["description"]) > 20 for value in table["properties"].values())


@pytest.mark.parametrize("pattern", re.findall(r'"pattern": ("[^\n]+"),?', text()))
def test_its_regular_expressions_mean_the_same_in_ecma_262(pattern: str) -> None:
    """What an editor may lack is not used: look-around, named groups, possessive or lazy repeats, flags."""
    inner = json.loads(pattern)
    assert inner.startswith("^(?:")
    assert inner.endswith(")$")
    assert not re.search(r"\(\?[^:]|[*+?}][+?]", inner)
    assert set(re.findall(r"\\(.)", inner)) <= set("*\\s")


def test_its_examples_are_accepted() -> None:
    for table in TABLES:
        for key in table.keys:
            shape = key.holds.each if isinstance(key.holds, Texts) else key.holds
            if isinstance(shape, Text):
                assert all(map(shape.accepts, shape.examples)), key.name


def toml_blocks() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for match in re.finditer(
            r"^```toml[^\n]*\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
        ):
            if "[[allow]]" in match[1]:
                yield f"{page.name}, block at {match.start()}", match[1]


@pytest.mark.parametrize(("where", "block"), list(toml_blocks()))
def test_a_policy_in_the_docs_validates_if_it_loads(where: str, block: str) -> None:
    document = as_json(tomllib.loads(block))
    assert VALIDATOR.is_valid(document) == loads(document), where


def test_the_docs_have_policies() -> None:
    loading = [block for _, block in toml_blocks() if loads(as_json(tomllib.loads(block)))]
    assert len(loading) >= 2


# -- The same strings ---------------------------------------------------------

READERS = {"trust_domains": trust_domain, "from": source, "to": target, "http": condition}
FORMS = {key.name: key.holds.each for table in TABLES for key in table.keys if isinstance(key.holds, Texts)}
SPACES = {
    "trust_domains": [*"aA0.-_/:* \u212a", "spiffe://"],
    "from": [*"aA0-/* :.%\u212a", "**", "spiffe://"],
    "to": [*"aA0./* ", "**", "\u00e9"],
    "http": [*"GPg*/a ", "GET ", " /", "%", ";", "?", "#", "\\", "|"],
}
SHORT = 4


@pytest.mark.parametrize("key", READERS)
def test_a_short_string_has_the_form_if_and_only_if_it_is_read(key: str) -> None:
    read, form = READERS[key], FORMS[key]
    told = {"schema": 0, "both": 0}
    for length in range(SHORT + 1):
        for parts in product(SPACES[key], repeat=length):
            value = "".join(parts)
            accepted = form.accepts(value)
            told["schema"] += accepted
            try:
                read(value)
            except (InvalidPattern, InvalidSpiffeId):
                # What hangs on a whole segment is beyond a form.
                assert not accepted or unsound(value), value
            else:
                assert accepted, value
                told["both"] += 1
    assert told["schema"] >= told["both"] > 100


def unsound(value: str) -> bool:
    """Tell whether a whole segment is wrong, which only `Pattern` looks at."""
    path = re.sub(r"^(spiffe://|\S+ )", "", value)
    return (
        any(each in {".", ".."} or ("**" in each and each != "**") for each in path.split("/"))
        or "//" in path
    )


# -- The same documents -------------------------------------------------------

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
PEERS = st.sampled_from(
    ["/a", "/ns/*/sa/api-*", "**", "/**", "spiffe://partner.example/a/**", "spiffe://prod.example.org/x"]
)
TARGETS = st.sampled_from(["payments", "**", "a/b*", "\u00e9", "a:b"])
CONDITIONS = st.sampled_from(["GET /", "* /a/**", "M-SEARCH /a b", "POST /v1/\u00e9"])
ALIASES = st.sampled_from(["@payments", "@a.b_c-1", "@set"])
EXCEPTED = st.sampled_from(["@old", "@olds"])
"""No others: whom a token can prove, a rule that names it cannot leave out."""
RULES = st.fixed_dictionaries(
    {
        "id": NAMES,
        "from": st.lists(PEERS | ALIASES, min_size=1, max_size=3),
        "to": st.lists(TARGETS, min_size=1, max_size=2),
    },
    optional={
        **{key: st.text(st.characters(codec="utf-8"), max_size=20) for key in ("why", "owner", "reviewer")},
        "not_from": st.lists(PEERS | EXCEPTED, min_size=1, max_size=2),
        "http": st.lists(CONDITIONS, min_size=1, max_size=2),
        "not_http": st.lists(CONDITIONS, min_size=1, max_size=2),
        "until": st.dates().map(str),
        "evidence": st.sampled_from([["x509"], ["x509", "token"]]),
        "observe": st.booleans(),
    },
)
NAMED = [
    {**PEER, "name": "payments"},
    {"name": "a.b_c-1", "spiffe": ["/b", "spiffe://partner.example/**"]},
    {"name": "set", "members": ["@payments", "/c", "spiffe://partner.example/**"]},
    {"name": "old", "spiffe": ["/old"]},
    {"name": "olds", "members": ["@old", "/older/**"]},
]
ENVIRONMENTS = st.fixed_dictionaries(
    {
        "prod": st.just(
            {
                "trust_domains": ["prod.example.org", "spiffe://old"],
                "federates_with": ["partner.example"],
                "issuers": ISSUERS,
            }
        )
    },
    optional={"d\u00e9v.*": st.just({"trust_domains": ["dev.example.org"]})},
)


def deny(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule as a deny rule, which wants no evidence and has no end."""
    return {key: value for key, value in rule.items() if key not in {"evidence", "until"}}


POLICIES = st.tuples(
    st.fixed_dictionaries(
        {"version": st.just(1), "environments": ENVIRONMENTS, "peers": st.just(NAMED)},
        optional={"observe": st.booleans()},
    ),
    st.lists(RULES, max_size=4, unique_by=lambda rule: rule["id"]),
    st.integers(0, 4),
).map(
    lambda parts: {
        **parts[0],
        "allow": parts[1][: parts[2]],
        "deny": [deny(each) for each in parts[1][parts[2] :]],
    }
)

BEYOND_FORM = (ISSUER, NAMED_PEER, ALIAS)
JUNK: st.SearchStrategy[object] = st.sampled_from(
    [
        "2027-1-1",
        "20270101",
        "\u0662\u0660\u0662\u0667-01-01",
        None,
        True,
        0,
        1.5,
        "",
        "text-of-its-own",
        [],
        {},
        [[]],
        [{}],
        [None],
        [0],
        {"a": 1},
    ]
)
BAD_IDS = ["", "A", "a b", "-a", "a/b", "a" * 65, "\u00e9"]


@pytest.mark.slow
@settings(max_examples=200)
@given(POLICIES)
def test_what_the_loader_accepts_validates(document: dict[str, Any]) -> None:
    assert loads(document)
    assert VALIDATOR.is_valid(document)


def tables_of(document: dict[str, Any]) -> list[tuple[dict[str, Any], Table]]:
    """Return every table of a document, with its form."""
    by_name = {table.name: table for table in TABLES}
    environments = [(each, by_name["environment"]) for each in document["environments"].values()]
    rules = [(each, by_name["rule"]) for key in ("allow", "deny") for each in document[key]]
    issuers = [(each, by_name["issuer"]) for each in document["environments"]["prod"]["issuers"].values()]
    peers = [(each, by_name["peer"]) for each in document["peers"]]
    aliases = [(each, by_name["alias"]) for peer, _ in peers for each in peer.get("tokens", [])]
    return [(document, FILE), *environments, *rules, *issuers, *peers, *aliases]


@pytest.mark.slow
@settings(max_examples=500)
@given(POLICIES, st.data())
def test_one_fault_of_form_is_refused_by_both(document: dict[str, Any], data: st.DataObject) -> None:
    document = json.loads(json.dumps(document))
    table, form = data.draw(st.sampled_from(tables_of(document)))
    key = data.draw(st.sampled_from(form.keys))
    match data.draw(st.sampled_from(["an unknown key", "a wrong type", "a missing key", "a bad id"])):
        case "an unknown key":
            table[data.draw(st.text(max_size=5).filter(lambda name: name not in form.names))] = 1
        case "a missing key":
            table.pop(data.draw(st.sampled_from(form.needed)))
        case "a bad id":
            document["allow"].append({"id": data.draw(st.sampled_from(BAD_IDS)), "from": ["/a"], "to": ["t"]})
        case _:
            before = table.get(key.name)
            table[key.name] = data.draw(JUNK)
            # Some junk is right for some keys: then both take it. What an issuer or a peer is depends
            # on more than the form of one key: a claim that no profile has, an alias of no issuer.
            right = loads(document)
            assert VALIDATOR.is_valid(document) == right or (not right and form in BEYOND_FORM), before
            return
    assert not loads(document)
    assert not VALIDATOR.is_valid(document)


if __name__ == "__main__" and "--write" in sys.argv:
    IN_DOCS.write_text(text(), "utf-8")

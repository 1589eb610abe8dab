"""A file is rules, or every mistake in it at once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid import InvalidPolicy, Policy, Problem
from meshid.policy import loading

RULE = {"id": "r", "from": ["/a"], "to": ["payments"]}
GOOD: dict[str, Any] = {
    "version": 1,
    "environments": {
        "prod": {"trust_domains": ["prod.example.org"], "federates_with": ["partner.example"]},
        "dev": {"trust_domains": ["dev.example.org"]},
    },
    "allow": [RULE],
}


def problems_of(document: object, environment: str = "prod") -> tuple[Problem, ...]:
    with pytest.raises(InvalidPolicy) as caught:
        Policy.from_json(json.dumps(document), environment=environment)
    return caught.value.problems


def changed(**parts: object) -> dict[str, Any]:
    return {**GOOD, **parts}


def with_rule(**parts: object) -> dict[str, Any]:
    return changed(allow=[{key: value for key, value in {**RULE, **parts}.items() if value is not ...}])


def with_prod(**parts: object) -> dict[str, Any]:
    return changed(environments={"prod": {"trust_domains": ["prod.example.org"], **parts}})


WRONG = [
    # -- the document
    ("a list", [], "", "must be a table, not an empty list"),
    ("a string", "policy", "", "must be a table, not the string 'policy'"),
    ("no version", {k: v for k, v in GOOD.items() if k != "version"}, "version", "must be 1, not nothing"),
    ("a newer version", changed(version=2), "version", "must be 1, not the number 2"),
    ("a version as text", changed(version="1"), "version", "must be 1, not the string '1'"),
    ("a version as truth", changed(version=True), "version", "must be 1, not true"),
    ("a version as fraction", changed(version=1.0), "version", "must be 1, not the number 1.0"),
    ("an unknown key", changed(alow=[]), "alow", "is unknown; did you mean 'allow'?"),
    ("a far-off key", changed(zzz=1), "zzz", "is unknown; known: version, environments"),
    ("a hostile key", changed(**{"a\nb": 1}), "'a\\nb'", "is unknown"),
    ("observe as a number", changed(observe=1), "observe", "must be true or false, not the number 1"),
    # -- environments
    ("no environments", {"version": 1}, "environments", "must be tables [environments.NAME], not nothing"),
    ("empty environments", changed(environments={}), "environments", "not an empty table"),
    ("environments as a list", changed(environments=["prod"]), "environments", "not a list"),
    (
        "an environment as a string",
        changed(environments={"prod": "x"}),
        "environments.prod",
        "must be a table",
    ),
    (
        "an unknown key in it",
        with_prod(trust_domain="x"),
        "environments.prod.trust_domain",
        "did you mean 'trust_domains'?",
    ),
    ("no trust domains", changed(environments={"prod": {}}), "environments.prod.trust_domains", "is missing"),
    (
        "trust domains as text",
        with_prod(trust_domains="a.example"),
        "environments.prod.trust_domains",
        'must be a list: write ["a.example"]',
    ),
    (
        "no trust domain in the list",
        with_prod(trust_domains=[]),
        "environments.prod.trust_domains",
        "not an empty list",
    ),
    (
        "a trust domain in upper case",
        with_prod(trust_domains=["Prod"]),
        "environments.prod.trust_domains[0]",
        "may hold only a-z",
    ),
    (
        "federation with itself",
        with_prod(federates_with=["prod.example.org"]),
        "environments.prod.federates_with[0]",
        "this environment's own already",
    ),
    (
        "a trust domain of two environments",
        changed(environments={"prod": {"trust_domains": ["a"]}, "dev": {"trust_domains": ["b", "a"]}}),
        "environments.dev.trust_domains[1]",
        "belongs to environment 'prod' already",
    ),
    (
        "a mistake in another environment",
        changed(environments={**GOOD["environments"], "test": {"trust_domains": [1]}}),
        "environments.test.trust_domains[0]",
        "must be a string, not the number 1",
    ),
    (
        "a hostile name of an environment",
        changed(environments={**GOOD["environments"], "a.b\ud800": 1}),
        "environments.'a.b\\ud800'",
        "must be a table, not the number 1",
    ),
    # -- rules
    ("rules as a table", changed(allow=RULE), "allow", "must be tables [[allow]], not a table"),
    ("a rule as a string", changed(deny=["x"]), "deny[0]", "must be a table, not the string 'x'"),
    ("an unknown key in a rule", with_rule(form=["/a"]), "allow[0].form", "did you mean 'from'?"),
    ("no id", with_rule(id=...), "allow[0].id", "must be 1 to 64 of a-z"),
    ("an empty id", with_rule(id=""), "allow[0].id", "not ''"),
    ("an id in upper case", with_rule(id="Rule"), "allow[0].id", "not 'Rule'"),
    ("an id with a newline", with_rule(id="r\n"), "allow[0].id", "not 'r\\n'"),
    ("an overlong id", with_rule(id="r" * 65), "allow[0].id", "1 to 64"),
    ("an id twice", changed(allow=[RULE], deny=[RULE]), "deny[0].id", "'r' is the id of allow[0] already"),
    (
        "why as a list",
        with_rule(why=["x"]),
        "allow[0].why",
        "must be a string of at most 1024 characters, not a list",
    ),
    ("an overlong why", with_rule(why="x" * 1025), "allow[0].why", "not one of 1025"),
    ("observe as a string", with_rule(observe="true"), "allow[0].observe", "not the string 'true'"),
    # -- from
    ("no from", with_rule(**{"from": ...}), "allow[0].from", "is missing; write a list of strings"),
    ("from as a string", with_rule(**{"from": "/**"}), "allow[0].from", 'must be a list: write ["/**"]'),
    ("from as nothing", with_rule(**{"from": None}), "allow[0].from", "not nothing"),
    ("an empty from", with_rule(**{"from": []}), "allow[0].from", "not an empty list"),
    (
        "a number in from",
        with_rule(**{"from": ["/a", 7]}),
        "allow[0].from[1]",
        "must be a string, not the number 7",
    ),
    ("from without slash", with_rule(**{"from": ["ns/a"]}), "allow[0].from[0]", "write '/ns/a'?"),
    ("from with an empty segment", with_rule(**{"from": ["/a//b"]}), "allow[0].from[0]", "segment is empty"),
    (
        "from with a trailing slash",
        with_rule(**{"from": ["/a/"]}),
        "allow[0].from[0]",
        "can never match a SPIFFE ID",
    ),
    ("from with a space", with_rule(**{"from": ["/a b"]}), "allow[0].from[0]", "can never match a SPIFFE ID"),
    ("from with half a wildcard", with_rule(**{"from": ["/a**"]}), "allow[0].from[0]", "'**'"),
    (
        "from an unknown trust domain",
        with_rule(**{"from": ["spiffe://dev.example.org/**"]}),
        "allow[0].from[0]",
        "neither has nor federates with dev.example.org; it knows: prod.example.org, partner.example",
    ),
    (
        "from a wildcard trust domain",
        with_rule(**{"from": ["spiffe://*/x"]}),
        "allow[0].from[0]",
        "has no wildcards",
    ),
    (
        "from a whole trust domain",
        with_rule(**{"from": ["spiffe://partner.example"]}),
        "allow[0].from[0]",
        "write 'spiffe://partner.example/**'",
    ),
    # -- to
    ("to as a string", with_rule(to="payments"), "allow[0].to", 'must be a list: write ["payments"]'),
    ("to with a slash first", with_rule(to=["/payments"]), "allow[0].to[0]", "write 'payments'"),
    ("to with a slash last", with_rule(to=["payments/"]), "allow[0].to[0]", "write 'payments'"),
    ("to with a space", with_rule(to=["pay ments"]), "allow[0].to[0]", "no target can have"),
    ("an empty to", with_rule(to=[""]), "allow[0].to[0]", "a pattern is missing"),
    # -- http
    ("an empty http", with_rule(http=[]), "allow[0].http", "not an empty list"),
    ("http without a method", with_rule(http=["/x"]), "allow[0].http[0]", "must be 'METHOD /path'"),
    ("http without a path", with_rule(http=["GET"]), "allow[0].http[0]", "must be 'METHOD /path'"),
    ("http with a relative path", with_rule(http=["GET x"]), "allow[0].http[0]", "must be 'METHOD /path'"),
    (
        "http in lower case",
        with_rule(http=["get /x"]),
        "allow[0].http[0]",
        "'get' is not a method in upper case",
    ),
    ("http with a bad method", with_rule(http=["G(T /x"]), "allow[0].http[0]", "is not a method"),
    ("http with an encoded path", with_rule(http=["GET /a%20b"]), "allow[0].http[0]", "has '%'"),
    ("http with a query", with_rule(http=["GET /a?b"]), "allow[0].http[0]", "has '?'"),
    ("http with a parameter", with_rule(http=["GET /a;b"]), "allow[0].http[0]", "has ';'"),
    ("http with a dot segment", with_rule(http=["GET /a/../b"]), "allow[0].http[0]", "'..'"),
]


@pytest.mark.parametrize(
    ("document", "where", "what"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_a_mistake_is_told_with_its_place(document: object, where: str, what: str) -> None:
    found = problems_of(document)
    assert any(problem.where == where and what in problem.what for problem in found), found
    assert len(found) == 1, "one mistake is one problem"


def test_all_mistakes_are_told_at_once() -> None:
    document = {
        "version": 2,
        "environments": {"prod": {"trust_domains": "x"}},
        "allow": [{"id": "A", "from": ["x", "/ok"], "to": "y"}, 5],
        "extra": 1,
        "more": 1,
        "and more": 1,
        "last": 1,
    }
    assert [problem.where for problem in problems_of(document)] == [
        "extra",
        "more",
        "'and more'",
        "last",
        "version",
        "environments.prod.trust_domains",
        "allow[0].id",
        "allow[0].from[0]",
        "allow[0].to",
        "allow[1]",
    ]


def test_an_environment_that_is_not_there_is_told_with_those_that_are() -> None:
    (problem,) = problems_of(GOOD, environment="staging")
    assert problem == Problem("environments", "there is no environment 'staging'; there are: 'prod', 'dev'")


def test_what_is_in_a_list_twice_counts_once() -> None:
    twice = with_rule(**{"from": ["/a", "/b", "/a"]}, to=["t", "t"], http=["GET /x", "GET /x"])
    once = with_rule(**{"from": ["/a", "/b"]}, to=["t"], http=["GET /x"])
    read = [Policy.from_json(json.dumps(document), environment="prod") for document in (twice, once)]
    assert read[0] == read[1]


def test_the_text_of_the_error_lists_a_line_each_and_not_without_end() -> None:
    found = problems_of(changed(allow=[1] * 80))
    with pytest.raises(InvalidPolicy) as caught:
        raise InvalidPolicy(found)
    lines = str(caught.value).splitlines()
    assert len(found) == 80
    assert lines[0] == "allow[0]: must be a table, not the number 1"
    assert lines[50:] == ["... and 30 more"]


def test_problems_are_collected_up_to_a_limit() -> None:
    assert len(problems_of(changed(allow=[1] * 5000))) == loading.MAX_PROBLEMS


@pytest.mark.parametrize(
    ("text", "what"),
    [
        pytest.param("{", "cannot be parsed", id="cut off"),
        pytest.param("", "cannot be parsed", id="empty"),
        pytest.param('{"version": 1, "version": 1}', "'version' occurs twice", id="a key twice"),
        pytest.param("[" * 200_000, "nested too deeply", id="deep"),
        pytest.param("9" * 5000, "cannot be parsed", id="an absurd integer"),
        pytest.param(b'{"a": "\xff"}', "not UTF-8, at byte 7", id="not UTF-8"),
        pytest.param(json.dumps(GOOD).encode("utf-16"), "not UTF-8, at byte 0", id="UTF-16"),
        pytest.param(json.dumps(GOOD).encode("utf-16-le"), "cannot be parsed", id="UTF-16 without a mark"),
        pytest.param(b'"\xed\xa0\x80"', "not UTF-8, at byte 1", id="a lone surrogate in UTF-8"),
        pytest.param("\ufeff{}", "begins with a byte order mark", id="a byte order mark"),
        pytest.param(b"\xef\xbb\xbf{}", "begins with a byte order mark", id="a byte order mark in bytes"),
        pytest.param("NaN", "must be a table, not a huge number", id="not a number"),
        pytest.param("1e400", "must be a table, not a huge number", id="infinity"),
    ],
)
def test_what_is_not_json_is_one_clear_problem(text: str | bytes, what: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        Policy.from_json(text, environment="prod")
    (problem,) = caught.value.problems
    assert what in problem.what


@pytest.mark.parametrize(
    ("text", "what"),
    [
        pytest.param("version = 1\nx = ?", "line 2", id="no value"),
        pytest.param("a = 1\na = 2", "cannot be parsed", id="a key twice"),
        pytest.param("a = " + "[" * 100_000, "nested too deeply", id="deep"),
        pytest.param("a = 0x" + "f" * 50_000, "", id="an absurd integer"),
        pytest.param("\0", "cannot be parsed", id="NUL"),
        pytest.param("\ufeffversion = 1", "begins with a byte order mark", id="a byte order mark"),
        pytest.param("x = 1\n" + "a." * 99 + "a = 1", "more than 32 parts (at line 2)", id="a long key"),
        pytest.param("['a' . " + '"\\"" . ' * 99 + "a]", "more than 32 parts", id="a long quoted key"),
        pytest.param("x = {y=1," + "a." * 99 + "a=1}", "more than 32 parts", id="a long key inside"),
    ],
)
def test_what_is_not_toml_is_a_clear_problem(text: str, what: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        Policy.from_toml(text, environment="prod")
    assert what in caught.value.problems[0].what


@pytest.mark.parametrize(
    "junk",
    [
        pytest.param("a", id="a word"),
        pytest.param("a.", id="one key"),
        pytest.param("[", id="brackets"),
        pytest.param("\0", id="NUL"),
        pytest.param("\udfff", id="lone surrogates"),
    ],
)
def test_50_mb_of_junk_are_one_problem_in_bounded_time(junk: str) -> None:
    text = junk * (50_000_000 // len(junk))
    began = time.monotonic()
    for read in (Policy.from_toml, Policy.from_json):
        with pytest.raises(InvalidPolicy) as caught:
            read(text, environment="prod")
        assert len(caught.value.problems) == 1
    # A second or two; what takes time in the square of its length takes hours.
    assert time.monotonic() - began < 60


def test_a_text_full_of_dots_is_no_long_key() -> None:
    dots = "a." * 120 + "a"
    policy = Policy.from_toml(
        f"""
        version = 1
        environments.prod.trust_domains = ["{dots}", '{dots}x']
        environments.prod.federates_with = [
          "{dots}y",
        ]
        """,
        environment="prod",
    )
    assert [len(str(domain)) for domain in policy.environment.trust_domains] == [241, 242]


def test_toml_has_types_that_json_has_not() -> None:
    with pytest.raises(InvalidPolicy) as caught:
        Policy.from_toml("version = 1979-05-27", environment="prod")
    assert caught.value.problems[0].what.startswith("must be 1, not a date or time")


def test_a_file_is_read_by_its_ending(tmp_path: Path) -> None:
    json_file, toml_file = tmp_path / "policy.json", tmp_path / "policy.toml"
    json_file.write_text(json.dumps(GOOD))
    toml_file.write_text(
        'version = 1\n[environments.dev]\ntrust_domains = ["dev.example.org"]\n'
        '[environments.prod]\ntrust_domains = ["prod.example.org"]\nfederates_with = ["partner.example"]\n'
        '[[allow]]\nid = "r"\nfrom = ["/a"]\nto = ["payments"]\n'
    )
    assert Policy.load(json_file, environment="prod") == Policy.load(str(toml_file), "prod")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("policy.yaml", b"", "must end in .toml or .json"),
        ("policy", b"", "must end in .toml or .json"),
        ("missing.toml", None, "No such file"),
        ("policy.toml", b"\xff", "is not UTF-8, at byte 0"),
        ("policy.json", b"\xff", "is not UTF-8, at byte 0"),
        ("nul\0.toml", None, "cannot be read: 'embedded null byte'"),
        ("sur\ud800.toml", None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_by_name(
    tmp_path: Path, name: str, content: bytes | None, what: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidPolicy, match=what):
        Policy.load(path, environment="prod")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "d.toml").mkdir()
    with pytest.raises(InvalidPolicy, match="Is a directory"):
        Policy.load(tmp_path / "d.toml", environment="prod")


def test_a_file_beyond_the_limit_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MAX_POLICY_BYTES", 100)
    path = tmp_path / "policy.json"
    path.write_bytes(b" " * 101)
    with pytest.raises(InvalidPolicy, match="larger than 100 bytes"):
        Policy.load(path, environment="prod")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
_LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "version": st.just(1) | _JSON,
        "environments": st.dictionaries(
            st.sampled_from(["prod", "dev"]),
            st.fixed_dictionaries(
                {}, optional={"trust_domains": _JSON | st.just(["a"]), "federates_with": _JSON}
            ),
        )
        | _JSON,
        "allow": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "id": st.text(max_size=3),
                    "from": st.lists(st.text("/*ab:", max_size=6)) | _JSON,
                    "to": st.lists(st.text("/*ab", max_size=6)) | _JSON,
                    "http": st.lists(st.text("GET /*", max_size=8)) | _JSON,
                    "observe": st.booleans() | _JSON,
                },
            )
        )
        | _JSON,
        "deny": _JSON,
        "observe": st.booleans() | _JSON,
    },
)


@settings(max_examples=300)
@given(_LIKELY | _JSON)
def test_any_json_value_is_a_policy_or_a_clear_error(document: object) -> None:
    try:
        policy = Policy.from_json(json.dumps(document), environment="prod")
    except InvalidPolicy as error:
        assert error.problems
        assert all(problem.what for problem in error.problems)
        assert str(error).replace("\n", "").isprintable()
    else:
        assert policy.rules is not None


@given(st.binary() | st.text())
def test_any_bytes_are_a_policy_or_a_clear_error(data: bytes | str) -> None:
    with pytest.raises(InvalidPolicy):
        Policy.from_json(data, environment="prod")


@given(st.text())
def test_any_text_is_no_toml_policy_or_a_clear_error(text: str) -> None:
    with pytest.raises(InvalidPolicy):
        Policy.from_toml(text, environment="prod")

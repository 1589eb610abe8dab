"""A file is rules, or every mistake in it at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid import InvalidPolicy, Policy, Problem
from meshid.policy.file import table_reader
from meshid.sources.files.policy_file import PolicyFile
from meshid.support import documents
from meshid.support.did_you_mean import MAX_LOOKUPS, Suggestions
from meshid.support.documents import MAX_TOML_MIB

RULE = {"id": "r", "from": ["/a"], "to": ["payments"]}
GOOD: dict[str, Any] = {
    "version": 1,
    "environments": {
        "prod": {"trust_domains": ["prod.example.org"], "federates_with": ["partner.example"]},
        "dev": {"trust_domains": ["dev.example.org"]},
    },
    "allow": [RULE],
}

SMALL = 'version = 1\nenvironments.prod.trust_domains = ["prod.example.org"]\n'


def problems_of(document: object, environment: str = "prod") -> tuple[Problem, ...]:
    with pytest.raises(InvalidPolicy) as caught:
        Policy.from_json(json.dumps(document), environment=environment)
    return caught.value.problems


def changed(**parts: object) -> dict[str, Any]:
    return {**GOOD, **parts}


def with_rule(**parts: object) -> dict[str, Any]:
    return changed(allow=[{**RULE, **parts}])


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
    assert lines[0] == "allow[0]: must be a table with id, from, to, not the number 1"
    assert lines[50:] == ["... and 30 more"]


def test_problems_are_collected_up_to_a_limit() -> None:
    assert len(problems_of(changed(allow=[1] * 5000))) == table_reader.MAX_PROBLEMS


def test_a_text_full_of_dots_is_not_a_long_key() -> None:
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


@pytest.mark.parametrize("ending", ["", ".toml", ".json", ".conf"])
def test_a_file_is_read_as_what_it_is_whatever_it_is_called(tmp_path: Path, ending: str) -> None:
    json_file, toml_file = tmp_path / f"one{ending}", tmp_path / f"two{ending}"
    json_file.write_text(f"\n {json.dumps(GOOD)}")
    toml_file.write_text(
        'version = 1\n[environments.dev]\ntrust_domains = ["dev.example.org"]\n'
        '[environments.prod]\ntrust_domains = ["prod.example.org"]\nfederates_with = ["partner.example"]\n'
        '[[allow]]\nid = "r"\nfrom = ["/a"]\nto = ["payments"]\n'
    )
    assert Policy.load(json_file, environment="prod") == Policy.load(str(toml_file), "prod")
    for file in (json_file, toml_file):
        assert PolicyFile(file, "prod").read().policy == Policy.load(file, "prod")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("policy.yaml", b"version: 1\n", "cannot be parsed as TOML: \"Expected '='"),
        ("policy", b"", "it is empty"),
        ("missing.toml", None, "No such file"),
        ("policy.toml", b"\xff", "is not UTF-8, at byte 1"),
        ("policy.json", b"\xff", "is not UTF-8, at byte 1"),
        ("nul\0.toml", None, "cannot be read: 'embedded null byte'"),
        ("sur\ud800.toml", None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_that_says_why(
    tmp_path: Path, name: str, content: bytes | None, what: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidPolicy, match=what):
        Policy.load(path, environment="prod")


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "d.toml").mkdir()
    with pytest.raises(InvalidPolicy, match="Is a directory"):
        Policy.load(tmp_path / "d.toml", environment="prod")


def test_a_file_beyond_the_limit_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidPolicy, match="larger than 64 MiB"):
        Policy.load(path, environment="prod")


def test_a_policy_may_be_as_large_as_the_limit() -> None:
    room = MAX_TOML_MIB * 1024 * 1024 - len(SMALL)
    assert Policy.from_toml(SMALL + "#" * room, "prod") == Policy.from_toml(SMALL, "prod")
    with pytest.raises(InvalidPolicy, match="larger than 4 MiB"):
        Policy.from_toml(SMALL + "#" * (room + 1), "prod")


def test_a_policy_may_have_as_many_values_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(GOOD)
    values = sum(map(text.count, ",[{"))
    monkeypatch.setattr(documents, "MAX_JSON_VALUES", values)
    assert Policy.from_json(text, environment="prod").rules
    monkeypatch.setattr(documents, "MAX_JSON_VALUES", values - 1)
    with pytest.raises(InvalidPolicy, match=f"more than {values - 1} values"):
        Policy.from_json(text, environment="prod")


def test_near_words_are_looked_for_up_to_a_limit() -> None:
    nearest = Suggestions()
    assert nearest.to("a" * 65, ["a" * 64]) is None
    assert nearest.to("aa", ["aab" * 30, "zz", "AA"]) == "AA"
    assert nearest.to("far", ["away"]) is None
    found = [nearest.to("alow", ["allow"]) for _ in range(MAX_LOOKUPS)]
    assert found == ["allow"] * (MAX_LOOKUPS - 3) + [None] * 3


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
def test_any_text_as_toml_is_a_clear_error(text: str) -> None:
    with pytest.raises(InvalidPolicy):
        Policy.from_toml(text, environment="prod")

"""What is written is what YAML reads."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshid.envoy.commented_yaml import Commented, yaml_of

TEXTS = st.one_of(
    # A key of YAML has at most 1 024 characters, and each of these may take ten; an id has at most 64.
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=64),
    st.sampled_from(
        ["", "no", "Yes", "NULL", "true", "1", "a: b", "- a", "# a", "it's", "a\\b", "~", "=", "é\n", "\x85"]
    ),
)
VALUES = st.recursive(
    TEXTS | st.booleans(),
    lambda inner: (
        st.lists(inner.filter(lambda value: not isinstance(value, list)), min_size=1, max_size=3)
        | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=12,
)


def commented(value: Any, comment: str) -> Commented:  # noqa: ANN401 - whatever YAML has
    """Put a comment above every value."""
    if isinstance(value, dict):
        value = {key: commented(each, comment) for key, each in value.items()}
    elif isinstance(value, list):
        value = [commented(each, comment) for each in value]
    return Commented([comment, ""], value)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3))
def test_it_reads_as_it_was(document: dict[str, Any]) -> None:
    assert yaml.safe_load(yaml_of(document)) == document


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3), st.text())
def test_comments_change_nothing(document: dict[str, Any], comment: str) -> None:
    whole = {key: commented(value, comment) for key, value in document.items()}
    assert yaml.safe_load(yaml_of(whole)) == document


def test_how_it_looks() -> None:
    document: dict[str, Any] = {
        "flag": Commented(["What for."], True),
        "name": "a.b/c",
        "quoted": "it's [x]",
        "short": {"a": "b", "c": {}},
        "long": {"a": "x" * 100},
        "list": [Commented(["One."], {"a": ["b"], "c": "d"}), "e"],
    }
    assert (
        yaml_of(document)
        == f"""# What for.
flag: true
name: a.b/c
quoted: 'it''s [x]'
short: {{a: b, c: {{}}}}
long:
  a: {"x" * 100}
list:
# One.
- a:
  - b
  c: d
- e
"""
    )

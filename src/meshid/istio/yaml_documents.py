"""YAML to plain values, strictly.

Only ``true``, ``false``, ``null`` and plain decimal numbers are not strings, so ``no``, ``22:22``
and ``012`` stay what they look like. Keys are strings, each once. Anchors, aliases and tags,
by which a few bytes become many or something else, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from meshid.errors import InvalidInput, MissingExtra
from meshid.support.quoting import quote

try:
    import yaml
except ImportError:  # pragma: no cover - the tests are run with the extra
    yaml = None  # type: ignore[assignment]

MAX_BYTES = 4 * 1024 * 1024
"""A thousand policies take 1 MB."""

MAX_DEPTH = 32

_PLAIN = {
    "bool": re.compile(r"true|false"),
    "int": re.compile(r"-?(?:0|[1-9][0-9]{0,17})"),
    "null": re.compile(r"null|~|"),
}


def documents(data: bytes) -> Iterator[object]:
    """Yield the documents of a YAML file.

    Raises:
        InvalidInput: If it is not YAML, or not plain; with the line.
        MissingExtra: Without the extra ``yaml``.
    """
    if yaml is None:  # pragma: no cover - the tests are run with the extra
        extra = "yaml"
        raise MissingExtra(extra)
    if len(data) > MAX_BYTES:
        msg = f"it is larger than {MAX_BYTES} bytes"
        raise InvalidInput(msg)
    try:
        text = data.decode("utf-8")
        _check_events(text)
        yield from yaml.load_all(text, Loader=_loader())
    except UnicodeDecodeError as error:
        msg = f"it is not UTF-8, at byte {error.start}"
        raise InvalidInput(msg) from error
    except yaml.YAMLError as error:
        raise InvalidInput(_in_words(error)) from error


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            msg = f"line {line}: anchors and aliases are not read; write it out"
            raise InvalidInput(msg)
        if (tag := getattr(event, "tag", None)) is not None:
            msg = f"line {line}: tags are not read; remove {quote(str(tag))}"
            raise InvalidInput(msg)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            msg = f"line {line}: it is nested more than {MAX_DEPTH} levels deep"
            raise InvalidInput(msg)


def _loader() -> type[yaml.SafeLoader]:
    class Strict(yaml.SafeLoader):
        """Resolves few plain scalars, and accepts each key once."""

        yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - as PyYAML has it

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML calls it so
            seen: set[str] = set()
            for key, _ in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                    msg = f"line {line}: a key must be a string; put it in quotes"
                    raise InvalidInput(msg)
                if key.value in seen:
                    msg = f"line {line}: the key {quote(key.value)} occurs twice; keep one of them"
                    raise InvalidInput(msg)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    for name, pattern in _PLAIN.items():
        whole = re.compile(rf"(?:{pattern.pattern})\Z")
        Strict.add_implicit_resolver(f"tag:yaml.org,2002:{name}", whole, None)
    return Strict


def _in_words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return f"line {mark.line + 1}: {quote(str(problem))}" if mark else quote(str(problem))

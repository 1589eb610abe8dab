"""YAML with comments: mappings, lists, strings and truth values, laid out for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from meshid.support.quoting import escaped

_WIDTH = 100
"""The most characters of a mapping that is written in one line."""

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What YAML 1.1 reads as something else than a string, in any case."""


@attrs.frozen
class Commented:
    """A mapping, a list, a string or a truth value with lines of comment above it.

    Attributes:
        comments: The lines; each is written as printable ASCII, and bounded.
        value: The value.
    """

    comments: Sequence[str]
    value: Value


Value: TypeAlias = "Mapping[str, Value] | list[Value] | str | bool | Commented"


def yaml_of(document: Mapping[str, Value]) -> str:
    """Write a document."""
    return "\n".join(_mapping(document)) + "\n"


def _mapping(mapping: Mapping[str, Value]) -> Iterator[str]:
    for key, each in mapping.items():
        yield from _comments(each)
        value = _bare(each)
        if (inline := _inline(value)) is not None:
            yield f"{_string(key)}: {inline}"
            continue
        yield f"{_string(key)}:"
        if isinstance(value, list):
            yield from _list(value)
        elif isinstance(value, Mapping):
            yield from (f"  {line}" for line in _mapping(value))


def _list(values: list[Value]) -> Iterator[str]:
    for each in values:
        yield from _comments(each)
        value = _bare(each)
        lines = _mapping(value) if isinstance(value, Mapping) else iter([str(_inline(value))])
        yield f"- {next(lines)}"
        yield from (f"  {line}" for line in lines)


def _comments(value: Value) -> Iterator[str]:
    if isinstance(value, Commented):
        yield from (f"# {escaped(line)}".rstrip() for line in value.comments)


def _bare(value: Value) -> Value:
    return value.value if isinstance(value, Commented) else value


def _inline(value: Value) -> str | None:
    """Write a value in one line; None if it has comments or a list in it, or is too long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _string(value)
    if not isinstance(value, Mapping):
        return None
    parts = {_string(key): _inline(each) for key, each in value.items()}
    if None in parts.values():
        return None
    line = f"{{{', '.join(f'{key}: {part}' for key, part in parts.items())}}}"
    return line if len(line) <= _WIDTH else None


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if text.isascii() and text.isprintable():
        quoted = text.replace("'", "''")
        return f"'{quoted}'"
    # What Python writes for a character, YAML reads in double quotes.
    inner = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{inner}"'

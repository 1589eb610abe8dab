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
    """A value with lines of comment above it.

    Attributes:
        comments: The lines; each is written as printable ASCII, and bounded.
        value: The value.
    """

    comments: Sequence[str]
    value: Value


Value: TypeAlias = "Mapping[str, Value] | list[Value] | str | bool | Commented"


def yaml_of(document: Mapping[str, Value]) -> str:
    """Write a document."""
    return "\n".join(_lines(document)) + "\n"


def _lines(value: Value) -> Iterator[str]:
    """Write a value in lines of its own."""
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _comments(each)
            if (inline := _inline(each)) is not None:
                yield f"{_string(key)}: {inline}"
            else:
                yield f"{_string(key)}:"
                indent = "" if isinstance(_bare(each), list) else "  "
                yield from (f"{indent}{line}" for line in _lines(_bare(each)))
    elif isinstance(value, list) and value:
        for each in value:
            yield from _comments(each)
            for number, line in enumerate(_lines(_bare(each))):
                yield f"  {line}" if number else f"- {line}"
    else:
        yield str(_inline(value))


def _comments(value: Value) -> Iterator[str]:
    if isinstance(value, Commented):
        yield from (f"# {escaped(line)}".rstrip() for line in value.comments)


def _bare(value: Value) -> Value:
    return value.value if isinstance(value, Commented) else value


def _inline(value: Value) -> str | None:
    """Write a value behind its key; None if it has a list or comments in it, or is too long."""
    value = _bare(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _string(value)
    if not isinstance(value, Mapping):
        return None if value else "[]"
    parts = {
        _string(key): None if isinstance(each, Commented) else _inline(each) for key, each in value.items()
    }
    line = f"{{{', '.join(f'{key}: {part}' for key, part in parts.items())}}}"
    return None if None in parts.values() or len(line) > _WIDTH else line


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if text.isascii() and text.isprintable():
        quoted = text.replace("'", "''")
        return f"'{quoted}'"
    # What Python writes for a character, YAML reads in double quotes.
    inner = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{inner}"'

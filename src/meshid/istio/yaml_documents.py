"""YAML to plain values, strictly.

Only ``true``, ``false``, ``null`` and plain decimal numbers are not strings, so ``no``, ``22:22``
and ``012`` stay what they look like. Keys are strings, each once. Anchors, aliases and tags,
by which a few bytes become many or something else, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from meshid.errors import InvalidInput, MissingExtra
from meshid.support.quoting import quote

try:
    import yaml
except ImportError:  # pragma: no cover - the tests are run with the extra
    yaml = None  # type: ignore[assignment]

MAX_BYTES = 4 * 1024 * 1024
"""A thousand policies take 1 MB."""

MAX_EVENTS = 400_000
"""Scalars, and beginnings and ends of lists and mappings; a thousand policies have 100 000."""

MAX_DEPTH = 32

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


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
        yield from _built(yaml.parse(text, Loader=yaml.SafeLoader))
    except UnicodeDecodeError as error:
        msg = f"it is not UTF-8, at byte {error.start}"
        raise InvalidInput(msg) from error
    except yaml.YAMLError as error:
        raise InvalidInput(_in_words(error)) from error


@attrs.define
class _Open:
    """A list or a mapping whose end is not reached yet, and the key that waits for its value."""

    value: list[Any] | dict[str, Any]
    key: str | None = None

    def awaits_key(self) -> bool:
        return isinstance(self.value, dict) and self.key is None

    def put(self, value: object, line: int) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is not None:
            self.value[self.key], self.key = value, None
        elif not isinstance(value, str):
            raise _no_key(line)
        elif value in self.value:
            msg = f"line {line}: the key {quote(value)} occurs twice; keep one of them"
            raise InvalidInput(msg)
        else:
            self.key = value


def _built(events: Iterable[yaml.Event]) -> Iterator[object]:
    """Yield the value of each document; nothing is built before its event is judged."""
    opened: list[_Open] = []
    for number, event in enumerate(events):
        line = event.start_mark.line + 1 if event.start_mark else 0
        _check(event, number, len(opened), line)
        match event:
            case yaml.CollectionStartEvent():
                if opened and opened[-1].awaits_key():
                    raise _no_key(line)
                opened.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else []))
                continue
            case yaml.CollectionEndEvent():
                value: object = opened.pop().value
            case yaml.ScalarEvent():
                value = _plain(event.value) if event.implicit[0] else event.value
            case _:
                continue
        if opened:
            opened[-1].put(value, line)
        else:
            yield value


def _check(event: yaml.Event, number: int, depth: int, line: int) -> None:
    if number > MAX_EVENTS:
        msg = f"line {line}: it has more than {MAX_EVENTS} parts: is it the right file?"
        raise InvalidInput(msg)
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        msg = f"line {line}: anchors and aliases are not read; write it out"
        raise InvalidInput(msg)
    if (tag := getattr(event, "tag", None)) is not None:
        msg = f"line {line}: tags are not read; remove {quote(str(tag))}"
        raise InvalidInput(msg)
    if isinstance(event, yaml.CollectionStartEvent) and depth >= MAX_DEPTH:
        msg = f"line {line}: it is nested more than {MAX_DEPTH} levels deep"
        raise InvalidInput(msg)


def _plain(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def _no_key(line: int) -> InvalidInput:
    return InvalidInput(f"line {line}: a key must be a string; put it in quotes")


def _in_words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return f"line {mark.line + 1}: {quote(str(problem))}" if mark else quote(str(problem))

"""Bytes to a document, TOML or JSON: bounded in time and memory, whatever the bytes are.

A wrong file is usually the wrong *file*: a log, an archive, a text in another encoding.
The cost of saying so must not depend on what is in it.
"""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from meshid.errors import InvalidPolicy, Problem
from meshid.support.quoting import quote

_MIB = 1024 * 1024

MAX_TOML_MIB = 4
"""About 20 000 tables; `tomllib` takes up to a second a MiB, and nobody writes more by hand."""

MAX_JSON_MIB = 64
"""100 000 tables take about 20 MiB; a file that is larger than this is the wrong file."""

MAX_JSON_VALUES = 3_000_000
"""Commas and opening brackets in a JSON text: Python takes up to 250 bytes for what follows one."""

_MAX_KEY_PARTS = 16
_KEY_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(
    rf"(?:^|[\[{{,])[ \t]*+(?:{_KEY_PART}[ \t]*+\.[ \t]*+){{{_MAX_KEY_PARTS}}}", re.ASCII | re.MULTILINE
)


def is_json(data: str | bytes) -> bool:
    """Tell JSON from TOML and PEM by the first character after white space: ``{``, with which neither begins.

    The name of a file tells nothing: a mounted key of a ConfigMap is often called just ``policy``.
    """
    if isinstance(data, bytes):
        return data.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
    return data.lstrip().startswith("{")


def reads_as_json(data: str | bytes) -> bool:
    """Tell whether it is to be read as JSON; what is too large for both is: its limit is told."""
    return is_json(data) or len(data) > MAX_JSON_MIB * _MIB


def file_data(path: Path) -> bytes:
    """Read a file, and no more of it than is too much.

    Raises:
        InvalidPolicy: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_JSON_MIB * _MIB + 1)
    # A NUL in the path is a ValueError.
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else quote(str(error))
        msg = f"{quote(str(path))} cannot be read: {why}"
        raise _invalid(msg) from error


def any_document(data: str | bytes) -> object:
    """Read JSON or TOML, whichever it is.

    Raises:
        InvalidPolicy: If it is neither.
    """
    return _document(_JSON if reads_as_json(data) else _TOML, data)


def toml_document(text: str | bytes) -> object:
    """Read TOML 1.0, at most `MAX_TOML_MIB`.

    Raises:
        InvalidPolicy: If it is not TOML.
    """
    return _document(_TOML, text)


def json_document(text: str | bytes) -> object:
    """Read JSON (RFC 8259), at most `MAX_JSON_MIB`.

    Raises:
        InvalidPolicy: If it is not JSON.
    """
    return _document(_JSON, text)


@attrs.frozen
class _Form:
    parse: Callable[[str], object]
    max_mib: int
    too_large: str


def _document(form: _Form, data: str | bytes) -> object:
    if len(data) > form.max_mib * _MIB:
        msg = f"it is larger than {form.max_mib} MiB{form.too_large}"
        raise _invalid(msg)
    try:
        return form.parse(_text(data))
    # InvalidPolicy is a ValueError, too.
    except InvalidPolicy:
        raise
    except RecursionError as error:
        msg = "it is nested too deeply: is it the right file?"
        raise _invalid(msg) from error
    except tomllib.TOMLDecodeError as error:
        msg = f"it cannot be parsed as TOML: {quote(str(error))}"
        raise _invalid(msg) from error
    # Python bounds the digits of an integer, because reading them takes time in the square of their number.
    except ValueError as error:
        msg = "it has an integer of thousands of digits"
        raise _invalid(msg) from error


def _text(data: str | bytes) -> str:
    text = decoded(data) if isinstance(data, bytes) else data
    if text.startswith("\ufeff"):
        msg = "it begins with a byte order mark, which no editor shows; save it as UTF-8 without one"
        raise _invalid(msg)
    if (at := text.find("\0")) >= 0:
        msg = f"it has a NUL at character {at + 1}, as UTF-16 and binary files have; save it as UTF-8"
        raise _invalid(msg)
    if not text or text.isspace():
        msg = "it is empty"
        raise _invalid(msg)
    return text


def decoded(data: bytes) -> str:
    """Return UTF-8 as text.

    Raises:
        InvalidPolicy: If it is not UTF-8.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        msg = "it is UTF-16; save it as UTF-8"
        raise _invalid(msg)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        msg = f"it is not UTF-8, at byte {error.start + 1} (line {line}); save it as UTF-8"
        raise _invalid(msg) from error


def _toml(text: str) -> object:
    # The time that tomllib takes grows with the square of the parts of a dotted key.
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.end()) + 1
        msg = f"a key has more than {_MAX_KEY_PARTS} parts (at line {line})"
        raise _invalid(msg)
    if text.lstrip().startswith("{"):
        msg = "it is not TOML, which never begins with '{'; is it JSON?"
        raise _invalid(msg)
    return tomllib.loads(text)


def _json(text: str) -> object:
    if sum(map(text.count, ",[{")) > MAX_JSON_VALUES:
        msg = f"it has more than {MAX_JSON_VALUES} values: is it the right file?"
        raise _invalid(msg)
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        hint = "" if is_json(text) else "; is it TOML?"
        msg = f"it cannot be parsed as JSON: {quote(str(error))}{hint}"
        raise _invalid(msg) from error


_TOML = _Form(_toml, MAX_TOML_MIB, f", the limit for TOML; JSON, where accepted, may have {MAX_JSON_MIB} MiB")
_JSON = _Form(_json, MAX_JSON_MIB, ": is it the right file?")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        msg = f"the key {quote(twice)} occurs twice in one object; keep one of them"
        raise _invalid(msg)
    return members


def _invalid(what: str) -> InvalidPolicy:
    return InvalidPolicy((Problem("", what),))

"""The JSON Schema of a policy file, for editors and for programs that write policies.

Draft 07, because that is what TOML plugins of editors read (taplo, and so Even Better
TOML). `docs/policy-1.schema.json` is the same as a file.
"""

from __future__ import annotations

from typing import TypeAlias

from meshid.policy.file.form import (
    FILE,
    Flag,
    ListedTables,
    NamedTables,
    Number,
    Shape,
    Table,
    TableKey,
    Text,
    Texts,
)

Schema: TypeAlias = dict[str, object]


def schema() -> Schema:
    """Return the schema of version 1, in JSON Schema draft 07.

    It describes the form of a file: the loader refuses what breaks it, and it accepts
    what the loader accepts. Only the loader knows whether a trust domain is known, an id
    is unique or a pattern can match.
    """
    tables = [key.holds.each for key in FILE.keys if isinstance(key.holds, NamedTables | ListedTables)]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:meshid:policy-1",
        "title": "meshid policy, version 1",
        **_table(FILE),
        "definitions": {table.name: _table(table) for table in tables},
    }


def _table(table: Table) -> Schema:
    return {
        "description": table.meaning,
        "type": "object",
        "properties": {key.name: _key(key) for key in table.keys},
        "required": list(table.needed),
        "additionalProperties": False,
    }


def _key(key: TableKey[Shape]) -> Schema:
    return {"description": key.meaning, **_value(key.holds)}


def _value(shape: Shape) -> Schema:
    match shape:
        case Number(value):
            return {"type": "integer", "const": value}
        case Flag():
            return {"type": "boolean", "default": False}
        case Text():
            return _text(shape)
        case Texts(each):
            return {"type": "array", "items": _text(each), "minItems": 1}
        case NamedTables(each):
            return {"type": "object", "additionalProperties": _reference(each), "minProperties": 1}
    return {"type": "array", "items": _reference(shape.each)}


def _text(text: Text) -> Schema:
    form: Schema = {"pattern": f"^(?:{text.form.pattern})$"} if text.form else {}
    return {"type": "string", "maxLength": text.longest, **form, "examples": list(text.examples)}


def _reference(table: Table) -> Schema:
    return {"$ref": f"#/definitions/{table.name}"}

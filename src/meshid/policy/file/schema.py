"""The JSON Schema of a policy file, for editors and for programs that write policies.

Draft 07, because that is what TOML plugins of editors read (taplo, and so Even Better
TOML). `docs/policy-1.schema.json` is the same as a file.
"""

from __future__ import annotations

from typing import TypeAlias

from meshid.policy.file.form import FILE, TABLES
from meshid.policy.file.shapes import (
    DAY_FORM,
    Day,
    Flag,
    NamedTables,
    NamedTexts,
    Number,
    Seconds,
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
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:meshid:policy-1",
        "title": "meshid policy, version 1",
        **_table(FILE),
        "definitions": {table.name: _table(table) for table in TABLES if table is not FILE},
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
    value: Schema
    match shape:
        case Number(number):
            value = {"type": "integer", "const": number}
        case Seconds(least, most, usual):
            value = {"type": "integer", "minimum": least, "maximum": most, "default": usual}
        case Flag():
            value = {"type": "boolean", "default": False}
        case Day():
            form = f"^(?:{DAY_FORM.pattern})$"
            value = {"type": "string", "format": "date", "pattern": form, "examples": ["2027-01-31"]}
        case Text():
            value = _text(shape)
        case Texts(each):
            value = {"type": "array", "items": _text(each), "minItems": 1}
        case NamedTexts(each):
            value = {"type": "object", "additionalProperties": _text(each), "minProperties": 1}
        case NamedTables(table):
            value = {"type": "object", "additionalProperties": _reference(table), "minProperties": 1}
        case _:
            value = {"type": "array", "items": _reference(shape.each)}
    return value


def _text(text: Text) -> Schema:
    form: Schema = {"pattern": f"^(?:{text.form.pattern})$"} if text.form else {}
    return {"type": "string", "maxLength": text.longest, **form, "examples": list(text.examples)}


def _reference(table: Table) -> Schema:
    return {"$ref": f"#/definitions/{table.name}"}

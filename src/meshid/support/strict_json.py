"""JSON with one meaning only: what two readers could take for two things is refused (RFC 8259 section 4)."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from meshid.support.quoting import quote

MAX_JSON_VALUES = 100_000
"""Commas and opening brackets in a JSON text: Python takes up to 250 bytes for what follows one."""


def parse_json(data: bytes) -> object:
    """Parse JSON in UTF-8 in which no member occurs twice and each number is finite.

    Raises:
        ValueError: If it is anything else, or if it has more than `MAX_JSON_VALUES`. It keeps nothing of
            *data*, which may be secret.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        msg = f"it has more than {MAX_JSON_VALUES} values"
        raise ValueError(msg)
    try:
        # From bytes, `loads` would take UTF-16 and UTF-32 as well, and half of a surrogate pair.
        text = data.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        why = f"byte {error.start + 1} is not UTF-8"
    except json.JSONDecodeError as error:
        why = str(error)
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError as error:
        why = str(error)
    # Outside of the handlers: what they caught holds the whole text.
    msg = f"it is not JSON: {quote(why)}"
    raise ValueError(msg)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "a member occurs twice"
        raise ValueError(msg)
    return members


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is no number"
    raise ValueError(msg)

"""JSON that every reader reads alike, and that costs next to nothing to refuse (RFC 8259 section 4).

Where a member is there twice, one reader takes the first and another one the last: whoever
checks a token and whoever uses it could see two principals. So it is refused, at every depth.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, cast

from meshid.errors import Refused
from meshid.reasons import Reason

MAX_CONTAINERS = 256
"""Objects and arrays: real tokens have about a dozen, and each costs a call. It bounds their depth, too."""

MAX_VALUES = 2000
"""Commas: a token that fills its 12 KiB with the names of groups has about a thousand."""

MAX_DIGITS = 32
"""Of a number: a POSIX time has ten; Python takes time in the square of the digits of an integer."""


class _Ambiguous(ValueError):
    """The text is JSON to some readers, or means different things to different readers."""


def read_object(part: str, data: bytes) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        part: The name of the part of the token, for the message.
        data: The bytes, in UTF-8 without a byte order mark.

    Raises:
        Refused: TOKEN_MALFORMED, if it is anything else, or ambiguous: a member that is there twice,
            a number that is not finite or has more than `MAX_DIGITS`, half of a surrogate pair.
    """
    value, fault = _read(data)
    # Here and not where it is caught: the exceptions of the decoder have the whole text in them.
    if fault is not None:
        msg = f"its {part} {fault}"
        raise Refused(Reason.TOKEN_MALFORMED, msg)
    return cast("dict[str, Any]", value)


def _read(data: bytes) -> tuple[object, str | None]:
    """Return the value, and what is wrong with it."""
    if data.count(b"{") + data.count(b"[") > MAX_CONTAINERS:
        return None, f"has more than {MAX_CONTAINERS} objects and arrays"
    if data.count(b",") > MAX_VALUES:
        return None, f"has more than {MAX_VALUES} values"
    try:
        text = data.decode()
        value = _DECODER.decode(text)
        # Half a pair can be escaped in JSON, and then nothing that reads the text later can encode it.
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except _Ambiguous as ambiguous:
        return None, str(ambiguous)
    except UnicodeError:
        return None, "is not in UTF-8"
    except (ValueError, RecursionError):
        return None, "is not JSON"
    return value, None if isinstance(value, dict) else "is not a JSON object"


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        msg = "has a member that is there twice"
        raise _Ambiguous(msg)
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        msg = f"has a number of more than {MAX_DIGITS} digits"
        raise _Ambiguous(msg)
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if len(text) > MAX_DIGITS or not math.isfinite(number):
        msg = f"has a number that is not finite, or of more than {MAX_DIGITS} digits"
        raise _Ambiguous(msg)
    return number


def _no_number(_text: str) -> NoReturn:
    msg = "has NaN or Infinity in it, which is not JSON"
    raise _Ambiguous(msg)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_real, parse_constant=_no_number
)

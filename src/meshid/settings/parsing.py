"""A value as it was found, to what it means; or what would be right."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from meshid.errors import InvalidInput, Problem
from meshid.settings.lookup import Found
from meshid.settings.trust_setting import Trust
from meshid.sources.files.layouts import layout_named
from meshid.sources.workload.address import target_of
from meshid.support.quoting import quote

_T = TypeVar("_T")

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_MAX_PORT = 65535
_BETWEEN = re.compile(r"[\s,]+", re.ASCII)


class Values:
    """The values that were found, read one by one.

    Args:
        found: The values.
        problems: Gets whatever is wrong with one that is read.
    """

    def __init__(self, found: Mapping[str, Found], problems: list[Problem]) -> None:
        """Read nothing yet."""
        self._found = found
        self._problems = problems

    def read(self, key: str, reader: Callable[[Found], _T], default: _T) -> _T:
        """Return the value of a key, as *reader* understands it; the *default* if it has none."""
        found = self._found.get(key)
        if found is None:
            return default
        try:
            return reader(found)
        except InvalidInput as error:
            self._problems.append(Problem(f"{key}, from {found.origin}", str(error)))
            return default


def text(found: Found) -> str:
    """Return a text.

    Raises:
        InvalidInput: If it is none, or is the content of a PEM file, which is not repeated.
    """
    if not isinstance(found.value, str):
        msg = f"must be a string, and is {type(found.value).__name__}"
        raise InvalidInput(msg)
    if "-----BEGIN" in found.value:
        msg = "is the content of a PEM file; give the path of that file"
        raise InvalidInput(msg)
    return found.value


def path(found: Found) -> Path:
    """Return a path; a relative one begins where the value was found.

    Raises:
        InvalidInput: If it is none.
    """
    if isinstance(found.value, Path):
        return found.value
    return found.base / text(found)


def paths(found: Found) -> tuple[Path, ...]:
    """Return several paths.

    Raises:
        InvalidInput: If one is none.
    """
    return tuple(path(each) for each in _items(found))


def trusts(found: Found) -> tuple[Trust, ...]:
    """Return whom we trust.

    Raises:
        InvalidInput: If one is none, or two are of the same trust domain.
    """
    read = tuple(Trust.parse(text(each), found.base) for each in _items(found))
    for number, trust in enumerate(read):
        if trust.trust_domain in {other.trust_domain for other in read[:number]}:
            msg = f"{trust.trust_domain} is there twice; one bundle speaks for a trust domain"
            raise InvalidInput(msg)
    return read


def workload_api(found: Found) -> str:
    """Return the address of a Workload API.

    Raises:
        InvalidInput: If it is none.
    """
    address = text(found)
    target_of(address)
    return address


def layout(found: Found) -> str:
    """Return the name of a layout.

    Raises:
        InvalidInput: If there is none.
    """
    name = text(found)
    layout_named(name)
    return name


def port(found: Found) -> int:
    """Return a port.

    Raises:
        InvalidInput: If it is none.
    """
    value = str(found.value) if isinstance(found.value, int) and not found.is_text else text(found)
    if not _PORT.fullmatch(value) or int(value) > _MAX_PORT:
        msg = f"{quote(value)} is no port: a number from 0 to {_MAX_PORT}, 0 for a free one"
        raise InvalidInput(msg)
    return int(value)


def seconds(found: Found) -> float:
    """Return a number of seconds.

    Raises:
        InvalidInput: If it is none.
    """
    value = found.value
    try:
        number = float(text(found)) if isinstance(value, str) else _number(value)
    except (ValueError, OverflowError):
        number = math.nan
    # In this way round, so that no number is none, too.
    if not number >= 0:
        msg = f"{quote(str(value))} is no number of seconds, 0 or more; inf is for ever"
        raise InvalidInput(msg)
    return number


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _items(found: Found) -> list[Found]:
    """Return the items of a list; in a text, white space and commas stand between them."""
    value = found.value
    if found.is_text:
        value = [each for each in _BETWEEN.split(text(found)) if each]
    if not isinstance(value, (list, tuple)):
        msg = f"must be a list of strings, and is {type(value).__name__}"
        raise InvalidInput(msg)
    return [Found(each, found.origin, base=found.base) for each in value]

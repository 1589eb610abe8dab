"""Parsers of settings: from a value as it was found to what it means, or an error that says what to write."""

from __future__ import annotations

import math
import re
from pathlib import Path

import attrs

# The package before its modules: a thread that imports a module first holds its lock and waits for the
# package, while one that imports the package does the opposite, and Python breaks that with an error.
import meshid.sources  # noqa: F401 - see above
from meshid.errors import InvalidInput
from meshid.settings.trust_setting import Trust
from meshid.sources.files.layouts import layout_named
from meshid.sources.workload.address import target_of
from meshid.support.quoting import quote
from meshid.verification.grace import checked_leaf_grace

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_MAX_PORT = 65535
_BETWEEN = re.compile(r"[\s,]+", re.ASCII)


@attrs.frozen
class Found:
    """A value as it was found.

    Attributes:
        value: A string; from TOML, or as an argument, a value of any type.
        origin: Where it was found, for people.
        is_text: Whether the place can hold only strings, so that a list or a number is written as one.
        base: Where relative paths begin.
    """

    value: object
    origin: str
    is_text: bool = True
    base: Path = Path()


def text(found: Found) -> str:
    """Return a string.

    Raises:
        InvalidInput: If it is not a string, or is the content of a PEM file, which the error does not repeat.
    """
    if not isinstance(found.value, str):
        msg = f"must be a string, not {type(found.value).__name__}"
        raise InvalidInput(msg)
    if "-----BEGIN" in found.value:
        msg = "is the content of a PEM file; give the path of that file"
        raise InvalidInput(msg)
    return found.value


def path(found: Found) -> Path:
    """Return a path; a relative one begins where the value was found.

    Raises:
        InvalidInput: If it is neither a string nor a path.
    """
    if isinstance(found.value, Path):
        return found.value
    return found.base / text(found)


def paths(found: Found) -> tuple[Path, ...]:
    """Return several paths.

    Raises:
        InvalidInput: If one is neither a string nor a path.
    """
    return tuple(path(each) for each in _items(found))


def trusts(found: Found) -> tuple[Trust, ...]:
    """Return the places of several trust bundles.

    Raises:
        InvalidInput: If one cannot be parsed, or two are for the same trust domain.
    """
    read = tuple(Trust.parse(text(each), found.base) for each in _items(found))
    for number, trust in enumerate(read):
        if trust.trust_domain in {other.trust_domain for other in read[:number]}:
            msg = f"{trust.trust_domain} appears twice; write one bundle for each trust domain"
            raise InvalidInput(msg)
    return read


def workload_api(found: Found) -> str:
    """Return the address of a Workload API.

    Raises:
        InvalidInput: If it is not an address of one.
    """
    address = text(found)
    target_of(address)
    return address


def layout(found: Found) -> str:
    """Return the name of a layout.

    Raises:
        InvalidInput: If it is unknown.
    """
    name = text(found)
    layout_named(name)
    return name


def port(found: Found) -> int:
    """Return a port.

    Raises:
        InvalidInput: If it is not a number from 0 to 65535.
    """
    value = str(found.value) if isinstance(found.value, int) and not found.is_text else text(found)
    if not _PORT.fullmatch(value) or int(value) > _MAX_PORT:
        msg = f"{quote(value)} is not a port: write a number from 0 to {_MAX_PORT}, 0 for a free one"
        raise InvalidInput(msg)
    return int(value)


def seconds(found: Found) -> float:
    """Return a number of seconds.

    Raises:
        InvalidInput: If it is not a number, or is negative.
    """
    value = found.value
    try:
        number = float(text(found)) if isinstance(value, str) else _number(value)
    except (ValueError, OverflowError):
        number = math.nan
    # Written this way so that NaN is rejected.
    if not number >= 0:
        msg = f"{quote(str(value))} is not a number of seconds: write 0 or more, or inf for ever"
        raise InvalidInput(msg)
    return number


def leaf_grace(found: Found) -> float:
    """Return the grace of a leaf, in seconds.

    Raises:
        InvalidInput: If it is not a number, or is out of bounds.
    """
    return checked_leaf_grace(seconds(found))


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _items(found: Found) -> list[Found]:
    """Return the items of a list; in a string, white space and commas separate them."""
    value = found.value
    if found.is_text:
        value = [each for each in _BETWEEN.split(text(found)) if each]
    if not isinstance(value, (list, tuple)):
        msg = f"must be a list of strings, not {type(value).__name__}"
        raise InvalidInput(msg)
    return [Found(each, found.origin, base=found.base) for each in value]

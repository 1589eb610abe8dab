"""Parsers of settings: from a value as it was found to what it means, or an error that says what to write."""

from __future__ import annotations

import math
import os.path
import re
from pathlib import Path

from meshid.errors import InvalidInput
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.requests import checked_keep
from meshid.settings.host_port import MAX_PORT, Address
from meshid.settings.keys import FILE, Found
from meshid.settings.trust_setting import Trust
from meshid.sources.files.layouts import layout_named
from meshid.sources.workload.address import target_of
from meshid.support.quoting import quote
from meshid.verification.grace import checked_leaf_grace

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_BYTE = re.compile(r"0x[0-9a-fA-F]{1,2}|0|[1-9][0-9]{0,2}", re.ASCII)
_PROTOCOL = re.compile(r"[!-+\--~]{1,255}", re.ASCII)
"""A protocol that TLS can name (RFC 7301 section 3.1), without white space and commas: these part names."""

_OWN_TLVS = frozenset({0xD0, *range(0xE0, 0xF0)})
"""Istio's, and those for custom use (section 2.2.8 of the PROXY protocol)."""

_MAX_COUNT = 10**9 - 1
_LONG = 64
_BETWEEN = re.compile(r"[\s,]+", re.ASCII)
_MORE_THAN_A_LINE = re.compile(r"[\0\r\n]")

# PEM, or base64 of a DER sequence without its PEM lines.
_KEY_MATERIAL = re.compile(r"-----BEGIN|PRIVATE KEY|\A\s*M[A-J][A-Za-z0-9+/=\s]{48,}\Z", re.ASCII)


def is_key_material(value: str) -> bool:
    """Tell whether a value is a key or a certificate: no message may repeat it."""
    return bool(_KEY_MATERIAL.search(value))


def text(found: Found) -> str:
    """Return a string of one line.

    Raises:
        InvalidInput: If it is not one, or is the content of a PEM file, which the error does not repeat.
    """
    value = _string(found)
    if _MORE_THAN_A_LINE.search(value):
        msg = f"must be one line, without NUL{_instead(found)}"
        raise InvalidInput(msg)
    return value


def _string(found: Found) -> str:
    if not isinstance(found.value, str):
        msg = f"must be a string, not {type(found.value).__name__}"
        raise InvalidInput(msg)
    if is_key_material(found.value):
        msg = f"is the content of a PEM file; give the path of that file{_instead(found)}"
        raise InvalidInput(msg)
    return found.value


def _instead(found: Found) -> str:
    """Return what to set in place of a variable that names a file with the value in it."""
    name = found.twin
    return (
        f": set {name.removesuffix(FILE)} to it, and not {name}, which names a file with the path in it"
        if name
        else ""
    )


def path(found: Found) -> Path:
    """Return a path; a relative one begins where the value was found.

    Raises:
        InvalidInput: If it is neither a string nor a path, or cannot be one.
    """
    if isinstance(found.value, Path):
        return found.value
    value = text(found)
    # A policy of one line.
    if not value or value.startswith("{"):
        msg = f"must be a path, not {quote(value)}{_instead(found)}"
        raise InvalidInput(msg)
    return found.base / value


def output_file(found: Found) -> Path:
    """Return the path of a file to write.

    Raises:
        InvalidInput: If it is not a path, or is that of a directory.
    """
    file = path(found)
    if not file.name or os.path.isdir(file):  # noqa: PTH112 - it never raises; that of `Path` does
        msg = f"{quote(str(file))} is a directory; give the path of a file"
        raise InvalidInput(msg)
    return file


def spiffe_id(found: Found) -> SpiffeId:
    """Return the SPIFFE ID of a workload.

    Raises:
        InvalidInput: If it is not one, or is that of a trust domain.
    """
    name = found.value if isinstance(found.value, SpiffeId) else SpiffeId.parse(text(found))
    if not name.path:
        msg = f"{name} is a trust domain; write the SPIFFE ID of this service, such as {name}/ns/pay/sa/api"
        raise InvalidInput(msg)
    return name


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


def peers(found: Found) -> tuple[PeerPattern, ...]:
    """Return several patterns of peers.

    Raises:
        InvalidInput: If one is not valid.
    """
    return tuple(
        each.value if isinstance(each.value, PeerPattern) else PeerPattern.parse(text(each))
        for each in _items(found)
    )


def protocols(found: Found) -> tuple[str, ...]:
    """Return the names of several protocols.

    Raises:
        InvalidInput: If one cannot be such a name.
    """
    return tuple(map(_protocol, _items(found)))


def _protocol(found: Found) -> str:
    name = text(found)
    if not _PROTOCOL.fullmatch(name):
        msg = f"{quote(name)} is not the name of one protocol: write h2 or http/1.1, each by itself"
        raise InvalidInput(msg)
    return name


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
    number = found.value
    if isinstance(number, str):
        number = int(number) if _PORT.fullmatch(text(found)) else None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_PORT:
        msg = f"{_shown(found.value)} is not a port: write a number from 0 to {MAX_PORT}, 0 for a free one"
        raise InvalidInput(msg)
    return number


def address(found: Found) -> Address:
    """Return a host and a port.

    Raises:
        InvalidInput: If it is not ``HOST:PORT``.
    """
    return found.value if isinstance(found.value, Address) else Address.parse(text(found))


def unix_socket(found: Found) -> Path:
    """Return the path of a Unix socket.

    Raises:
        InvalidInput: If it is not ``unix:`` and a path.
    """
    value = text(found)
    name = value.removeprefix("unix:")
    # With two slashes more it is a URL, and the first name in it would be a host.
    if name in {"", value} or (name.startswith("//") and not name.startswith("///")):
        msg = f"{quote(value)} is not a Unix socket: write unix:/run/meshid/authorizer.sock"
        raise InvalidInput(msg)
    return found.base / name


def yes_or_no(found: Found) -> bool:
    """Return a yes or a no.

    Raises:
        InvalidInput: If it is neither true nor false.
    """
    value = found.value
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(text(found))
    if not isinstance(value, bool):
        msg = f"{_shown(found.value)} is neither: write true or false"
        raise InvalidInput(msg)
    return value


def count(found: Found) -> int:
    """Return a number of things.

    Raises:
        InvalidInput: If it is not a number from 1 on.
    """
    number = found.value
    if isinstance(number, str):
        number = int(number) if _COUNT.fullmatch(text(found)) else None
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= _MAX_COUNT:
        msg = f"{_shown(found.value)} is not a number of them: write 1 or more"
        raise InvalidInput(msg)
    return number


def own_tlv(found: Found) -> int:
    """Return a type of a TLV, in decimal or, with ``0x`` before it, in hexadecimal.

    Raises:
        InvalidInput: If it is not one that the PROXY protocol leaves to others, or that others use for this.
    """
    number = found.value
    if isinstance(number, str):
        match = _BYTE.fullmatch(text(found))
        number = int(match[0], 0) if match else None
    if not isinstance(number, int) or isinstance(number, bool) or number not in _OWN_TLVS:
        msg = f"{_shown(found.value)} is not a type for it: write 0xD0, or a number from 0xE0 to 0xEF"
        raise InvalidInput(msg)
    return number


def seconds(found: Found) -> float:
    """Return a number of seconds.

    Raises:
        InvalidInput: If it is not a number, is too large for one, or is negative.
    """
    value = text(found) if isinstance(found.value, str) else found.value
    number = _number(value)
    is_too_large = math.isinf(number) and value not in {math.inf, "inf"}
    # Written this way so that NaN is rejected.
    if not number >= 0 or is_too_large:
        msg = f"{_shown(value)} is not a number of seconds: write 0 or more, or inf for ever"
        raise InvalidInput(msg)
    return number


def timeout(found: Found) -> float | None:
    """Return a number of seconds after which something ends; None for never.

    Raises:
        InvalidInput: If it is not such a number, or is 0.
    """
    number = seconds(found)
    if not number:
        msg = f"{_shown(found.value)} would end everything at once: write more than 0, or inf for ever"
        raise InvalidInput(msg)
    return None if math.isinf(number) else number


def leaf_grace(found: Found) -> float:
    """Return the grace of a leaf, in seconds.

    Raises:
        InvalidInput: If it is not a number, or is out of bounds.
    """
    return checked_leaf_grace(seconds(found))


def tokens(found: Found) -> str:
    """Return whether tokens are required.

    Raises:
        InvalidInput: If it is neither ``optional`` nor ``required``.
    """
    name = text(found)
    if name not in {"optional", "required"}:
        msg = f"{quote(name)} is neither: write optional or required"
        raise InvalidInput(msg)
    return name


def kept(found: Found) -> tuple[str, ...]:
    """Return what stays encoded in paths.

    Raises:
        InvalidInput: If one of them cannot.
    """
    try:
        return checked_keep(list(map(text, _items(found))))
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def _number(value: object) -> float:
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _shown(value: object) -> str:
    """Return a value that is wrong, for people."""
    if isinstance(value, str):
        return quote(value)
    # Python refuses to write a number of thousands of digits, and a list may have a secret in it.
    is_short = isinstance(value, float) or (isinstance(value, int) and value.bit_length() < _LONG)
    return quote(str(value)) if is_short else f"this {type(value).__name__}"


def _items(found: Found) -> list[Found]:
    """Return the items of a list; in a string, white space and commas separate them."""
    value = found.value
    if found.is_text:
        value = [each for each in _BETWEEN.split(_string(found)) if each]
    if not isinstance(value, (list, tuple)):
        msg = f"must be a list of strings, not {type(value).__name__}"
        raise InvalidInput(msg)
    return [Found(each, found.origin, base=found.base) for each in value]

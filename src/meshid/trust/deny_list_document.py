"""The deny list as a file; an error lists every mistake in it, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from meshid.errors import InvalidInput, InvalidRevocations
from meshid.support.did_you_mean import Suggestions
from meshid.support.documents import toml_document
from meshid.support.quoting import quote
from meshid.trust.deny_list import Denial

_KEYS = {
    "peer": (str, "a SPIFFE ID or a pattern of them"),
    "certificate": (str, "the SHA-256 of a certificate"),
    "key": (str, "the SHA-256 of a public key"),
    "issuer": (str, "a distinguished name, such as 'CN=root,O=Example'"),
    "serial": (str, "a serial number in quotes, in hex or in decimal"),
    "reason": (str, "a string"),
    "until": (datetime, "a time with its offset, such as 2027-01-31T12:00:00Z"),
}

MAX_DENIALS = 100_000
"""Entries in one file; who denies more changes the bundle, or the policy."""

MAX_SHOWN = 20
"""Mistakes of one file that are told one by one."""

# As `openssl x509 -serial` and `-text` print it: serial=7C2A19, 7c:2a:19, 4097 (0x1001).
_SERIAL = re.compile(
    r"(?:serial(?: number)?\s*[:=]\s*)?"
    r"(?:[0-9]{1,20} \(0x(?P<both>[0-9a-f]{1,16})\)"
    r"|(?P<marked>0x[0-9a-f]{1,64}|[0-9a-f]{2}(?::[0-9a-f]{2}){1,31})"
    r"|(?P<bare>[0-9a-f]{1,64}))",
    re.ASCII | re.IGNORECASE,
)


def read_deny_list(data: bytes) -> tuple[Denial, ...]:
    """Read a deny list in TOML: ``version = 1``, then a table ``[[deny]]`` for each entry.

    Raises:
        InvalidRevocations: With every mistake in it, the first `MAX_SHOWN` of them.
    """
    entries: list[Denial] = []
    problems = list(_read(_document(data), entries))
    if hidden := problems[MAX_SHOWN:]:
        problems[MAX_SHOWN:] = [f"... and {len(hidden)} more"]
    if problems:
        raise InvalidRevocations("\n".join(problems))
    return tuple(entries)


def _document(data: bytes) -> dict[str, object]:
    try:
        document = toml_document(data)
    except InvalidInput as error:
        raise InvalidRevocations(str(error)) from error
    return document if isinstance(document, dict) else {}


def _read(document: dict[str, object], entries: list[Denial]) -> Iterator[str]:
    if (version := document.pop("version", None)) != 1 or isinstance(version, bool):
        yield "version: must be 1; write: version = 1"
    listed = document.pop("deny", [])
    yield from (f"{quote(name)} is unknown; entries are tables [[deny]]" for name in document)
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        yield "deny: must be a list of tables; write [[deny]] above each entry"
        return
    if len(listed) > MAX_DENIALS:
        yield f"deny: has {len(listed)} entries, and at most {MAX_DENIALS} are read"
        return
    suggestions = Suggestions()
    for number, table in enumerate(listed):
        where = f"deny[{number}]"
        problems = list(_problems_of(table, where, suggestions))
        yield from problems
        if not problems:
            yield from _add(table, where, entries)


def _problems_of(table: dict[str, object], where: str, suggestions: Suggestions) -> Iterator[str]:
    for name, value in table.items():
        if name not in _KEYS:
            near = suggestions.to(name, _KEYS)
            yield f"{where}.{name}: is unknown; " + (
                f"did you mean {near!r}?" if near else f"the keys are: {', '.join(_KEYS)}"
            )
        elif not isinstance(value, _KEYS[name][0]):
            yield f"{where}.{name}: must be {_KEYS[name][1]}"


def _add(table: dict[str, object], where: str, entries: list[Denial]) -> Iterator[str]:
    try:
        serial = table.get("serial")
        numbers = {None} if serial is None else _serials(str(serial))
        entries += [Denial(**{**table, "serial": number}) for number in numbers]  # type: ignore[arg-type]
    except InvalidInput as error:
        yield f"{where}: {str(error).removeprefix('deny list: ')}"


def _serials(text: str) -> set[int]:
    """Return the serial numbers that may be meant.

    `openssl` prints hex, others print decimal; digits alone can be either. A denial can only
    refuse, so both are denied.
    """
    match = _SERIAL.fullmatch(text.strip())
    if match is None:
        msg = f"serial {quote(text)} is not a serial number, such as 7c:2a:19 in hex, or in decimal"
        raise InvalidRevocations(msg)
    bare = match["bare"] or ""
    hexadecimal = match["both"] or match["marked"] or bare
    return {int(hexadecimal.replace(":", ""), 16), *([int(bare)] if bare.isdecimal() else [])}

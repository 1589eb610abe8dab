"""The deny list as a file; an error lists every mistake in it, each with its place."""

from __future__ import annotations

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
    "serial": (str, "a serial number in hex"),
    "reason": (str, "a string"),
    "until": (datetime, "a time with its offset, such as 2027-01-31T12:00:00Z"),
}


def read_deny_list(data: bytes) -> tuple[Denial, ...]:
    """Read a deny list in TOML: ``version = 1``, then a table ``[[deny]]`` for each entry.

    Raises:
        InvalidRevocations: With every mistake in it.
    """
    entries: list[Denial] = []
    problems = list(_read(_document(data), entries))
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
    for number, table in enumerate(listed):
        where = f"deny[{number}]"
        problems = list(_problems_of(table, where))
        yield from problems
        if not problems:
            yield from _add(table, where, entries)


def _problems_of(table: dict[str, object], where: str) -> Iterator[str]:
    for name, value in table.items():
        if name not in _KEYS:
            near = Suggestions().to(name, _KEYS)
            yield f"{where}.{name}: is unknown; " + (
                f"did you mean {near!r}?" if near else f"the keys are: {', '.join(_KEYS)}"
            )
        elif not isinstance(value, _KEYS[name][0]):
            yield f"{where}.{name}: must be {_KEYS[name][1]}"


def _add(table: dict[str, object], where: str, entries: list[Denial]) -> Iterator[str]:
    try:
        serial = table.get("serial")
        entries.append(Denial(**{**table, "serial": None if serial is None else _hex(str(serial))}))  # type: ignore[arg-type]
    except InvalidInput as error:
        yield f"{where}: {str(error).removeprefix('deny list: ')}"


def _hex(text: str) -> int:
    try:
        return int(text.replace(":", ""), 16)
    except ValueError as error:
        msg = f"serial {quote(text)} is not hex"
        raise InvalidRevocations(msg) from error

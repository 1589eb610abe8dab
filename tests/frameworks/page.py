"""docs/frameworks.md, made from docs/frameworks.json.

After a change of the words here: ``python -m tests.frameworks.page --write``
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from tests.frameworks.results import ROOT, read

PAGE = ROOT / "docs" / "frameworks.md"

MARK = "<!-- from here on: python -m tests.frameworks.page --write -->\n"
RAN = "The last run, on Python {python} with {openssl}: {rows} rows, and {requests} requests of known peers."
WITHOUT = """\
Of the servers nobody is let in, the right peer neither: the middleware refuses each request, or none starts.
The [mesh port](port.md) in front works with all of them.
A client that is here is not safe: it says its request to a server that is not the one you expect."""

TITLES = {
    "asgi": "ASGI",
    "wsgi": "WSGI",
    "asyncio": "asyncio, and what is built on its streams and transports",
    "threads": "A thread for each connection",
    "twisted": "Twisted and pyOpenSSL",
    "grpc": "gRPC",
    "clients": "Clients",
}

Record = Mapping[str, Any]
Cell = Callable[[Record], object]


def _seconds(value: object) -> str:
    return f"{value} s" if isinstance(value, float) else str(value)


SERVER_CELLS: dict[str, Cell] = {
    "how to plug in": lambda record: record["plug"],
    "verified first": lambda record: record["checks"]["nothing_arrived"],
    "a refused peer sees": lambda record: record["checks"]["refused"],
    "right peer": lambda record: f"{record['checks']['crowd']} of {record['checks']['crowd']} right",
    "each request": lambda record: record["checks"]["request_policy"],
    "rotation": lambda record: _seconds(record["checks"]["rotation"]),
    "revoked, idle": lambda record: _seconds(record["checks"]["idle"]),
    "revoked, streaming": lambda record: _seconds(record["checks"]["running_stream"]),
    "resumption": lambda record: record["checks"]["resumption"],
}
CLIENT_CELLS: dict[str, Cell] = {
    "how to plug in": lambda record: record["plug"],
    "ran against": lambda record: record["ran"],
    "right server": lambda record: record["checks"].get("right", "-"),
    "wrong name": lambda record: record["checks"].get("wrong_name", "-"),
    "wrong authority": lambda record: record["checks"].get("wrong_ca", "-"),
    "request bytes at a wrong server": lambda record: record["checks"].get("bytes", "-"),
    "retries of a refusal": lambda record: record["checks"].get("retries", "-"),
    "the reason": lambda record: record["checks"].get("refusal", "-"),
    "peer": lambda record: record["checks"].get("peer", "-"),
    "rotation": lambda record: record["checks"].get("rotation", "-"),
}


def _outcome(record: Record) -> str:
    checks = record["checks"]
    return (
        str(checks["nobody"])
        if "nobody" in checks
        else ", ".join(f"{name}: {checks[name]}" for name in checks)
    )


FAILING_CELLS: dict[str, Cell] = {
    "why, and what to do": lambda record: record["fails"],
    "what anybody sees": _outcome,
}


def row(*cells: object) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def table(results: Record, names: list[str], cells: Mapping[str, Cell]) -> list[str]:
    """Return the lines of a table, and the notes below it."""
    records = results["rows"]
    lines = [row("", *cells), "|" + "---|" * (len(cells) + 1)]
    lines += [row(_title(name, results), *(cell(records[name]) for cell in cells.values())) for name in names]
    notes = [
        f"- {_title(name, results)}: {records[name]['note']}" for name in names if "note" in records[name]
    ]
    return [*lines, "", *notes, *([""] if notes else [])]


def _title(name: str, results: Record) -> str:
    versions = [f"{each} {results['packages'][each]}" for each in results["rows"][name]["packages"]]
    return f"`{name}`: {', '.join(versions) or 'standard library'}"


def tables(results: Record) -> str:
    """Return what is below the mark."""
    records: Mapping[str, Record] = results["rows"]
    requests = sum(record["checks"].get("crowd", 0) for record in records.values())
    lines = ["", RAN.format(requests=requests, **{**results, "rows": len(records)}), ""]
    for family, title in TITLES.items():
        names = [name for name in records if records[name]["family"] == family and _works(records[name])]
        if names:
            lines += [f"## {title}", "", f"The programs are in [{family}.md]({family}.md).", ""]
            lines += table(results, names, CLIENT_CELLS if family == "clients" else SERVER_CELLS)
    if failing := [name for name in records if not _works(records[name])]:
        lines += ["## What does not work", "", WITHOUT, "", *table(results, failing, FAILING_CELLS)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _works(record: Record) -> bool:
    return "fails" not in record


def write() -> None:
    """Write the tables into the page."""
    above, mark, _ = PAGE.read_text("utf-8").partition(MARK)
    PAGE.write_text(above + mark + tables(read()), "utf-8")


if __name__ == "__main__" and "--write" in sys.argv:
    write()

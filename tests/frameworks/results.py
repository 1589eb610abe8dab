"""docs/frameworks.json: what the last run has shown of each row, and with which versions.

A record goes from the process that ran the row to the one that writes the file as a property of its test,
so that rows can run in several processes.
"""

from __future__ import annotations

import json
import platform
import ssl
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import pytest
from packaging.requirements import Requirement

from tests.frameworks.rows import CLIENTS, SERVERS, ClientRow, ServerRow

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "frameworks.json"
PROJECT = ROOT / "pyproject.toml"
APART = "niquests"
GROUPS = ("frameworks", APART)
"""The groups of dependencies that have the pins; each has an environment of its own."""
PROPERTY = "frameworks"

Value = str | int | float | bool


@attrs.frozen
class Recorder:
    """Keeps the record of a row with the result of its test."""

    properties: list[tuple[str, object]]

    def record(self, row: ServerRow | ClientRow, values: Mapping[str, Value]) -> None:
        """Record a row that has done what it promises, with the value of each check."""
        self.properties.append((PROPERTY, [row.name, about(row) | {"checks": dict(values)}]))


def about(row: ServerRow | ClientRow) -> dict[str, Any]:
    """Return what is in the file of a row itself; a test compares it."""
    facts = {"family": row.family, "packages": list(row.packages), "plug": row.plug}
    optional = {"fails": row.fails, "note": row.note}
    if isinstance(row, ServerRow):
        optional["dialect"] = row.dialect.name
    else:
        optional["ran"] = row.ran
    return facts | {name: fact for name, fact in optional.items() if fact}


def pins(python: str, project: str, groups: Iterable[str] = GROUPS) -> dict[str, str]:
    """Return the pinned version of each package of the table.

    Args:
        python: The version of Python that the markers are about.
        project: The text of pyproject.toml.
        groups: The groups of dependencies.
    """
    found: dict[str, str] = {}
    written = tomllib.loads(project)["dependency-groups"]
    for line in (line for group in groups for line in written.get(group, [])):
        each = Requirement(line)
        environment = {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python}
        if each.marker is None or each.marker.evaluate(environment):
            (pin,) = each.specifier
            assert pin.operator == "==", f"{line}: pin it"
            found[each.name] = pin.version
    return found


def read() -> dict[str, Any]:
    """Return the file."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def problems(results: Mapping[str, Any], project: str, rows: Iterable[ServerRow | ClientRow]) -> list[str]:
    """Return in what the file differs from the pins, and from the rows as they are now."""
    found = []
    pinned = pins(results["python"], project)
    ran = results["packages"]
    found += [
        f"{name} is {pinned.get(name)} in pyproject.toml and {ran.get(name)} in the file"
        for name in sorted(pinned.keys() | ran.keys())
        if pinned.get(name) != ran.get(name)
    ]
    records, now = results["rows"], {row.name: row for row in rows}
    found += [f"{name} is no row any more" for name in sorted(records.keys() - now.keys())]
    for name, row in now.items():
        if name not in records:
            found.append(f"{name} was not run")
        else:
            was = {key: fact for key, fact in records[name].items() if key != "checks"}
            if was != about(row):
                found.append(f"{name} is another row now: {was} before, {about(row)} now")
    return found


def merged(before: Mapping[str, Any] | None, records: Mapping[str, Any], failed: Iterable[str]) -> str:
    """Return the file with new records in it.

    Args:
        before: The file as it is; its other records stay if they are about the same versions.
        records: Those of the rows that were run.
        failed: The names of the rows that were run and failed: they have no record.
    """
    python = platform.python_version()
    packages = installed(python)
    head = {"python": python, "openssl": ssl.OPENSSL_VERSION, "packages": packages}
    rows: dict[str, Any] = {}
    if before is not None and {name: before[name] for name in head} == head:
        rows = dict(before["rows"])
    rows |= records
    every: tuple[ServerRow | ClientRow, ...] = (*SERVERS, *CLIENTS)
    names = [row.name for row in every]
    kept = {name: rows[name] for name in names if name in rows and name not in set(failed)}
    return json.dumps({**head, "rows": kept}, indent=1, ensure_ascii=False) + "\n"


def installed(python: str) -> dict[str, str]:
    """Return the version of each package of the table that is here.

    Raises:
        ValueError: If one of them is not the pinned one.
    """
    project = PROJECT.read_text("utf-8")
    # Those of the other environment are what was installed there; see the Makefile.
    apart = pins(python, project, [APART])
    found = {}
    for name, pin in sorted(pins(python, project).items()):
        found[name] = pin if name in apart else version(name)
        if found[name] != pin:
            msg = f"{name} {found[name]} is installed, and {pin} is pinned"
            raise ValueError(msg)
    return found


class Collector:
    """A plugin of pytest: writes the file at the end of the run."""

    def __init__(self) -> None:
        self._records: dict[str, Any] = {}
        self._failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the record of a row from its test."""
        for name, value in report.user_properties:
            if name == PROPERTY and report.when == "call" and isinstance(value, list):
                self._records[value[0]] = value[1]
        if report.failed and "[" in report.nodeid:
            self._failed.append(report.nodeid.partition("[")[2].rstrip("]"))

    def pytest_sessionfinish(self) -> None:
        """Write the file, and the tables from it."""
        from tests.frameworks.page import write  # noqa: PLC0415  # it reads the file

        before = read() if FILE.exists() else None
        FILE.write_text(merged(before, self._records, self._failed), "utf-8")
        write()

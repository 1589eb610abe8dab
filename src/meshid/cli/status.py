"""`meshid status`: the health of a running process, from its state file."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meshid.cli.no_answer import NoAnswer, errors_named
from meshid.cli.terminal import Colour, Paint, clean, paint_for_stdout
from meshid.health.state_file import HEARTBEAT_SECONDS
from meshid.support.quoting import plural

_MISSED = 3
"""Heartbeats that may be missed before the process counts as gone."""

_VARIABLE = "MESHID_STATE_FILE"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help=f"the state file of the process; that of {_VARIABLE} if left out",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: Namespace) -> int:
    """Read the state file and print what is in it; return 1 if the process is not ready, or gone.

    Raises:
        NoAnswer: If the file cannot be read, or is not a state file.
    """
    path = arguments.file or os.environ.get(_VARIABLE)
    if not path:
        msg = f"no state file: add its path, or set {_VARIABLE}"
        raise NoAnswer(msg)
    status = _read(path)
    age = (datetime.now(UTC) - datetime.fromisoformat(status["time"])).total_seconds()
    is_well = status["ready"] and age < _MISSED * HEARTBEAT_SECONDS
    if arguments.json:
        print(json.dumps({**status, "age": age}, indent=2))
    else:
        print(*_lines(status, age, paint_for_stdout()), sep="\n")
    return 0 if is_well else 1


def _read(path: str) -> dict[str, Any]:
    with errors_named(path):
        data = Path(path).read_bytes()
    try:
        status = json.loads(data)
        if status["version"] == 1:
            datetime.fromisoformat(status["time"])
            list(_lines(status, 0.0, lambda text, _: text))
            return dict(status)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{path!r} is not a state file: {type(error).__name__}"
        raise NoAnswer(msg) from error
    msg = f"{path!r} has version {status['version']!r}; this meshid reads version 1"
    raise NoAnswer(msg)


def _lines(status: dict[str, Any], age: float, paint: Paint) -> Iterator[str]:
    is_late = age >= _MISSED * HEARTBEAT_SECONDS
    is_ready = status["ready"] and not is_late
    yield paint("ready" if is_ready else "NOT ready", Colour.GOOD if is_ready else Colour.BAD)
    if is_late:
        yield paint(f"  no heartbeat for {age:.0f} s: the process is gone, or stuck", Colour.BAD)
    for alarm in status["alarms"]:
        yield paint(clean(f"  {alarm['level']}: {alarm['about']}: {alarm['text']}"), Colour.STAR)
    for name, text in _rows(status):
        yield f"  {name:<12} {clean(text)}"
    for source in status["sources"]:
        read = f"read {source['read']}" if source["read"] else "never read"
        fault = f"; {source['fault']}" if source["fault"] else ""
        yield f"  {'source':<12} {clean(source['name'])}: {read}{clean(fault)}"


def _rows(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "service", f"{status['service'] or '-'}, process {status['pid']}, generation {status['generation']}"
    own, policy = status["certificate"], status["policy"]
    if own:
        yield "certificate", f"{status['spiffe_id']}, until {own['not_after']}"
    for domain, bundle in status["bundles"].items():
        count = bundle["authorities"]
        noun = "authority" if count == 1 else "authorities"
        yield "trust", f"{domain}: {count} {noun}, until {bundle['not_after']}"
    if policy:
        yield "policy", f"environment {policy['environment']}, {policy['hash']}"
    revoked = status["revocations"]
    yield "revocations", f"{plural(revoked['lists'], 'list')}, {plural(revoked['denials'], 'denial')}"
    yield "connections", f"{status['open_connections']} open"

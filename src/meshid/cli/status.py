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
from meshid.health.state_file import HEARTBEAT_SECONDS, MAX_BYTES
from meshid.support.quoting import plural, quote

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
    stale = _why_stale(age)
    if arguments.json:
        print(json.dumps({"stale": stale is not None, "age": age, **status}, indent=2))
    else:
        print(*_lines(status, stale, paint_for_stdout()), sep="\n")
    return 0 if status["ready"] and not stale else 1


def _read(path: str) -> dict[str, Any]:
    with errors_named(path), Path(path).open("rb") as file:
        data = file.read(MAX_BYTES)
    try:
        status = json.loads(data)
        version = status["version"]
        if version == 1:
            _check(status)
            return dict(status)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{path!r} is not a state file: {_why(error)}"
        raise NoAnswer(msg) from error
    msg = f"{path!r} has version {quote(str(version))}; this meshid reads version 1"
    raise NoAnswer(msg)


def _check(status: dict[str, Any]) -> None:
    """Check that a state file has all that is shown of it.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: If it has not.
    """
    if datetime.fromisoformat(status["time"]).tzinfo is None:
        msg = (
            f"its time {quote(status['time'])} has no time zone; meshid writes UTC, as in ...T12:00:00+00:00"
        )
        raise _NotAState(msg)
    if type(status["ready"]) is not bool:
        msg = "its `ready` is neither true nor false"
        raise _NotAState(msg)
    list(_lines(status, None, lambda text, _: text))


class _NotAState(ValueError):
    """A fault that has been put into words for people."""


def _why(error: Exception) -> str:
    if isinstance(error, _NotAState):
        return str(error)
    is_json = not isinstance(error, (json.JSONDecodeError, UnicodeDecodeError))
    return "it lacks what meshid writes into one" if is_json else "it is not JSON"


def _why_stale(age: float) -> str | None:
    """Return why what a state file says may no longer be so; None if it is fresh."""
    if age >= _MISSED * HEARTBEAT_SECONDS:
        return f"no heartbeat for {age:.0f} s: the process is gone, or stuck"
    # As fresh for ever as the clock was wrong.
    if age <= -_MISSED * HEARTBEAT_SECONDS:
        return f"it was written {-age:.0f} s from now: the clock is wrong, here or there"
    return None


def _lines(status: dict[str, Any], stale: str | None, paint: Paint) -> Iterator[str]:
    if stale:
        was = "ready" if status["ready"] else "NOT ready"
        yield paint(f"STALE, {stale}", Colour.BAD)
        yield f"  what it said last: {was}"
    else:
        is_ready = status["ready"]
        yield paint("ready" if is_ready else "NOT ready", Colour.GOOD if is_ready else Colour.BAD)
    for alarm in status["alarms"]:
        level = "outage" if alarm.get("is_outage") else alarm["level"]
        yield paint(clean(f"  {level}: {alarm['about']}: {alarm['text']}"), Colour.STAR)
    for name, text in _rows(status):
        yield f"  {name:<12} {clean(text)}"
    for source in status["sources"]:
        read = f"read {source['read']}" if source["read"] else "never read"
        fault = f"; {source['fault']}" if source["fault"] else ""
        yield f"  {'source':<12} {clean(source['name'])}: {clean(read)}{clean(fault)}"


def _rows(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "service", f"{status['service'] or '-'}, process {status['pid']}, generation {status['generation']}"
    own, policy = status["certificate"], status["policy"]
    if own:
        yield "certificate", f"{status['spiffe_id']}, until {own['not_after']}"
    for domain, bundle in status["bundles"].items():
        count = bundle["authorities"]
        noun = "authority" if count == 1 else "authorities"
        until = f", until {bundle['not_after']}" if bundle["not_after"] else ""
        yield "trust", f"{domain}: {count} {noun}{until}"
    if policy:
        yield "policy", f"environment {policy['environment']}, {policy['hash']}"
    # A process that has not been restarted since it was installed anew writes none.
    for issuer, keys in status.get("keys", {}).items():
        until = f", until {keys['serve_until']}" if keys["serve_until"] else ""
        yield "keys", f"issuer {issuer}: {plural(keys['keys'], 'key')}{until}"
    revoked = status["revocations"]
    yield "revocations", f"{plural(revoked['lists'], 'list')}, {plural(revoked['denials'], 'denial')}"
    yield "connections", f"{status['open_connections']} open"

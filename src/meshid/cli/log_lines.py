"""The log of a command that runs on: lines on standard error, for people or as JSON."""

from __future__ import annotations

import io
import logging
import sys
from datetime import UTC, datetime

from typing_extensions import override

from meshid.audit.event import JsonFormatter
from meshid.cli.terminal import clean


def show_log(*, as_json: bool, quiet: bool) -> None:
    """Write what meshid logs to standard error: all decisions, or if *quiet* refusals and warnings only."""
    # Where there is no standard error, a buffer has its place (`meshid.cli.commands`), which would only grow.
    handler = logging.NullHandler() if isinstance(sys.stderr, io.StringIO) else _Lines(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else _ForPeople())
    logger = logging.getLogger("meshid")
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


class _Lines(logging.StreamHandler):  # type: ignore[type-arg]  # it is generic for type checkers only
    """A handler that hides no failure: what is lost is counted, and is an alarm of the mesh."""

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704 - `logging` calls this where it has caught an exception


class _ForPeople(logging.Formatter):
    @override
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        # With a traceback, if there is one: each line on its own.
        lines = super().format(record).splitlines()
        return "\n".join(f"{time} {record.levelname.lower()}: {clean(line)}" for line in lines)

"""The arguments that several commands share, so that each means the same everywhere."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime

from meshid.support.quoting import quote

_DAY_LENGTH = len("2027-01-31")


def add_file(parser: ArgumentParser, name: str = "file") -> None:
    """Add the policy file."""
    parser.add_argument(name, metavar=name.upper(), help="a policy, TOML or JSON; - is standard input")


def add_environment(parser: ArgumentParser) -> None:
    """Add the environment to load the policy for."""
    parser.add_argument("--environment", metavar="NAME", required=True, help="the environment to load it for")


def add_environments(parser: ArgumentParser) -> None:
    """Add the environments to load the policy for."""
    parser.add_argument(
        "--environment",
        metavar="NAME",
        action="append",
        dest="environments",
        help="the environment to load it for; may be repeated; default: all in the file",
    )


def add_output(parser: ArgumentParser) -> None:
    """Add the file that is written."""
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="write this file, whole or not at all; default: print"
    )


def add_now(parser: ArgumentParser) -> None:
    """Add the instant that it is asked about, as POSIX seconds."""
    parser.add_argument(
        "--now",
        metavar="DATE",
        type=_instant,
        help="ask as of this day, or this instant, such as 2027-01-31 or 2027-01-31T18:00Z; default: now",
    )


def _instant(text: str) -> float:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{quote(text)} is no day; write it as 2027-01-31, or an instant as 2027-01-31T18:00Z"
        raise ArgumentTypeError(msg) from error
    if instant.tzinfo is None and len(text) > _DAY_LENGTH:
        msg = f"{quote(text)} names no time zone; add Z for UTC"
        raise ArgumentTypeError(msg)
    return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp()


def add_json(parser: ArgumentParser) -> None:
    """Add the output as JSON."""
    parser.add_argument("--json", action="store_true", help="print the same as JSON")

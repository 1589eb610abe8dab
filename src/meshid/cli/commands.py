"""The `meshid` command: what was typed, what is done about it, and how it ends.

The exit statuses are a contract with scripts:

0    yes: admitted, allowed, right, proved, the same, ready; or the demo went as it must
1    no: refused, wrong, found, changed, flipped, not ready; or the demo did not
2    no answer: the question was wrong, a file cannot be used, or meshid itself failed
130  interrupted
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import override

from meshid.cli import demo, settings, status, verify
from meshid.cli.messages import CannotJudge
from meshid.cli.parsers import Parser, add_commands
from meshid.cli.policy import POLICY
from meshid.cli.terminal import clean
from meshid.errors import MeshidError
from meshid.support.quoting import quote

CANNOT_JUDGE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line *argv*, that of the process if None, and return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without the character for a tick must not end the demo.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        arguments = _parser().parse_args(argv)
        status: int = arguments.run(arguments)
        # Now, so that a reader who has gone is noticed here and not at the end of the process.
        sys.stdout.flush()
    except CannotJudge as fault:
        return _tell(*fault.lines)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _leave_quietly()
    except (MeshidError, OSError) as error:
        return _tell(*str(error).splitlines())
    # Python's own status for an exception is 1, which here means "no".
    except Exception as error:  # noqa: BLE001
        return _tell(f"internal error, please report it: {type(error).__name__}: {quote(str(error))}")
    return status


class _Version(argparse.Action):
    """Tells the version of the installed package, which is asked for only now."""

    @override
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        try:
            version = importlib.metadata.version("meshid")
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed: a source tree)"
        print(f"meshid {version}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="meshid",
        description="Who is at the other end of a mutual-TLS connection, and may they be there?",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    add_commands(
        parser, {"demo": demo, "verify": verify, "policy": POLICY, "settings": settings, "status": status}
    )
    return parser


def _tell(*lines: str) -> int:
    for line in lines:
        print(f"meshid: {clean(line)}", file=sys.stderr)
    return CANNOT_JUDGE


def _leave_quietly() -> int:
    """Nobody reads the output any more, and the interpreter must not stumble over that at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CANNOT_JUDGE

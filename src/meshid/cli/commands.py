"""The `meshid` command: what was typed, what is done about it, and how it ends.

The exit statuses are a contract with scripts:

0    yes: admitted, allowed, ok, proved, the same, ready; the demo went as expected; or what runs on was
     stopped and all of its connections had ended by themselves
1    no: refused, errors, findings, changes, flips, not ready; the demo did not go as expected; or what runs
     on was stopped and had to cut off connections
2    no answer: a wrong argument, a file that cannot be used, or a failure of meshid itself
130  interrupted
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import override

from meshid.cli.no_answer import NoAnswer
from meshid.cli.parsers import Command, Group, Parser, add_commands
from meshid.cli.terminal import clean
from meshid.cli.version import installed_version
from meshid.errors import MeshidError
from meshid.support.quoting import quote

NO_ANSWER = 2
INTERRUPTED = 130

POLICY_COMMANDS: dict[str, Command | Group] = {
    "check": Command("show every error in a policy file", "meshid.cli.policy.check"),
    "explain": Command(
        "show why a peer may or may not reach a target; without a peer, the rules about the target",
        "meshid.cli.policy.explain",
    ),
    "lint": Command("show what in a policy is probably a mistake", "meshid.cli.policy.lint"),
    "diff": Command(
        "show what changes for which peers between two policy files, or two environments of one",
        "meshid.cli.policy.diff",
    ),
    "prove": Command(
        "prove that no peer of a pattern reaches a target, or show one that does", "meshid.cli.policy.prove"
    ),
    "replay": Command(
        "show which decisions of an audit log would flip under another policy", "meshid.cli.policy.replay"
    ),
    "import": Group(
        "convert other files into a policy file",
        {
            "istio": Command(
                "convert Istio's AuthorizationPolicy into a policy file, faithfully or not at all",
                "meshid.cli.policy.import_istio",
            )
        },
    ),
    "export": Group(
        "convert a policy file into what others enforce",
        {
            "envoy": Command(
                "write RBAC filters for Envoy that decide as the policy does, or say what they cannot",
                "meshid.cli.policy.export_envoy",
            )
        },
    ),
    "report": Command(
        "show who can reach what, as a page to read and to print, a table, a diagram or JSON",
        "meshid.cli.policy.report",
    ),
    "schema": Command("print the JSON Schema of a policy file, for an editor", "meshid.cli.policy.schema"),
}

_COMMANDS: dict[str, Command | Group] = {
    "demo": Command(
        "run a demo server against good and bad peers, and show each decision with its reason",
        "meshid.cli.demo",
    ),
    "verify": Command(
        "verify a chain under trust bundles, and ask a policy about the peer", "meshid.cli.verify"
    ),
    "token": Command(
        "show what a service with a policy would make of a token, and whom it names", "meshid.cli.token"
    ),
    "check-nginx": Command(
        "show what in a configuration of nginx lets strangers past meshid", "meshid.cli.nginx"
    ),
    "policy": Group("check a policy, and ask what it means", POLICY_COMMANDS),
    "serve": Command(
        "serve an ASGI application to the peers that may call it, and to nobody else", "meshid.cli.serve"
    ),
    "port": Command(
        "put mutual TLS in front of a plain service: only admitted peers reach it", "meshid.cli.port"
    ),
    "authorizer": Command(
        "answer a proxy, which has ended TLS and asks about each request", "meshid.cli.authorizer"
    ),
    "settings": Command("show every setting, its value and where it comes from", "meshid.cli.settings"),
    "status": Command("show the health of a running process, from its state file", "meshid.cli.status"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line *argv*, that of the process if None, and return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a tick must not end the demo.
        sys.stdout.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    try:
        _check_streams()
        arguments, unknown = _parser(argv).parse_known_args(argv)
        if unknown:
            # Argparse would point to the help of `meshid`, which knows no option of the command.
            msg = f"unrecognized arguments: {' '.join(unknown)}; see: {arguments.prog} --help"
            raise NoAnswer(msg)
        status: int = arguments.run(arguments)
        # Flushed now, so that a closed pipe is noticed here and not when the interpreter exits.
        sys.stdout.flush()
    except NoAnswer as error:
        return _fail(*error.lines)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered goes nowhere; otherwise the interpreter fails on it when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_ANSWER
    except (MeshidError, OSError) as error:
        return _fail(*str(error).splitlines())
    # Python's own status for an exception is 1, which here means "no".
    except Exception as error:  # noqa: BLE001
        return _fail(f"internal error, please report it: {type(error).__name__}: {quote(str(error))}")
    return status


def _check_streams() -> None:
    """Make do without a standard error, but not without a standard output."""
    # Python has None for a stream that the caller has closed, and `print` to None is to standard output.
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    if sys.stdout is None:
        msg = "standard output is closed"
        raise NoAnswer(msg)


class _Version(argparse.Action):
    """Prints the version of the installed package, which is looked up only now."""

    @override
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"meshid {installed_version()}")
        parser.exit()


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = Parser(
        prog="meshid",
        description="Who is at the other end of a mutual-TLS connection, and may they be there?",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    add_commands(parser, _COMMANDS, [word for word in argv if not word.startswith("-")])
    return parser


def _fail(*lines: str) -> int:
    for line in lines:
        print(f"meshid: {clean(line)}", file=sys.stderr)
    return NO_ANSWER

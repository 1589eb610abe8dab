"""`meshid policy report`: who can reach what, as a page, a table, a diagram or JSON."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from meshid.cli.inputs import read_policies
from meshid.cli.no_answer import STDIN, NoAnswer
from meshid.cli.policy.options import add_environments, add_file, add_output
from meshid.cli.policy.output import YES, write
from meshid.cli.terminal import clean
from meshid.cli.version import installed_version
from meshid.policy import Policy
from meshid.policy.report.contents import Occasion, Report
from meshid.policy.report.html import as_html
from meshid.policy.report.text import as_json, as_mermaid, as_table

_FORMATS: dict[str, Callable[[Report], str]] = {
    "html": as_html,
    # Owners, reviewers and reasons are text of whoever wrote the file.
    "table": lambda report: "".join(f"{clean(line)}\n" for line in as_table(report).split("\n")[:-1]),
    "mermaid": as_mermaid,
    "json": lambda report: f"{json.dumps(as_json(report), indent=2)}\n",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_environments(parser)
    parser.add_argument(
        "--since", metavar="OLD", help="the file as it was signed last; the report says what changed since"
    )
    parser.add_argument(
        "--revision", metavar="TEXT", help="what the file is called in the report; its name by default"
    )
    add_output(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--format", choices=list(_FORMATS), help="default: html for a file, table for the terminal"
    )
    form.add_argument(
        "--json", action="store_const", const="json", dest="format", help="the same as --format json"
    )


def run(arguments: Namespace) -> int:
    """Write the report.

    Raises:
        NoAnswer: If a policy cannot be loaded, or the file cannot be written.
        PolicyTooComplex: If its rules are too entangled to analyse.
    """
    if STDIN == arguments.since == arguments.file:
        msg = "standard input can be read only once; name another file for --since"
        raise NoAnswer(msg)
    policies = read_policies(arguments.file, arguments.environments)
    since = None if arguments.since is None else _since(arguments)
    name = "standard input" if arguments.file == STDIN else arguments.file
    occasion = Occasion(
        now=time.time(),
        revision=name if arguments.revision is None else arguments.revision,
        version=installed_version(),
        since=arguments.since or "",
    )
    report = Report.of(policies, occasion, since)
    form = arguments.format or ("html" if arguments.output else "table")
    inputs = [arguments.file, *([arguments.since] if arguments.since else [])]
    write(_FORMATS[form](report), arguments.output, inputs=inputs)
    return YES


def _since(arguments: Namespace) -> list[Policy]:
    """Return the version that was signed last, for the environments that are reported."""
    asked = arguments.environments
    policies = read_policies(arguments.since)
    return [each for each in policies if not asked or each.environment.name in asked]

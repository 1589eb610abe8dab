"""`meshid policy report`: who can reach what, as a page, a table, a diagram or JSON."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from meshid.cli.inputs import read_policies
from meshid.cli.policy.options import add_environments, add_file, add_output
from meshid.cli.policy.output import YES, write
from meshid.policy.report.html import as_html
from meshid.policy.report.matrix import Report
from meshid.policy.report.text import as_json, as_mermaid, as_table

_FORMATS: dict[str, Callable[[Report], str]] = {
    "html": as_html,
    "table": as_table,
    "mermaid": as_mermaid,
    "json": lambda report: f"{json.dumps(as_json(report), indent=2)}\n",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_environments(parser)
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
        NoAnswer: If the policy cannot be loaded, or the file cannot be written.
        PolicyTooComplex: If its rules are too entangled to analyse.
    """
    report = Report.of(read_policies(arguments.file, arguments.environments))
    form = arguments.format or ("html" if arguments.output else "table")
    write(_FORMATS[form](report), arguments.output, inputs=[arguments.file])
    return YES

"""`meshid policy schema`: the JSON Schema of a policy file, for an editor."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from meshid.cli.policy.output import YES
from meshid.policy.file.schema import schema


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--json", action="store_true", help="accepted as for the other commands; the schema is always JSON"
    )


def run(_: Namespace) -> int:
    """Print it."""
    print(json.dumps(schema(), indent=2))
    return YES

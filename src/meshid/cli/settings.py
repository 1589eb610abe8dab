"""`meshid settings`: each setting, its value and its origin."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from meshid.cli.terminal import Colour, clean, paint_for_stdout
from meshid.settings.settings import Settings


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: Namespace) -> int:
    """Read the settings as a service started here would, and print them.

    Raises:
        InvalidSettings: If something is wrong with them.
    """
    shown = list(Settings.from_env().items())
    if arguments.json:
        print(
            json.dumps({name: {"value": value, "origin": origin} for name, value, origin in shown}, indent=2)
        )
        return 0
    paint = paint_for_stdout()
    names, values = (max(len(row[column]) for row in shown) for column in (0, 1))
    for name, value, origin in shown:
        print(f"{name:{names}}  {clean(value):{values}}  {paint(clean(origin), Colour.QUIET)}".rstrip())
    return 0

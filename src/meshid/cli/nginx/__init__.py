"""`meshid check-nginx`: what in a configuration of nginx lets strangers past meshid."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from meshid.cli.inputs import read_some
from meshid.cli.nginx.nginx_configuration import read_configuration
from meshid.cli.nginx.nginx_traps import traps_in
from meshid.cli.nginx.trap import Caught
from meshid.cli.no_answer import errors_named
from meshid.cli.policy.options import add_json
from meshid.cli.policy.output import NO, YES, answer
from meshid.cli.terminal import Colour, Paint, clean, paint_for_stdout
from meshid.support.quoting import plural


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a configuration of nginx, or the output of nginx -T, which has all files; - is standard input",
    )
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Look at the configuration, and print what is wrong.

    Raises:
        NoAnswer: If it cannot be read.
    """
    data = read_some(arguments.file)
    with errors_named(arguments.file):
        # nginx knows no encoding: a comment may be in any.
        caught = traps_in(read_configuration(data.decode("utf-8", "replace")))
    answer(arguments, {"findings": [each.as_dict() for each in caught]}, _lines(caught, paint_for_stdout()))
    return NO if any(not each.trap.is_warning for each in caught) else YES


def _lines(caught: list[Caught], paint: Paint) -> Iterator[str]:
    warnings = sum(each.trap.is_warning for each in caught)
    others = len(caught) - warnings
    counts = [plural(others, "finding")] * bool(others) + [plural(warnings, "warning")] * bool(warnings)
    colour = Colour.BAD if others else Colour.STAR if warnings else Colour.GOOD
    yield paint(", ".join(counts) or "nothing found", colour)
    for each in caught:
        yield f"  {clean(str(each))} {paint(f'[{each.trap}]', Colour.QUIET)}"

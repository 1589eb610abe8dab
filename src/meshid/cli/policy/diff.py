"""`meshid policy diff`: what changes for which peers between two policies, or two environments of one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from meshid.cli.inputs import read_policy_file
from meshid.cli.no_answer import NoAnswer, errors_named
from meshid.cli.policy.options import add_environment, add_file, add_json
from meshid.cli.policy.output import NO, YES, answer
from meshid.cli.terminal import Colour, Paint, clean, paint_for_stdout
from meshid.policy import PolicyDiff

_COLOURS = {"    +": Colour.GOOD, "    -": Colour.BAD}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser, "old")
    parser.add_argument("new", metavar="NEW", nargs="?", help="another policy file; the same by default")
    add_environment(parser)
    parser.add_argument(
        "--and", metavar="NAME", dest="other", help="another environment; the same by default"
    )
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Compare, and print the difference.

    Raises:
        NoAnswer: If a policy cannot be loaded, or there is only one.
        PolicyTooComplex: If the rules are too entangled to compare.
    """
    diff = _diff(arguments)
    answer(arguments, diff.as_dict(), _lines(diff, paint_for_stdout()))
    return YES if diff.is_empty else NO


def _diff(arguments: Namespace) -> PolicyDiff:
    if arguments.new is None and arguments.other is None:
        msg = "there is only one policy to compare; add another file, or another environment with --and"
        raise NoAnswer(msg)
    # Standard input can be read only once.
    old = read_policy_file(arguments.old)
    new = old if arguments.new is None else read_policy_file(arguments.new)
    with errors_named(arguments.old):
        before = old.policy(arguments.environment)
    with errors_named(arguments.new or arguments.old):
        after = new.policy(arguments.other or arguments.environment)
    return before.diff(after)


def _lines(diff: PolicyDiff, paint: Paint) -> Iterator[str]:
    answer, *rest = map(clean, str(diff).splitlines())
    yield paint(answer, Colour.GOOD if diff.is_empty else Colour.BAD)
    for line in rest:
        colour = _COLOURS.get(line[:5])
        yield paint(line, colour) if colour else line

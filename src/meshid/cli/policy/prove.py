"""`meshid policy prove`: that no peer of a pattern reaches a target, or one that does."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import TypeVar

from meshid.cli.inputs import read_policy
from meshid.cli.policy.options import add_environment, add_file, add_json
from meshid.cli.policy.output import NO, YES, answer, painted
from meshid.cli.terminal import Colour, paint_for_stdout
from meshid.errors import InvalidInput
from meshid.policy.file.strings import source, target

_Value = TypeVar("_Value")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_environment(parser)
    add = parser.add_argument
    add("--never", metavar="PATTERN", required=True, type=_argument(source), help="the peers")
    add(
        "--reach", metavar="PATTERN", default="**", type=_argument(target), help="the targets; all by default"
    )
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Look for a counterexample, and print it, or that the claim holds.

    Raises:
        NoAnswer: If the policy cannot be loaded.
        InvalidPattern: If its file does not know the trust domain.
        PolicyTooComplex: If its rules are too entangled to decide.
    """
    policy = read_policy(arguments.file, arguments.environment)
    proof = policy.prove(arguments.never, arguments.reach)
    colour = Colour.BAD if not proof.holds else Colour.STAR if proof.doubts else Colour.GOOD
    answer(arguments, proof.as_dict(), painted(str(proof), colour, paint_for_stdout()))
    return YES if proof.holds else NO


def _argument(read: Callable[[str], _Value]) -> Callable[[str], _Value]:
    def argument(text: str) -> _Value:
        try:
            return read(text)
        except InvalidInput as error:
            raise ArgumentTypeError(str(error)) from error

    return argument

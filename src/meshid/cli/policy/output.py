"""How each command ends, and how it prints its answer."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Collection, Iterable, Iterator

from meshid.cli.inputs import write_whole
from meshid.cli.terminal import Colour, Paint, clean

YES = 0
NO = 1


def answer(arguments: Namespace, document: object, lines: Iterable[str]) -> None:
    """Print the answer as JSON if that was asked for, otherwise as lines."""
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        print(*lines, sep="\n")


def write(text: str, output: str | None, *, inputs: Collection[str]) -> None:
    """Write a *text* to the output file if there is one, otherwise to standard output.

    Raises:
        NoAnswer: If the file cannot be written, or is one of the *inputs*.
    """
    if output is None:
        print(text, end="")
    else:
        write_whole(output, text, inputs=inputs)


def painted(text: str, colour: Colour, paint: Paint) -> Iterator[str]:
    """Yield the lines of a *text* whose first one is the answer."""
    answer, *rest = text.splitlines()
    yield paint(clean(answer), colour)
    yield from map(clean, rest)

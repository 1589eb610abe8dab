"""The command line as a tree of commands, with errors of one line."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from typing import NoReturn

import attrs
from typing_extensions import override

from meshid.cli.no_answer import NoAnswer


@attrs.frozen
class Command:
    """One command.

    Attributes:
        about: What it does.
        module: The name of its module, with the functions `add_arguments` and `run`.
    """

    about: str
    module: str


@attrs.frozen
class Group:
    """Commands below one word.

    Attributes:
        about: What they are for.
        commands: The commands by their names.
    """

    about: str
    commands: Mapping[str, Command | Group]


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors, as one line, and does not print them."""

    @override
    def error(self, message: str) -> NoReturn:
        msg = f"{message}; see: {self.prog} --help"
        raise NoAnswer(msg)


def add_commands(
    parser: argparse.ArgumentParser, commands: Mapping[str, Command | Group], words: Sequence[str]
) -> None:
    """Add *commands* below *parser*; the parsed arguments have the function to call as `run`.

    Args:
        parser: The parser.
        commands: The commands by their names.
        words: What was typed, without the options. Only the module of the command that these
            name is imported: a `meshid verify` in a shell loop must not load the demo.
    """
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in commands.items():
        each = below.add_parser(name, help=command.about, description=command.about, allow_abbrev=False)
        if [name] != words[:1]:
            continue
        if isinstance(command, Group):
            add_commands(each, command.commands, words[1:])
        else:
            module = importlib.import_module(command.module)
            module.add_arguments(each)
            each.set_defaults(run=module.run, prog=each.prog)

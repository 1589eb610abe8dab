"""What is typed, to what is done: a tree of commands, and errors of one line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import NoReturn, Protocol

import attrs
from typing_extensions import override

from meshid.cli.messages import CannotJudge


class Command(Protocol):
    """One command: a module."""

    ABOUT: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do what is asked, and return the exit status."""


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
    """A parser whose errors are one line, and are not its own to print."""

    @override
    def error(self, message: str) -> NoReturn:
        msg = f"{message}; see: {self.prog} --help"
        raise CannotJudge(msg)


def add_commands(parser: argparse.ArgumentParser, commands: Mapping[str, Command | Group]) -> None:
    """Add *commands* below *parser*; that which is typed is the argument `run`."""
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in commands.items():
        about = command.about if isinstance(command, Group) else command.ABOUT
        each = below.add_parser(name, help=about, description=about, allow_abbrev=False)
        if isinstance(command, Group):
            add_commands(each, command.commands)
        else:
            command.add_arguments(each)
            each.set_defaults(run=command.run)

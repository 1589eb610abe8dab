"""The arguments that several commands share, so that each means the same everywhere."""

from __future__ import annotations

from argparse import ArgumentParser


def add_file(parser: ArgumentParser, name: str = "file") -> None:
    """Add the policy file."""
    parser.add_argument(name, metavar=name.upper(), help="a policy, TOML or JSON; - is standard input")


def add_environment(parser: ArgumentParser) -> None:
    """Add the environment to load the policy for."""
    parser.add_argument("--environment", metavar="NAME", required=True, help="the environment to load it for")


def add_environments(parser: ArgumentParser) -> None:
    """Add the environments to load the policy for."""
    parser.add_argument(
        "--environment",
        metavar="NAME",
        action="append",
        dest="environments",
        help="the environment to load it for; may be repeated; default: all in the file",
    )


def add_output(parser: ArgumentParser) -> None:
    """Add the file that is written."""
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="write this file, whole or not at all; default: print"
    )


def add_json(parser: ArgumentParser) -> None:
    """Add the output as JSON."""
    parser.add_argument("--json", action="store_true", help="print the same as JSON")

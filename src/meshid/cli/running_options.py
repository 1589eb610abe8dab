"""The options of a command that runs on: settings, how it logs, and the line with which it begins."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from contextlib import suppress

from meshid.cli.terminal import clean
from meshid.policy import Policy
from meshid.settings.settings import KEYS, Settings

_SHOWN_HASH = 12

_LISTS = {"expect", "alpn"}
"""Options that may be given several times."""


def add_settings(parser: ArgumentParser, options: Mapping[str, str | None]) -> None:
    """Declare keys as options, which come before all other settings.

    Args:
        parser: The parser.
        options: What stands for the value of each key in the help; None for a key that is true or false.
    """
    about = {key.name: key.about.replace("`", "") for key in KEYS}
    for name, metavar in options.items():
        option = f"--{name.replace('_', '-')}"
        if metavar is None:
            about_it = about[name].removesuffix(": true or false")
            parser.add_argument(option, action="store_const", const=True, help=about_it)
        else:
            action = "append" if name in _LISTS else "store"
            parser.add_argument(option, metavar=metavar, action=action, help=about[name])


def add_log(parser: ArgumentParser) -> None:
    """Declare how it logs."""
    parser.add_argument("--quiet", action="store_true", help="log refusals and warnings only")
    parser.add_argument("--json", action="store_true", help="print and log JSON, one object a line")


def settings_of(arguments: Namespace, options: Mapping[str, str | None]) -> Settings:
    """Read the settings, those among the options first.

    Raises:
        InvalidSettings: If something is wrong with them.
    """
    given = {name: value for name in options if (value := getattr(arguments, name)) is not None}
    return Settings.from_env(**given)


def in_force(policy: Policy) -> str:
    """Return which policy is in force, for a line that a person reads."""
    return f"environment {policy.environment.name}, policy {policy.hash[:_SHOWN_HASH]}"


def say(text: str, *, as_json: bool, **fields: object) -> None:
    """Print a line, or a JSON object with the *fields*; nobody has to read it."""
    with suppress(OSError):
        print(json.dumps({"message": text, **fields}) if as_json else clean(text), flush=True)

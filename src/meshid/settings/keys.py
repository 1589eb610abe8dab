"""A key: one thing that can be set, and the names under which it is set."""

from __future__ import annotations

from pathlib import Path

import attrs

PREFIX = "MESHID_"
FILE = "_FILE"
"""Ends the name of a variable that names a file with the value in it."""

CONFIG = "MESHID_CONFIG"
CONFIG_DIR = "MESHID_CONFIG_DIR"


@attrs.frozen(kw_only=True)
class Key:
    """One thing that can be set.

    Attributes:
        name: Its name in a TOML file, in a directory, and in `Settings`.
        about: What it is for.
        parser: The name of the function in `meshid.settings.parsing` that parses a value.
        default: The value if it is not set; None or empty if there is none.
    """

    name: str
    about: str
    parser: str
    default: object

    @property
    def variable(self) -> str:
        """The name of its variable."""
        return PREFIX + self.name.upper()


@attrs.frozen
class Found:
    """A value as it was found.

    Attributes:
        value: A string; from TOML, or as an argument, a value of any type.
        origin: Where it was found, for people.
        is_text: Whether the place can hold only strings, so that a list or a number is written as one.
        base: Where relative paths begin.
        twin: The variable that names the file with this value in it; empty if none does.
    """

    # It may be a secret that somebody has set in the wrong place.
    value: object = attrs.field(repr=False)
    origin: str
    is_text: bool = True
    base: Path = Path()
    twin: str = ""

"""A key: one thing that can be set, and the names under which it is set."""

from __future__ import annotations

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

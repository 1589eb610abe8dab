"""What a terminal shows: colours where they are wanted, and no control characters of others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import StrEnum

Paint = Callable[[str, "Colour"], str]
"""Colours a text, or leaves it as it is."""


class Colour(StrEnum):
    """The few colours that are used, as the parameters of ECMA-48 SGR."""

    GOOD = "32"
    BAD = "31"
    STAR = "1;33"
    TITLE = "1"
    QUIET = "2"


def paint_for_stdout() -> Paint:
    """Return colours for a terminal, unless ``NO_COLOR`` is set (no-color.org); plain text otherwise."""
    return _colour if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else _plain


def clean(text: str) -> str:
    """Return *text* with each unprintable character escaped, so that one line stays one line."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _colour(text: str, colour: Colour) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


def _plain(text: str, _: Colour) -> str:
    return text

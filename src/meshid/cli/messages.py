"""Why there is no verdict, in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from meshid.errors import InvalidInput, MeshidError
from meshid.support.quoting import quote

STDIN = "-"
"""In place of a file: standard input."""


class CannotJudge(MeshidError):
    """There is no verdict, and it is no fault of the chain.

    Attributes:
        lines: What is wrong, where, and what would be right; a line each.
    """

    def __init__(self, *lines: str) -> None:
        """Keep the *lines*."""
        super().__init__(*lines)
        self.lines = lines


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Add the name of the file to whatever is wrong with it.

    Raises:
        CannotJudge: In place of an `OSError` or an `InvalidInput`.
    """
    try:
        yield
    except OSError as error:
        msg = f"{named(path)} cannot be read: {error.strerror}"
        raise CannotJudge(msg) from error
    except InvalidInput as error:
        raise CannotJudge(*(f"{named(path)}: {line}" for line in str(error).splitlines())) from error


def named(path: str) -> str:
    """Return the name of a file as a message shows it."""
    return "standard input" if path == STDIN else quote(path)

"""Why there is no answer, in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from meshid.errors import InvalidInput, MeshidError
from meshid.support.quoting import quote

STDIN = "-"
"""In place of a file name: standard input."""


class NoAnswer(MeshidError):
    """The question cannot be answered; this says nothing about the chain or the policy.

    Attributes:
        lines: What is wrong, where, and what to write instead; a line each.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines


@contextmanager
def errors_named(path: str) -> Iterator[None]:
    """Put the name of a file before each error in it.

    Raises:
        NoAnswer: In place of an `OSError` or an `InvalidInput`.
    """
    try:
        yield
    except OSError as error:
        msg = f"{file_name(path)} cannot be read: {error.strerror}"
        raise NoAnswer(msg) from error
    except InvalidInput as error:
        raise NoAnswer(*(f"{file_name(path)}: {line}" for line in str(error).splitlines())) from error


def file_name(path: str) -> str:
    """Return the name of a file for a message."""
    return "standard input" if path == STDIN else quote(path)

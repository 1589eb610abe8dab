"""The progress of a long command, shown on a terminal."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Self

_SECONDS = 0.1
_WIDTH = 30


def with_progress(lines: Iterable[bytes], file: BinaryIO) -> Iterator[bytes]:
    """Yield the *lines* of *file*, and count them on standard error; on a terminal only."""
    return _shown(lines, _size_of(file)) if sys.stderr.isatty() else iter(lines)


@contextmanager
def progress_of(doing: str) -> Generator[Callable[[int, int], None] | None, None, None]:
    """Give what is to be told how many rules are done, of how many; None if it is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with _Line() as line:

        def tell(done: int, of: int) -> None:
            if line.is_due:
                line.show(f"{doing}: {_grouped(done)} of {_grouped(of)} rules")

        yield tell


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _shown(lines: Iterable[bytes], size: int | None) -> Iterator[bytes]:
    done = 0
    with _Line() as shown:
        for count, line in enumerate(lines, 1):
            yield line
            done += len(line)
            if shown.is_due:
                shown.show(_words(count, done, size))


class _Line:
    """The last line of the terminal: shown anew now and then, and gone at the end."""

    def __init__(self) -> None:
        self._due = time.monotonic() + _SECONDS
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def show(self, words: str) -> None:
        self._shown = words.ljust(len(self._shown))
        print(f"\r{self._shown}", end="", file=sys.stderr, flush=True)
        self._due = time.monotonic() + _SECONDS

    def __exit__(self, *_: object) -> None:
        # However it ends, what is printed next begins on a line of its own.
        if self._shown:
            print(f"\r{' ' * len(self._shown)}\r", end="", file=sys.stderr, flush=True)


def _words(count: int, done: int, size: int | None) -> str:
    if not size:
        return f"{count} lines"
    part = min(done / size, 1.0)
    filled = int(part * _WIDTH)
    return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {part:4.0%}  {count} lines"


def _size_of(file: BinaryIO) -> int | None:
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None

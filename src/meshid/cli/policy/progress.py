"""The progress of a long command, shown on a terminal."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO

_SECONDS = 0.1
_WIDTH = 30


def with_progress(lines: Iterable[bytes], file: BinaryIO) -> Iterator[bytes]:
    """Yield the *lines* of *file*, and count them on standard error; on a terminal only."""
    return _shown(lines, _size_of(file)) if sys.stderr.isatty() else iter(lines)


def _shown(lines: Iterable[bytes], size: int | None) -> Iterator[bytes]:
    done, count, due, shown = 0, 0, time.monotonic() + _SECONDS, ""
    try:
        for count, line in enumerate(lines, 1):
            yield line
            done += len(line)
            if time.monotonic() >= due:
                shown = _words(count, done, size).ljust(len(shown))
                print(f"\r{shown}", end="", file=sys.stderr, flush=True)
                due = time.monotonic() + _SECONDS
    finally:
        # However it ends, what is printed next begins on a line of its own.
        if shown:
            print(f"\r{' ' * len(shown)}\r", end="", file=sys.stderr, flush=True)


def _words(count: int, done: int, size: int | None) -> str:
    if not size:
        return f"{count} lines"
    part = min(done / size, 1.0)
    filled = int(part * _WIDTH)
    return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {part:4.0%}  {count} lines"


def _size_of(file: BinaryIO) -> int | None:
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None

"""Reads files that somebody else writes, without tearing.

Kubernetes writes each version of a volume into a new directory and then swaps the symbolic
link ``..data`` (kubernetes/pkg/volume/util/atomic_writer.go); a reader that opens three files
one after the other may get them from two versions. So the directory behind the link is opened
once, and the files are opened relative to it. Other writers make no such promise: their files
are read again after a moment, and count if nothing has changed.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from meshid.errors import SourceUnavailable
from meshid.support.quoting import quote

MAX_FILE_BYTES = 32 * 1024 * 1024
"""The largest file that is read is a revocation list; one with 100 000 entries has 5 MB."""

SETTLING_SECONDS = 0.1
"""The moment between two reads: a writer that is at work has written more by then."""

_SWAPPED = "..data"
_TRIES = 5
# Without O_NONBLOCK, opening a FIFO would wait for its writer.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK

_Seen: TypeAlias = tuple[int, ...]


def look(paths: Sequence[Path]) -> tuple[_Seen, ...]:
    """Return a value that differs when a file has changed; reading all files each second would cost more.

    Raises:
        OSError: If one cannot be found.
    """
    return tuple(_seen(path.stat()) for path in paths)


def read_together(paths: Sequence[Path]) -> list[bytes]:
    """Return the contents of files, as they were at one instant.

    Raises:
        OSError: If one cannot be read.
        SourceUnavailable: If one is not a file, is empty or too large, or if they keep changing.
    """
    directories = {path.parent for path in paths}
    if len(directories) == 1 and (swapped := directories.pop() / _SWAPPED).is_symlink():
        return _read_pinned(swapped, [path.name for path in paths])
    return _read_settled(paths)


def read_each(paths: Sequence[Path]) -> list[bytes | str]:
    """Return the content of each file, or what is wrong with it; they need not fit together.

    So one that cannot be read, or that is being written, keeps back no other.
    """
    found: dict[Path, bytes | str] = {}
    waiting = list(paths)
    for _ in range(_TRIES):
        first = [_content(path) for path in waiting]
        time.sleep(SETTLING_SECONDS)
        again = [_content(path) for path in waiting]
        found |= zip(waiting, again, strict=True)
        waiting = [path for path, old, new in zip(waiting, first, again, strict=True) if old != new]
        if not waiting:
            break
    return [str(_unsettled([path])) if path in waiting else found[path] for path in paths]


def reason_of(error: OSError) -> str:
    """Return what is wrong with a file, for people."""
    return f"{quote(str(error.filename))} cannot be read: {error.strerror}"


def _content(path: Path) -> bytes | str:
    try:
        return _read(path)
    except OSError as error:
        return reason_of(error)
    except SourceUnavailable as error:
        return str(error)


def _read_pinned(swapped: Path, names: list[str]) -> list[bytes]:
    for _ in range(_TRIES):
        try:
            with _directory(swapped) as pinned:
                return [_read(swapped.parent / name, pinned) for name in names]
        # The writer removes the old directory after the swap, perhaps while we read in it.
        except FileNotFoundError as error:
            missing = error
    raise missing


def _read_settled(paths: Sequence[Path]) -> list[bytes]:
    for _ in range(_TRIES):
        before = look(paths)
        contents = [_read(path) for path in paths]
        time.sleep(SETTLING_SECONDS)
        if look(paths) == before and [_read(path) for path in paths] == contents:
            return contents
    raise _unsettled(paths)


def _unsettled(paths: Sequence[Path]) -> SourceUnavailable:
    names = ", ".join(quote(str(path)) for path in paths)
    return SourceUnavailable(f"{names} cannot be read: it was being written during {_TRIES} reads")


def _seen(found: os.stat_result) -> _Seen:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: Path, directory: int | None = None) -> bytes:
    """Read a file; relative to *directory* if that is open."""
    name = path if directory is None else path.name
    try:
        # `os.fdopen` would leave a directory open, which it refuses.
        with open(name, "rb", opener=lambda at, _: os.open(at, _FLAGS, dir_fd=directory)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _unavailable(path, "it is not a regular file")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        error.filename = str(path)
        raise
    if len(data) > MAX_FILE_BYTES:
        raise _unavailable(path, f"it is larger than {MAX_FILE_BYTES} bytes; is it the right file?")
    if not data.strip():
        raise _unavailable(path, "it is empty")
    return data


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    pinned = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield pinned
    finally:
        os.close(pinned)


def _unavailable(path: Path, why: str) -> SourceUnavailable:
    return SourceUnavailable(f"{quote(str(path))} cannot be read: {why}")

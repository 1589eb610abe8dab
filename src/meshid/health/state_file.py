"""The state file of a running process, which `meshid status` reads.

The rules of this module:

- It is replaced whole, by a file that is new and has a name that nobody can guess: whoever may
  write into its directory can plant a link or a file of any name, and what is planted is
  neither followed nor written to.
- It belongs to the process that made it: a forked child does not write it.
- What stands in the way is a text for an alarm, never an exception: a file for people must not
  stop what keeps a mesh up to date.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

HEARTBEAT_SECONDS = 10.0
"""The file is written at least this often, so an old file means that its process is gone, or stuck."""

MAX_BYTES = 4 << 20
"""The longest state file that is read. One with a thousand sources and alarms has 300 kB."""

_MODE = 0o644
_LEFT_SECONDS = 60
"""A write takes milliseconds: a new file as old as this was left by a process that was killed."""

_TOLD_SECONDS = 3 * HEARTBEAT_SECONDS
_CHANGES_ALWAYS = {"time", "sources", "open_connections"}

_Identity = tuple[int, int, int]


class StateFile:
    """A file that is replaced whole: a process that is killed while it writes leaves the old one.

    Args:
        path: The file. A symbolic link in its place is replaced, not followed; no directory and no device is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owner = os.getpid()
        self._last: dict[str, object] = {}
        self._written = -HEARTBEAT_SECONDS
        self._ours: _Identity | None = None
        self._seen: _Identity | None = None
        self._shared = ""
        self._shared_until = 0.0

    def write(self, status: Mapping[str, object], now: float) -> str | None:
        """Write the *status* if it has changed, if the file is not there, or if the heartbeat is due.

        Args:
            status: Plain values.
            now: A monotonic clock, in seconds.

        Returns:
            What is wrong, for an alarm; None if nothing is.
        """
        if os.getpid() != self._owner:
            return None
        state = {name: value for name, value in status.items() if name not in _CHANGES_ALWAYS}
        try:
            is_there = self._look_for_others(now)
            if not is_there or state != self._last or now - self._written >= HEARTBEAT_SECONDS:
                self._replace(json.dumps(status, indent=2) + "\n")
                self._last, self._written = state, now
        # A path with a NUL in it is a `ValueError`.
        except (OSError, ValueError) as error:
            return f"cannot be written: {getattr(error, 'strerror', None) or error}"
        return self._shared if now < self._shared_until else None

    def _replace(self, text: str) -> None:
        new = self.path.parent / f".{self.path.name}.{secrets.token_hex(8)}.new"
        number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                written = os.fstat(number)
            new.replace(self.path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        if self._ours is None:
            self._remove_leftovers(written.st_mtime - _LEFT_SECONDS)
        self._ours = self._seen = _identity(written)

    def _remove_leftovers(self, before: float) -> None:
        """Remove what processes left here that were killed while they wrote."""
        name = re.compile(rf"\.{re.escape(self.path.name)}\.[0-9a-f]{{16}}\.new")
        with contextlib.suppress(OSError):
            for file in self.path.parent.iterdir():
                # In a directory of many users it may be another's, who keeps it.
                with contextlib.suppress(OSError):
                    if name.fullmatch(file.name) and file.lstat().st_mtime < before:
                        file.unlink()

    def _look_for_others(self, now: float) -> bool:
        """Note who has replaced the file since we last did; return whether a file is there, and no link."""
        try:
            there = self.path.lstat()
        except FileNotFoundError:
            return False
        if stat.S_ISCHR(there.st_mode) or stat.S_ISBLK(there.st_mode):
            # Root could replace it, and every program would miss the device.
            msg = "it is a device; give the path of a file"
            raise ValueError(msg)
        # The first time, it may be from the process before us.
        if self._ours is not None and _identity(there) not in {self._ours, self._seen}:
            self._seen = _identity(there)
            self._shared = f"{_writer(self.path)} writes it too: give each process a file of its own"
            self._shared_until = now + _TOLD_SECONDS
        return stat.S_ISREG(there.st_mode)


def _identity(file: os.stat_result) -> _Identity:
    # An inode can be given to the file after the next; both were not written at one instant.
    return file.st_dev, file.st_ino, file.st_mtime_ns


def _writer(path: Path) -> str:
    """Return who has written the file, for people."""
    try:
        # Not followed, and not waited for: a pipe may lie there now.
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(number, "rb") as file:
            pid = json.loads(file.read(MAX_BYTES))["pid"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "somebody else"
    if pid == os.getpid():
        return f"another mesh of this process, or process {pid} of another container,"
    return f"process {pid}" if type(pid) is int else "somebody else"

"""The state file of a running process, which `meshid status` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

HEARTBEAT_SECONDS = 10.0
"""The file is written at least this often, so an old file means that its process is gone, or stuck."""

_CHANGES_ALWAYS = {"time", "sources", "open_connections"}


class StateFile:
    """A file that is replaced whole: a process that is killed while it writes leaves the old one.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._new = path.with_name(f".{path.name}.new")
        self._last: dict[str, object] = {}
        self._written = -HEARTBEAT_SECONDS

    def write(self, status: Mapping[str, object], now: float) -> None:
        """Write the *status* if it has changed, or if the heartbeat is due.

        Args:
            status: Plain values.
            now: A monotonic clock, in seconds.

        Raises:
            OSError: If it cannot be written.
        """
        state = {name: value for name, value in status.items() if name not in _CHANGES_ALWAYS}
        if state == self._last and now - self._written < HEARTBEAT_SECONDS:
            return
        self._new.write_text(json.dumps(status, indent=2) + "\n", encoding="utf-8")
        self._new.replace(self.path)
        self._last, self._written = state, now

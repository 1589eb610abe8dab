"""The state file: what `meshid status` reads of a running process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

HEARTBEAT_SECONDS = 10.0
"""A file that is older tells that its process is gone, or stuck."""

_CHANGES_ALWAYS = {"time", "sources", "open_connections"}


class StateFile:
    """A file that is replaced whole; whoever is killed while writing leaves the one before.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        """Write nothing yet."""
        self.path = path
        self._new = path.with_name(f".{path.name}.new")
        self._last: dict[str, object] = {}
        self._written = -HEARTBEAT_SECONDS

    def write(self, status: Mapping[str, object], now: float) -> None:
        """Write the *status* if it has changed, or if it is time for a sign of life.

        Args:
            status: Plain values.
            now: Seconds, from whenever.

        Raises:
            OSError: If it cannot be written.
        """
        telling = {name: value for name, value in status.items() if name not in _CHANGES_ALWAYS}
        if telling == self._last and now - self._written < HEARTBEAT_SECONDS:
            return
        self._new.write_text(json.dumps(status, indent=2) + "\n", encoding="utf-8")
        self._new.replace(self.path)
        self._last, self._written = telling, now

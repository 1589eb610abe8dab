"""What all file sources have in common: they are looked at each second, and read when they have changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import attrs

from meshid.errors import InvalidInput, SourceUnavailable
from meshid.sources.files.reading import look, read_together
from meshid.sources.files.subpath import warnings_about
from meshid.sources.source import State
from meshid.support.quoting import quote

POLL_SECONDS = 1.0


class PolledFiles(ABC):
    """Files that are one source."""

    is_stream = False
    """Files are read again and again."""

    def __init__(self, name: str) -> None:
        """Call the source *name*."""
        self.name = name
        """What is read, and where."""
        self._last: tuple[object, State] | None = None

    @property
    def is_required(self) -> bool:
        """A file that is configured has to be there."""
        return True

    def read(self) -> State:
        """Return the state of now; the same one as long as no file has changed.

        Raises:
            SourceUnavailable: If a file cannot be read, or if what is in it cannot be used.
        """
        try:
            return self._latest()
        except OSError as error:
            fault = f"{quote(str(error.filename))} cannot be read: {error.strerror}"
        except (InvalidInput, SourceUnavailable) as error:
            fault = "; ".join(str(error).splitlines())
        msg = f"{self.name}: {fault}"
        raise SourceUnavailable(msg)

    def pause(self) -> float:
        """Return how long to wait until the next look, in seconds."""
        return POLL_SECONDS

    def close(self) -> None:  # noqa: B027 - a file is not held open
        """Do nothing."""

    def _latest(self) -> State:
        paths = self._paths()
        seen = paths, look(paths)
        if self._last is None or self._last[0] != seen:
            self._last = seen, self._read(paths)
        return self._last[1]

    def _read(self, paths: Sequence[Path]) -> State:
        state = self._state(paths, read_together(paths))
        return attrs.evolve(state, warnings=(*state.warnings, *warnings_about(paths)))

    @abstractmethod
    def _paths(self) -> Sequence[Path]:
        """Return the files to read.

        Raises:
            OSError: If that cannot be found out.
            SourceUnavailable: If it is not clear which ones.
        """

    @abstractmethod
    def _state(self, paths: Sequence[Path], contents: Sequence[bytes]) -> State:
        """Make a state of what is in the files.

        Raises:
            InvalidInput: If it cannot be used.
        """

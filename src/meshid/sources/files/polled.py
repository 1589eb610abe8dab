"""What all file sources have in common: they are polled each second, and read when they have changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import attrs

from meshid.errors import InvalidInput, SourceUnavailable
from meshid.sources.files.consistent_read import look, read_together
from meshid.sources.files.subpath import warnings_about
from meshid.sources.source import State
from meshid.support.quoting import quote

POLL_SECONDS = 1.0


class PolledFiles(ABC):
    """Files that are one source.

    Args:
        name: The name of the source, for people.

    Attributes:
        name: The name of the source, for people.
        is_stream: False: it is polled.
    """

    is_stream = False
    """Files are read again and again."""

    def __init__(self, name: str) -> None:
        self.name = name
        """What is read, and where."""
        self._last: tuple[object, State] | None = None

    @property
    def is_required(self) -> bool:
        """True: a file that is configured has to be there."""
        return True

    def read(self) -> State:
        """Return the present state; the same one as long as no file has changed.

        Returns:
            The state.

        Raises:
            SourceUnavailable: If a file cannot be read or its content cannot be used.
        """
        try:
            paths = self._paths()
            seen = paths, look(paths)
            if self._last is None or self._last[0] != seen:
                state = self._state(paths, read_together(paths))
                warnings = (*state.warnings, *warnings_about(paths))
                self._last = seen, attrs.evolve(state, warnings=warnings)
            return self._last[1]
        except OSError as error:
            fault = f"{quote(str(error.filename))} cannot be read: {error.strerror}"
        except (InvalidInput, SourceUnavailable) as error:
            fault = "; ".join(str(error).splitlines())
        msg = f"{self.name}: {fault}"
        raise SourceUnavailable(msg)

    def pause(self) -> float:
        """Return the seconds until the next poll."""
        return POLL_SECONDS

    def close(self) -> None:  # noqa: B027 - a file is not held open
        """Do nothing; there is nothing to release."""

    @abstractmethod
    def _paths(self) -> Sequence[Path]:
        """Return the files to read.

        Raises:
            OSError: If a directory cannot be read.
            SourceUnavailable: If it is not clear which files are meant.
        """

    @abstractmethod
    def _state(self, paths: Sequence[Path], contents: Sequence[bytes]) -> State:
        """Make a state from the contents of the files.

        Raises:
            InvalidInput: If they cannot be used.
        """

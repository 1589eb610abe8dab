"""What all file sources have in common: they are polled each second, and read when they have changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import attrs

from meshid.errors import InvalidInput, SourceUnavailable
from meshid.sources.files.consistent_read import look, read_together, reason_of
from meshid.sources.files.subpath import warnings_about
from meshid.sources.source import State
from meshid.support.quoting import one_line

POLL_SECONDS = 1.0


class PolledFiles(ABC):
    """Files that are one source.

    Args:
        name: The name of the source, for people.

    Attributes:
        name: The name of the source, for people.
        is_required: Whether a mesh cannot start without it.
        is_stream: False: it is polled.
    """

    is_required = True
    """A file that is configured has to be there."""
    is_stream = False
    """Files are read again and again."""

    def __init__(self, name: str) -> None:
        self.name = name
        """What is read, and where."""
        self._last: tuple[object, State | str] | None = None

    def read(self) -> State:
        """Return the present state; the same one as long as no file has changed.

        Returns:
            The state.

        Raises:
            SourceUnavailable: If a file cannot be read or its content cannot be used.
        """
        try:
            outcome, is_lasting = self._read(), True
        except OSError as error:
            outcome, is_lasting = reason_of(error), False
        except SourceUnavailable as error:
            outcome, is_lasting = str(error), False
        if isinstance(outcome, State):
            return outcome
        msg = f"{self.name}: {outcome}"
        raise SourceUnavailable(msg, is_lasting=is_lasting)

    def pause(self) -> float:
        """Return the seconds until the next poll."""
        return POLL_SECONDS

    def close(self) -> None:  # noqa: B027 - a file is not held open
        """Do nothing; there is nothing to release."""

    def _read(self) -> State | str:
        """Return the present state, or what is wrong with the content."""
        paths = self._paths()
        seen = paths, look(paths)
        # What cannot be used is not parsed again either, until it changes.
        if self._last is None or self._last[0] != seen:
            self._last = seen, self._parsed(paths, read_together(paths))
        return self._last[1]

    def _parsed(self, paths: Sequence[Path], contents: Sequence[bytes]) -> State | str:
        try:
            state = self._state(paths, contents)
        except InvalidInput as error:
            return one_line(error)
        return attrs.evolve(state, warnings=(*state.warnings, *warnings_about(paths)))

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

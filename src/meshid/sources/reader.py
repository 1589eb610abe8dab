"""Reads one source, on a thread of its own."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias

from meshid.errors import InvalidInput, MeshidError, SourceUnavailable
from meshid.sources.alarms import Failure
from meshid.sources.source import Source, State
from meshid.support.quoting import described, one_line

MAX_PAUSE = 24 * 3600.0
"""Seconds; a source that says less often, or anything that is no number, is asked again after that."""

RETRY_SECONDS = 1.0
"""After a read of a source that fails to say how long to wait."""

Done: TypeAlias = "SimpleQueue[Reader]"
"""Gets a reader as soon as its source was read."""


class Reader:
    """A source, and what its thread is asked to do.

    Only its thread runs the code of the source; whoever holds a lock has what is noted here.

    Args:
        source: The source.

    Attributes:
        name: The source's.
        is_required: The source's.
        is_stream: The source's.
        inbox: Asks for a read now, or for the end (None); a signal handler may put something into it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = source.name
        self.is_required = source.is_required
        self.is_stream = source.is_stream
        self.restart()

    def restart(self) -> None:
        """Forget who has asked, in a forked child."""
        self.inbox: SimpleQueue[Done | None] = SimpleQueue()

    def read(self) -> State | Failure:
        """Return the state of the source, or what is wrong."""
        try:
            state = self._source.read()
        # The caller's own source may fail in any way, `asyncio.CancelledError` and `SystemExit` included,
        # and is read again all the same.
        except BaseException as error:  # noqa: BLE001
            text = text_of(error).removeprefix(f"{self.name}: ")
            return Failure(about=self.name, text=text, is_lasting=_is_lasting(error))
        if isinstance(state, State):
            return state
        text = f"read() must return a State, not {type(state).__name__}"
        return Failure(about=self.name, text=text, is_lasting=True)

    def wait(self) -> list[Done] | None:
        """Wait until the source is due, or until somebody asks for it.

        Returns:
            Those who have asked; None if it is the end.
        """
        asked: list[Done] = []
        timeout = self._pause()
        while True:
            try:
                each = self.inbox.get(timeout=timeout)
            except Empty:
                return asked
            if each is None:
                return None
            asked.append(each)
            timeout = 0.0

    def close(self) -> None:
        """Make `wait` return, and end a read that waits, if the source can; from any thread."""
        self.inbox.put(None)
        # As for `read`.
        with suppress(BaseException):
            self._source.close()

    def _pause(self) -> float:
        try:
            # Only a float is sure to be one that a queue can wait for.
            return max(0.0, min(MAX_PAUSE, float(self._source.pause())))
        # As for `read`.
        except BaseException:  # noqa: BLE001
            return RETRY_SECONDS


def text_of(error: BaseException) -> str:
    """Return what is wrong, for people, in one line."""
    # A source may have a `MeshidError` of its own, which has no text.
    with suppress(Exception):
        if isinstance(error, MeshidError):
            return one_line(error)
    return described(error)


def _is_lasting(error: BaseException) -> bool:
    return isinstance(error, InvalidInput) or (isinstance(error, SourceUnavailable) and error.is_lasting)

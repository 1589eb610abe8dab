"""Calls the user's code (log handlers, sinks, `on_revoked`) on a thread of its own.

Whatever that code does, it delays nobody but itself: whoever has something to tell puts it into
a queue and goes on, and no lock of ours is held while it is told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias

from meshid.support.logs import ERROR, log
from meshid.support.quoting import described

LOGGER = logging.getLogger("meshid.refresh")
"""Gets each change, and each alarm when it begins, at its level, and when it ends, at INFO."""

MAX_WAITING = 10_000
"""Calls: more wait only if the one under way does not return."""

_Call: TypeAlias = Callable[[], object]


class Telling:
    """A queue of calls, and the thread that makes them one after the other; it begins at once.

    Attributes:
        dropped: How many calls were not made, because too many were waiting.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.restart()

    def restart(self) -> None:
        """Begin again in a forked child; what was waiting is the parent's to tell."""
        # Its `put` may be called by a signal handler that interrupts it.
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self.thread = threading.Thread(target=_tell, args=(self._calls,), name="meshid-telling", daemon=True)
        self.thread.start()

    def put(self, call: _Call) -> None:
        """Have something called after everything that was put before."""
        if self._calls.qsize() < MAX_WAITING:
            self._calls.put(call)
        else:
            self.dropped += 1

    def say(
        self, level: int, message: str, *args: object, error: BaseException | None = None, **extra: object
    ) -> None:
        """Have a line logged, as `meshid.support.logs.log` does."""
        self.put(partial(log, LOGGER, level, message, *args, error=error, **extra))

    def close(self) -> None:
        """End the thread after everything that was put before."""
        self._calls.put(None)


def _tell(calls: SimpleQueue[_Call | None]) -> None:
    while (call := calls.get()) is not None:
        try:
            call()
        # The user's code may raise anything, `SystemExit` included, and the rest is told all the same.
        except BaseException as error:  # noqa: BLE001
            # A log handler, perhaps the same one.
            with suppress(BaseException):
                log(LOGGER, ERROR, "on_revoked, a sink or a log handler: %s", described(error), error=error)
        # While nothing happens, it must not keep a mesh or a connection.
        del call

"""The one way to wait: for a socket, until the time is over or another thread says stop.

A timeout of a socket begins anew with each byte, so that a server could hold us for as
long as it likes; and neither a name look-up nor a wait for a socket that another thread
has closed can be ended from outside. So nothing here blocks but the one selector.
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self, TypeVar

_R = TypeVar("_R")


class Stopped(Exception):
    """Another thread has ended the wait."""


class Deadline:
    """The time that all the waits of one read have together.

    Args:
        seconds: How long.
    """

    def __init__(self, seconds: float) -> None:
        """Begin now."""
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._bell, self._cord = socket.socketpair()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of everything."""
        self._bell.close()
        self._cord.close()

    def stop(self) -> None:
        """End the wait of now, and any later one; from any thread."""
        self._cord.close()

    def wait(self, sock: socket.socket, event: int, *, share: int = 1) -> None:
        """Wait until *sock* is ready.

        Args:
            sock: A socket.
            event: `selectors.EVENT_READ` or `selectors.EVENT_WRITE`.
            share: Wait for this part of the time that is left: 3 is a third.

        Raises:
            TimeoutError: If the time is over.
            Stopped: If `stop` was called.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(sock, event)
            selector.register(self._bell, selectors.EVENT_READ)
            ready = selector.select(max(0.0, self._ends - time.monotonic()) / share)
        if any(key.fileobj is self._bell for key, _ in ready):
            raise Stopped
        if not ready:
            msg = f"it did not answer in time; {self._seconds:g} s are the limit for everything together"
            raise TimeoutError(errno.ETIMEDOUT, msg)

    def wait_for(self, work: Callable[[], _R]) -> _R:
        """Return what *work* returns, or raise what it raises; it runs in a thread that nobody waits for.

        Raises:
            TimeoutError: If the time is over.
            Stopped: If `stop` was called.
        """
        bell, cord = socket.socketpair()
        done: Future[_R] = Future()
        threading.Thread(target=_run, args=(work, done, cord), daemon=True).start()
        with bell:
            self.wait(bell, selectors.EVENT_READ)
        return done.result()


def _run(work: Callable[[], _R], done: Future[_R], cord: socket.socket) -> None:
    with cord:
        try:
            done.set_result(work())
        # Whoever waits gets it.
        except BaseException as error:  # noqa: BLE001
            done.set_exception(error)

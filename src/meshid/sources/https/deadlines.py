"""The one way to wait: for a socket, until the time is over or another thread says stop.

The timeout of a socket starts again with each byte, so a server could hold us as long as it
likes; and neither a name look-up nor a wait for a socket that another thread has closed can be
ended from outside. So the only call that blocks is the selector, which also waits for a pair of
sockets whose other end `stop` closes.
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Self, TypeVar

_R = TypeVar("_R")


class Stopped(Exception):
    """Another thread has ended the read."""


class Deadline:
    """The time that all waits of one read have together; it starts now.

    Args:
        seconds: How long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._stopped, self._stopper = socket.socketpair()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.close()
        self._stopper.close()

    def stop(self) -> None:
        """End the present wait, and any later one; from any thread."""
        self._stopper.close()

    def wait(self, sock: socket.socket, event: int, *, share: int = 1) -> None:
        """Wait until *sock* is ready.

        Args:
            sock: A socket.
            event: `selectors.EVENT_READ` or `selectors.EVENT_WRITE`.
            share: Wait for this part of the time that is left: 3 means a third.

        Raises:
            TimeoutError: If the time is over.
            Stopped: If `stop` was called.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(sock, event)
            selector.register(self._stopped, selectors.EVENT_READ)
            ready = selector.select(max(0.0, self._ends - time.monotonic()) / share)
        if any(key.fileobj is self._stopped for key, _ in ready):
            raise Stopped
        if not ready:
            msg = f"it did not answer in time; the limit is {self._seconds:g} s for the whole read"
            raise TimeoutError(errno.ETIMEDOUT, msg)

    def wait_for(self, work: Callable[[], _R]) -> _R:
        """Return what *work* returns, or raise what it raises; it runs in a thread that may be left behind.

        Raises:
            TimeoutError: If the time is over.
            Stopped: If `stop` was called.
        """
        ended, worker_end = socket.socketpair()
        done: Future[_R] = Future()
        threading.Thread(target=_run, args=(work, done, worker_end), daemon=True).start()
        with ended:
            self.wait(ended, selectors.EVENT_READ)
        return done.result()


class EndableReads:
    """The reads of a source, one after the other; another thread can end them for good."""

    def __init__(self) -> None:
        self._deadline: Deadline | None = None
        self._closed = False

    @contextmanager
    def within(self, seconds: float) -> Iterator[Deadline]:
        """Give a read that much time; the deadline is that of the block.

        Args:
            seconds: How long.
        """
        with Deadline(seconds) as deadline:
            self._deadline = deadline
            # After `_deadline` is set: `close` sets `_closed` first and looks at `_deadline` then.
            if self._closed:
                deadline.stop()
            yield deadline

    def close(self) -> None:
        """End a read that waits, and any further one; from any thread."""
        self._closed = True
        if (deadline := self._deadline) is not None:
            deadline.stop()


def _run(work: Callable[[], _R], done: Future[_R], worker_end: socket.socket) -> None:
    with worker_end:
        try:
            done.set_result(work())
        # The caller of `wait_for` gets it.
        except BaseException as error:  # noqa: BLE001
            done.set_exception(error)

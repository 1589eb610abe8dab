"""Handshakes under way: each has a deadline, and a server has only so many at once.

A client that connects and says nothing holds a socket and the memory of a TLS connection, and a
thread where there is one for each. asyncio gives it 60 seconds; a blocking socket without a timeout
gives it for ever, and one with a timeout starts anew at each byte. Here the time runs for the whole
handshake, from its first step, whoever runs it and however.

One thread for the process ends those that are overdue. It sleeps until the first deadline that it
knows of; a deadline that comes later does not wake it, so a handshake costs two changes of a
dictionary. It is woken through a `SimpleQueue`, whose `put` a signal handler may interrupt.

A handshake belongs to the process that began it: after a fork, the child must not shut down the
sockets that it shares with its parent, and so it forgets them.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from math import inf
from queue import Empty, SimpleQueue
from typing import Protocol

from meshid.audit.connection_info import ConnectionInfo, address_of
from meshid.errors import HandshakeTimeout

MAX_HANDSHAKES = 1024
"""Handshakes with clients that are under way at once, in one context. One takes milliseconds, so that
many are a flood, or a network that has stopped; asyncio needs up to 300 kB for each."""

DEFAULT_TIMEOUT = 10.0
"""Seconds. Slow links take two or three."""

PAUSES = (ssl.SSLWantReadError, ssl.SSLWantWriteError, TimeoutError)
"""Raised by a handshake that can go on."""

_LONGEST_SLEEP = 3600.0


class HandshakeUnderWay(Protocol):
    """A connection whose handshake is under way."""

    @property
    def peername(self) -> object:
        """What ``getpeername()`` of its socket returns; None if it is not known."""

    def end(self, rejection: HandshakeTimeout) -> None:
        """End it now, from any thread; whoever reads or writes gets the *rejection*."""


Tell = Callable[[ConnectionInfo, HandshakeTimeout], None]
"""Tells of a handshake that was ended."""


class Handshakes:
    """The handshakes of one context that are under way.

    Args:
        timeout: After how many seconds a handshake is ended.
        tell: Tells of those that were ended; None for a client, which hears of it, and opens as many
            connections at once as it likes.

    Attributes:
        at_most: How many may be under way with clients.
    """

    def __init__(self, timeout: float, tell: Tell | None = None) -> None:
        self.at_most = MAX_HANDSHAKES
        self._timeout = timeout
        self._tell = tell
        # In the order of their deadlines. Each change is one step, so that no lock is needed.
        self._under_way: dict[int, tuple[weakref.ref[HandshakeUnderWay], float]] = {}
        _ALL[self] = None

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._under_way)

    def begin(self, connection: HandshakeUnderWay) -> None:
        """Let the time of a handshake run, if it does not yet; make room for it."""
        key, under_way = id(connection), self._under_way
        if key in under_way:
            return
        if self._tell is not None and len(under_way) >= self.at_most:
            self._make_room()
        now = time.monotonic()
        deadline = now + self._timeout
        # The closure holds the dictionary alone: a context that is dropped has nothing to wait for.
        under_way[key] = weakref.ref(connection, lambda _: under_way.pop(key, None)), deadline
        # It has not woken in time if a signal handler raised while it was to be told.
        if deadline < _watch.wakes_at or _watch.wakes_at < now:
            _watch.wake(deadline)

    def done(self, connection: HandshakeUnderWay) -> None:
        """Forget a handshake that has ended."""
        self._under_way.pop(id(connection), None)

    def forget(self) -> None:
        """Forget all: they are another process's."""
        self._under_way.clear()

    def end_overdue(self, now: float) -> float:
        """End each that has had its time; return the next deadline."""
        overdue, next_deadline = [], inf
        for key, (_, deadline) in list(self._under_way.items()):
            if deadline > now:
                next_deadline = deadline
                break
            overdue.append(key)
        self._end(overdue, f"the handshake did not end within {self._timeout:g} s")
        return next_deadline

    def _make_room(self) -> None:
        # One that began a moment ago is as likely to be a good client's as this one; the oldest is not.
        keys = list(self._under_way)
        oldest = keys[: len(keys) - self.at_most + 1]
        self._end(oldest, f"more than {self.at_most} handshakes were under way, and this was the oldest")

    def _end(self, keys: list[int], text: str) -> None:
        ended = []
        for key in keys:
            reference, _ = self._under_way.pop(key, (_gone, 0.0))
            if (connection := reference()) is not None:
                # Before the end, which forgets it.
                address, port = address_of(connection.peername)
                ended.append((ConnectionInfo(address=address, port=port), error_of(text)))
                connection.end(ended[-1][1])
        # When all are ended: a log handler may take its time.
        if self._tell is not None:
            for info, error in ended:
                self._tell(info, error)


def error_of(text: str) -> HandshakeTimeout:
    """Return the error of a handshake that is ended."""
    return HandshakeTimeout(ssl.SSLErrorNumber.SSL_ERROR_SSL, text)


def is_final(error: OSError) -> bool:
    """Whether the handshake cannot go on after this *error*."""
    is_waiting = isinstance(error, (ssl.SSLWantReadError, ssl.SSLWantWriteError))
    return isinstance(error, ssl.SSLError) and not is_waiting


def _gone() -> None:
    """Stand for the reference to a connection that is gone."""


class _Watch:
    """The thread that ends what is overdue.

    Attributes:
        wakes_at: When it will look next, as `time.monotonic` tells it; infinite while it looks.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin without a thread."""
        self.wakes_at = inf
        self._news: SimpleQueue[None] = SimpleQueue()
        # The thread that takes it is the one. Not who starts it: a signal handler may raise there.
        self._vacancy = [None]

    def wake(self, deadline: float) -> None:
        """Have it look before *deadline*."""
        self.wakes_at = deadline
        self._news.put(None)
        if self._vacancy:
            try:
                threading.Thread(target=self._run, name="meshid-handshakes", daemon=True).start()
            except RuntimeError:
                # There is no thread to be had now. The handshake goes on, and the next one tries again.
                self.wakes_at = inf

    def _run(self) -> None:
        try:
            self._vacancy.pop()
        except IndexError:
            return
        while True:
            # A log handler may raise anything. What was overdue has ended by then.
            with suppress(BaseException):
                seconds = self._look()
                with suppress(Empty):
                    self._news.get(timeout=min(seconds, _LONGEST_SLEEP))

    def _look(self) -> float:
        """End what is overdue; return how many seconds there are to the next deadline."""
        # What begins from here on wakes it, as it may come too late to be seen below.
        self.wakes_at = inf
        now = time.monotonic()
        wakes_at = min([each.end_overdue(now) for each in _all()], default=inf)
        self.wakes_at = wakes_at
        return wakes_at - now


_ALL: weakref.WeakKeyDictionary[Handshakes, None] = weakref.WeakKeyDictionary()
_watch = _Watch()


def _all() -> list[Handshakes]:
    return [each for reference in _ALL.keyrefs() if (each := reference()) is not None]


def _forget_all() -> None:
    """Begin anew in a forked child, which has no thread."""
    _watch.reset()
    for each in _all():
        each.forget()


# Windows does not fork.
if hasattr(os, "register_at_fork"):  # pragma: no branch - the tests run where it is there
    os.register_at_fork(after_in_child=_forget_all)

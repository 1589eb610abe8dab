"""The connections of a listening socket that nobody has accepted yet.

The kernel's backlog has connections whose TCP handshake has ended; this one has those whose TLS
handshake has ended, too. One thread accepts, runs all handshakes side by side, and lays by those
that have ended well. So a client that says nothing costs a socket until its deadline, and holds up
nobody; and whoever is refused is never seen by the server.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import TypeAlias

from meshid.audit.rate_limit import RateLimit, left_out
from meshid.support.locks import Order, new_lock
from meshid.support.logs import ERROR, log
from meshid.support.quoting import described
from meshid.tls.broken_off import LOGGER

MAX_FINISHED = 64
"""Connections that wait for the server's `accept()`; the kernel's backlog holds the others. Those whose
handshake is under way by then come on top, so that it holds up to `MAX_HANDSHAKES` more."""

_KERNEL_BACKLOG = 1024

_REST_SECONDS = 0.1
"""How long nothing is accepted after a failure that may pass, such as a process out of descriptors."""

_CLOSE_SECONDS = 1.0
"""How long `close` waits for the thread, which may be in a slow audit sink of the user's."""

_PASSED = (BlockingIOError, ConnectionAbortedError, InterruptedError)
"""Another process was faster, or the client has gone."""

_OVER = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
"""It does not listen any more."""

_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Accepted: TypeAlias = "tuple[ssl.SSLSocket, object]"
"""A connection, and the address of its other end."""


class Wakeup:
    """A descriptor that is readable while the flag is up."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._reader.fileno()

    def put_up(self) -> None:
        """Make it readable."""
        # It is full, so it is readable; or it is closed.
        with suppress(OSError):
            self._writer.send(b"\0")

    def take_down(self) -> None:
        """Make it not readable."""
        with suppress(OSError):
            self._reader.recv(4096)

    def close(self) -> None:
        """Close it."""
        self._reader.close()
        self._writer.close()

    def part(self) -> None:
        """Part from the parent's in a forked child, under the same number: it may be in use there."""
        other = Wakeup()
        os.dup2(other._reader.fileno(), self._reader.fileno(), inheritable=False)
        self._writer, other._writer = other._writer, self._writer
        other.close()


class Backlog:
    """The connections of one listening socket that nobody has accepted yet.

    Args:
        wrap: Wraps a connection that was accepted, without a handshake.

    Attributes:
        ready: It is up while `take` has something to return or to raise.
    """

    def __init__(self, wrap: Callable[[socket.socket], ssl.SSLSocket]) -> None:
        self.ready = Wakeup()
        self._wrap = wrap
        self._limit = RateLimit()
        self._lock = new_lock(Order.WAITING)
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._thread: threading.Thread | None = None
        self._finished: deque[Accepted] = deque()
        self._under_way: dict[ssl.SSLSocket, int] = {}
        self._failure: OSError | None = None
        self._is_full = False
        self._rests_until = 0.0
        self._accepts = False

    def start(self, listening: int) -> None:
        """Start the thread, unless it runs; *listening* is the descriptor of the listening socket."""
        with self._lock:
            if self._thread is not None or self._is_closed:
                return
            with ExitStack() as held:
                # Of its own: the owner of the other one may close it at any time.
                self._listening = held.enter_context(socket.socket(fileno=os.dup(listening)))
                self._listening.setblocking(False)
                # `socketserver` asks for 5. What comes when they are full waits a second for its next try.
                self._listening.listen(_KERNEL_BACKLOG)
                self._alarm = held.enter_context(closing(Wakeup()))
                self._selector = held.enter_context(DefaultSelector())
                thread = threading.Thread(target=self._run, name="meshid-listener", daemon=True)
                thread.start()
                self._thread, self._held = thread, held.pop_all()

    def take(self) -> Accepted | None:
        """Return the connection that has waited longest; None if none waits.

        Raises:
            OSError: If none waits, and none will.
        """
        with self._lock:
            if self._is_closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            taken = self._finished.popleft() if self._finished else None
            if not self._finished and self._failure is None:
                self.ready.take_down()
            if taken is None and self._failure is not None:
                raise self._failure.with_traceback(None)
            if self._is_full:
                self._is_full = False
                self._alarm.put_up()
            return taken

    def close(self) -> None:
        """Stop the thread, and close everything that nobody has accepted."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self.ready.put_up()
            if (thread := self._thread) is None:
                self.ready.close()
                return
            # At once, so that nobody can connect any more, whatever the thread does.
            self._listening.close()
            self._alarm.put_up()
        # The thread itself closes it if an audit sink does.
        if thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS)

    def part(self) -> None:
        """Leave everything to the parent, in a forked child: there it goes on."""
        if self._thread is not None:
            self._close_all()
        if not self._is_closed:
            self.ready.part()
        self._begin()

    def _close_all(self) -> None:
        for connection in (*self._under_way, *(connection for connection, _ in self._finished)):
            connection.close()
        self._held.close()

    # -- In the thread ------------------------------------------------------------

    def _run(self) -> None:
        self._selector.register(self._alarm, EVENT_READ, self._alarm.take_down)
        while not self._is_closed:
            timeout = self._accept_or_rest()
            for key, _ in self._selector.select(timeout):
                key.data()
        with self._lock:
            self._close_all()
            self.ready.close()

    def _accept_or_rest(self) -> float | None:
        """Listen, or do not, as it is time to; return after how many seconds to look again."""
        with self._lock:
            if self._is_closed or self._failure is not None:
                return None
            self._is_full = len(self._finished) >= MAX_FINISHED
            rests = self._rests_until - time.monotonic()
            if (accepts := not self._is_full and rests <= 0) is not self._accepts:
                self._accepts = accepts
                if accepts:
                    self._selector.register(self._listening, EVENT_READ, self._accept)
                else:
                    self._selector.unregister(self._listening)
            return rests if rests > 0 else None

    def _accept(self) -> None:
        try:
            # Under the lock, so that the descriptor is not closed, and another one gets its number.
            with self._lock:
                plain, address = self._listening.accept()
        except _PASSED:
            return
        except OSError as error:
            self._cannot_accept(error)
            return
        try:
            plain.setblocking(False)
            # Who has gone by now would be taken for another listener.
            plain.getpeername()
            connection = self._wrap(plain)
        except BaseException as error:  # noqa: BLE001 - it has gone; or our credentials cannot be read now
            plain.close()
            self._say_unless_gone(error)
            return
        self._under_way[connection] = 0
        self._step(connection, address)

    def _cannot_accept(self, error: OSError) -> None:
        if error.errno in _OVER:
            self._end(error)
            return
        # So that clients who say nothing cannot use up all descriptors of the process.
        if error.errno in _NO_ROOM and self._under_way:
            self._drop(next(iter(self._under_way)))
        else:
            self._rests_until = time.monotonic() + _REST_SECONDS
        self._say("no connection can be accepted now", error)

    def _end(self, error: OSError) -> None:
        with self._lock:
            self._selector.unregister(self._listening)
            self._accepts = False
            self._failure = error
            self.ready.put_up()

    def _step(self, connection: ssl.SSLSocket, address: object) -> None:
        # The oldest may have had to go since the selector named it.
        if connection not in self._under_way:
            return
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            self._wait_for(connection, EVENT_READ, address)
        except ssl.SSLWantWriteError:
            self._wait_for(connection, EVENT_WRITE, address)
        # Refused: it is on record. And an audit sink may raise anything.
        except BaseException as error:  # noqa: BLE001
            self._drop(connection)
            self._say_unless_gone(error)
        else:
            self._forget(connection)
            with self._lock:
                self._finished.append((connection, address))
                self.ready.put_up()

    def _wait_for(self, connection: ssl.SSLSocket, events: int, address: object) -> None:
        before, self._under_way[connection] = self._under_way[connection], events
        if before == events:
            return
        change = self._selector.modify if before else self._selector.register
        change(connection, events, partial(self._step, connection, address))

    def _forget(self, connection: ssl.SSLSocket) -> None:
        if self._under_way.pop(connection):
            self._selector.unregister(connection)

    def _drop(self, connection: ssl.SSLSocket) -> None:
        self._forget(connection)
        connection.close()

    def _say_unless_gone(self, error: BaseException) -> None:
        if not isinstance(error, OSError):
            self._say("a handshake was not finished", error)

    def _say(self, what: str, error: BaseException) -> None:
        suppressed = self._limit.suppressed(what)
        if suppressed is not None:
            # A log handler may raise anything, and without its thread nobody would be let in.
            with suppress(BaseException):
                log(LOGGER, ERROR, "%s: %s%s", what, described(error), left_out(suppressed))

"""A listening socket that was wrapped as a whole.

`ssl.SSLSocket` handshakes inside `accept()`, so that one client that says nothing stops a server
for everybody, whether or not it has a thread for each connection. Here `accept()` hands out a
connection when its handshake has ended well: a thread of the listener's runs the handshakes.

A server waits for a listener with a selector before it calls `accept()`. What it watches must be
readable while a connection waits that can be handed out, and only then, or it waits in `accept()`
and cannot be stopped. So `fileno()` is not the descriptor of the listening socket, but one that is
readable just then. Whoever passes it to another process as a listening socket, as Werkzeug's
reloader does, must not have it wrapped by then.

The thread starts when a server first waits. In a forked child it starts again when the child does:
a child that only serves a connection of its parent's must not accept others.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
import weakref
from functools import partial
from selectors import EVENT_READ
from typing import Any, cast

from typing_extensions import override

from meshid.support.locks import Order, new_lock
from meshid.tls.backlog import Backlog

try:
    # It needs no descriptor, so that a process that is out of them can still wait.
    from selectors import PollSelector as _Selector
except ImportError:  # pragma: no cover - Windows
    from selectors import SelectSelector as _Selector  # type: ignore[assignment]


class MeshListener(ssl.SSLSocket):
    """A listening socket of a `MeshContext`."""

    suppress_ragged_eofs: bool
    _backlog: Backlog | None = None

    @override
    def accept(self) -> tuple[ssl.SSLSocket, Any]:
        """Wait for a connection whose peer was admitted, as `socket.socket.accept` waits for one.

        Who is refused, too slow or gone is left out: its record has it.

        Returns:
            The connection, and the address of its other end.

        Raises:
            BlockingIOError, TimeoutError: If none is there in time.
            OSError: If the socket does not listen, or was closed.
        """
        timeout = self.gettimeout()
        deadline = None if timeout is None else time.monotonic() + timeout
        while (taken := self._opened(starts=True).take()) is None:
            if timeout == 0:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            if not self._wait(deadline):
                msg = "timed out"
                raise TimeoutError(msg)
        connection, address = taken
        connection.settimeout(socket.getdefaulttimeout())
        return connection, address

    @override
    def fileno(self) -> int:
        """Return a descriptor that is readable while `accept` can return a connection; -1 if closed."""
        if super().fileno() < 0:
            return -1
        return self._opened(starts=self._is_listening()).ready.fileno()

    @override
    def listen(self, backlog: int = 128, /) -> None:
        """Listen, as `socket.socket.listen` does."""
        super().listen(backlog)
        # Some servers ask for the descriptor first, and never again.
        if self._backlog is not None:
            self._opened(starts=True)

    @override
    def settimeout(self, value: float | None, /) -> None:
        """Set how many seconds `accept` waits at most; None for ever."""
        super().settimeout(value)
        # The thread must never wait in it. This one waits for another descriptor.
        os.set_blocking(super().fileno(), False)

    @override
    def setblocking(self, flag: bool, /) -> None:
        """Let `accept` wait for ever, or not at all."""
        self.settimeout(None if flag else 0.0)

    @override
    def close(self) -> None:
        """Close it, and the connections that nobody has accepted."""
        super().close()
        self._close_backlog()

    @override
    def detach(self) -> int:
        """Return the descriptor of the listening socket, which stays open; close everything else."""
        descriptor = super().detach()
        self._close_backlog()
        return descriptor

    @override
    def __repr__(self) -> str:
        """Tell where it listens; that of the base class would ask for `fileno`, which starts the thread."""
        where = "closed" if super().fileno() < 0 else f"laddr={self.getsockname()!r}"
        return f"<{type(self).__name__} {where}>"

    def part(self) -> None:
        """Leave the connections that are there to the parent, in a forked child."""
        if self._backlog is not None:
            self._backlog.part()

    def _is_listening(self) -> bool:
        return bool(self.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    def _opened(self, *, starts: bool) -> Backlog:
        with _opening:
            if self._backlog is None:
                wrap = partial(
                    self.context.wrap_socket,
                    server_side=True,
                    do_handshake_on_connect=False,
                    suppress_ragged_eofs=self.suppress_ragged_eofs,
                )
                self._backlog = Backlog(wrap)
                # If nobody closes it.
                weakref.finalize(self, self._backlog.close)
                _LISTENERS.add(self)
        if starts:
            self._start(self._backlog)
        return self._backlog

    def _start(self, backlog: Backlog) -> None:
        if not self._is_listening():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        backlog.start(super().fileno())

    def _wait(self, deadline: float | None) -> bool:
        seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
        with _Selector() as selector:
            try:
                selector.register(cast("Backlog", self._backlog).ready, EVENT_READ)
            # Another thread has closed it since; whoever looks again is told so.
            except ValueError:
                return True
            return bool(selector.select(seconds))

    def _close_backlog(self) -> None:
        if self._backlog is not None:
            self._backlog.close()


_opening = new_lock(Order.WAITING)
_LISTENERS: weakref.WeakSet[MeshListener] = weakref.WeakSet()


def _part_all() -> None:
    for listener in list(_LISTENERS):
        listener.part()


# Windows does not fork.
if hasattr(os, "register_at_fork"):  # pragma: no branch - the tests run where it is there
    os.register_at_fork(after_in_child=_part_all)

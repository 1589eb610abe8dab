"""A connection that is not of our TLS contexts, and is ended with those that are.

The registry of open connections holds weakly what it knows, since each of ours is held by whoever
reads and writes it. Nobody need hold a watched connection. So it is held here, until it is done with or was
ended: who forgets it keeps it too long, which can be counted, and never too short.

What ends it is the user's code, and may hang. Its peer is gone at once, whatever that code does. The
code itself runs after everything of ours was ended, on a thread of its own, so that it holds up no
publication, no review and no other connection's end.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Self

from meshid.audit.connection_info import ConnectionInfo
from meshid.audit.event import LOGGER
from meshid.errors import PeerRejected
from meshid.support.logs import ERROR, log
from meshid.support.quoting import described
from meshid.verification.verifier import Peer

End = Callable[[PeerRejected], object]
"""Ends a connection, which is the user's; called with the refusal of its peer."""

_EACH_SECONDS, _ALL_SECONDS = 0.01, 1.0
"""How long the next call waits for the one before it, and for all: many that are quick need few threads."""


class WatchedConnection:
    """A connection that `Mesh.watch` watches; also a context manager, which calls `done` at its end.

    The mesh holds it until it is done with, or was ended; the caller need not.

    Args:
        peer: Who is at its other end.
        end: What ends it.
        address: Its address, for the record.
        watched: Those of the mesh.

    Attributes:
        rejection: Why it was ended; None if it was not.
    """

    rejection: PeerRejected | None = None

    def __init__(self, peer: Peer, end: End, address: ConnectionInfo, watched: Watched) -> None:
        self._peer: Peer | None = peer
        self._end = end
        self._info = address
        self._watched = watched

    @property
    def peer(self) -> Peer | None:
        """Who is at its other end, as of the last review; None once it was ended or is done with."""
        return self._peer if self.is_open else None

    @peer.setter
    def peer(self, peer: Peer | None) -> None:
        self._peer = peer

    @property
    def is_open(self) -> bool:
        """Whether it was neither ended nor done with."""
        return self in self._watched

    def done(self) -> None:
        """Watch it no longer: it is over. What ends it is not called after this, unless that has begun."""
        self._watched.release(self)

    def end(self, rejection: PeerRejected) -> None:
        """End it, as a review does: its peer is gone now, and what ends it is called soon after.

        Args:
            rejection: Why.
        """
        self.rejection = rejection
        self._watched.release(self, partial(self._call_end, rejection))

    def info(self) -> ConnectionInfo:
        """Return what is known of it, for the record."""
        return self._info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.done()

    def _call_end(self, rejection: PeerRejected) -> None:
        try:
            self._end(rejection)
        # The user's code may raise anything, and nobody else is told on this thread.
        except BaseException as error:  # noqa: BLE001
            log(LOGGER, ERROR, "a watched connection was not ended: %s", described(error), error=error)


class Watched:
    """The watched connections of one mesh."""

    def __init__(self) -> None:
        # Each step is one that CPython makes as a whole, so no lock is needed.
        self._open: dict[int, WatchedConnection] = {}
        self._to_end: deque[Callable[[], None]] = deque()

    def hold(self, connection: WatchedConnection) -> None:
        """Hold a connection until it is released."""
        self._open[id(connection)] = connection

    def release(self, connection: WatchedConnection, end: Callable[[], None] | None = None) -> None:
        """Hold a connection no longer, and have *end* called by the next `end_all`.

        Only the first release counts: what is done with is not ended any more.
        """
        if self._open.pop(id(connection), None) is not None and end is not None:
            self._to_end.append(end)

    def end_all(self) -> None:
        """Call what ends the connections that were ended, on other threads.

        Raises:
            RuntimeError: If there can be no more threads; the next call tries again.
        """
        if self._to_end:
            threading.Thread(target=self._call_all, name="meshid-watch", daemon=True).start()

    def _call_all(self) -> None:
        until = time.monotonic() + _ALL_SECONDS
        while True:
            try:
                end = self._to_end.popleft()
            except IndexError:
                return
            thread = threading.Thread(target=end, name="meshid-watch", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # There can be no more threads. This one may hang as well as another.
                end()
            else:
                thread.join(max(0.0, min(_EACH_SECONDS, until - time.monotonic())))

    def __contains__(self, connection: WatchedConnection) -> bool:
        return id(connection) in self._open

"""The connections that are open now, so that one can be ended when its peer may no longer be there.

They are only looked at: whoever holds a connection lets go of it as if nobody else knew it.
"""

from __future__ import annotations

import math
import weakref
from typing import Protocol

import attrs

from meshid.admission.question import Question
from meshid.audit.connection_info import ConnectionInfo
from meshid.errors import PeerRejected
from meshid.verification.verifier import Peer


class Connection(Protocol):
    """A connection."""

    @property
    def is_open(self) -> bool:
        """Whether it was not ended, and somebody still reads or writes, as far as that can be known."""

    def info(self) -> ConnectionInfo:
        """Return what is known of it."""

    def end(self, rejection: PeerRejected) -> None:
        """End it now, from whatever thread; whoever reads or writes gets the *rejection*."""


@attrs.define(eq=False)
class OpenConnection:
    """One of them.

    Attributes:
        connection: The connection, as long as somebody holds it.
        peer: Who is at its other end, as of the last decision.
        question: What was asked when the peer was admitted.
    """

    connection: weakref.ref[Connection]
    peer: Peer
    question: Question


class OpenConnections:
    """All of them."""

    def __init__(self) -> None:
        """Begin with none."""
        self._live: dict[int, OpenConnection] = {}

    def add(self, connection: Connection, peer: Peer, question: Question) -> OpenConnection:
        """Remember a connection until it is gone."""
        key = id(connection)
        live = OpenConnection(weakref.ref(connection, lambda _: self._live.pop(key, None)), peer, question)
        self._live[key] = live
        return live

    def now(self) -> list[OpenConnection]:
        """Return those that are open at this instant."""
        return [live for live in list(self._live.values()) if self._is_open(live)]

    def first_end(self) -> float:
        """Return when the first of their peers' certificates ends, in POSIX seconds."""
        return min((live.peer.not_after.timestamp() for live in self.now()), default=math.inf)

    def _is_open(self, live: OpenConnection) -> bool:
        connection = live.connection()
        return connection is not None and connection.is_open

    def __len__(self) -> int:
        """Count them."""
        return len(self.now())

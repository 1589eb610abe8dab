"""The connections that are open now, so that one can be ended when its peer may no longer be there.

The registry holds them weakly: a connection that its owner drops is gone from here, too.
"""

from __future__ import annotations

import weakref
from collections.abc import Container
from typing import Protocol

import attrs

from meshid.admission.question import Question
from meshid.audit.connection_info import ConnectionInfo
from meshid.errors import PeerRejected
from meshid.verification.verifier import Peer


class Described(Protocol):
    """Something that a decision is recorded about."""

    def info(self) -> ConnectionInfo:
        """Return what is known of it, for the record."""


class Connection(Described, Protocol):
    """A connection.

    Attributes:
        peer: Who is at its other end, as of the last decision; None before the first one
            and after the end.
    """

    peer: Peer | None

    @property
    def is_open(self) -> bool:
        """Whether it was not ended, and somebody still reads or writes, as far as that can be known."""

    def end(self, rejection: PeerRejected) -> None:
        """End it now, from any thread; whoever reads or writes gets the *rejection*."""


@attrs.define(eq=False)
class OpenConnection:
    """An entry of the registry.

    Attributes:
        connection: The connection, as long as somebody holds it.
        question: What was asked when its peer was admitted.
        generation: The number of the snapshot under which its peer was last let in.
        until: When the next rule ends after that, in POSIX seconds: what was decided counts until then.
        is_ending: Whether a review is ending it at this moment.
    """

    connection: weakref.ref[Connection]
    question: Question
    generation: int
    until: float
    is_ending: bool = False

    def is_behind(self, generation: int, now: float, overdue: Container[str] = ()) -> bool:
        """Tell whether its peer was let in under another generation or other rules, or until before *now*.

        Args:
            generation: The number of the snapshot in force.
            now: The POSIX time in seconds.
            overdue: The names of the issuers whose keys count no more, because they are too old.
        """
        connection = self.connection()
        peer = None if connection is None else connection.peer
        if self.generation != generation or self.until <= now:
            return True
        return peer is not None and _has_expired(peer, now, overdue)


def _has_expired(peer: Peer, now: float, overdue: Container[str]) -> bool:
    token = peer.token
    return peer.not_after.timestamp() <= now or (
        token is not None and (token.expires_at <= now or token.issuer in overdue)
    )


class OpenConnections:
    """The registry of all open connections of one mesh."""

    def __init__(self) -> None:
        self._entries: dict[int, OpenConnection] = {}

    def add(
        self, connection: Connection, question: Question, generation: int, until: float
    ) -> OpenConnection:
        """Remember a connection until it is gone.

        Args:
            connection: The connection.
            question: What was asked when its peer was admitted.
            generation: The number of the snapshot under which it was.
            until: When the next rule ends, in POSIX seconds.
        """
        key = id(connection)
        reference = weakref.ref(connection, lambda _: self._entries.pop(key, None))
        entry = self._entries[key] = OpenConnection(reference, question, generation, until)
        return entry

    def now(self) -> list[OpenConnection]:
        """Return those that are open at this instant."""
        return [entry for entry in list(self._entries.values()) if _is_open(entry.connection())]

    def __len__(self) -> int:
        return len(self.now())


def _is_open(connection: Connection | None) -> bool:
    return connection is not None and connection.is_open

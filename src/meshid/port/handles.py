"""The handles of open connections: how a service behind the port asks about the peer of one.

A handle proves nothing to a stranger and names nobody. It is 128 random bits that only the port, the
service behind it and the authorizer beside it ever see, and it dies with its connection.
"""

from __future__ import annotations

import re
import secrets
from weakref import WeakValueDictionary

from meshid.admission.open_connections import Connection
from meshid.verification.verifier import Peer

HANDLE = re.compile(r"[0-9a-f]{32}")
"""The form of a handle."""

_HANDLE_BYTES = 16


class Handles:
    """The open connections of a port, each under its handle; they are held weakly."""

    def __init__(self) -> None:
        self._connections: WeakValueDictionary[str, Connection] = WeakValueDictionary()

    def add(self, connection: Connection) -> str:
        """Return a new handle of a connection: 128 random bits, as 32 hexadecimal digits."""
        handle = secrets.token_hex(_HANDLE_BYTES)
        self._connections[handle] = connection
        return handle

    def peer(self, handle: str) -> Peer | None:
        """Return the peer of the connection with this *handle*.

        None if there is no such handle, or if the connection's peer is not admitted or not there any more.
        """
        connection = self._connections.get(handle)
        return connection.peer if connection is not None and connection.is_open else None

    def __len__(self) -> int:
        return len(self._connections)

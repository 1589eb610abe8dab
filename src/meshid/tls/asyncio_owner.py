"""What has to be closed to end the connection of an SSL object.

An `ssl.SSLObject` has no socket: somebody else reads and writes for it. With asyncio that is
the protocol which makes the object, and nothing else leads from the one to the other. Of
any other owner, nothing is known: its connection ends when it next reads or writes.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio.sslproto import SSLProtocol
from contextlib import suppress
from types import FrameType


class Owner:
    """The asyncio protocol that reads and writes for an SSL object."""

    def __init__(self, protocol: SSLProtocol) -> None:
        """Know the *protocol* as long as it lives."""
        self._loop = asyncio.get_running_loop()
        self._protocol = weakref.ref(protocol)

    @property
    def is_open(self) -> bool:
        """Whether its connection is."""
        protocol = self._protocol()
        return protocol is not None and protocol._transport is not None  # noqa: SLF001 - it has no other way

    @property
    def peername(self) -> object:
        """What the socket of its connection says of the other end."""
        protocol = self._protocol()
        transport = None if protocol is None else protocol._transport  # noqa: SLF001 - it has no other way
        return None if transport is None else transport.get_extra_info("peername")

    def close(self, error: Exception) -> None:
        """Close the connection, from whatever thread, and give the *error* to whoever reads or writes."""
        # A loop that has ended has closed its connections.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._fail, error)

    def _fail(self, error: Exception) -> None:
        protocol = self._protocol()
        if protocol is not None:
            protocol._fatal_error(error)  # noqa: SLF001 - it has no other way


def owner_of(caller: FrameType) -> Owner | None:
    """Return who reads and writes for the SSL object that *caller* makes, if it is asyncio."""
    protocol = caller.f_locals.get("self")
    return Owner(protocol) if isinstance(protocol, SSLProtocol) else None

"""Ending the connection of an `ssl.SSLObject` that asyncio owns.

An `ssl.SSLObject` has no socket: its owner reads and writes for it. asyncio's owner is the
`SSLProtocol` that calls `wrap_bio`, and asyncio offers no way from the object to its owner:
`Transport.get_extra_info("ssl_object")` leads only in the other direction. So the owner is read
from the calling frame, and ended by `SSLProtocol._fatal_error`, which gives the exception to
the application; `Transport.abort()` would close silently. Both are private, and the same in
CPython 3.11 to 3.13 (Lib/asyncio/sslproto.py).

Any other owner is unknown: its connection ends when it next reads or writes.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio.sslproto import SSLProtocol
from contextlib import suppress
from types import FrameType
from typing import cast


class Owner:
    """The asyncio protocol that reads and writes for an SSL object."""

    def __init__(self, protocol: SSLProtocol) -> None:
        self._loop = asyncio.get_running_loop()
        self._protocol = weakref.ref(protocol)

    @property
    def is_open(self) -> bool:
        """Whether its connection is open."""
        protocol = self._protocol()
        return protocol is not None and protocol._transport is not None  # noqa: SLF001 - it has no other way

    @property
    def peername(self) -> object:
        """What ``getpeername()`` of its socket returns; None if it is closed."""
        protocol = self._protocol()
        transport = None if protocol is None else protocol._transport  # noqa: SLF001 - it has no other way
        return None if transport is None else transport.get_extra_info("peername")

    def close(self, error: Exception) -> None:
        """Close the connection, from any thread, and give the *error* to whoever reads or writes."""
        # A closed loop raises, and has closed its connections.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._fail, error)

    def send(self, data: bytes) -> bool:
        """Put bytes on the wire, if called by the loop; return whether that was possible."""
        protocol = self._protocol()
        transport = None if protocol is None else protocol._transport  # noqa: SLF001 - it has no other way
        if transport is None:
            return False
        cast("asyncio.Transport", transport).write(data)
        return True

    def _fail(self, error: Exception) -> None:
        protocol = self._protocol()
        if protocol is not None:
            protocol._fatal_error(error)  # noqa: SLF001 - it has no other way


def owner_of(caller: FrameType) -> Owner | None:
    """Return the owner of the SSL object that *caller* makes, if it is asyncio."""
    protocol = caller.f_locals.get("self")
    return Owner(protocol) if isinstance(protocol, SSLProtocol) else None

"""Twisted's transport of a pyOpenSSL connection, so that it can be ended from any thread.

Twisted keeps the transport as the application data of its connection. It is known by the name of its
class: nothing of Twisted is imported here.
"""

from __future__ import annotations

import sys
import weakref
from contextlib import suppress
from typing import Protocol, cast

_TRANSPORT = ("twisted.protocols.tls", "TLSMemoryBIOProtocol")


class TwistedAddress(Protocol):
    """An address of Twisted's."""

    host: str
    port: int


class TwistedTransport(Protocol):
    """What is used of a TLS transport of Twisted's."""

    connected: int

    def getPeer(self) -> TwistedAddress:  # noqa: N802 - Twisted's name
        """Return the address of the other end."""

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        """Close the connection at once."""


class TwistedOwner:
    """A TLS transport of Twisted.

    Args:
        transport: The transport.
    """

    def __init__(self, transport: TwistedTransport) -> None:
        self._transport = weakref.ref(transport)
        self.peername: object = None
        # A Unix socket's has none.
        with suppress(AttributeError):
            other = transport.getPeer()
            self.peername = other.host, other.port

    @property
    def is_open(self) -> bool:
        """Whether its connection is open."""
        transport = self._transport()
        return transport is not None and bool(transport.connected)

    def close(self) -> None:
        """Abort the connection, in the reactor's thread; its protocol gets the error of the connection."""
        transport, reactor = self._transport(), sys.modules.get("twisted.internet.reactor")
        if transport is not None and reactor is not None:
            reactor.callFromThread(transport.abortConnection)


def twisted_owner_of(application_data: object) -> TwistedOwner | None:
    """Return the owner of a connection with this application data; None if it is no transport of Twisted."""
    classes = type(application_data).__mro__
    if any((each.__module__, each.__qualname__) == _TRANSPORT for each in classes):
        return TwistedOwner(cast("TwistedTransport", application_data))
    return None

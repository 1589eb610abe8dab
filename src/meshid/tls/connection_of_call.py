"""The connection whose bytes the running call is about: how an ASGI application learns who asks.

ASGI hands an application nothing that leads to the connection, and each server hides it in another
place. But every server passes the bytes on in the very call that has read them, or in a task that this
call has started, and a task gets a copy of the context variables. So the server's end of a connection
says at the end of its handshake, and at each read: from here on, the call is about me.

Why this is for `meshid.http` alone: a thread or task that a request starts, and that goes on, would
name the peer of that request for ever. The middleware asks before the application runs.

The reference is weak: whatever lives on keeps no connection open.
"""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import Protocol, TypeAlias

from meshid.audit.connection_info import ConnectionInfo
from meshid.tls.connection_of import HasPeer


class ServersEnd(HasPeer, Protocol):
    """The server's end of a connection of ours, of the `ssl` module or of pyOpenSSL."""

    @property
    def own_leaf(self) -> bytes | None:
        """What we have presented, as DER; None before the peer is admitted."""

    def info(self) -> ConnectionInfo:
        """Return what is known of it, for the record."""

    def sent(self) -> list[bytes]:
        """Return the chain that the peer has sent, as DER, leaf first."""


Call: TypeAlias = "weakref.ref[ServersEnd] | None"
"""What a call is about; None if it is about no connection of ours."""

_CALL: ContextVar[Call] = ContextVar("meshid_connection_of_call", default=None)

is_about = _CALL.set
"""Say which connection the call is about from here on, until another one says so."""


def connection_of_call() -> ServersEnd | None:
    """Return the server's end of the connection whose bytes the running call is about, if there is one."""
    reference = _CALL.get()
    return None if reference is None else reference()

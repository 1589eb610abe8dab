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
from typing import TypeAlias

from meshid.tls.connection_of import HasPeer

Call: TypeAlias = "weakref.ref[HasPeer] | None"
"""What a call is about; None if it is about no connection of ours."""

_CALL: ContextVar[Call] = ContextVar("meshid_connection_of_call", default=None)

is_about = _CALL.set
"""Say which connection the call is about from here on, until another one says so."""


def connection_of_call() -> HasPeer | None:
    """Return the server's end of the connection whose bytes the running call is about, if there is one."""
    reference = _CALL.get()
    return None if reference is None else reference()

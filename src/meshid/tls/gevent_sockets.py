"""gevent's TLS sockets, in a process that is not monkey-patched.

In a patched one, `ssl.SSLSocket` is gevent's when meshid is imported, and so is the base of
`MeshSSLSocket`. Otherwise a server of gevent's hands over sockets of gevent's, and a standard TLS
socket made of one would block the whole hub; so it gets a twin of `MeshSSLSocket`.
"""

from __future__ import annotations

import importlib
import socket
import ssl
import sys
from functools import cache
from typing import cast

from meshid.tls.admitted_connection import AdmittedConnection
from meshid.tls.connections import MeshSSLSocket, admitted_only


def gevent_class_for(sock: socket.socket, *, listens: bool) -> type[ssl.SSLSocket] | None:
    """Return the class of TLS sockets for a socket of gevent's; None if `MeshSSLSocket` serves.

    Args:
        sock: Any socket.
        listens: Whether it is a listening one, which only accepts others.
    """
    gevent = sys.modules.get("gevent.socket")
    if gevent is None or issubclass(MeshSSLSocket, gevent.socket) or not isinstance(sock, gevent.socket):
        return None
    return _base() if listens else _twin()


def _base() -> type[ssl.SSLSocket]:
    return cast("type[ssl.SSLSocket]", importlib.import_module("gevent.ssl").SSLSocket)


@cache
def _twin() -> type[ssl.SSLSocket]:
    base = _base()
    own = {
        name: admitted_only(getattr(base, name)) if hasattr(value, "__wrapped__") else value
        for name, value in vars(MeshSSLSocket).items()
        if name not in {"__dict__", "__weakref__"}
    }
    made = type("MeshGeventSocket", (AdmittedConnection, base), {**own, "plain": base})
    return cast("type[ssl.SSLSocket]", made)

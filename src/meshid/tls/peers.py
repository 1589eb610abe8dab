"""Who is at the other end of a connection that something else holds."""

from __future__ import annotations

from meshid.errors import NoPeer
from meshid.tls.connections import Judged
from meshid.verifier import Peer


def peer_of(connection: object) -> Peer:
    """Return the admitted peer at the other end.

    Args:
        connection: An `ssl.SSLSocket` or `ssl.SSLObject` of a `MeshContext`, or an asyncio
            transport, `StreamWriter` or anything else with asyncio's ``get_extra_info``.

    Raises:
        NoPeer: If it is no such connection, or if its handshake is not over.
    """
    ask = getattr(connection, "get_extra_info", None)
    tls = ask("ssl_object") if callable(ask) else connection
    if not isinstance(tls, Judged):
        msg = f"{type(connection).__name__} is not a connection of a MeshContext"
        raise NoPeer(msg)
    if tls.peer is None:
        msg = "the handshake is not over, or the peer was refused"
        raise NoPeer(msg)
    return tls.peer

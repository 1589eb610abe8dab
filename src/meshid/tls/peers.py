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
        PeerRejected: If the peer was refused, or may not be there any more.
    """
    ask = getattr(connection, "get_extra_info", None)
    tls = ask("ssl_object") if callable(ask) else connection
    if not isinstance(tls, Judged):
        msg = f"{type(connection).__name__} is not a connection of a MeshContext"
        raise NoPeer(msg)
    peer = tls.peer
    if peer is None:
        tls.raise_if_ended()
        msg = "the handshake is not over"
        raise NoPeer(msg)
    return peer

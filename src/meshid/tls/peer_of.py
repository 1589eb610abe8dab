"""The peer at the other end of a connection."""

from __future__ import annotations

from meshid.errors import NoPeer
from meshid.tls.admitted_connection import AdmittedConnection
from meshid.verification.verifier import Peer


def peer_of(connection: object) -> Peer:
    """Return the admitted peer at the other end of a connection.

    The path and the dates are those of the last decision, not of the handshake.

    Args:
        connection: An `ssl.SSLSocket` or `ssl.SSLObject` of a `MeshContext`, or an asyncio
            transport, `StreamWriter` or anything else with asyncio's ``get_extra_info``.

    Raises:
        NoPeer: If it is not such a connection, or if its handshake is not over.
        PeerRejected: If the peer was refused, or may no longer be there.
    """
    ask = getattr(connection, "get_extra_info", None)
    tls = ask("ssl_object") if callable(ask) else connection
    if not isinstance(tls, AdmittedConnection):
        msg = f"{type(connection).__name__} is not a connection of a MeshContext"
        raise NoPeer(msg)
    # Read first: another thread may end it at this moment, and then it has none.
    peer = tls.peer
    tls.raise_if_ended()
    if peer is None:
        msg = "the handshake is not over"
        raise NoPeer(msg)
    return peer

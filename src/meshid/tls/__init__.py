"""TLS: real `ssl.SSLContext` objects that admit or refuse in the handshake."""

from meshid.tls.context import MeshContext
from meshid.tls.peers import peer_of

__all__ = ["MeshContext", "peer_of"]

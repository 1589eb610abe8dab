"""TLS of one end of a connection, from bytes to bytes: it does no I/O."""

from __future__ import annotations

import ssl
from typing import cast

from meshid.tls.connections import MeshSSLObject
from meshid.tls.context import MeshContext
from meshid.tls.owners import Owner

RECORD = 16 * 1024
"""The most plaintext in one record (RFC 8446 section 5.1). So much goes through OpenSSL's memory at once: it
keeps what it once had until the connection ends, and what fits a cache is quicker."""


class TlsEnd:
    """TLS of one end of a connection.

    What is not said otherwise raises an `OSError` once the connection has failed or was ended.

    Args:
        context: Its context.
        owner: Who reads and writes the wire.
        server_side: Whether it is the server.
    """

    __slots__ = ("_incoming", "_outgoing", "connection")

    def __init__(self, context: MeshContext, owner: Owner, *, server_side: bool) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        made = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self.connection = cast("MeshSSLObject", made)
        self.connection.owner = owner

    def receive(self, data: memoryview) -> None:
        """Take what has arrived on the wire; raises nothing."""
        self._incoming.write(data)

    def receive_eof(self) -> None:
        """Take the end of the wire; raises nothing."""
        self._incoming.write_eof()

    def await_hello(self) -> None:
        """Let the time of the handshake run; it begins when the other end has said something.

        Most of the memory of a handshake is needed from its first step on, and strangers connect and say
        nothing.
        """
        self.connection.await_hello()

    def shake_hands(self) -> bool:
        """Go on with the handshake; tell whether it is over."""
        try:
            self.connection.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def read_into(self, plain: memoryview) -> int | None:
        """Decrypt one record into *plain*; return how many bytes it had, and 0 at close_notify.

        Returns None if no whole record has arrived.
        """
        try:
            return cast("int", self.connection.read(RECORD, plain))
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            # So it is called once we have sent our own close_notify.
            return 0

    def write(self, plain: memoryview) -> int:
        """Encrypt one record; return how many bytes of *plain* are in it."""
        return self.connection.write(plain)

    def close_notify(self) -> None:
        """Say that nothing more is to come from here (RFC 8446 section 6.1); reading goes on."""
        try:
            self.connection.unwrap()
        except ssl.SSLWantReadError:
            # It would wait for the other end's.
            return

    @property
    def pending(self) -> int:
        """How many bytes are to be sent."""
        return self._outgoing.pending

    def to_send(self) -> bytes:
        """Take what is to be sent; raises nothing."""
        return self._outgoing.read()

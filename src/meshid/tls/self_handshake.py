"""A handshake with ourselves, in memory, before new credentials are in force.

OpenSSL has rules of its own, and an administrator may have made them stricter in
`openssl.cnf`. Without this, the first peer would find a key or a signature that breaks one.

It is also the check that peers can be decided about on this Python: see `meshid.tls.peer_chain`.
"""

from __future__ import annotations

import ssl
import sys
from typing import cast

from meshid.errors import InvalidCredentials, UnsupportedPython
from meshid.support.quoting import quote
from meshid.tls.load_credentials import key_file_of, load_credentials
from meshid.tls.peer_chain import listen
from meshid.trust.credentials import X509Svid


class _Client(ssl.SSLObject):
    """A client that takes note of the chain that it is sent."""

    chain: tuple[bytes, ...] | None = None

    def on_certificates(self, chain: list[bytes], _: str) -> None:
        self.chain = tuple(chain)


def shake_hands_with_self(credentials: X509Svid) -> None:
    """Shake hands as a server with these credentials, with a client that trusts every server.

    Raises:
        InvalidCredentials: If OpenSSL cannot use them.
        UnsupportedPython: If the client does not see the chain as it arrives.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.sslobject_class = _Client
    listen(client)
    try:
        load_credentials(server, key_file_of(credentials))
        chain = _shake_hands(server, client)
    except ssl.SSLError as error:
        msg = f"own certificate: OpenSSL cannot use it in a handshake: {quote(str(error))}"
        raise InvalidCredentials(msg) from error
    if chain != credentials.chain:
        msg = (
            f"the ssl module of this Python ({sys.version.split()[0]}, {ssl.OPENSSL_VERSION}) does not show"
            " the certificates of a peer before it looks at them, so meshid could admit nobody: use CPython"
        )
        raise UnsupportedPython(msg)


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[bytes, ...] | None:
    """Shake hands; return the chain that the client has seen."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = cast("_Client", client.wrap_bio(to_client, to_server))
    ends = [end, server.wrap_bio(to_server, to_client, server_side=True)]
    while ends:
        for each in list(ends):
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(each)
    return end.chain

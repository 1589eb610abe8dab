"""A handshake with ourselves, in memory, before new credentials are in force.

OpenSSL has rules of its own, and an administrator may have made them stricter in
`openssl.cnf`. Without this, the first peer would find a key or a signature that breaks one.
"""

from __future__ import annotations

import ssl

from meshid.errors import InvalidCredentials
from meshid.support.quoting import quote
from meshid.tls.load_credentials import key_file_of, load_credentials
from meshid.trust.credentials import X509Svid


def shake_hands_with_self(credentials: X509Svid) -> None:
    """Shake hands as a server with these credentials, with a client that trusts every server.

    Raises:
        InvalidCredentials: If OpenSSL cannot use them.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    try:
        load_credentials(server, key_file_of(credentials))
        _shake_hands(server, client)
    except ssl.SSLError as error:
        msg = f"own certificate: OpenSSL cannot use it in a handshake: {quote(str(error))}"
        raise InvalidCredentials(msg) from error


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)

"""What the ASGI TLS extension (version 0.2) says of a connection."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import takewhile
from typing import TypedDict

from meshid.certificates.reading import read_leaf, subject_of, to_pem
from meshid.tls.connection_of_call import ServersEnd
from meshid.verification.verifier import Peer

_REMEMBERED = 512
"""Certificates: a peer comes back on many connections, and to read its leaf takes a tenth of a handshake."""

_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


class TlsExtension(TypedDict):
    """The entries of ``scope["extensions"]["tls"]``.

    Attributes:
        server_cert: The leaf that we have presented, as PEM.
        client_cert_chain: The peer's leaf as PEM, and what it has sent of the path that was verified.
        client_cert_name: The subject of its leaf (RFC 4514), which is no identity: that is the `Peer`.
        client_cert_error: None: whoever is here was verified.
        tls_version: As in the TLS specifications: 0x0304 for TLS 1.3.
        cipher_suite: IANA's number of the cipher suite.
    """

    server_cert: str | None
    client_cert_chain: tuple[str, ...]
    client_cert_name: str | None
    client_cert_error: None
    tls_version: int | None
    cipher_suite: int | None


def tls_extension(connection: ServersEnd, peer: Peer) -> TlsExtension:
    """Return what the extension says of a connection with an admitted *peer*."""
    info, own = connection.info(), connection.own_leaf
    return {
        "server_cert": None if own is None else _pem(own),
        "client_cert_chain": tuple(map(_pem, _sent(connection, peer))),
        "client_cert_name": _subject(peer.chain[0]),
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(info.version or ""),
        "cipher_suite": _cipher_suites().get(info.cipher or ""),
    }


@lru_cache(_REMEMBERED)
def _pem(der: bytes) -> str:
    return to_pem([der]).decode("ascii")


def _sent(connection: ServersEnd, peer: Peer) -> Iterator[bytes]:
    """Yield what was sent, in the order of the path: each certificate signs the one before it."""
    return takewhile(set(connection.sent()).__contains__, peer.chain)


@lru_cache(_REMEMBERED)
def _subject(leaf: bytes) -> str:
    # A subject that cannot be read is as good as none: it was no part of what was verified.
    subject = subject_of(read_leaf(leaf))
    return "" if subject is None else subject.rfc4514_string()


@cache
def _cipher_suites() -> dict[str, int]:
    """Return IANA's numbers of all cipher suites that OpenSSL knows, by its own names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    # OpenSSL's number has the protocol in front.
    return {each["name"]: each["id"] & 0xFFFF for each in context.get_ciphers()}

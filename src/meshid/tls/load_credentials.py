"""Loading a certificate and its key from memory into an `ssl.SSLContext`.

Where the system has no files in memory, the key is written to the disk encrypted, with a
password that is never written anywhere.
"""

from __future__ import annotations

import secrets
import ssl

import attrs
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from meshid.tls import memory_file
from meshid.trust.credentials import X509Svid


@attrs.frozen(repr=False)
class KeyFile:
    """The content of a file with a key and its certificate, which no traceback or log shows.

    Attributes:
        pem: Both as PEM.
        password: The key's password; None if it is not encrypted, for a file in memory.
    """

    pem: bytes
    password: str | None


def key_file_of(credentials: X509Svid) -> KeyFile:
    """Return the content of a file with *credentials*."""
    password = None if memory_file.HAS_MEMORY_FILES else secrets.token_hex(32)
    encryption = None if password is None else BestAvailableEncryption(password.encode())
    return KeyFile(credentials.key_pem(encryption) + credentials.chain_pem(), password)


def load_credentials(context: ssl.SSLContext, file: KeyFile) -> None:
    """Make *context* present the certificate; it must be new, since a failure leaves it broken."""
    with memory_file.file_with(file.pem) as path:
        context.load_cert_chain(path, password=file.password)

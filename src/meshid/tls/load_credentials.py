"""Loading a certificate and its key from memory into an `ssl.SSLContext`.

Where the system has no files in memory, the key is written to the disk encrypted, with a
password that is never written anywhere.
"""

from __future__ import annotations

import secrets
import ssl

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding

from meshid.tls import memory_file
from meshid.trust.credentials import X509Svid


@attrs.frozen(repr=False)
class KeyFile:
    """The content of a file with a key and its certificate, which no traceback or log shows.

    Attributes:
        pem: Both as PEM.
        password: The key's password; None if it is not encrypted, for a file in memory.
        lacks: The name of the leaf's issuer, if no certificate but the leaf is in it.
    """

    pem: bytes
    password: str | None
    lacks: x509.Name | None

    def with_issuer(self, authority: x509.Certificate) -> KeyFile:
        """Return it with the certificate of the leaf's issuer, if it lacks it and this is the one."""
        if authority.subject != self.lacks:
            return self
        return KeyFile(self.pem + authority.public_bytes(Encoding.PEM), self.password, None)


def key_file_of(credentials: X509Svid) -> KeyFile:
    """Return the content of a file with *credentials*."""
    password = None if memory_file.HAS_MEMORY_FILES else secrets.token_hex(32)
    encryption = None if password is None else BestAvailableEncryption(password.encode())
    lacks = credentials.leaf.issuer if len(credentials.chain) == 1 else None
    return KeyFile(credentials.key_pem(encryption) + credentials.chain_pem(), password, lacks)


def load_credentials(context: ssl.SSLContext, file: KeyFile) -> None:
    """Make *context* present the certificate; it must be new, since a failure leaves it broken."""
    with memory_file.file_with(file.pem) as path:
        context.load_cert_chain(path, password=file.password)

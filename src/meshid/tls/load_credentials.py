"""Loading a certificate and its key from memory into an `ssl.SSLContext`.

`SSLContext.load_cert_chain` reads files only (CPython gh-60691, open since 2012). The safest
file is one that exists only in memory. Where the system has none, the key is written to the
disk encrypted, with a password that is never written anywhere.
"""

from __future__ import annotations

import os
import secrets
import ssl
import tempfile
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from meshid.trust.credentials import X509Svid

_HAS_MEMORY_FILES = hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()


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
    password = None if _HAS_MEMORY_FILES else secrets.token_hex(32)
    encryption = None if password is None else BestAvailableEncryption(password.encode())
    return KeyFile(credentials.key_pem(encryption) + credentials.chain_pem(), password)


def load_credentials(context: ssl.SSLContext, file: KeyFile) -> None:
    """Make *context* present the certificate; it must be new, since a failure leaves it broken."""
    if file.password is None:
        _load_from_memory(context, file)
    else:
        _load_from_disk(context, file)


def _load_from_memory(context: ssl.SSLContext, file: KeyFile) -> None:
    with os.fdopen(os.memfd_create("meshid"), "wb") as opened:
        opened.write(file.pem)
        opened.flush()
        context.load_cert_chain(f"/proc/self/fd/{opened.fileno()}")


def _load_from_disk(context: ssl.SSLContext, file: KeyFile) -> None:
    # Only this user can read the directory, and it is removed at the end of the block.
    with tempfile.TemporaryDirectory(prefix="meshid-") as directory:
        path = Path(directory, "credentials.pem")
        path.write_bytes(file.pem)
        context.load_cert_chain(path, password=file.password)

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

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from meshid.trust.credentials import X509Svid

_HAS_MEMORY_FILES = hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()


def load_credentials(context: ssl.SSLContext, credentials: X509Svid) -> None:
    """Make *context* present *credentials*; it must be new, since a failure leaves it broken."""
    if _HAS_MEMORY_FILES:
        _load_from_memory(context, credentials)
    else:
        _load_from_disk(context, credentials)


def _load_from_memory(context: ssl.SSLContext, credentials: X509Svid) -> None:
    with os.fdopen(os.memfd_create("meshid"), "wb") as file:
        file.write(credentials.key_pem() + credentials.chain_pem())
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")


def _load_from_disk(context: ssl.SSLContext, credentials: X509Svid) -> None:
    password = secrets.token_hex(32)
    key = credentials.key_pem(BestAvailableEncryption(password.encode()))
    # Only this user can read the directory, and it is removed at the end of the block.
    with tempfile.TemporaryDirectory(prefix="meshid-") as directory:
        path = Path(directory, "credentials.pem")
        path.write_bytes(key + credentials.chain_pem())
        context.load_cert_chain(path, password=password)

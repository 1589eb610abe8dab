"""A rehearsal: whether OpenSSL can load a certificate, found out before a handshake does.

OpenSSL is stricter than the X.509 backend in some places: without this, an authority that it
cannot load would fail the handshakes of all its peers, when the bundle is long in force.
"""

from __future__ import annotations

import ssl

from cryptography import x509

from meshid.certificates.name_fault import name_fault
from meshid.certificates.reading import to_der


class Rehearsal:
    """A context of OpenSSL that is never used for a connection."""

    def __init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def fault(self, authority: x509.Certificate) -> str | None:
        """Say why OpenSSL cannot load *authority*; None if it can."""
        der = to_der(authority)
        try:
            self._context.load_verify_locations(cadata=der)
        except ssl.SSLError:
            return (
                f"OpenSSL cannot load it: {name_fault(der) or 'it is in a form that OpenSSL does not read'}"
            )
        return None

"""A server with a web certificate for the host of the URL (RFC 9525)."""

from __future__ import annotations

import ssl

import attrs

from meshid.certificates.pem import pem_blocks
from meshid.certificates.reading import certificate_from_pem_block, to_der
from meshid.errors import InvalidBundle


def _anchors(pem: bytes) -> bytes:
    try:
        ders = [to_der(certificate_from_pem_block(block)) for _, block in pem_blocks(pem)]
    except ValueError as error:
        msg = f"the roots of a web server: {error}"
        raise InvalidBundle(msg) from error
    if not ders:
        msg = "the roots of a web server: there is no PEM certificate in them"
        raise InvalidBundle(msg)
    return b"".join(ders)


@attrs.frozen
class WebServer:
    """The host of the URL, with a web certificate.

    Attributes:
        roots: The authorities, given as PEM and kept as DER; those of the system if None.

    Raises:
        InvalidBundle: If *roots* are not PEM certificates.
    """

    roots: bytes | None = attrs.field(repr=False, converter=attrs.converters.optional(_anchors))

    def context(self) -> ssl.SSLContext:
        """Return a context that checks the host's name (RFC 9525)."""
        # Not `create_default_context`: what it demands of an authority depends on the Python version.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The server that was verified stays at the other end.
        context.options |= ssl.OP_NO_RENEGOTIATION
        if self.roots is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cadata=self.roots)
        context.hostname_checks_common_name = False
        return context

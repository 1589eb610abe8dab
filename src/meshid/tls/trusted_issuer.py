"""Trust in the key of one issuer, and in nothing else: the one that issued the leaf of a verified path.

The verifier has judged every certificate of the path. What is left to OpenSSL is that the
issuer's key has signed the leaf. Given the issuer's certificate as it is, OpenSSL would judge it
again, by rules of its own: it passes over an issuer whose key identifier the leaf spells in
another way, holds a common name against constraints on host names, and rejects an extension
that is not critical because it cannot read it. So it gets a *stub*: that certificate without its
extensions, but for the one that makes it an authority. Its signature no longer fits, which
nobody checks of an anchor.

OpenSSL is told to trust it by the form `TRUSTED CERTIFICATE`, a certificate with the purposes
that it is trusted for.
"""

from __future__ import annotations

import base64
import ssl

from meshid.certificates.der import element, elements
from meshid.tls.memory_file import file_with

_SEQUENCE = 0x30
_FIELDS_TO_KEY = 7
"""The fields of a version 3 certificate up to its key, which the verifier demands (RFC 5280 section 4.1)."""

_IS_AUTHORITY = bytes.fromhex("a313 3011 300f 0603551d13 0101ff 0405 30030101ff")
"""The extensions of a stub: basic constraints, critical, cA = true (RFC 5280 section 4.2.1.9)."""

_CLIENT_AND_SERVER = bytes.fromhex("3016 3014 06082b06010505070302 06082b06010505070301")
"""OpenSSL's ``X509_CERT_AUX``: trust for clientAuth and serverAuth."""


def trust_issuer(context: ssl.SSLContext, issuer: bytes) -> None:
    """Let *context*, whose store is empty, trust leafs that the key of this certificate (DER) has signed."""
    body = base64.encodebytes(stub_of(issuer) + _CLIENT_AND_SERVER).decode()
    pem = f"-----BEGIN TRUSTED CERTIFICATE-----\n{body}-----END TRUSTED CERTIFICATE-----\n"
    # By a file: `cadata` does not take this form.
    with file_with(pem.encode()) as path:
        context.load_verify_locations(cafile=path)


def stub_of(issuer: bytes) -> bytes:
    """Return the stub of an issuer, the certificate of an authority in a verified path; both are DER."""
    ((_, certificate),) = elements(issuer)
    (_, tbs), algorithm, signature = elements(certificate)
    fields = [element(*field) for field in list(elements(tbs))[:_FIELDS_TO_KEY]]
    stub = element(_SEQUENCE, *fields, _IS_AUTHORITY)
    return element(_SEQUENCE, stub, element(*algorithm), element(*signature))

"""Who says to have been issued by whom, in the bytes as they are written.

The X.509 backend compares names by their bytes, and so must whatever predicts what it will
find. Bytes also compare in no time, where the parsed name of a hostile certificate has
thousands of parts.
"""

from __future__ import annotations

from itertools import islice

import attrs
from cryptography import x509

from meshid.certificates.der import elements
from meshid.certificates.reading import extension

_VERSION = 0xA0


@attrs.frozen
class Links:
    """What links a certificate to those above and below it (RFC 5280 section 4.1.2): the content of its DER.

    Attributes:
        issuer: The name of its issuer.
        subject: Its own name.
        key: Its public key, with the algorithm.
    """

    issuer: bytes
    subject: bytes
    key: bytes


def links_of(certificate: x509.Certificate) -> Links:
    """Return the names and the key of *certificate*, which `read_certificate` has read."""
    _, content = next(elements(certificate.tbs_certificate_bytes))
    fields = elements(content)
    tag, _ = next(fields)
    # Version 1 does not say its version.
    if tag == _VERSION:
        next(fields)
    _, (_, issuer), _, (_, subject), (_, key) = islice(fields, 5)
    return Links(issuer, subject, key)


def own_key_id(certificate: x509.Certificate) -> bytes | None:
    """Return the identifier of the certificate's own key (RFC 5280 section 4.2.1.2); None if it has none."""
    identifier = extension(certificate, x509.SubjectKeyIdentifier)
    return None if identifier is None else identifier.digest


def issuer_key_id(signed: x509.Certificate | x509.CertificateRevocationList) -> bytes | None:
    """Return the identifier of the issuer's key, if there is one (RFC 5280 sections 4.2.1.1 and 5.2.1)."""
    identifier = extension(signed, x509.AuthorityKeyIdentifier)
    return None if identifier is None else identifier.key_identifier

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
from meshid.certificates.distinguished_name import name_key
from meshid.certificates.reading import extension, subject_of

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


def may_have_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Return whether *issuer* is the one that *certificate* names by its serial number, if it names one.

    It is a part of the authority key identifier (RFC 5280 section 4.2.1.1) that few authorities
    write, and that does not fit any more when they renew their certificate and not their key.
    """
    identifier = extension(certificate, x509.AuthorityKeyIdentifier)
    if identifier is None or identifier.authority_cert_serial_number is None:
        return True
    names = [each for each in identifier.authority_cert_issuer or () if isinstance(each, x509.DirectoryName)]
    return identifier.authority_cert_serial_number == issuer.serial_number and (
        not names or names[0].value == issuer.issuer
    )


def looks_self_signed(certificate: x509.Certificate) -> bool:
    """Return whether OpenSSL takes *certificate* for one that its own key has signed, without a look at that.

    It has the name of its issuer, and nothing in it says that their keys are two.
    """
    subject, issuer = subject_of(certificate), certificate.issuer
    if subject is None or len(subject.rdns) != len(issuer.rdns) or name_key(subject) != name_key(issuer):
        return False
    keys = {own_key_id(certificate), issuer_key_id(certificate)}
    return (None in keys or len(keys) == 1) and may_have_issued(certificate, certificate)

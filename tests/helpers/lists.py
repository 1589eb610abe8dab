"""Revocation lists that `CA.crl` does not make."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID, ObjectIdentifier

from meshid.testing import CA, Issued
from tests.helpers.forged import INTEGER, SEQUENCE, children, der, issuing_point, signed
from tests.helpers.world import DAY, HOUR, PATH

NOW = datetime.now(UTC).replace(microsecond=0)
"""When this module is imported, which may be minutes before a test runs."""

UTF8, PRINTABLE = 12, 19
ORG, CN = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME


URL = x509.UniformResourceIdentifier("http://ca.example/1.0/crl")
ANOTHER = x509.UniformResourceIdentifier("http://ca.example/2.0/crl")


def built(  # noqa: PLR0913 - each is another thing that may be special about a list
    issuer: CA,
    *revoked: Issued | CA,
    name: x509.Name | None = None,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    entry: tuple[x509.ExtensionType, bool] | None = None,
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    rsa_padding: padding.PSS | None = None,
    until: datetime = NOW + DAY,
) -> bytes:
    """Return a list in DER, with what `CA.crl` has no option for."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(name or issuer.certificate.subject)
    builder = builder.last_update(NOW - HOUR).next_update(until)
    for each in revoked:
        one = x509.RevokedCertificateBuilder(each.certificate.serial_number, NOW - HOUR)
        builder = builder.add_revoked_certificate((one.add_extension(*entry) if entry else one).build())
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    key = key or issuer.key
    digest = hashes.SHA256() if isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)) else None
    crl = builder.sign(key, digest, rsa_padding=rsa_padding)
    return crl.public_bytes(serialization.Encoding.DER)


def renamed(*attributes: tuple[ObjectIdentifier, str, int]) -> x509.Name:
    kind = x509.name._ASN1Type  # noqa: SLF001 - the only way to choose the type of a string
    return x509.Name([x509.NameAttribute(oid, value, kind(tag)) for oid, value, tag in attributes])


def at(*points: x509.GeneralName) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    return ((issuing_point(full_name=list(points)), True),)


def with_point(issuer: CA, *names: x509.GeneralName) -> Issued:
    points = x509.CRLDistributionPoints([x509.DistributionPoint(list(names), None, None, None)])
    return issuer.issue(PATH, extra=[(points, False)])


def long_list(issuer: CA, count: int) -> bytes:
    """Return a list with so many entries; the builder would copy them with each one that is added."""
    tbs, algorithm, _ = children(built(issuer, issuer))
    *fields, entries = children(tbs)
    _, date = children(children(entries)[0])
    numbers = (der(INTEGER, (2**62 + number).to_bytes(8, "big")) for number in range(count))
    listed = der(SEQUENCE, *(der(SEQUENCE, number, date) for number in numbers))
    return signed(der(SEQUENCE, *fields, listed), algorithm, issuer.key)

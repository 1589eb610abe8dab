"""Authorities that cannot be used, as real ones are or as a partner might write them; and what is said."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa

from meshid.certificates.reading import to_der
from meshid.testing import CA
from tests.helpers.forged import (
    GENERALIZED_TIME,
    OCTET_STRING,
    PRINTABLE_STRING,
    SEQUENCE,
    TELETEX_STRING,
    UTC_TIME,
    VISIBLE_STRING,
    Field,
    der,
    edited,
    explicit_curve,
    name,
    pss_key,
)
from tests.helpers.world import padding

DOMAIN = "prod.example.org"


def odd_authority(kind: int, value: bytes) -> bytes:
    odd = CA(DOMAIN)
    return edited(odd.certificate, odd, {Field.SUBJECT: name(kind, value), Field.ISSUER: name(kind, value)})


def dated(validity: bytes) -> bytes:
    odd = CA(DOMAIN)
    return edited(odd.certificate, odd, {Field.VALIDITY: validity})


DATE, YEAR_0 = der(UTC_TIME, b"250101000000Z"), der(GENERALIZED_TIME, b"00000101000000Z")
BAD = {
    "a VisibleString": (
        odd_authority(VISIBLE_STRING, b"abcd"),
        "OpenSSL cannot load it: its issuer has the Visible",
    ),
    "an octet string": (
        odd_authority(OCTET_STRING, b"abcd"),
        "OpenSSL cannot load it: its issuer has the value",
    ),
    "an ampersand": (
        odd_authority(PRINTABLE_STRING, b"A & B"),
        "the PrintableString 'A & B', with a character",
    ),
    "Latin-1": (odd_authority(TELETEX_STRING, b"Soci\xe9t\xe9"), "the TeletexString 'Soci"),
    "a curve without a name": (to_der(explicit_curve(CA(DOMAIN))), "parameters of its curve"),
    "PSS": (to_der(pss_key(CA(DOMAIN, key=rsa.generate_private_key(65537, 2048)))), "for RSASSA-PSS only"),
    "from a year 0": (dated(der(SEQUENCE, YEAR_0, DATE)), "the date that it is valid from does not exist"),
    "until a year 0": (dated(der(SEQUENCE, DATE, YEAR_0)), "the date that it is valid until does not exist"),
    "no DER": (b"no DER", "not a certificate that can be read: it is not DER"),
    "nothing": (b"", "not a certificate that can be read: it is not DER"),
    "17 kB": (to_der(CA(DOMAIN, extra=[padding(17 * 1024)]).certificate), "and at most 16384 are read"),
}

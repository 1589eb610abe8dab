"""What no honest builder makes: certificates edited as DER and signed again, and damaged bytes."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from enum import IntEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import strategies as st

from meshid.certificates.reading import to_der
from meshid.testing import CA, Issued

INTEGER, BIT_STRING, OID, SEQUENCE, UTC_TIME, GENERALIZED_TIME = 0x02, 0x03, 0x06, 0x30, 0x17, 0x18
OCTET_STRING, SET, UTF8_STRING, PRINTABLE_STRING, TELETEX_STRING, VISIBLE_STRING = (
    0x04,
    0x31,
    0x0C,
    0x13,
    0x14,
    0x1A,
)


YEAR_0 = b"\x18\x0f00000101000000Z"


class Field(IntEnum):
    """The fields of a version 3 certificate, in their order (RFC 5280 section 4.1)."""

    VERSION = 0
    SERIAL = 1
    ALGORITHM = 2
    ISSUER = 3
    VALIDITY = 4
    SUBJECT = 5
    KEY = 6
    EXTENSIONS = 7


# -- DER ----------------------------------------------------------------------


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def children(data: bytes) -> list[bytes]:
    """Return the elements inside the first element of *data*."""
    start, end = _content(data, 0)
    found = []
    while start < end:
        _, after = _content(data, start)
        found.append(data[start:after])
        start = after
    return found


def _content(data: bytes, at: int) -> tuple[int, int]:
    length, start = data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    return start, start + length


def pem(label: str, data: bytes) -> bytes:
    """Return one PEM block, whatever *data* is."""
    return f"-----BEGIN {label}-----\n{base64.b64encode(data).decode()}\n-----END {label}-----\n".encode()


def name(kind: int, value: bytes) -> bytes:
    """Return a name, in DER, with one organization: a string of this ASN.1 *kind*, whether it fits or not."""
    organization = der(OID, bytes([0x55, 4, 10]))
    return der(SEQUENCE, der(SET, der(SEQUENCE, organization, der(kind, value))))


# -- Certificates -------------------------------------------------------------


def signed(tbs: bytes, algorithm: bytes, key: object) -> bytes:
    """Return what *key*, of P-256, signs: a certificate or a revocation list."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return der(SEQUENCE, tbs, algorithm, der(BIT_STRING, b"\0", key.sign(tbs, ec.ECDSA(hashes.SHA256()))))


def edited_list(crl: bytes, issuer: CA, edit: Mapping[int, bytes]) -> bytes:
    """Return a revocation list, PEM or DER, with other fields, by their place in it.

    0 is the version, 1 the algorithm, 2 the issuer, 3 and 4 are the dates, 5 the entries; a list
    without entries has its extensions there.
    """
    whole = base64.b64decode(b"".join(crl.splitlines()[1:-1])) if crl.startswith(b"-----") else crl
    tbs, algorithm, _ = children(whole)
    parts = [edit.get(at, old) for at, old in enumerate(children(tbs))]
    return signed(der(SEQUENCE, *parts), algorithm, issuer.key)


def issuing_point(**fields: object) -> x509.IssuingDistributionPoint:
    """Return an issuing distribution point (RFC 5280 section 5.2.5)."""
    none = dict.fromkeys(("full_name", "relative_name", "only_some_reasons"))
    flags = (
        "only_contains_user_certs",
        "only_contains_ca_certs",
        "indirect_crl",
        "only_contains_attribute_certs",
    )
    return x509.IssuingDistributionPoint(**{**none, **dict.fromkeys(flags, False), **fields})  # type: ignore[arg-type]


def edited(certificate: x509.Certificate, issuer: CA, fields: Mapping[Field, bytes]) -> bytes:
    """Return *certificate* with other *fields* (none, where they are empty), signed by *issuer*."""
    tbs, algorithm, _ = children(to_der(certificate))
    parts = [fields.get(Field(at), old) for at, old in enumerate(children(tbs))]
    return signed(der(SEQUENCE, *parts), fields.get(Field.ALGORITHM, algorithm), issuer.key)


def rewritten(certificate: x509.Certificate, issuer: CA, old: bytes, new: bytes) -> bytes:
    """Return *certificate* with *new* in place of *old*, as long as it, signed by *issuer*."""
    tbs, algorithm, _ = children(to_der(certificate))
    assert tbs.count(old) == 1
    assert len(old) == len(new)
    return signed(tbs.replace(old, new), algorithm, issuer.key)


def with_key(certificate: x509.Certificate, issuer: CA, key: CertificatePublicKeyTypes) -> x509.Certificate:
    """Return *certificate* for another public key; its private key is not needed."""
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return x509.load_der_x509_certificate(edited(certificate, issuer, {Field.KEY: spki}))


def with_unknown_key(certificate: x509.Certificate, issuer: CA) -> bytes:
    """Return *certificate* for a key of an unknown kind."""
    algorithm, point = children(children(children(to_der(certificate))[0])[Field.KEY])
    unknown = der(SEQUENCE, der(OID, bytes([0x2A, 3, 4])), *children(algorithm)[1:])
    return edited(certificate, issuer, {Field.KEY: der(SEQUENCE, unknown, point)})


def until_year_0(certificate: x509.Certificate, issuer: CA) -> bytes:
    """Return *certificate* with an end in the year 0, which DER can say and Python cannot."""
    start, _ = children(children(children(to_der(certificate))[0])[Field.VALIDITY])
    return edited(certificate, issuer, {Field.VALIDITY: der(SEQUENCE, start, YEAR_0)})


def since_year_0(certificate: x509.Certificate, issuer: CA) -> bytes:
    """Return *certificate* with a beginning in the year 0."""
    _, end = children(children(children(to_der(certificate))[0])[Field.VALIDITY])
    return edited(certificate, issuer, {Field.VALIDITY: der(SEQUENCE, YEAR_0, end)})


def with_digest(certificate: x509.Certificate, issuer: CA, digest: int) -> bytes:
    """Return *certificate* as if it were signed with ECDSA and SHA-1 (1) or SHA-224 (224).

    Nobody accepts those, so nobody finds out that the digest was another one.
    """
    number = {1: (4, 1), 224: (4, 3, 1)}[digest]
    oid = der(OID, bytes([0x2A, 0x86, 0x48, 0xCE, 0x3D, *number]))
    return edited(certificate, issuer, {Field.ALGORITHM: der(SEQUENCE, oid)})


def explicit_curve(authority: CA | Issued) -> x509.Certificate:
    """Return the certificate of *authority* with the parameters of its key's curve in place of its name."""
    key = authority.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    curve, prime, size = key.curve, _PRIMES[key.curve.name], (key.curve.key_size + 7) // 8
    base = ec.derive_private_key(1, curve).public_key()
    at = base.public_numbers()
    a, b = prime - 3, (at.y**2 - at.x**3 + 3 * at.x) % prime
    field = der(SEQUENCE, der(OID, bytes.fromhex("2a8648ce3d0101")), _integer(prime))
    equation = der(SEQUENCE, *(der(OCTET_STRING, each.to_bytes(size, "big")) for each in (a, b)))
    parameters = der(
        SEQUENCE,
        _integer(1),
        field,
        equation,
        der(OCTET_STRING, _point(base)),
        _integer(curve.group_order),
        _integer(1),
    )
    algorithm = der(SEQUENCE, der(OID, bytes.fromhex("2a8648ce3d0201")), parameters)
    return _with_spki(authority, der(SEQUENCE, algorithm, der(BIT_STRING, b"\0", _point(key.public_key()))))


def pss_key(authority: CA | Issued) -> x509.Certificate:
    """Return the certificate of *authority*, of RSA, with its key declared as one for RSASSA-PSS only."""
    _, bits = children(children(children(to_der(authority.certificate))[0])[Field.KEY])
    algorithm = der(SEQUENCE, der(OID, bytes.fromhex("2a864886f70d01010a")))
    return _with_spki(authority, der(SEQUENCE, algorithm, bits))


def _with_spki(authority: CA | Issued, spki: bytes) -> x509.Certificate:
    # The signature of an authority is not checked, so another one can sign.
    signer = CA("prod.example.org")
    return x509.load_der_x509_certificate(edited(authority.certificate, signer, {Field.KEY: spki}))


_PRIMES = {
    "secp256r1": 2**256 - 2**224 + 2**192 + 2**96 - 1,
    "secp384r1": 2**384 - 2**128 - 2**96 + 2**32 - 1,
    "secp521r1": 2**521 - 1,
}


def _integer(number: int) -> bytes:
    return der(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def twin(certificate: x509.Certificate, curve: ec.EllipticCurve | None = None) -> bytes:
    """Return *certificate* with its other valid signature: if (r, s) is one under ECDSA, so is (r, -s).

    *curve* is that of its issuer's key, P-256 by default.
    """
    tbs, algorithm, _ = children(to_der(certificate))
    r, s = decode_dss_signature(certificate.signature)
    order = (curve or ec.SECP256R1()).group_order
    return der(SEQUENCE, tbs, algorithm, der(BIT_STRING, b"\0", encode_dss_signature(r, order - s)))


# -- Keys ---------------------------------------------------------------------


def rsa_public_key(bits: int, exponent: int = 65537) -> rsa.RSAPublicKey:
    """Return an RSA public key of exactly so many *bits*, which nobody can sign with."""
    return rsa.RSAPublicNumbers(exponent, (1 << bits) - 1).public_key()


def huge_exponent() -> rsa.RSAPrivateKey:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    p, q = numbers.p, numbers.q
    order = math.lcm(p - 1, q - 1)
    e = next(e for e in range(2**32 + 1, 2**33, 2) if math.gcd(e, order) == 1)
    d = pow(e, -1, order)
    public = rsa.RSAPublicNumbers(e, p * q)
    return rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
    ).private_key()


# -- Damage -------------------------------------------------------------------


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """Return *data* with a byte or a range of it, or two, changed, cut out, doubled or filled in."""
    place = st.integers(0, len(data) - 1)
    wound = st.tuples(_KINDS, place, st.integers(1, 4), st.integers(0, 255))
    return st.lists(wound, min_size=1, max_size=2).map(lambda wounds: _wounded(data, wounds))


# A byte that is changed gets deeper than lengths that no longer fit, so it comes more often.
_KINDS = st.sampled_from(["flip", "flip", "flip", "set", "set", "cut", "double", "fill"])


def _wounded(data: bytes, wounds: list[tuple[str, int, int, int]]) -> bytes:
    for kind, at, size, value in wounds:
        head, there, tail = data[:at], data[at : at + size], data[at + size :]
        match kind:
            case "flip":
                there = bytes(byte ^ 1 << value % 8 for byte in there[:1]) + there[1:]
            case "set":
                there = bytes([value]) + there[1:]
            case "cut":
                there = b""
            case "double":
                there *= 2
            case _:
                there = bytes([value]) * size + there
        data = head + there + tail
    return data

"""Bytes to certificates: read whole, or not at all; and which public keys are accepted."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from hypothesis import given
from hypothesis import strategies as st

from meshid.certificates.reading import (
    MAX_RSA_BITS,
    MAX_RSA_EXPONENT,
    MIN_RSA_BITS,
    fingerprint,
    fingerprints,
    key_fault,
    key_form_fault,
    public_key_of,
    read_certificate,
    read_leaf,
    rsa_is_too_heavy,
    subject_of,
    to_der,
)
from meshid.testing import CA
from tests.helpers.forged import (
    BIT_STRING,
    GENERALIZED_TIME,
    PRINTABLE_STRING,
    SEQUENCE,
    TELETEX_STRING,
    UTC_TIME,
    UTF8_STRING,
    Field,
    children,
    damaged,
    der,
    edited,
    explicit_curve,
    name,
    pss_key,
    rsa_public_key,
    twin,
    with_unknown_key,
)

AUTHORITY = CA("prod.example.org")
LEAF = AUTHORITY.issue("/ns/pay/sa/api", dns=["api.svc"], subject="CN=api")
DER = LEAF.chain[0]
PEM = LEAF.chain_pem
KEY_USAGE = x509.KeyUsage.oid.dotted_string


def with_extension(value: bytes) -> bytes:
    """Return a certificate that has a key usage of these bytes."""
    extra = x509.UnrecognizedExtension(x509.KeyUsage.oid, value)
    return to_der(AUTHORITY.issue(usages=None, extra=[(extra, True)]).certificate)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"not DER", id="no DER"),
        pytest.param(DER[:-1], id="cut off"),
        pytest.param(DER + b"\0", id="something after it"),
        pytest.param(PEM, id="PEM"),
        pytest.param(with_extension(b"\xff"), id="broken extension"),
        pytest.param(with_extension(der(BIT_STRING, b"")), id="key usage without bits"),
        pytest.param(edited(LEAF.certificate, AUTHORITY, {Field.VERSION: b"\xa0\3\2\1\5"}), id="version 6"),
        pytest.param(edited(LEAF.certificate, AUTHORITY, {Field.VALIDITY: der(SEQUENCE)}), id="no dates"),
        pytest.param(edited(LEAF.certificate, AUTHORITY, {Field.SUBJECT: b"\x30\1\0"}), id="broken subject"),
        pytest.param(
            edited(LEAF.certificate, AUTHORITY, {Field.ISSUER: b"\x30\3\x31\1\0"}), id="broken issuer"
        ),
    ],
)
def test_what_cannot_be_read_everywhere_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a certificate that can be read"):
        read_certificate(data)


@pytest.mark.parametrize("data", [None, 5, "text", bytearray(DER), memoryview(DER)])
def test_what_is_not_bytes_is_refused_alike(data: object) -> None:
    with pytest.raises(ValueError, match="not a certificate that can be read"):
        read_certificate(data)  # type: ignore[arg-type]  # the mistake


@given(damaged(DER))
def test_whatever_was_read_raises_nothing_later(data: bytes) -> None:
    try:
        certificate = read_certificate(data)
    except ValueError:
        return
    assert to_der(certificate) == data
    assert isinstance(certificate.subject.rfc4514_string(), str)
    assert isinstance(certificate.issuer.rfc4514_string(), str)
    assert certificate.not_valid_before_utc.tzinfo
    assert certificate.not_valid_after_utc.tzinfo
    assert len(list(certificate.extensions)) < 20
    key_fault(public_key_of(certificate))


DATE = der(UTC_TIME, b"250101000000Z")
YEAR_0 = der(GENERALIZED_TIME, b"00000101000000Z")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {Field.SUBJECT: name(PRINTABLE_STRING, b"Fargo & Company")},
            "its subject has the PrintableString 'Fargo & Company', with a character",
            id="a character in the subject",
        ),
        pytest.param(
            {Field.SUBJECT: name(TELETEX_STRING, b"Soci\xe9t\xe9")},
            "its subject has the TeletexString",
            id="Latin-1 in the subject",
        ),
        pytest.param(
            {Field.ISSUER: name(UTF8_STRING, b"\xff")}, "its issuer has the UTF8String", id="a wrong issuer"
        ),
        pytest.param({Field.SUBJECT: b"\x30\1\0"}, "it is not DER, or a field", id="no name at all"),
        pytest.param(
            {Field.SUBJECT: name(0x03, b"\0abc")},
            "its subject is not a name",
            id="a bit string in the subject",
        ),
        pytest.param(
            {Field.ISSUER: name(0x03, b"\0abc")}, "its issuer is not a name", id="a bit string in the issuer"
        ),
        pytest.param(
            {Field.VALIDITY: der(SEQUENCE, YEAR_0, DATE)},
            "the date that it is valid from does not exist",
            id="from a year 0",
        ),
        pytest.param(
            {Field.VALIDITY: der(SEQUENCE, DATE, YEAR_0)},
            "the date that it is valid until does not exist",
            id="until a year 0",
        ),
    ],
)
def test_a_part_that_cannot_be_read_is_named(fields: dict[Field, bytes], expected: str) -> None:
    with pytest.raises(ValueError, match="not a certificate that can be read") as caught:
        read_certificate(edited(LEAF.certificate, AUTHORITY, fields))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "data", [with_extension(b"\xff"), with_extension(der(BIT_STRING, b""))], ids=["broken", "empty"]
)
def test_a_broken_extension_is_told_without_the_words_of_a_parser(data: bytes) -> None:
    with pytest.raises(
        ValueError, match=r"read: an extension of it is broken, or there twice \(RFC 5280"
    ) as caught:
        read_certificate(data)
    assert "ParseError" not in str(caught.value)


@pytest.mark.parametrize("value", [b"Soci\xe9t\xe9", b"\xff"], ids=ascii)
def test_the_subject_of_a_leaf_need_not_be_readable(value: bytes) -> None:
    odd = read_leaf(edited(LEAF.certificate, AUTHORITY, {Field.SUBJECT: name(TELETEX_STRING, value)}))
    assert subject_of(odd) is None
    assert odd.issuer == AUTHORITY.certificate.subject
    assert subject_of(LEAF.certificate) == LEAF.certificate.subject


@given(damaged(DER))
def test_whatever_was_read_as_a_leaf_raises_nothing_later(data: bytes) -> None:
    try:
        leaf = read_leaf(data)
    except ValueError:
        return
    assert to_der(leaf) == data
    subject_of(leaf)
    assert leaf.not_valid_before_utc.tzinfo
    assert leaf.not_valid_after_utc.tzinfo
    assert isinstance(leaf.issuer.rfc4514_string(), str)
    key_fault(public_key_of(leaf))
    key_form_fault(leaf)


def test_a_certificate_goes_to_bytes_and_back() -> None:
    assert to_der(read_certificate(DER)) == DER


# -- Keys ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP256R1()).public_key(), id="P-256"),
        pytest.param(ec.generate_private_key(ec.SECP384R1()).public_key(), id="P-384"),
        pytest.param(ec.generate_private_key(ec.SECP521R1()).public_key(), id="P-521"),
        pytest.param(ed25519.Ed25519PrivateKey.generate().public_key(), id="Ed25519"),
        pytest.param(mldsa.MLDSA44PrivateKey.generate().public_key(), id="ML-DSA-44"),
        pytest.param(mldsa.MLDSA65PrivateKey.generate().public_key(), id="ML-DSA-65"),
        pytest.param(mldsa.MLDSA87PrivateKey.generate().public_key(), id="ML-DSA-87"),
        pytest.param(rsa_public_key(MIN_RSA_BITS), id="RSA, shortest"),
        pytest.param(rsa_public_key(MAX_RSA_BITS), id="RSA, longest"),
        pytest.param(rsa_public_key(2048, 3), id="RSA, small exponent"),
        pytest.param(rsa_public_key(2048, MAX_RSA_EXPONENT - 1), id="RSA, largest odd exponent"),
    ],
)
def test_a_strong_key_is_accepted(key: CertificatePublicKeyTypes) -> None:
    assert key_fault(key) is None


@pytest.mark.parametrize(
    ("key", "message"),
    [
        pytest.param(
            rsa_public_key(MIN_RSA_BITS - 1), "at least 2048 bits, and this one has 2047", id="RSA-2047"
        ),
        pytest.param(rsa_public_key(MAX_RSA_BITS + 1), "more than 8192 bits", id="RSA-8193"),
        pytest.param(
            rsa_public_key(2048, MAX_RSA_EXPONENT + 1), "an exponent above 2^32", id="RSA, exponent"
        ),
        pytest.param(ec.generate_private_key(ec.SECP192R1()).public_key(), "secp192r1", id="P-192"),
        pytest.param(ec.generate_private_key(ec.SECP224R1()).public_key(), "secp224r1", id="P-224"),
        pytest.param(ec.generate_private_key(ec.SECP256K1()).public_key(), "secp256k1", id="secp256k1"),
        pytest.param(
            ec.generate_private_key(ec.BrainpoolP256R1()).public_key(), "brainpoolP256r1", id="brainpool"
        ),
        pytest.param(dsa.generate_private_key(2048).public_key(), "the kind of key", id="DSA"),
        pytest.param(ed448.Ed448PrivateKey.generate().public_key(), "the kind of key", id="Ed448"),
        pytest.param(x25519.X25519PrivateKey.generate().public_key(), "the kind of key", id="X25519"),
        pytest.param(None, "the kind of key", id="unknown"),
    ],
)
def test_a_weak_or_unknown_key_is_refused(key: CertificatePublicKeyTypes | None, message: str) -> None:
    assert message in (key_fault(key) or "")


@pytest.mark.parametrize(
    ("bits", "exponent", "heavy"),
    [
        (MAX_RSA_BITS, 65537, False),
        (MAX_RSA_BITS + 1, 65537, True),
        (1024, MAX_RSA_EXPONENT - 1, False),
        (1024, MAX_RSA_EXPONENT + 1, True),
    ],
)
def test_a_key_is_heavy_by_its_size_and_by_its_exponent(bits: int, exponent: int, *, heavy: bool) -> None:
    assert rsa_is_too_heavy(rsa_public_key(bits, exponent)) is heavy


def test_a_key_of_an_unknown_kind_is_none() -> None:
    assert public_key_of(read_certificate(with_unknown_key(LEAF.certificate, AUTHORITY))) is None


def test_a_key_that_cannot_be_decoded_is_none() -> None:
    # The first byte of a point is its form, and 0x7f is not one.
    key = LEAF.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    x = key.public_numbers().x.to_bytes(32, "big")
    assert DER.count(b"\x04" + x) == 1
    broken = read_certificate(DER.replace(b"\x04" + x, b"\x7f" + x))
    assert public_key_of(broken) is None


def test_a_key_that_is_known_is_returned() -> None:
    assert public_key_of(LEAF.certificate) == LEAF.key.public_key()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda it: it.name)
def test_a_key_with_the_parameters_of_its_curve_has_a_form_at_fault(curve: ec.EllipticCurve) -> None:
    authority = CA("prod.example.org", key=ec.generate_private_key(curve))
    assert key_form_fault(authority.certificate) is None
    written_out = explicit_curve(authority)
    assert public_key_of(written_out) == authority.key.public_key()
    assert "the parameters of its curve in place of the curve's name" in (key_form_fault(written_out) or "")


def test_a_key_for_pss_only_has_a_form_at_fault() -> None:
    authority = CA("prod.example.org", key=rsa.generate_private_key(65537, 2048))
    assert key_form_fault(authority.certificate) is None
    for_pss = pss_key(authority)
    assert public_key_of(for_pss) == authority.key.public_key()
    assert "for RSASSA-PSS only" in (key_form_fault(for_pss) or "")


@given(st.binary())
def test_a_fingerprint_is_sha256_in_lower_case_hex(data: bytes) -> None:
    assert fingerprint(data) == hashlib.sha256(data).hexdigest()


def unused_bit(certificate: x509.Certificate) -> bytes:
    """Return *certificate* with the last bit of its signature, a zero, declared unused."""
    tbs, algorithm, _ = children(to_der(certificate))
    assert not certificate.signature[-1] & 1
    return der(SEQUENCE, tbs, algorithm, der(BIT_STRING, b"\1", certificate.signature))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda it: it.name)
def test_a_certificate_with_another_signature_still_has_the_fingerprint_that_it_was_issued_with(
    curve: ec.EllipticCurve,
) -> None:
    authority = CA("prod.example.org", key=ec.generate_private_key(curve))
    made = (authority.issue("/a").certificate for _ in range(100))
    issued = next(each for each in made if not each.signature[-1] & 1)
    own = fingerprint(to_der(issued))
    assert own in fingerprints(issued)
    for rewritten in (unused_bit(issued), twin(issued, curve)):
        assert rewritten != to_der(issued)
        assert own in fingerprints(read_certificate(rewritten))
    assert own not in fingerprints(authority.issue("/a").certificate)


def test_a_certificate_that_rsa_signed_has_one_fingerprint() -> None:
    issued = CA("prod.example.org", key=rsa.generate_private_key(65537, 2048)).issue("/a").certificate
    assert fingerprints(issued) == {fingerprint(to_der(issued))}

"""Bytes to certificates: read completely, once, so that nothing raises later.

`cryptography` parses a certificate lazily: a broken extension raises when it is
first accessed, and then as one of five unrelated exceptions. Every part of a certificate
that is read here has been accessed, so the layers above can just use it. Nothing here
believes a certificate: what is read is a chain, not a peer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import PublicKeyAlgorithmOID

from meshid.certificates.der import element
from meshid.certificates.name_fault import name_fault
from meshid.certificates.pem import decoded

MIN_RSA_BITS = 2048
"""NIST SP 800-131A section 3: shorter keys are disallowed."""

MAX_RSA_BITS = 8192
"""A signature check costs about the square of the size; larger keys are a way to waste our time."""

MAX_RSA_EXPONENT = 2**32
"""Real keys use 65537; a huge exponent makes one check cost 1.5 ms."""

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_NAMED_CURVES = {
    "secp256r1": bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"),
    "secp384r1": bytes.fromhex("301006072a8648ce3d020106052b81040022"),
    "secp521r1": bytes.fromhex("301006072a8648ce3d020106052b81040023"),
}
"""The algorithm of a public key, with the name of its curve (RFC 5480 section 2.1.1)."""

_ML_DSA = (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)

_BIT_STRING, _SEQUENCE = 0x03, 0x30

_PARTS = ("issuer", "extensions", "serial_number", "not_valid_before_utc", "not_valid_after_utc")
_FAULTS = {
    "": "it is not DER, or a field of it is not as in RFC 5280 section 4.1",
    "subject": "its subject is not a name (RFC 5280 section 4.1.2.6)",
    "issuer": "its issuer is not a name (RFC 5280 section 4.1.2.4)",
    "extensions": "an extension of it is broken, or there twice (RFC 5280 section 4.2)",
    "serial_number": "its serial number is not positive (RFC 5280 section 4.1.2.2)",
    "not_valid_before_utc": "the date that it is valid from does not exist, as in a year 0",
    "not_valid_after_utc": "the date that it is valid until does not exist, as in a year 0",
}
"""What is said of each part that cannot be read; the X.509 backend speaks to its developers."""

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def extension(
    owner: x509.Certificate | x509.CertificateRevocationList, kind: type[_Extension]
) -> _Extension | None:
    """Return the extension of this *kind*; None if *owner* does not have it."""
    # `get_extension_for_class` takes four times as long where there is none: it raises.
    for each in owner.extensions:
        if type(value := each.value) is kind:
            return value
    return None


def read_certificate(der: bytes) -> x509.Certificate:
    """Read one DER certificate, every part of it.

    Raises:
        ValueError: If any part cannot be read (RFC 5280 section 4.1).
    """
    return _read(der, ("subject", *_PARTS))


def read_leaf(der: bytes) -> x509.Certificate:
    """Read one DER certificate, every part of it but the subject.

    The subject of a leaf names nobody (X509-SVID section 2), and real ones have strings that
    cannot be read: use `subject_of`.

    Raises:
        ValueError: If any other part cannot be read (RFC 5280 section 4.1).
    """
    return _read(der, _PARTS)


def _read(der: bytes, parts: Sequence[str]) -> x509.Certificate:
    part = ""
    try:
        certificate = x509.load_der_x509_certificate(der)
        # A serial number that is not positive makes the backend warn at each access, which raises under
        # `-W error`: here, so never later. `catch_warnings` would change the filters of all threads.
        for part in parts:
            getattr(certificate, part)
    # Five exception classes without a common base, and more with each version: they all mean the same.
    except Exception as error:
        is_about_names = part in {"", "subject", "issuer"} and isinstance(der, bytes)
        fault = (name_fault(der) if is_about_names else None) or _FAULTS[part]
        msg = f"not a certificate that can be read: {fault}"
        raise ValueError(msg) from error
    return certificate


def subject_of(certificate: x509.Certificate) -> x509.Name | None:
    """Return the subject; None if it cannot be read, which may be so for what `read_leaf` returned."""
    try:
        return certificate.subject
    except Exception:  # noqa: BLE001 - as in `_read`: the backend's exceptions have no common base class
        return None


def to_der(certificate: x509.Certificate) -> bytes:
    """Return the certificate's DER bytes."""
    return certificate.public_bytes(serialization.Encoding.DER)


def to_pem(ders: Iterable[bytes]) -> bytes:
    """Return DER certificates as one PEM text (RFC 7468 section 5)."""
    certificates = map(x509.load_der_x509_certificate, ders)
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def certificate_from_pem_block(block: bytes) -> x509.Certificate:
    """Read the certificate in one PEM block.

    Raises:
        ValueError: If the block does not hold a certificate that can be read.
    """
    return read_certificate(decoded(block))


def public_key_of(certificate: x509.Certificate) -> CertificatePublicKeyTypes | None:
    """Return the certificate's public key; None if its kind or its encoding is unknown."""
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def key_fault(key: CertificatePublicKeyTypes | None) -> str | None:
    """Say what is wrong with the kind or the size of a public key; None if nothing is.

    The source is NIST SP 800-131A section 3; the upper bound for RSA limits our work.
    """
    if isinstance(key, rsa.RSAPublicKey):
        return _rsa_fault(key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return None if isinstance(key.curve, _CURVES) else f"the curve {key.curve.name} is not accepted"
    if isinstance(key, (ed25519.Ed25519PublicKey, *_ML_DSA)):
        return None
    return "the kind of key is not accepted"


def key_form_fault(certificate: x509.Certificate) -> str | None:
    """Say what is wrong with the form in which a key is written; None if nothing is.

    The X.509 backend trusts no authority with a key in such a form, although it can load it.
    """
    if certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        return "its key is for RSASSA-PSS only, which the X.509 backend does not know; use P-256 or plain RSA"
    return curve_fault(certificate, public_key_of(certificate))


def curve_fault(certificate: x509.Certificate, key: CertificatePublicKeyTypes | None) -> str | None:
    """Say that the *key* of a certificate does not name its curve, as OpenSSL demands; None if it does."""
    named = _NAMED_CURVES.get(key.curve.name) if isinstance(key, ec.EllipticCurvePublicKey) else None
    if named is not None and named not in certificate.tbs_certificate_bytes:
        return "its key has the parameters of its curve in place of the curve's name (RFC 5480 section 2.1.1)"
    return None


def _rsa_fault(key: rsa.RSAPublicKey) -> str | None:
    if key.key_size < MIN_RSA_BITS:
        return f"an RSA key needs at least {MIN_RSA_BITS} bits, and this one has {key.key_size}"
    if rsa_is_too_heavy(key):
        return f"its RSA key has more than {MAX_RSA_BITS} bits, or an exponent above 2^32"
    return None


def rsa_is_too_heavy(key: rsa.RSAPublicKey) -> bool:
    """Return whether a signature check with this key costs us far more than it cost to make the key."""
    return key.key_size > MAX_RSA_BITS or key.public_numbers().e > MAX_RSA_EXPONENT


def fingerprints(certificate: x509.Certificate) -> frozenset[str]:
    """Return the fingerprints that *certificate* may have had when it was issued.

    Whoever presents a certificate can rewrite its signature without the issuer's key: under
    ECDSA (r, -s) is as valid as (r, s), and a bit string that ends in a zero bit can declare
    that bit unused.
    """
    tbs, whole = certificate.tbs_certificate_bytes, to_der(certificate)
    start = whole.index(tbs) + len(tbs)
    # An algorithm identifier is shorter than 128 octets: its length is its second octet.
    algorithm = whole[start : start + 2 + whole[start + 1]]
    signatures = [certificate.signature, *_twin(certificate)]
    signed = [tbs + algorithm + element(_BIT_STRING, b"\0", signature) for signature in signatures]
    return frozenset([fingerprint(whole), *(fingerprint(element(_SEQUENCE, body)) for body in signed)])


def fingerprint(der: bytes) -> str:
    """Return SHA-256 over DER bytes, in lower-case hex."""
    return hashlib.sha256(der).hexdigest()


def _twin(certificate: x509.Certificate) -> list[bytes]:
    try:
        r, s = decode_dss_signature(certificate.signature)
    except ValueError:
        return []  # It is not an ECDSA signature.
    orders = (curve.group_order for curve in _CURVES)
    return [encode_dss_signature(r, order - s) for order in orders if s < order]

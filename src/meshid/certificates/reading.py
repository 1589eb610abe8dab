"""Bytes to certificates: read completely, once, so that nothing raises later.

`cryptography` parses a certificate lazily: a broken extension raises when it is
first accessed, and then as one of five unrelated exceptions. Every part of a certificate
that is read here has been accessed, so the layers above can just use it. Nothing here
believes a certificate: what is read is a chain, not a peer.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from meshid.support.quoting import quote

MIN_RSA_BITS = 2048
"""NIST SP 800-131A section 3: shorter keys are disallowed."""

MAX_RSA_BITS = 8192
"""A signature check costs about the square of the size; larger keys are a way to waste our time."""

MAX_RSA_EXPONENT = 2**32
"""Real keys use 65537; a huge exponent makes one check cost 1.5 ms."""

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_ML_DSA = (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)

_LONG_FORM = 0x80
"""From this many octets on, a length is preceded by its own length (X.690 section 8.1.3.5)."""

_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)


_PARTS = (
    "subject",
    "issuer",
    "extensions",
    "serial_number",
    "not_valid_before_utc",
    "not_valid_after_utc",
)
"""What raises when it is first accessed, if it is broken."""

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def extension(
    owner: x509.Certificate | x509.CertificateRevocationList, kind: type[_Extension]
) -> _Extension | None:
    """Return the extension of this *kind*; None if *owner* does not have it."""
    try:
        return owner.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def read_certificate(der: bytes) -> x509.Certificate:
    """Read one DER certificate, every part of it.

    Raises:
        ValueError: If any part cannot be read (RFC 5280 section 4.1).
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        # A serial number that is not positive makes the backend warn at each access, which raises under
        # `-W error`: here, so never later. `catch_warnings` would change the filters of all threads.
        for part in _PARTS:
            getattr(certificate, part)
    # Five exception classes without a common base, and more with each version: they all mean the same.
    except Exception as error:
        msg = f"not a certificate that can be read: {quote(str(error))}"
        raise ValueError(msg) from error
    return certificate


def to_der(certificate: x509.Certificate) -> bytes:
    """Return the certificate's DER bytes."""
    return certificate.public_bytes(serialization.Encoding.DER)


def to_pem(ders: Iterable[bytes]) -> bytes:
    """Return DER certificates as one PEM text (RFC 7468 section 5)."""
    certificates = map(x509.load_der_x509_certificate, ders)
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def pem_blocks(pem: bytes) -> list[tuple[str, bytes]]:
    """Return the label and the whole text of each PEM block (RFC 7468 section 2).

    Raises:
        ValueError: If a block begins and does not end, as in a file that was cut off.
    """
    blocks = [(match[1].decode("ascii"), match[0]) for match in _PEM_BLOCK.finditer(pem)]
    begun = pem.count(b"-----BEGIN ")
    if begun != len(blocks):
        msg = f"{begun} PEM blocks begin and {len(blocks)} end: the text was cut off or mixed up"
        raise ValueError(msg)
    return blocks


def certificate_from_pem_block(block: bytes) -> x509.Certificate:
    """Read the certificate in one PEM block.

    Raises:
        ValueError: If the block does not hold a certificate that can be read.
    """
    body = b"".join(block.split(b"-----")[2].split())
    try:
        der = base64.b64decode(body, validate=True)
    except ValueError as error:
        msg = "a PEM block is not base64"
        raise ValueError(msg) from error
    return read_certificate(der)


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
    signed = [tbs + algorithm + _der(b"\x03", b"\0" + signature) for signature in signatures]
    return frozenset([fingerprint(whole), *(fingerprint(_der(b"\x30", body)) for body in signed)])


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


def _der(tag: bytes, body: bytes) -> bytes:
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    length = size if len(body) < _LONG_FORM else bytes([_LONG_FORM | len(size)]) + size
    return tag + length + body

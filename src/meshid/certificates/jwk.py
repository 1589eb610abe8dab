"""An authority's public key as a JSON Web Key.

What counts is the certificate in ``x5c``. These members are there because RFC 7517 section 4.1
requires ``kty``, and readers ignore an entry whose ``kty`` they do not know.
"""

from __future__ import annotations

import base64

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, rsa

from meshid.errors import InvalidBundle

KEY_TYPES = ("EC", "RSA", "AKP")
"""The ``kty`` values that are read: RFC 7518 section 6.1, except ``oct``, and RFC 9964 section 3."""

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
# By the length of the public key (FIPS 204 table 2): the backend's classes are abstract, so no key has
# one of them as its type.
_ML_DSA = {1312: "ML-DSA-44", 1952: "ML-DSA-65", 2592: "ML-DSA-87"}


def public_jwk(certificate: x509.Certificate) -> dict[str, str]:
    """Return the members of the JWK of an authority's public key.

    Raises:
        InvalidBundle: If no authority can have a key of this kind here.
    """
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        point = key.public_numbers()
        size = (key.curve.key_size + 7) // 8
        curve = _CURVES[key.curve.name]
        return {"kty": "EC", "crv": curve, "x": _integer(point.x, size), "y": _integer(point.y, size)}
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _integer(numbers.n), "e": _integer(numbers.e)}
    if isinstance(key, (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)):
        octets = key.public_bytes_raw()
        return {"kty": "AKP", "alg": _ML_DSA[len(octets)], "pub": _base64url(octets)}
    msg = f"an authority's key cannot be a {type(key).__name__}"
    raise InvalidBundle(msg)


def _integer(number: int, size: int | None = None) -> str:
    return _base64url(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

"""An authority's public key as a JSON Web Key.

The certificate in ``x5c`` is what counts; these members are there because RFC 7517
section 4.1 asks for ``kty``, and readers ignore an entry whose ``kty`` they do not know.
"""

from __future__ import annotations

import base64

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

KEY_TYPES = ("EC", "RSA")
"""The ``kty`` values that are read: RFC 7518 section 6.1, less the symmetric ones."""

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def public_jwk(certificate: x509.Certificate) -> dict[str, str]:
    """Return the public key's members (RFC 7518 section 6)."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers = key.public_numbers()
        size = (key.curve.key_size + 7) // 8
        point = {"x": _base64url(numbers.x, size), "y": _base64url(numbers.y, size)}
        return {"kty": "EC", "crv": _CURVES[key.curve.name], **point}
    assert isinstance(key, rsa.RSAPublicKey)
    public = key.public_numbers()
    return {"kty": "RSA", "n": _base64url(public.n), "e": _base64url(public.e)}


def _base64url(number: int, size: int | None = None) -> str:
    data = number.to_bytes(size or (number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

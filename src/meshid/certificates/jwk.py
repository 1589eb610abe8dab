"""Public keys as JSON Web Keys (RFC 7517), both ways.

A JWK of an authority is there because RFC 7517 section 4.1 requires ``kty``, and readers ignore an
entry whose ``kty`` they do not know; what counts is the certificate in its ``x5c``. Of a key for
tokens, these members are all that there is.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from meshid.errors import InvalidBundle
from meshid.support.quoting import quote

_T = TypeVar("_T")

KEY_TYPES = ("EC", "RSA", "AKP")
"""The ``kty`` values of authorities: RFC 7518 section 6.1, except ``oct``, and RFC 9964 section 3."""

TokenPublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
"""What tokens are verified with."""

RSA_BITS = range(2048, 8192 + 1)
"""Shorter ones can be broken (RFC 7518 section 3.3), and of longer ones a stranger's token costs too much."""

MAX_RSA_EXPONENT = (1 << 32) - 1
"""The time that verifying takes grows with it, and everybody uses 65537."""

_CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_CURVE_NAMES = {curve.name: name for name, curve in _CURVES.items()}
# By the length of the public key (FIPS 204 table 2): the backend's classes are abstract, so no key has
# one of them as its type.
_ML_DSA = {1312: "ML-DSA-44", 1952: "ML-DSA-65", 2592: "ML-DSA-87"}
# RFC 7518 sections 6.2.2, 6.3.2 and 6.4, RFC 8037 section 2, RFC 9964 section 3.
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv")


def public_jwk(certificate: x509.Certificate) -> dict[str, str]:
    """Return the members of the JWK of an authority's public key.

    Raises:
        InvalidBundle: If no authority can have a key of this kind here.
    """
    key = certificate.public_key()
    try:
        jwk = members_of(key)
    except ValueError:
        jwk = {"kty": ""}
    if jwk["kty"] not in KEY_TYPES:
        msg = f"an authority's key cannot be a {type(key).__name__}"
        raise InvalidBundle(msg)
    return jwk


def members_of(key: object) -> dict[str, str]:
    """Return the members of the JWK of a public key that make it this key and no other.

    Raises:
        ValueError: If it is none that is written here.
    """
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVE_NAMES:
        point = key.public_numbers()
        size = (key.curve.key_size + 7) // 8
        curve = _CURVE_NAMES[key.curve.name]
        return {"kty": "EC", "crv": curve, "x": _integer(point.x, size), "y": _integer(point.y, size)}
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _integer(numbers.n), "e": _integer(numbers.e)}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_bytes_raw())}
    if isinstance(key, (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)):
        octets = key.public_bytes_raw()
        return {"kty": "AKP", "alg": _ML_DSA[len(octets)], "pub": base64url(octets)}
    msg = f"a {type(key).__name__} of this kind is not written as a JWK"
    raise ValueError(msg)


def thumbprint(key: object) -> str:
    """Return the thumbprint of a public key: SHA-256, base64url without padding (RFC 7638 section 3).

    Raises:
        ValueError: If it has none here: it is of another kind than EC, RSA, Ed25519 or ML-DSA.
    """
    canonical = json.dumps(members_of(key), separators=(",", ":"), sort_keys=True)
    return base64url(hashlib.sha256(canonical.encode()).digest())


def public_key_of(jwk: Mapping[str, object]) -> TokenPublicKey:
    """Return the public key that a JWK is, for verifying tokens.

    Args:
        jwk: Its members, as `json.loads` returns them; those that the key does not need are not looked at.

    Raises:
        ValueError: If it is none: it is symmetric or private, of another kind than RSA, EC (P-256, P-384,
            P-521) or Ed25519, too short or too long, or written in another way (RFC 7518 section 6).
    """
    kty = jwk.get("kty")
    if kty == "oct":
        msg = "it is symmetric: whoever can verify with it can sign, and it is published"
        raise ValueError(msg)
    if private := [member for member in _PRIVATE if member in jwk]:
        msg = f"it is a private key (member {private[0]}), and whoever reads it can sign; replace it"
        raise ValueError(msg)
    reader = _READERS.get(kty) if isinstance(kty, str) else None
    if reader is None:
        msg = f"kty is {_shown(kty)}; known: {', '.join(_READERS)}"
        raise ValueError(msg)
    return reader(jwk)


def _rsa_key(jwk: Mapping[str, object]) -> rsa.RSAPublicKey:
    n, e = (int.from_bytes(_octets(jwk, member), "big") for member in ("n", "e"))
    if n.bit_length() not in RSA_BITS:
        msg = f"it has {n.bit_length()} bits; from {RSA_BITS[0]} to {RSA_BITS[-1]} are possible"
        raise ValueError(msg)
    if e > MAX_RSA_EXPONENT:
        msg = f"its exponent has {e.bit_length()} bits, and at most 32 are possible"
        raise ValueError(msg)
    return rsa.RSAPublicNumbers(e, n).public_key()


def _ec_key(jwk: Mapping[str, object]) -> ec.EllipticCurvePublicKey:
    curve = _curve(jwk, _CURVES)
    size = (curve.key_size + 7) // 8
    x, y = (int.from_bytes(_octets(jwk, member, size), "big") for member in ("x", "y"))
    # It refuses a point that is not on the curve.
    return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()


def _ed25519_key(jwk: Mapping[str, object]) -> ed25519.Ed25519PublicKey:
    kind = _curve(jwk, {"Ed25519": ed25519.Ed25519PublicKey})
    return kind.from_public_bytes(_octets(jwk, "x", 32))


_READERS: dict[str, Callable[[Mapping[str, object]], TokenPublicKey]] = {
    "RSA": _rsa_key,
    "EC": _ec_key,
    "OKP": _ed25519_key,
}


def _curve(jwk: Mapping[str, object], known: Mapping[str, _T]) -> _T:
    curve = jwk.get("crv")
    if not isinstance(curve, str) or curve not in known:
        msg = f"crv is {_shown(curve)}; known: {', '.join(known)}"
        raise ValueError(msg)
    return known[curve]


def _octets(jwk: Mapping[str, object], member: str, size: int | None = None) -> bytes:
    text = jwk.get(member)
    octets = _unpadded(text) if isinstance(text, str) and text.isascii() else None
    if octets is None:
        msg = f"{member} must be base64url without padding (RFC 7515 section 2), not {_shown(text)}"
        raise ValueError(msg)
    if size is not None and len(octets) != size:
        msg = f"{member} has {len(octets)} bytes, and must have {size}"
        raise ValueError(msg)
    return octets


def _unpadded(text: str) -> bytes | None:
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    # Several texts have the same bytes; only one of them is right.
    return octets if octets and base64url(octets) == text else None


def _shown(value: object) -> str:
    return quote(value, 64) if isinstance(value, str) else f"a {type(value).__name__}"


def _integer(number: int, size: int | None = None) -> str:
    return base64url(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


def base64url(data: bytes) -> str:
    """Return *data* in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

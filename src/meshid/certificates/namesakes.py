"""How many authorities of one name a path may be tried with, one after the other.

Where neither its name nor a key identifier says which authority a certificate means, each costs
a signature check. So a bundle keeps, and a search for a path tries, a bounded number of them.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from meshid.certificates.reading import public_key_of

MAX_NAMESAKES = 32
"""Authorities with light keys. As many clusters of Istio in one trust domain have roots that differ in
nothing but their keys."""

_HEAVY = 4
"""How many of the light keys cost as much as one of the others, at least."""

_MAX_LIGHT_RSA_BITS = 4096


def weight_of(authority: x509.Certificate) -> int:
    """Return what a signature check with its key costs: 1 for P-256, and for RSA of a usual size."""
    key = public_key_of(authority)
    if isinstance(key, rsa.RSAPublicKey):
        return 1 if key.key_size <= _MAX_LIGHT_RSA_BITS else _HEAVY
    is_p256 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    return 1 if is_p256 else _HEAVY

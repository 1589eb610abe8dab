"""The signature of a revocation list, checked with its digest.

The backend hashes a list again for each key that it is checked with, which takes 40 ms for a list
with 100 000 entries; a partner chooses how many keys an issuer's name has.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

_MAX_UNHASHED_BYTES = 256 * 1024
"""Ed25519 and ML-DSA sign the list itself and no digest of it, so each check of a signature reads it all."""


def digest_of(crl: x509.CertificateRevocationList) -> bytes | None:
    """Return the digest that was signed; None if the list itself was.

    Raises:
        ValueError: If a check of the signature would cost too much.
        UnsupportedAlgorithm: If the algorithm is unknown.
    """
    tbs = crl.tbs_certlist_bytes
    algorithm = crl.signature_hash_algorithm
    if algorithm is None:
        if len(tbs) > _MAX_UNHASHED_BYTES:
            msg = f"it has {len(tbs)} bytes; without a digest at most {_MAX_UNHASHED_BYTES} are read"
            raise ValueError(msg)
        return None
    digest = hashes.Hash(algorithm)
    digest.update(tbs)
    return digest.finalize()


def is_signed(crl: x509.CertificateRevocationList, digest: bytes | None, key: object) -> bool:
    """Return whether *key* signed a list with this digest."""
    try:
        if digest is None:
            return crl.is_signature_valid(key)  # type: ignore[arg-type]
        _verify(key, crl, digest)
    # A key of another kind than the signature's, or parameters that the backend does not know.
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def _verify(key: object, crl: x509.CertificateRevocationList, digest: bytes) -> None:
    """Check the signature over the digest of a list.

    Raises:
        InvalidSignature: If *key* did not make it.
    """
    parameters, algorithm = crl.signature_algorithm_parameters, crl.signature_hash_algorithm
    prehashed = Prehashed(algorithm)  # type: ignore[arg-type]
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
        key.verify(crl.signature, digest, ec.ECDSA(prehashed))
    elif isinstance(key, rsa.RSAPublicKey) and isinstance(parameters, (padding.PKCS1v15, padding.PSS)):
        key.verify(crl.signature, digest, parameters, prehashed)
    else:
        raise InvalidSignature

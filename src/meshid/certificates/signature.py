"""How a certificate was signed, and whether the X.509 backend accepts that.

The backend refuses a signature algorithm in the words of its own data structures, and
without saying in which certificate. For each algorithm here a test shows that the backend
accepts it, or refuses it.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import ObjectIdentifier, SignatureAlgorithmOID

_DIGESTS = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())

_ACCEPTED = frozenset(
    {
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.ML_DSA_44,
        SignatureAlgorithmOID.ML_DSA_65,
        SignatureAlgorithmOID.ML_DSA_87,
    }
)

_NAMES = {oid: name for name, oid in vars(SignatureAlgorithmOID).items() if isinstance(oid, ObjectIdentifier)}


def signature_fault(certificate: x509.Certificate) -> str | None:
    """Say why the algorithm that *certificate* is signed with is not accepted; None if it is."""
    oid = certificate.signature_algorithm_oid
    if oid == SignatureAlgorithmOID.RSASSA_PSS:
        if _is_usual_pss(certificate):
            return None
        return (
            "signed with RSASSA-PSS and other parameters than the usual ones,"
            " which are SHA-256, SHA-384 or SHA-512 for both digests and a salt of that length"
        )
    if oid in _ACCEPTED:
        return None
    name = _NAMES.get(oid, "an unknown algorithm").replace("_", "-")
    return f"signed with {name} ({oid.dotted_string}), which is not accepted; use SHA-256 with ECDSA or RSA"


def _is_usual_pss(certificate: x509.Certificate) -> bool:
    """Return whether the parameters are those of TLS (RFC 8446 section 4.2.3)."""
    try:
        digest, parameters = certificate.signature_hash_algorithm, certificate.signature_algorithm_parameters
    except (UnsupportedAlgorithm, ValueError):
        return False
    return any(
        digest == each and parameters == padding.PSS(padding.MGF1(each), each.digest_size)
        for each in _DIGESTS
    )

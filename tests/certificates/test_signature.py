"""Which signature algorithms are accepted: those that the X.509 backend accepts, and no other."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.x509.oid import ObjectIdentifier

from meshid import BundleSet, ChainVerifier, PeerRejected, Reason
from meshid.certificates.reading import to_der
from meshid.certificates.signature import signature_fault
from meshid.testing import CA
from tests.helpers.forged import OID, SEQUENCE, Field, der, edited, with_digest
from tests.helpers.world import HOUR, PATH

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ROOTS = {RSA: CA("prod.example.org", key=RSA), EC: CA("prod.example.org", key=EC)}

UNKNOWN = der(SEQUENCE, der(OID, bytes([0x2A, 3, 4])))
SHA256 = der(SEQUENCE, bytes.fromhex("0609608648016503040201"))
MGF1 = bytes.fromhex("06092a864886f70d010108")

Digest = hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | hashes.SHA3_256


@attrs.frozen
class How:
    """How a leaf is signed."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    digest: Digest
    pss: padding.PSS | None = None

    def leaf(self) -> x509.Certificate:
        now = datetime.now(UTC)
        root = ROOTS[self.key]
        shape = root.issue(PATH).certificate
        builder = (
            x509.CertificateBuilder()
            .subject_name(shape.subject)
            .issuer_name(shape.issuer)
            .public_key(shape.public_key())
            .serial_number(7)
            .not_valid_before(now - HOUR)
            .not_valid_after(now + HOUR)
        )
        for extension in shape.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(self.key, self.digest, rsa_padding=self.pss)


def pss(digest: Digest, mask: Digest, salt: int) -> How:
    return How(RSA, digest, padding.PSS(padding.MGF1(mask), salt))


USUAL = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
GOOD = [
    *(How(key, digest) for key in (RSA, EC) for digest in USUAL),
    *(pss(digest, digest, digest.digest_size) for digest in USUAL),
]
BAD = [
    *(How(key, digest) for key in (RSA, EC) for digest in (hashes.SHA224(), hashes.SHA3_256())),
    pss(hashes.SHA256(), hashes.SHA384(), 32),
    pss(hashes.SHA256(), hashes.SHA256(), 20),
    pss(hashes.SHA224(), hashes.SHA224(), 28),
]


def name(how: How) -> str:
    salt = "" if how.pss is None else f"-pss-{how.pss.mgf._algorithm.name}-{how.pss._salt_length}"  # noqa: SLF001
    return f"{type(how.key).__name__}-{how.digest.name}{salt}"


def verify(key: object, leaf: bytes) -> None:
    root = next(root for each, root in ROOTS.items() if each is key)
    ChainVerifier(BundleSet([root.bundle()])).verify([leaf])


@pytest.mark.parametrize("how", GOOD, ids=name)
def test_what_is_accepted_is_accepted_by_the_backend(how: How) -> None:
    leaf = how.leaf()
    assert signature_fault(leaf) is None
    verify(how.key, to_der(leaf))


@pytest.mark.parametrize("how", BAD, ids=name)
def test_what_is_refused_is_refused_by_the_backend_and_named_in_plain_words(how: How) -> None:
    leaf = how.leaf()
    fault = signature_fault(leaf)
    assert fault is not None
    with pytest.raises(PeerRejected) as caught:
        verify(how.key, to_der(leaf))
    assert caught.value.reason is Reason.INVALID_PATH
    assert caught.value.detail == f"the leaf is {fault}"
    assert "Forbidden signature algorithm" in str(caught.value.__cause__)


def test_ml_dsa_is_accepted() -> None:
    root = CA("prod.example.org", key=mldsa.MLDSA44PrivateKey.generate())
    leaf = root.issue(PATH)
    assert signature_fault(leaf.certificate) is None
    ChainVerifier(BundleSet([root.bundle()])).verify(leaf.chain)


def test_an_algorithm_is_called_by_its_name() -> None:
    leaf = ROOTS[EC].issue(PATH).certificate
    sha1 = x509.load_der_x509_certificate(with_digest(leaf, ROOTS[EC], 1))
    said = "signed with ECDSA-WITH-SHA1 (1.2.840.10045.4.1), which is not accepted; use SHA-256 with ECDSA"
    assert signature_fault(sha1) == f"{said} or RSA"
    below = CA("prod.example.org", key=ed25519.Ed25519PrivateKey.generate()).issue(PATH).certificate
    assert str(signature_fault(below)).startswith("signed with ED25519 (")


def test_an_unknown_algorithm_is_called_by_its_number() -> None:
    leaf = edited(ROOTS[EC].issue(PATH).certificate, ROOTS[EC], {Field.ALGORITHM: UNKNOWN})
    assert str(signature_fault(x509.load_der_x509_certificate(leaf))).startswith(
        f"signed with an unknown algorithm ({ObjectIdentifier('1.2.3.4').dotted_string})"
    )


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param(b"", id="none, which means SHA-1"),
        pytest.param(der(0xA0, UNKNOWN), id="an unknown digest"),
        pytest.param(der(0xA1, der(SEQUENCE, MGF1, UNKNOWN)), id="an unknown digest for the mask"),
        pytest.param(
            der(0xA1, der(SEQUENCE, MGF1, SHA256)) + der(0xA2, bytes([2, 1, 32])),
            id="SHA-1, and SHA-256 for the mask",
        ),
    ],
)
def test_odd_parameters_of_pss_are_not_accepted(parameters: bytes) -> None:
    odd = der(SEQUENCE, bytes.fromhex("06092a864886f70d01010a"), der(SEQUENCE, parameters))
    leaf = edited(ROOTS[EC].issue(PATH).certificate, ROOTS[EC], {Field.ALGORITHM: odd})
    fault = signature_fault(x509.load_der_x509_certificate(leaf))
    assert fault is not None
    assert fault.startswith("signed with RSASSA-PSS and other parameters")

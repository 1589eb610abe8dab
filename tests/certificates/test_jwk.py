"""An authority's key as a JSON Web Key: what other readers of a SPIFFE bundle need."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from meshid.certificates.jwk import KEY_TYPES, public_jwk
from meshid.errors import InvalidBundle
from meshid.testing import CA


def jwk_of(key: CertificateIssuerPrivateKeyTypes) -> dict[str, str]:
    return public_jwk(CA("prod.example.org", key=key).certificate)


def number(jwk: Mapping[str, str], member: str) -> int:
    return int.from_bytes(octets(jwk, member), "big")


def octets(jwk: Mapping[str, str], member: str) -> bytes:
    assert "=" not in jwk[member]
    return base64.urlsafe_b64decode(jwk[member] + "==")


def test_a_key_of_rfc_7517_is_written_as_it_is_printed_there() -> None:
    # Appendix A.2: the private key and its public members.
    d = int.from_bytes(base64.urlsafe_b64decode("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE="), "big")
    assert jwk_of(ec.derive_private_key(d, ec.SECP256R1())) == {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    }


@pytest.mark.parametrize(
    ("curve", "name", "size"),
    [(ec.SECP256R1(), "P-256", 32), (ec.SECP384R1(), "P-384", 48), (ec.SECP521R1(), "P-521", 66)],
    ids=["P-256", "P-384", "P-521"],
)
def test_a_coordinate_is_as_long_as_its_field(curve: ec.EllipticCurve, name: str, size: int) -> None:
    # RFC 7518 section 6.2.1.2: leading zeros are kept. Of small keys, one soon has such an x.
    keys = (ec.derive_private_key(number, curve) for number in range(1, 10_000))
    short = next(key for key in keys if key.public_key().public_numbers().x < 1 << (8 * size - 8))
    jwk = jwk_of(short)
    assert (jwk["kty"], jwk["crv"]) == ("EC", name)
    assert len(octets(jwk, "x")) == len(octets(jwk, "y")) == size
    assert number(jwk, "x") == short.public_key().public_numbers().x


def test_an_rsa_key_is_its_modulus_and_exponent_without_leading_zeros() -> None:
    key = rsa.generate_private_key(65537, 2048)
    jwk = jwk_of(key)
    assert (jwk["kty"], jwk["e"]) == ("RSA", "AQAB")
    assert number(jwk, "n") == key.public_key().public_numbers().n
    assert len(octets(jwk, "n")) == 256


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (mldsa.MLDSA44PrivateKey, "ML-DSA-44"),
        (mldsa.MLDSA65PrivateKey, "ML-DSA-65"),
        (mldsa.MLDSA87PrivateKey, "ML-DSA-87"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_an_ml_dsa_key_is_an_algorithm_key_pair(
    kind: type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey], name: str
) -> None:
    key = kind.generate()
    jwk = jwk_of(key)
    assert (jwk["kty"], jwk["alg"]) == ("AKP", name)
    assert octets(jwk, "pub") == key.public_key().public_bytes_raw()


def test_each_kind_of_key_that_is_written_is_read() -> None:
    keys: list[CertificateIssuerPrivateKeyTypes] = [
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
        mldsa.MLDSA44PrivateKey.generate(),
    ]
    assert tuple(jwk_of(key)["kty"] for key in keys) == KEY_TYPES


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="Ed25519"),
        pytest.param(ec.generate_private_key(ec.SECP256K1()), id="secp256k1"),
    ],
)
def test_a_key_that_no_authority_can_have_is_refused(key: CertificateIssuerPrivateKeyTypes) -> None:
    with pytest.raises(InvalidBundle, match="an authority's key cannot be a"):
        jwk_of(key)

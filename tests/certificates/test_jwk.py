"""Keys as JSON Web Keys: what other readers of a SPIFFE bundle need, and what tokens are verified with."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from meshid.certificates.jwk import (
    KEY_TYPES,
    TokenPublicKey,
    members_of,
    public_jwk,
    public_key_of,
    thumbprint,
)
from meshid.errors import InvalidBundle
from meshid.testing import CA, TokenIssuer


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


# -- Keys for tokens ----------------------------------------------------------

EC = TokenIssuer(algorithm="ES256").keys[0].jwk()
OKP = TokenIssuer(algorithm="EdDSA").keys[0].jwk()


@cache
def rsa_jwk(bits: int = 2048, exponent: int = 65537) -> dict[str, str]:
    numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    return {"kty": "RSA", "n": unpadded(numbers.n), "e": unpadded(exponent)}


def unpadded(number: int) -> str:
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA", "RS256"])
def test_another_implementation_reads_the_same_key(algorithm: str) -> None:
    jwk = TokenIssuer(algorithm=algorithm).keys[0].jwk()
    key = public_key_of(jwk)
    assert key == jwt.PyJWK(jwk).key
    assert members_of(key).items() <= jwk.items()


@pytest.mark.parametrize(
    ("jwk", "expected"),
    [
        pytest.param(
            {
                "kty": "RSA",
                "n": (
                    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1"
                    "L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4"
                    "QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbO"
                    "pbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF"
                    "Cur-kEgU8awapJzKnqDKgw"
                ),
                "e": "AQAB",
                "alg": "RS256",
                "kid": "2011-04-29",
            },
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
            id="RFC 7638 section 3.1",
        ),
        pytest.param(
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            id="RFC 8037 appendix A.3",
        ),
    ],
)
def test_the_thumbprint_is_the_printed_one(jwk: dict[str, object], expected: str) -> None:
    assert thumbprint(public_key_of(jwk)) == expected


def test_a_key_that_is_not_written_has_no_thumbprint() -> None:
    with pytest.raises(ValueError, match="is not written as a JWK"):
        thumbprint(ec.generate_private_key(ec.SECP256K1()).public_key())
    assert thumbprint(mldsa.MLDSA44PrivateKey.generate().public_key())


def test_a_modulus_may_have_a_leading_zero() -> None:
    # RFC 7518 section 6.3.1.1 knows of implementations that write one.
    plain = rsa_jwk()
    octets_with_zero = b"\0" + octets(plain, "n")
    padded = {**plain, "n": base64.urlsafe_b64encode(octets_with_zero).rstrip(b"=").decode()}
    assert thumbprint(public_key_of(padded)) == thumbprint(public_key_of(plain))


@pytest.mark.parametrize(
    ("jwk", "problem"),
    [
        pytest.param({}, "kty is a NoneType; known: RSA, EC, OKP", id="nothing"),
        pytest.param({**EC, "kty": []}, "kty is a list", id="kty is a list"),
        pytest.param({**EC, "kty": "ec"}, "kty is 'ec'; known", id="kty in lower case"),
        pytest.param({**EC, "kty": "AKP"}, "kty is 'AKP'; known", id="ML-DSA"),
        pytest.param({"kty": "oct", "k": "AAAA"}, "it is symmetric", id="symmetric"),
        *(
            pytest.param({**EC, each: "AAAA"}, f"a private key .member {each}.", id=f"private: {each}")
            for each in ("d", "p", "oth", "k", "priv")
        ),
        pytest.param({**EC, "d": None}, "a private key", id="private, empty"),
        pytest.param({**EC, "crv": "P-384"}, "x has 32 bytes, and must have 48", id="another size"),
        pytest.param({**EC, "crv": "secp256k1"}, "crv is 'secp256k1'; known: P-256", id="another curve"),
        pytest.param({**EC, "crv": 256}, "crv is a int; known", id="a number for a curve"),
        pytest.param({**EC, "y": EC["x"]}, "(?i)point", id="a point that is not on the curve"),
        pytest.param({**EC, "x": EC["x"] + "="}, "base64url without padding", id="padding"),
        pytest.param({**EC, "x": "+" * 43}, "base64url without padding", id="base64"),
        pytest.param({**EC, "x": "\u00e9" * 43}, "base64url without padding", id="not ASCII"),
        pytest.param({**EC, "x": "A" * 42 + "B"}, "base64url without padding", id="bits in no byte"),
        pytest.param({**EC, "x": ""}, "x must be base64url", id="empty"),
        pytest.param({**EC, "x": "A"}, "x must be base64url", id="one character"),
        pytest.param({**EC, "x": 7}, "not a int", id="a number"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": EC["x"]}, "y must be base64url", id="no y"),
        pytest.param({**OKP, "crv": "X25519"}, "crv is 'X25519'; known: Ed25519", id="X25519"),
        pytest.param({**OKP, "crv": "Ed448"}, "crv is 'Ed448'; known", id="Ed448"),
        pytest.param({**OKP, "x": OKP["x"][:-2]}, "x ", id="Ed25519, short"),
        pytest.param({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "it has 17 bits; from 2048", id="RSA, tiny"),
        pytest.param(
            {"kty": "RSA", "n": "_" * 1368, "e": "AQAB"},
            "it has 8208 bits; from 2048 to 8192",
            id="RSA, huge",
        ),
    ],
)
def test_what_verifies_no_token_is_refused(jwk: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        public_key_of(jwk)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("exponent", "problem"),
    [
        pytest.param(1, "e must be", id="one"),
        pytest.param(2, "e must be", id="even"),
        pytest.param((1 << 32) + 1, "its exponent has 33 bits", id="33 bits"),
    ],
)
def test_an_exponent_is_odd_and_of_a_common_size(exponent: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        public_key_of({**rsa_jwk(), "e": unpadded(exponent)})


def test_the_bounds_of_rsa_are_possible() -> None:
    keys: list[TokenPublicKey] = [public_key_of({**rsa_jwk(), "e": unpadded((1 << 32) - 1)})]
    # Nobody multiplies primes of 4096 bits for a test; a number of the right size will do.
    keys.append(public_key_of({"kty": "RSA", "n": unpadded((1 << 8192) - 1), "e": "AQAB"}))
    assert [key.key_size for key in keys if isinstance(key, rsa.RSAPublicKey)] == [2048, 8192]

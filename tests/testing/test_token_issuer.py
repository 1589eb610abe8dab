"""The issuer for tests: another implementation takes its tokens, and it writes what it is asked to."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from meshid.testing import SigningKey, TokenIssuer

ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def issuer_with(algorithm: str, rsa_key: rsa.RSAPrivateKey) -> TokenIssuer:
    return TokenIssuer(
        algorithm=algorithm, private_key=rsa_key if algorithm[:2] in {"RS", "PS"} else None, clock=lambda: 1e9
    )


def checked(issuer: TokenIssuer, token: str, algorithm: str) -> dict[str, Any]:
    """Return the token as another implementation reads it, with the keys that are published."""
    keys = jwt.PyJWKSet.from_json(issuer.jwks().decode())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    return jwt.PyJWS(algorithms=[algorithm]).decode_complete(token, key.key, algorithms=[algorithm])


def parts(token: str) -> list[bytes]:
    return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_implementation_verifies_its_tokens(algorithm: str, rsa_key: rsa.RSAPrivateKey) -> None:
    issuer = issuer_with(algorithm, rsa_key)
    read = checked(issuer, issuer.mint({"sub": "api", "aud": ["x"]}, typ="at+jwt"), algorithm)
    assert read["header"] == {"alg": algorithm, "kid": "key-1", "typ": "at+jwt"}
    iss = "https://issuer.example"
    assert json.loads(read["payload"]) == {
        "iss": iss,
        "iat": 10**9,
        "exp": 10**9 + 300,
        "sub": "api",
        "aud": ["x"],
    }


@pytest.mark.parametrize(("own", "asked"), [("RS256", "PS512"), ("PS256", "RS384")])
def test_it_signs_with_another_algorithm_that_its_key_can_do(
    own: str, asked: str, rsa_key: rsa.RSAPrivateKey
) -> None:
    issuer = issuer_with(own, rsa_key)
    assert checked(issuer, issuer.mint(alg=asked), asked)["header"]["alg"] == asked


@pytest.mark.parametrize("own", ["ES256", "RS256", "EdDSA"])
def test_an_algorithm_that_its_key_cannot_do_is_only_written(own: str, rsa_key: rsa.RSAPrivateKey) -> None:
    issuer = issuer_with(own, rsa_key)
    header, _, signature = parts(issuer.mint(alg="HS256"))
    assert (json.loads(header)["alg"], len(signature)) == ("HS256", 256 if own == "RS256" else 64)


def test_it_writes_what_it_is_asked_to() -> None:
    issuer = TokenIssuer(None)
    token = issuer.mint(b'{"sub":1,"sub":2}', raw_header=b"[]", sign=lambda data: data[:3])
    assert parts(token) == [b"[]", b'{"sub":1,"sub":2}', token[:3].encode()]
    header, payload, _ = parts(issuer.mint({"exp": None, "iat": True}, kid=None, alg=5, crit=["x"]))
    assert json.loads(header) == {"alg": 5, "crit": ["x"]}
    assert json.loads(payload) == {"iat": True}


def test_a_key_is_published_until_it_is_withdrawn() -> None:
    issuer = TokenIssuer(use="jwt-svid")
    first = issuer.keys[0]
    second = issuer.new_key("EdDSA", key_id="spring")
    assert [key["kid"] for key in json.loads(issuer.jwks())["keys"]] == ["key-1", "spring"]
    assert json.loads(parts(issuer.mint())[0])["kid"] == "spring"
    issuer.withdraw(first)
    assert json.loads(issuer.jwks({"kty": "new"})) == {"keys": [second.jwk(), {"kty": "new"}]}
    assert second.jwk()["use"] == "jwt-svid"
    assert json.loads(parts(issuer.mint(key=first))[0])["kid"] == "key-1"


def test_a_key_may_have_no_name_and_no_use(rsa_key: rsa.RSAPrivateKey) -> None:
    key = SigningKey(key_id=None, algorithm="RS256", private_key=rsa_key, use=None)
    assert set(key.jwk()) == {"kty", "alg", "n", "e"}
    assert "private" not in repr(key)


def test_an_unknown_algorithm_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no key signs with 'HS256'; write one of: ES256"):
        TokenIssuer(algorithm="HS256")

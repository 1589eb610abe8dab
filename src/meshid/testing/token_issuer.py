"""An issuer of tokens in memory, for tests: yours and ours.

    okta = TokenIssuer("https://acme.okta.com/oauth2/default")
    good = okta.mint({"aud": "api://payments", "sub": "0oa1", "cid": "0oa1"})
    bad = okta.mint({"aud": "api://payments", "sub": "0oa1", "exp": 0}, typ="logout+jwt")

`okta.jwks()` is what it would publish. Whatever it is asked to write into a token, it signs.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping

import attrs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

# This module has an encoder and a key format of its own, so that a token is never wrong in the way in which
# its verifier is.

_CURVES: dict[str, tuple[str, type[ec.EllipticCurve]]] = {
    "ES256": ("P-256", ec.SECP256R1),
    "ES384": ("P-384", ec.SECP384R1),
    "ES512": ("P-521", ec.SECP521R1),
}
_HASHES: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_LIFETIME = 300

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@attrs.frozen(kw_only=True)
class SigningKey:
    """A key of a `TokenIssuer`.

    Attributes:
        key_id: Its ``kid``; None if it is to have none.
        algorithm: The algorithm that it signs with (RFC 7518 section 3.1), or ``EdDSA`` (RFC 8037).
        private_key: The key, of `cryptography`.
        use: Its ``use``; None leaves it out.
    """

    key_id: str | None
    algorithm: str
    private_key: PrivateKey = attrs.field(repr=False)
    use: str | None = "sig"

    def jwk(self) -> dict[str, str]:
        """Return the public key as it is published (RFC 7517 section 4)."""
        members = {"kid": self.key_id, "alg": self.algorithm, "use": self.use}
        present = {name: value for name, value in members.items() if value is not None}
        return {**_public_members(self.private_key), **present}

    def sign(self, data: bytes, algorithm: str | None = None) -> bytes:
        """Sign *data*.

        Args:
            data: What to sign.
            algorithm: The algorithm, if this kind of key can do it; the key's own otherwise.
        """
        own = self.algorithm
        key = self.private_key
        if isinstance(key, rsa.RSAPrivateKey):
            return _rsa_signature(key, data, algorithm if algorithm in _RSA else own)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return _ec_signature(key, data, algorithm if algorithm in _CURVES else own)
        return key.sign(data)


class TokenIssuer:
    """An issuer of tokens with one key, or several.

    Args:
        issuer: The ``iss`` of its tokens; None for tokens without one, as JWT-SVIDs may be.
        algorithm: The algorithm of its first key: ``ES256``, ``RS256``, ``EdDSA`` and others.
        private_key: Its first key; a new one by default.
        use: The ``use`` of its keys: ``sig``, ``jwt-svid`` for a SPIFFE trust domain, or None.
        clock: Returns the POSIX time in seconds.

    Attributes:
        issuer: The ``iss`` of its tokens.
        keys: The keys that it publishes, the one that it signs with last.

    Raises:
        ValueError: If there is no such algorithm.
    """

    def __init__(
        self,
        issuer: str | None = "https://issuer.example",
        algorithm: str = "ES256",
        *,
        private_key: PrivateKey | None = None,
        use: str | None = "sig",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer
        self.keys: list[SigningKey] = []
        self._use = use
        self._clock = clock
        self._made = 0
        self.new_key(algorithm, private_key=private_key)

    def new_key(
        self,
        algorithm: str = "ES256",
        *,
        key_id: str | None = None,
        private_key: PrivateKey | None = None,
    ) -> SigningKey:
        """Publish a new key, and sign with it from now on; the keys before stay published.

        Args:
            algorithm: Its algorithm.
            key_id: Its ``kid``; a new one by default.
            private_key: The key itself; a new one by default.

        Raises:
            ValueError: If there is no such algorithm.
        """
        self._made += 1
        key = SigningKey(
            key_id=key_id or f"key-{self._made}",
            algorithm=algorithm,
            private_key=private_key or _new_private_key(algorithm),
            use=self._use,
        )
        self.keys.append(key)
        return key

    def withdraw(self, key: SigningKey) -> None:
        """No longer publish a key. `mint` can still sign with it, if it is asked to.

        Args:
            key: One of `keys`.

        Raises:
            ValueError: If it is not published.
        """
        self.keys.remove(key)

    def jwks(self, *more: Mapping[str, object]) -> bytes:
        """Return what it publishes, as a JWK Set (RFC 7517 section 5).

        Args:
            more: Further keys, as they are, after its own.
        """
        return json.dumps({"keys": [*(key.jwk() for key in self.keys), *more]}).encode()

    def mint(
        self,
        claims: Mapping[str, object] | bytes = b"{}",
        *,
        key: SigningKey | None = None,
        raw_header: bytes | None = None,
        sign: Callable[[bytes], bytes] | None = None,
        **header: object,
    ) -> str:
        """Make a token in the compact form (RFC 7515 section 7.1).

        Args:
            claims: Its claims. Without ``iss``, ``iat`` or ``exp`` it gets those of this issuer, of now
                and of in five minutes; None leaves a claim out. Bytes are the payload as they are.
            key: The key that signs it; the last one by default.
            raw_header: The header as it is, in place of one that is made.
            sign: Makes the signature, in place of the key.
            header: Members of the header, besides ``alg`` and ``kid``, or in place of them; None leaves one
                out. ``alg`` decides how the token is signed, if the key can do it.

        Returns:
            The token. What is in it was not looked at.
        """
        signer = key or self.keys[-1]
        members = {"alg": signer.algorithm, "kid": signer.key_id, **header}
        algorithm = members["alg"] if isinstance(members["alg"], str) else None
        head = _json(members) if raw_header is None else raw_header
        payload = claims if isinstance(claims, bytes) else _json({**self._usual_claims(), **claims})
        data = b".".join((base64url(head), base64url(payload)))
        signature = signer.sign(data, algorithm) if sign is None else sign(data)
        return b".".join((data, base64url(signature))).decode()

    def _usual_claims(self) -> dict[str, object]:
        now = int(self._clock())
        return {"iss": self.issuer, "iat": now, "exp": now + _LIFETIME}


def base64url(data: bytes) -> bytes:
    """Return *data* in base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _json(members: Mapping[str, object]) -> bytes:
    present = {name: value for name, value in members.items() if value is not None}
    return json.dumps(present, separators=(",", ":")).encode()


def _new_private_key(algorithm: str) -> PrivateKey:
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm][1]())
    if algorithm in _RSA:
        return rsa.generate_private_key(65537, 2048)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    msg = f"no key signs with {algorithm!r}; write one of: {', '.join([*_CURVES, *sorted(_RSA), 'EdDSA'])}"
    raise ValueError(msg)


def _public_members(key: PrivateKey) -> dict[str, str]:
    """Return the members of a public key (RFC 7518 section 6, RFC 8037 section 2)."""
    if isinstance(key, rsa.RSAPrivateKey):
        modulus = key.public_key().public_numbers()
        return {"kty": "RSA", "n": _integer(modulus.n, key.key_size), "e": _integer(modulus.e, 24)}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        curve = f"P-{key.curve.key_size}"
        x, y = (_integer(each, key.curve.key_size) for each in (point.x, point.y))
        return {"kty": "EC", "crv": curve, "x": x, "y": y}
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key().public_bytes_raw()).decode()}


def _integer(number: int, bits: int) -> str:
    return base64url(number.to_bytes((bits + 7) // 8, "big")).decode()


def _rsa_signature(key: rsa.RSAPrivateKey, data: bytes, algorithm: str) -> bytes:
    digest = _HASHES[algorithm[2:]]()
    if algorithm.startswith("PS"):
        return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    return key.sign(data, padding.PKCS1v15(), digest)


def _ec_signature(key: ec.EllipticCurvePrivateKey, data: bytes, algorithm: str) -> bytes:
    # RFC 7518 section 3.4: R and S, each as long as the curve's order, and not DER.
    size = (key.curve.key_size + 7) // 8
    halves = decode_dss_signature(key.sign(data, ec.ECDSA(_HASHES[algorithm[2:]]())))
    return b"".join(each.to_bytes(size, "big") for each in halves)

"""Keys that tokens are verified with: from the entries of a JWK Set to the keys that count.

One bad entry costs that entry and nothing more (RFC 7517 section 5). What a set costs is bounded
by the number of its entries and their sizes, since somebody else wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from meshid.certificates.jwk import TokenPublicKey, members_of, public_key_of, thumbprint
from meshid.errors import Problem
from meshid.support.quoting import quote

MAX_KEY_ID = 512
"""Characters of a ``kid``; real ones have up to 100, and each decision about a token shows it."""

_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_EC_ALGORITHMS = {256: ("ES256",), 384: ("ES384",), 521: ("ES512",)}


@attrs.frozen(kw_only=True)
class TokenKey:
    """One public key of an issuer of tokens.

    Attributes:
        key_id: Its ``kid``; None if it has none.
        algorithm: The one algorithm that it verifies (RFC 7518 section 3.1, RFC 8037 section 3.1).
        thumbprint: Its thumbprint (RFC 7638, SHA-256, base64url without padding).
        public_key: The key, of `cryptography`.
    """

    key_id: str | None
    algorithm: str
    thumbprint: str
    public_key: TokenPublicKey = attrs.field(eq=False, repr=False)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, object], use: str) -> TokenKey:
        """Read a JSON Web Key (RFC 7517 section 4).

        Args:
            jwk: Its members, as `json.loads` returns them.
            use: The ``use`` that it must have, if it has any.

        Raises:
            ValueError: If it cannot be used.
        """
        if jwk.get("use", use) != use:
            msg = f"use is {_shown(jwk['use'])}, and {use!r} is meant"
            raise ValueError(msg)
        operations = jwk.get("key_ops", ["verify"])
        if not isinstance(operations, list) or "verify" not in operations:
            msg = 'key_ops must be a list with "verify" in it'
            raise ValueError(msg)
        key = public_key_of(jwk)
        return cls(
            key_id=_key_id(jwk), algorithm=_algorithm(jwk, key), thumbprint=thumbprint(key), public_key=key
        )

    def to_jwk(self, use: str) -> dict[str, str]:
        """Return it as a JSON Web Key with this *use*; it has no ``alg`` if that is what its kind means."""
        optional = {"use": use, "kid": self.key_id, "alg": self.algorithm}
        if self.algorithm == algorithms_of(self.public_key)[0]:
            optional["alg"] = None
        present = {name: value for name, value in optional.items() if value is not None}
        return {**present, **members_of(self.public_key)}


def algorithms_of(key: TokenPublicKey) -> tuple[str, ...]:
    """Return the algorithms that a key can be for; the first is meant where nothing is said."""
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA_ALGORITHMS
    return _EC_ALGORITHMS[key.curve.key_size] if isinstance(key, ec.EllipticCurvePublicKey) else ("EdDSA",)


def read_keys(
    entries: Iterable[tuple[str, Mapping[str, object]]], use: str
) -> tuple[tuple[TokenKey, ...], list[Problem]]:
    """Read the entries of a JWK Set.

    Args:
        entries: Each entry with its place, for people.
        use: The ``use`` that they must have, if they have any.

    Returns:
        The keys, each once, and what was skipped.
    """
    keys: dict[TokenKey, None] = {}
    skipped = []
    for where, jwk in entries:
        try:
            keys[TokenKey.from_jwk(jwk, use)] = None
        except ValueError as error:
            skipped.append(Problem(where, str(error)))
    return tuple(keys), skipped


def read_svid_keys(
    entries: Iterable[tuple[str, Mapping[str, object]]], use: str
) -> tuple[tuple[TokenKey, ...], list[Problem]]:
    """Read the keys of a SPIFFE bundle; each must have a ``kid`` of its own (JWT-SVID section 6.1).

    Args:
        entries: Each entry that has this *use*, with its place, for people.
        use: The ``use``.

    Returns:
        The keys, each once, and what was skipped.
    """
    known = list(entries)
    keys, skipped = read_keys([(where, jwk) for where, jwk in known if "kid" in jwk], use)
    nameless = [where for where, jwk in known if "kid" not in jwk]
    skipped += [Problem(where, "it has no kid, and must have one") for where in nameless]
    ambiguous = ambiguous_ids(keys)
    skipped += [
        Problem("keys", f"different keys have the kid {quote(each)}; none of them counts")
        for each in ambiguous
    ]
    return tuple(key for key in keys if key.key_id not in ambiguous), skipped


def ambiguous_ids(keys: Iterable[TokenKey]) -> tuple[str, ...]:
    """Return each ``kid`` that more than one of the *keys* has: it does not say which one signed."""
    seen: dict[str, int] = {}
    for key in keys:
        if key.key_id is not None:
            seen[key.key_id] = seen.get(key.key_id, 0) + 1
    return tuple(key_id for key_id, count in seen.items() if count > 1)


def _key_id(jwk: Mapping[str, object]) -> str | None:
    if "kid" not in jwk:
        return None
    key_id = jwk["kid"]
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID:
        msg = f"kid must be a text of 1 to {MAX_KEY_ID} characters, not {_shown(key_id)}"
        raise ValueError(msg)
    return key_id


def _algorithm(jwk: Mapping[str, object], key: TokenPublicKey) -> str:
    known = algorithms_of(key)
    algorithm = jwk.get("alg", known[0])
    if not isinstance(algorithm, str) or algorithm not in known:
        msg = f"alg is {_shown(algorithm)}, which is not for such a key; for it are: {', '.join(known)}"
        raise ValueError(msg)
    return algorithm


def _shown(value: object) -> str:
    return quote(value, 64) if isinstance(value, str) else f"a {type(value).__name__}"

"""Whether a token is signed with a key, by the algorithms of PyJWT."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from meshid.errors import MissingExtra, Refused
from meshid.reasons import Reason
from meshid.tokens.compact_jws import CompactJws
from meshid.tokens.key_set import TokenKey

if TYPE_CHECKING:
    from jwt import PyJWS

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def check_signature(jws: CompactJws, key: TokenKey) -> None:
    """Check the signature of a token with the one algorithm that the *key* is for (RFC 7515 section 5.2).

    Raises:
        Refused: TOKEN_SIGNATURE; TOKEN_ALGORITHM, if the key is not for its algorithm;
            TOKEN_KEYS_UNAVAILABLE, if PyJWT is not installed.
    """
    try:
        algorithms = require_extra()
    except MissingExtra as missing:
        raise Refused(Reason.TOKEN_KEYS_UNAVAILABLE, str(missing)) from missing
    algorithm = algorithms.get_algorithm_by_name(key.algorithm)
    try:
        prepared = algorithm.prepare_key(key.public_key)
    # PyJWT's and the backend's exceptions have no common base class, and all mean: no.
    except Exception as error:
        msg = f"the key that it names is not for {key.algorithm}"
        raise Refused(Reason.TOKEN_ALGORITHM, msg) from error
    try:
        is_right = algorithm.verify(jws.signing_input, prepared, jws.signature)
    except Exception:  # noqa: BLE001 - as above
        is_right = False
    if not is_right:
        msg = f"its signature is not one of the key that it names, with {key.algorithm}"
        raise Refused(Reason.TOKEN_SIGNATURE, msg)


@cache
def require_extra() -> PyJWS:
    """Return PyJWT's algorithms, without HMAC and ``none``.

    Raises:
        MissingExtra: If it is not installed.
    """
    try:
        # Ours, not the one of the module: there, anybody can register an algorithm.
        from jwt import PyJWS  # noqa: PLC0415 - it is needed only where there are tokens
    except ImportError as error:
        extra = "oidc"
        raise MissingExtra(extra) from error
    return PyJWS(algorithms=_ALGORITHMS)

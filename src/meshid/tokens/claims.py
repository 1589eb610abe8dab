"""The claims of a token that is signed by its issuer: is it for us, now, and of the right tenant?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from meshid.errors import Refused
from meshid.policy.issuer_profiles import PROFILES, pin_path
from meshid.policy.issuers import Issuer
from meshid.reasons import Reason
from meshid.support.quoting import quote, quote_all

LEEWAY = 30
"""Seconds by which an issuer's clock and ours may differ (RFC 7519 section 4.1.4: a few minutes at most)."""

_OTHER_USES = {
    "events": "a logout token or a security event (RFC 8417 section 2.2)",
    "htm": "a DPoP proof (RFC 9449 section 4.2)",
    "at_hash": "an ID token (OpenID Connect Core section 3.1.3.6)",
    "c_hash": "an ID token (OpenID Connect Core section 3.3.2.11)",
    "nonce": "an ID token (OpenID Connect Core section 2)",
}
"""Claims that only tokens for another use have, although their ``typ`` does not say so."""

# Of Amazon Cognito, and of Keycloak.
_OTHER_KINDS = (("token_use", "id"), ("typ", "ID"), ("typ", "Refresh"), ("typ", "Offline"), ("typ", "Logout"))


def check_use(claims: dict[str, Any]) -> None:
    """Check that a token is not for another use than to prove who calls (RFC 8725 section 3.11).

    Raises:
        Refused: TOKEN_TYPE.
    """
    for name, use in _OTHER_USES.items():
        if name in claims:
            msg = f"it has a claim {name!r}: it is {use}"
            raise Refused(Reason.TOKEN_TYPE, msg)
    for name, kind in _OTHER_KINDS:
        if claims.get(name) == kind:
            msg = f"its claim {name!r} is {kind!r}: it is no access token"
            raise Refused(Reason.TOKEN_TYPE, msg)


def check_audience(issuer: Issuer, claims: dict[str, Any]) -> None:
    """Check that the token is for us (RFC 7519 section 4.1.3, JWT-SVID section 3.2).

    Raises:
        Refused: TOKEN_AUDIENCE, or TOKEN_CLAIMS if the claim has another type.
    """
    audience = claims.get("aud")
    values = [audience] if isinstance(audience, str) else audience
    if values is None:
        msg = "it has no 'aud': it is for nobody"
        raise Refused(Reason.TOKEN_AUDIENCE, msg)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        msg = "its 'aud' is neither a text nor an array of texts"
        raise Refused(Reason.TOKEN_CLAIMS, msg)
    if not set(values).intersection(issuer.audience):
        meant = quote_all(values, 3) or "nobody"
        msg = f"it is for {meant}; this is {quote_all(issuer.audience, 3)}"
        raise Refused(Reason.TOKEN_AUDIENCE, msg)


def check_times(issuer: Issuer, claims: dict[str, Any], now: float) -> float:
    """Check that the token is valid now, and not for longer than its issuer may say.

    Returns:
        When it ends, in POSIX seconds.

    Raises:
        Refused: TOKEN_NOT_IN_DATE, or TOKEN_CLAIMS if a claim is missing or has another type.
    """
    end, start = _time(claims, "exp"), _time(claims, "iat")
    if end is None:
        msg = "it has no 'exp': it would be valid for ever"
        raise Refused(Reason.TOKEN_CLAIMS, msg)
    if has_ended(end, now):
        msg = f"it ended {_seconds(now - end)} ago"
        raise Refused(Reason.TOKEN_NOT_IN_DATE, msg)
    for name in ("nbf", "iat"):
        begin = _time(claims, name)
        if begin is not None and begin > now + LEEWAY:
            msg = f"its {name!r} is {_seconds(begin - now)} from now"
            raise Refused(Reason.TOKEN_NOT_IN_DATE, msg)
    if start is not None and end <= start:
        msg = "its 'exp' is not after its 'iat'"
        raise Refused(Reason.TOKEN_NOT_IN_DATE, msg)
    lifetime = end - (now if start is None else start + PROFILES[issuer.profile].dated_back)
    if lifetime > issuer.max_lifetime:
        msg = f"it is valid for {_seconds(lifetime)}; 'max_lifetime' is {issuer.max_lifetime} s"
        raise Refused(Reason.TOKEN_NOT_IN_DATE, msg)
    return end


def has_ended(end: float, now: float) -> bool:
    """Return whether a token that ends at *end* has ended; both in POSIX seconds."""
    return end + LEEWAY <= now


def check_pins(issuer: Issuer, claims: dict[str, Any]) -> None:
    """Check that the token is of the tenant that its issuer is pinned to.

    Raises:
        Refused: TOKEN_CLAIMS.
    """
    for pin in issuer.pins:
        path = pin_path(issuer.profile, pin.claim)
        if path is None:
            msg = f"the issuer is pinned to {quote(pin.claim)}, which {issuer.profile} does not have"
            raise Refused(Reason.TOKEN_CLAIMS, msg)
        if (value := text_claim(claims, path)) != pin.value:
            msg = (
                f"its claim {quote(pin.claim)} is {quote(value)}; the issuer is pinned to {quote(pin.value)}"
            )
            raise Refused(Reason.TOKEN_CLAIMS, msg)


def text_claim(claims: dict[str, Any], path: Sequence[str]) -> str:
    """Return a claim that is a text.

    Args:
        claims: All claims.
        path: The names on the way to it.

    Raises:
        Refused: TOKEN_CLAIMS, if it is missing, empty or of another type. A number is never made a text:
            what is documented as a text and sent as a number is not what is documented.
    """
    value: object = claims
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, str) and value:
        return value
    fault = "missing" if value is None else "empty" if value == "" else "not a text"
    msg = f"its claim {quote('/'.join(path))} is {fault}"
    raise Refused(Reason.TOKEN_CLAIMS, msg)


def optional_text(claims: dict[str, Any], name: str) -> str | None:
    """Return a claim that is a text; None if it is missing.

    Raises:
        Refused: TOKEN_CLAIMS, if it is of another type.
    """
    if name not in claims:
        return None
    value = claims[name]
    if not isinstance(value, str):
        msg = f"its claim {quote(name)} is not a text"
        raise Refused(Reason.TOKEN_CLAIMS, msg)
    return value


def _time(claims: dict[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    # `True` is an `int`; and what is not finite was refused as JSON.
    if type(value) not in {int, float}:
        msg = f"its {name!r} is not a number of seconds (RFC 7519 section 2)"
        raise Refused(Reason.TOKEN_CLAIMS, msg)
    return float(value)


def _seconds(seconds: float) -> str:
    return f"{math.ceil(seconds)} s" if seconds < 10**10 else "centuries"

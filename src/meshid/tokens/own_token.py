"""A token of ours: what can be read of it without the keys of its issuer.

Whoever is given it verifies it; we only look at when it expires, and at what it is bound to.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Self

import attrs

from meshid.tokens.compact_jws import MAX_TOKEN_BYTES

_PART = "[A-Za-z0-9_-]+"
_JWT = re.compile(rf"{_PART}\.({_PART})\.{_PART}")
"""Three parts in base64url (RFC 7515 section 7.1): nothing in it can end a header."""

_YEAR_10000 = 253_402_300_800


@attrs.frozen
class OwnToken:
    """A JWT that we send.

    Attributes:
        text: The token, which is a secret.
        expires_at: Its ``exp``, in POSIX seconds.
        certificate: The thumbprint of the certificate that it is bound to (``x5t#S256``, RFC 8705
            section 3.1); None if it is bound to none.
    """

    text: str = attrs.field(repr=False)
    expires_at: float
    certificate: str | None = None

    @classmethod
    def read(cls, text: str) -> Self | str:
        """Return the token, or what is wrong with it.

        An exception would show the token to whatever reports local variables.
        """
        if len(text) > MAX_TOKEN_BYTES:
            return f"it is longer than {MAX_TOKEN_BYTES} characters"
        match = _JWT.fullmatch(text)
        if match is None:
            return _no_jwt(text)
        claims = _claims(match[1])
        if not isinstance(claims, dict):
            return "its second part is no JSON object in base64url"
        expires_at = claims.get("exp")
        if isinstance(expires_at, bool) or not isinstance(expires_at, (int, float)):
            return "it has no exp, and a token that never expires is accepted nowhere"
        # Written this way so that NaN is rejected.
        if not 0 < expires_at < _YEAR_10000:
            return "its exp is no time in POSIX seconds"
        return cls(text, float(expires_at), _certificate(claims.get("cnf")))


def _no_jwt(text: str) -> str:
    """Say why a text is none."""
    if not text:
        return "it is empty"
    if _JWT.fullmatch(text.strip("\"' \t\r\n").removeprefix("Bearer ")):
        return "it has quotes, white space or 'Bearer ' around the token, and must be the token alone"
    return "it is no signed JWT, which has three parts in base64url with dots between them"


def moment(seconds: float) -> str:
    """Return a time in POSIX seconds, for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _certificate(binding: object) -> str | None:
    thumbprint = binding.get("x5t#S256") if isinstance(binding, dict) else None
    return thumbprint if isinstance(thumbprint, str) else None


def _claims(part: str) -> object:
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None

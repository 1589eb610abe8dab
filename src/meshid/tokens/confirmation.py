"""What a token says that it is bound to: its claim ``cnf`` (RFC 7800 section 3)."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import attrs

from meshid.certificates.jwk import public_key_of, thumbprint
from meshid.errors import Refused
from meshid.reasons import Reason
from meshid.support.quoting import quote_all

_CERTIFICATE = "x5t#S256"
_KNOWN = frozenset({_CERTIFICATE, "jkt", "jwk"})

# 32 octets are 43 characters; the last one has two bits that mean nothing, and they are zero.
_DIGEST = re.compile("[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_MISTAKES = (
    (re.compile("[0-9A-Fa-f]{64}"), "hex"),
    (re.compile("[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}"), "hex with colons"),
    (re.compile("[A-Za-z0-9_-]{43}="), "base64url with padding"),
    (re.compile("[A-Za-z0-9+/]{43}=?"), "base64 with '+' and '/'"),
    (re.compile("[A-Za-z0-9_-]{27}=?"), "SHA-1, not SHA-256"),
)


@attrs.frozen
class Confirmation:
    """What a token is bound to; all of it must be there.

    Attributes:
        certificate: SHA-256 over the DER of a certificate, base64url (RFC 8705 section 3.1); None for none.
        key: The thumbprint of a public key (RFC 7638, SHA-256, base64url); None for none.
    """

    certificate: str | None = None
    key: str | None = None


def read_confirmation(claims: dict[str, Any]) -> Confirmation | None:
    """Read the claim ``cnf``.

    Returns:
        None if there is none.

    Raises:
        Refused: TOKEN_UNBOUND, if there is anything in it that is not known here, or is written in another
            way: to pass over it would take a bound token for one that is not.
    """
    if "cnf" not in claims:
        return None
    members = claims["cnf"]
    if not isinstance(members, dict) or not members:
        _refuse("its claim 'cnf' is not an object with a member")
    if unknown := sorted(members.keys() - _KNOWN):
        _refuse(f"its claim 'cnf' has {quote_all(unknown, 3)}, which cannot be checked here")
    certificate = _digest(members, _CERTIFICATE)
    keys = {key for key in (_digest(members, "jkt"), _key(members)) if key is not None}
    if len(keys) > 1:
        _refuse("its claim 'cnf' names two keys")
    return Confirmation(certificate, next(iter(keys), None))


def _digest(members: dict[str, Any], name: str) -> str | None:
    if name not in members:
        return None
    value = members[name]
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        form = "32 octets in base64url without padding, in the one canonical form"
        _refuse(f"its {name!r} is not {form}{_mistake(value)}")
    return value


def _mistake(value: object) -> str:
    if not isinstance(value, str):
        return "; it is no text"
    return next((f"; it looks like {mistake}" for form, mistake in _MISTAKES if form.fullmatch(value)), "")


def _key(members: dict[str, Any]) -> str | None:
    if "jwk" not in members:
        return None
    jwk = members["jwk"]
    try:
        found, fault = thumbprint(public_key_of(jwk)) if isinstance(jwk, dict) else "", "it is no object"
    except ValueError as error:
        found, fault = "", str(error)
    if not found:
        _refuse(f"its 'jwk' cannot be used: {fault}")
    return found


def _refuse(detail: str) -> NoReturn:
    raise Refused(Reason.TOKEN_UNBOUND, detail)

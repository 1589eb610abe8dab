"""The header of a token: which algorithm and which key it claims, and that it is of the right type.

It is written by whoever made the token, so it chooses nothing: no key in it, and no address of
a key, is ever looked at (RFC 8725 section 3.10).
"""

from __future__ import annotations

from typing import Any

import attrs

from meshid.errors import Refused
from meshid.policy.issuer_profiles import PROFILES
from meshid.policy.issuers import IssuerProfile
from meshid.reasons import Reason
from meshid.support.quoting import quote, quote_all

_SIGNATURES = frozenset(f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512))

_JWT_SVID_MEMBERS = frozenset({"alg", "kid", "typ"})
_JWT_SVID_TYPES = frozenset({None, "JWT", "JOSE"})


@attrs.frozen
class ClaimedKey:
    """The key that a token claims to be signed with.

    Attributes:
        algorithm: The ``alg``, of an asymmetric signature.
        key_id: The ``kid``; None if it has none.
    """

    algorithm: str
    key_id: str | None


def check_header(profile: IssuerProfile, header: dict[str, Any]) -> ClaimedKey:
    """Check the header of a token of this *profile*.

    Raises:
        Refused: TOKEN_MALFORMED, if a member has a wrong type, or may not be there;
            TOKEN_ALGORITHM, if the algorithm is none for asymmetric signatures, or if anything changes
            how the token is to be read; TOKEN_TYPE, if it is a token for another use.
    """
    for name in ("alg", "kid", "typ"):
        if not isinstance(header.get(name, ""), str):
            msg = f"its header has a {name!r} that is not a text"
            raise Refused(Reason.TOKEN_MALFORMED, msg)
    algorithm = _algorithm(profile, header)
    _check_type(profile, header.get("typ"))
    if profile is IssuerProfile.JWT_SVID and (others := sorted(header.keys() - _JWT_SVID_MEMBERS)):
        msg = f"its header has {quote_all(others, 3)}, which a JWT-SVID must not have (JWT-SVID section 2)"
        raise Refused(Reason.TOKEN_MALFORMED, msg)
    return ClaimedKey(algorithm, header.get("kid"))


def _algorithm(profile: IssuerProfile, header: dict[str, Any]) -> str:
    # Each changes what the rest means: RFC 7515 section 4.1.11, RFC 7797, RFC 7516 section 4.1.3.
    if changes := [name for name in ("crit", "b64", "zip") if name in header]:
        msg = f"its header has {quote_all(changes)}, and such tokens are not read here"
        raise Refused(Reason.TOKEN_ALGORITHM, msg)
    algorithm = header.get("alg")
    # JWT-SVID section 2.1 leaves EdDSA out.
    if algorithm in _SIGNATURES or (algorithm == "EdDSA" and profile is not IssuerProfile.JWT_SVID):
        return str(algorithm)
    shown = "no algorithm" if algorithm is None else f"the algorithm {quote(algorithm, 32)}"
    msg = f"its header names {shown}; only asymmetric signatures count, such as RS256 and ES256"
    raise Refused(Reason.TOKEN_ALGORITHM, msg)


def _check_type(profile: IssuerProfile, claimed: str | None) -> None:
    if profile is IssuerProfile.JWT_SVID:
        known = claimed in _JWT_SVID_TYPES
    else:
        # Media types have no case, and the prefix may be left out (RFC 7515 section 4.1.9).
        plain = None if claimed is None else claimed.lower().removeprefix("application/")
        known = plain in PROFILES[profile].types
    if not known:
        msg = f"its header says 'typ': {quote(claimed or '', 64)}, which no token for {profile} has here"
        raise Refused(Reason.TOKEN_TYPE, msg)

"""The bearer token in the ``Authorization`` of a request, and the challenge that answers a bad one.

Nothing is judged here. What is no token, or more than one, is handed on as it was written: it is refused
where tokens are judged, and so on record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from meshid.reasons import Reason

LONGEST_READ = 17 * 1024
"""The most characters of a value that are looked at: more than the longest token that is verified."""

_BEARER = re.compile(r"bearer(?![-!#$%&'*+.^_`|~0-9a-z]) *", re.ASCII | re.IGNORECASE)
"""The scheme, which has no case (RFC 9110 section 11.1), and no longer one that begins like it."""

_ONE_OF_SEVERAL = re.compile(r",[ \t]*bearer(?:[ \t,]|\Z)", re.ASCII | re.IGNORECASE)
"""A Bearer behind another value: headers of one name may be joined (RFC 9110 section 5.3)."""

_ABOUT_TOKENS = frozenset(each for each in Reason if each.name.startswith("TOKEN_"))


def authorization_in(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the value of ``Authorization``, joined if it is there more than once; None if it is not there.

    Args:
        headers: The headers of an ASGI scope.
    """
    found = [value for name, value in headers if name == b"authorization"]
    return b", ".join(found).decode("latin-1") if found else None


def token_in(authorization: str | None) -> str | None:
    """Return the token of a value of ``Authorization`` (RFC 6750 section 2.1).

    Args:
        authorization: The value; several as one, with commas between them.

    Returns:
        What is behind ``Bearer``; if there are other credentials as well, all of it, which is no token. None
        if there is only another scheme.
    """
    if authorization is None:
        return None
    value = authorization[:LONGEST_READ].strip(" \t")
    if scheme := _BEARER.match(value):
        return value[scheme.end() :]
    return value if _ONE_OF_SEVERAL.search(value) else None


def challenge_for(reason: Reason) -> str | None:
    """Return the ``WWW-Authenticate`` of a 401, if what was refused is a token, or that there was none.

    A refused token gets no more than its code, and a missing one not even that (RFC 6750 section 3).
    """
    if reason in _ABOUT_TOKENS:
        return 'Bearer error="invalid_token"'
    return "Bearer" if reason is Reason.NO_TOKEN else None

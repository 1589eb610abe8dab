"""Text to the parts of a signed token: the compact form only (RFC 7515 section 7.1).

Nothing here believes a token: what is read is not verified.
"""

from __future__ import annotations

import binascii
import re
from typing import Any

import attrs

from meshid.certificates.jwk import base64url
from meshid.errors import Refused
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.tokens.token_json import read_object

MAX_TOKEN_BYTES = 16 * 1024
"""Servers accept headers of 8 to 16 KiB; whatever is in a token that is larger costs a stranger nothing."""

_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""What may stand after the word Bearer (RFC 6750 section 2.1)."""

_NOT_IN_BEARER = re.compile(r"[^A-Za-z0-9._~+/=-]")

_PARTS = 3
_STANDARD = bytes.maketrans(b"-_", b"+/")
_OTHERS = b"~=."
_BEFORE_JSON = b"\xef\xbb\xbf\xff\xfe \t\r\n"


@attrs.frozen(repr=False)
class CompactJws:
    """A signed token that has not been verified.

    Attributes:
        header: The members of its header.
        claims: The members of its payload.
        signing_input: What is signed.
        signature: The signature.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def check_bearer(token: str) -> None:
    """Check that a text can be a bearer token of anybody's, at all.

    Raises:
        Refused: TOKEN_MALFORMED, if it is longer than `MAX_TOKEN_BYTES`, or not as in RFC 6750 section 2.1.
    """
    if len(token) > MAX_TOKEN_BYTES:
        msg = f"it has {len(token)} characters; the limit is {MAX_TOKEN_BYTES}"
        raise Refused(Reason.TOKEN_MALFORMED, msg)
    if not _BEARER.fullmatch(token):
        raise Refused(Reason.TOKEN_MALFORMED, _strange(token))


def _strange(token: str) -> str:
    """Say why a text is no bearer token: by a character that is in none, which is no secret."""
    if not token:
        return "it is empty"
    found = _NOT_IN_BEARER.search(token)
    what = f"{quote(found[0])} in it" if found else "'=' before its end"
    return f"it has {what}, as no bearer token has (RFC 6750 section 2.1); send the token alone"


def read_compact(token: str) -> CompactJws:
    """Read the three parts of a bearer token.

    Raises:
        Refused: TOKEN_MALFORMED, if it is not three parts of base64url without padding, of which the first
            two are unambiguous JSON objects.
    """
    if (count := token.count(".") + 1) != _PARTS:
        msg = f"it has {count} parts with dots between them, not three"
        raise Refused(Reason.TOKEN_MALFORMED, msg)
    header, payload, signature = token.split(".")
    return CompactJws(
        header=read_object("header", _decoded("header", header)),
        claims=read_object("payload", _decoded("payload", payload)),
        signing_input=token[: -len(signature) - 1].encode(),
        signature=_decoded("signature", signature),
    )


def objects_that_may_be_in(token: str) -> list[bytes]:
    """Return what a careless reader could take for JSON objects in a bearer token that is not read here.

    Such a reader passes over padding, dots, a byte order mark or the zero octets of UTF-16.
    """
    parts = token.split(".")
    if len(parts) == 1:
        return []
    # Where there are more or fewer parts, the payload may have dots in it, or something after it.
    payload = parts[1] if len(parts) == _PARTS else "".join(parts[1:])
    found = [_lenient(part).translate(None, b"\0").lstrip(_BEFORE_JSON) for part in (parts[0], payload)]
    # Without a header nobody takes it for a token.
    return [part for part in found if part.startswith(b"{")] if found[0].startswith(b"{") else []


def _decoded(part: str, text: str) -> bytes:
    data = _lenient(text)
    # The decoder passes over what it does not know, and there are up to 16 ways to write the last bits.
    if base64url(data) != text:
        msg = f"its {part} is not base64url without padding, in the one canonical form (RFC 7515 section 2)"
        raise Refused(Reason.TOKEN_MALFORMED, msg)
    return data


def _lenient(text: str) -> bytes:
    data = text.encode().translate(_STANDARD, _OTHERS)
    # One character more than a multiple of four is no octet.
    if len(data) % 4 == 1:
        data = data[:-1]
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4))

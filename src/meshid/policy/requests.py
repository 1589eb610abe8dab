"""A request as the policy judges it: the path that is judged is the path that is served.

A path is decoded once, and whatever two servers could read differently is refused, not
repaired: dot segments, empty segments, backslashes, parameters, double encodings, octets above
0x7F, which some servers take for Latin-1, and a method in lower case, which some take for another.

An encoded "/", ";", "#" or "%" is refused as well, unless whoever knows the server asks for it: then it
stays encoded in the judged path, as part of its segment. So each judged path still stands for one path.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Collection
from functools import cache
from typing import Final, Literal, Self, TypeAlias
from urllib.parse import quote as percent_encoded
from urllib.parse import unquote_to_bytes

import attrs

from meshid.errors import InvalidRequest
from meshid.support.quoting import quote
from meshid.support.types import check_type

MAX_PATH_LENGTH = 8192
"""RFC 9112 section 3 recommends supporting request lines of at least 8000 octets."""

MAX_PATH_SEGMENTS = 256
"""Ten times as many as in any path that a person wrote; each costs a step in every pattern with a `**`."""

METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}", re.ASCII)
"""A token (RFC 9110 section 9.1); no registered method is half as long."""

_AS_SENT = re.compile(r"[!-~]*")
"""Of visible ASCII: what any URI is written in (RFC 3986 section 2), and a little more."""

_PLAIN = re.compile(r"(?:/[\w~-][\w.~-]*){1,255}/?", re.ASCII)
"""A path with nothing encoded and nothing that could be a fault: unreserved characters (RFC 3986 section
2.3), and no segment that is empty or begins with a dot. Others are read step by step, which takes time."""

_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
KEEPABLE: Final = ("%2F", "%3B", "%23", "%25")
"""What may stay percent-encoded in a judged path, by asking: "/", ";", "#" and "%"."""

KEPT = re.compile("|".join(KEEPABLE))
"""What stays so, in a path that is judged: always in upper case (RFC 3986 section 2.1)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED_SLASH = re.compile(r"%2f", re.IGNORECASE)
_SLASHES = re.compile("/|%2F")


class Follows(enum.Enum):
    """In place of a request, at the handshake: a promise to call `Mesh.check` for each request."""

    REQUEST_FOLLOWS = "request follows"


REQUEST_FOLLOWS: Final = Follows.REQUEST_FOLLOWS
"""In place of a request, at the handshake: the promise that each request will be asked about."""


def _checked_method(method: str) -> str:
    check_type(type(method), str, "a method", "a str")
    if not METHOD.fullmatch(method):
        msg = f"{quote(method)} is not a method (RFC 9110 section 9.1)"
        raise InvalidRequest(msg)
    if method != method.upper():
        msg = f"the method {quote(method)} has a lower-case letter, and some servers write it in upper case"
        raise InvalidRequest(msg)
    return method


def as_sent(decoded: str) -> str:
    """Percent-encode what no target has as it is sent; what is encoded already stays as it is."""
    return percent_encoded(decoded, safe=_VISIBLE)


def without_query(target: str) -> str:
    """Cut the query off: it is not judged, and may hold secrets, which belong in no log."""
    return target.partition("?")[0]


def checked_keep(keep: Collection[str]) -> tuple[str, ...]:
    """Return what stays encoded, if it can.

    Raises:
        TypeError: If it is no list of strings.
        ValueError: If one of them is not in `KEEPABLE`.
    """
    if isinstance(keep, str) or not isinstance(keep, Collection):
        msg = f"what stays encoded must be a list such as ['%2F'], not {type(keep).__name__}"
        raise TypeError(msg)
    for each in keep:
        if each not in KEEPABLE:
            msg = f"{quote(str(each))} cannot stay encoded; write some of {', '.join(KEEPABLE)}"
            raise ValueError(msg)
    return tuple(each for each in KEEPABLE if each in keep)


@cache
def _kept(keep: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"({'|'.join(keep)})", re.IGNORECASE)


def _normalised(target: str, keep: Collection[str]) -> str:
    check_type(type(target), str, "a target", "a str")
    encoded = without_query(target)
    if len(encoded) > MAX_PATH_LENGTH:
        msg = f"the path has {len(encoded)} characters, and at most {MAX_PATH_LENGTH} are read"
        raise InvalidRequest(msg)
    if _PLAIN.fullmatch(encoded):
        return encoded
    path, decoded = _decoded_but(checked_keep(keep), encoded) if keep else (_decoded(encoded),) * 2
    fault = _character_fault(decoded) or _segment_fault(path) or _form_fault(encoded, path)
    if fault:
        msg = f"the path {quote(encoded)} {fault}"
        raise InvalidRequest(msg)
    return path


@attrs.frozen(cache_hash=True)
class Request:
    """An HTTP request.

    Attributes:
        method: The method, exactly as it was sent.
        path: The path of the request's target, given as it was sent (RFC 9112 section 3.2.1)
            and kept normalised: without the query, percent-decoded once.
        keep: What stays percent-encoded in the path, as part of its segment: some of ``%2F``, ``%3B``,
            ``%23`` and ``%25``. Only for a server that is known to read it so.

    Raises:
        TypeError: If the method or the path is not a string, or *keep* is no list.
        ValueError: If something else is to stay encoded.
        InvalidRequest: If the method is not a token (RFC 9110 section 9.1) or has a lower-case
            letter, or if the path cannot be normalised safely (RFC 3986 section 6.2.2).
    """

    method: str = attrs.field(converter=_checked_method)
    path: str
    keep: Collection[str] = attrs.field(default=(), eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "path", _normalised(self.path, self.keep))

    @classmethod
    def parse(cls, text: str, keep: Collection[str] = ()) -> Self:
        """Read ``METHOD /path``.

        Args:
            text: The method and the path, with one space between them.
            keep: What stays percent-encoded in the path.

        Raises:
            InvalidRequest, ValueError: As the class does.
        """
        check_type(type(text), str, "a request", "a str")
        method, _, target = text.partition(" ")
        return cls(method, target, keep)

    def __str__(self) -> str:
        """Return ``METHOD /path``, percent-encoded, so that it can be asked again."""
        return f"{self.method} {as_sent(self.path)}"


RequestLike: TypeAlias = Request | str | Literal[Follows.REQUEST_FOLLOWS] | None
"""A request, its text, the promise that requests follow, or None without a request."""


def read_request(text: str, keep: Collection[str]) -> Request | str:
    """Return the request that a text says; or the text: it is refused where it is decided, so on record.

    Args:
        text: ``METHOD /path``, as it was sent.
        keep: As for `Request`.
    """
    try:
        return Request.parse(text, keep)
    except InvalidRequest:
        return text


def _decoded_but(keep: tuple[str, ...], path: str) -> tuple[str, str]:
    """Return a path decoded, with what stays encoded and without it."""
    parts = _kept(keep).split(path)
    # Every second one is an escape.
    parts[::2] = map(_decoded, parts[::2])
    parts[1::2] = map(str.upper, parts[1::2])
    return "".join(parts), "".join(parts[::2])


def _decoded(path: str) -> str:
    if _BROKEN_ESCAPE.search(path):
        msg = f"the path {quote(path)} has a '%' without two hexadecimal digits"
        raise InvalidRequest(msg)
    if _ENCODED_SLASH.search(path):
        msg = f"the path {quote(path)} has an encoded '/', which servers read differently"
        raise InvalidRequest(msg)
    try:
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeError as error:
        msg = f"the path {quote(path)} is not UTF-8"
        raise InvalidRequest(msg) from error


def _character_fault(decoded: str) -> str | None:
    """Say what is wrong with a character of what was decoded, without what stays encoded."""
    if not decoded.startswith("/"):
        return "does not begin with '/'"
    for character, fault in (
        ("\\", "has a backslash, which some servers read as '/'"),
        ("%", "is encoded twice"),
        ("#", "has a fragment"),
        ("?", "has an encoded '?', which some servers read as the beginning of a query"),
        (";", "has a parameter, which some servers cut off"),
    ):
        if character in decoded:
            return fault
    return "has a control character" if _CONTROL.search(decoded) else None


def _segment_fault(path: str) -> str | None:
    # Whoever is wrong about the server is at least not led out of a directory.
    segments = path[1:].split("/")
    if {".", ".."} & set(_SLASHES.split(path) if "%" in path else segments):
        return "has a dot segment"
    return "has an empty segment" if "" in segments[:-1] else None


def _form_fault(encoded: str, path: str) -> str | None:
    """Say what is wrong with the form that the path was sent in, or with its size."""
    if not _AS_SENT.fullmatch(encoded):
        return "has a character that must be sent percent-encoded"
    # File systems and databases compose it, and find another name than the one that was judged.
    if not unicodedata.is_normalized("NFC", path):
        return "is not in Unicode's normal form C"
    if (segments := path.count("/")) > MAX_PATH_SEGMENTS:
        return f"has {segments} segments, and at most {MAX_PATH_SEGMENTS} are read"
    return None

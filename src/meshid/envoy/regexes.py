"""Patterns as regular expressions of RE2, which match the whole of a text.

Envoy matches the path as it was sent; patterns are about the decoded one. A path that `CHARACTERS`
matches is a row of tokens: a character that stands for itself, or ``%`` with two digits. Each way to
split it into tokens is the same, so a text that is written token by token, each in every form that
decodes to its character, matches exactly the paths that decode to the text.
"""

from __future__ import annotations

from collections.abc import Callable

from meshid.names.pattern import Pattern, glob_of
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.requests import MAX_PATH_LENGTH, MAX_PATH_SEGMENTS, as_sent

_SPECIAL = frozenset(r"\.+*?()|[]{}^$")
_MAX_REPETITIONS = 1000
"""RE2 refuses more."""

ANY_SEGMENTS = "(?:/[^/]*)*"
_ANY_CHARACTERS = "[^/]*"
_ANY_TOKENS = "(?:[^/%]|%..)*"

# -- What is safe ---------------------------------------------------------------

CHARACTERS = (
    r"/(?:[!\"$&-:<->@-\[\]-~]"
    r"|%(?:2[0-246-9A-Ea-e]|3[0-9AC-Eac-e]|[46][0-9A-Fa-f]|5[0-9ABD-Fabd-f]|7[0-9A-Ea-e]))*"
)
"""Paths of nothing but visible ASCII and what decodes to it or to a space, without ``% ? # ; \\``.

A ``/`` is one only as it is.
"""

EMPTY_SEGMENT = ".*//.*"
DOT_SEGMENT = r".*/(?:\.|%2[Ee]){1,2}(?:/.*)?"

MANY_SEGMENTS = f"(?:[^/]*/){{{MAX_PATH_SEGMENTS + 1}}}.*"
"""Paths of more segments than `Request` reads."""

_PARTS, _REST = divmod(MAX_PATH_LENGTH + 1, _MAX_REPETITIONS)

LONG_PATH = f".{{{_MAX_REPETITIONS}}}" * _PARTS + f".{{{_REST},}}"
"""Paths that are longer than those that `Request` reads."""

_NAME_SEGMENT = r"(?:\.?[a-zA-Z0-9_-]|\.\.[a-zA-Z0-9._-])[a-zA-Z0-9._-]*"

ONE_NAME = (
    r"(?:By=[^;,]*;)*Hash=[0-9a-f]{64};"
    r'(?:Cert="[^"]*";)?(?:Chain="[^"]*";)?(?:Subject="(?:[^"\\]|\\.)*";)?'
    rf"URI=spiffe://[a-z0-9._-]+(?:/{_NAME_SEGMENT})+"
    r"(?:;DNS=[a-zA-Z0-9.*_-]*)*"
)
"""Envoy's header X-Forwarded-Client-Cert for a certificate with one URI SAN, the SPIFFE ID of a workload.

Envoy quotes neither URI nor DNS: whatever a name holds that could be mistaken for another element is refused.
"""

# -- What a policy says -----------------------------------------------------------


def peer_regex(pattern: PeerPattern, own: tuple[TrustDomain, ...]) -> str:
    """Return the SPIFFE IDs that a pattern of peers matches.

    Args:
        pattern: The pattern.
        own: The trust domains that a pattern without one means.
    """
    domains = [literal(domain.name) for domain in pattern.domains(own)]
    domain = domains[0] if len(domains) == 1 else f"(?:{'|'.join(domains)})"
    return f"spiffe://{domain}{_segments(pattern.path, literal, _ANY_CHARACTERS)}"


def path_regex(pattern: Pattern) -> str:
    """Return which of the paths of `CHARACTERS`, as they are sent, a pattern of paths matches."""
    return _segments(pattern, _sent, _ANY_TOKENS)


def _segments(pattern: Pattern, literal: Callable[[str], str], anything: str) -> str:
    return "".join(
        ANY_SEGMENTS if segment == "**" else f"/{anything.join(map(literal, glob_of(segment)))}"
        for segment in pattern.segments
    )


def literal(text: str) -> str:
    """Return *text* itself."""
    return "".join(f"\\{each}" if each in _SPECIAL else each for each in text)


def _sent(text: str) -> str:
    return "".join(map(_token, text.encode()))


def _token(octet: int) -> str:
    digits = "".join(each if each.isdigit() else f"[{each}{each.lower()}]" for each in f"{octet:02X}")
    itself = chr(octet)
    return f"(?:{literal(itself)}|%{digits})" if as_sent(itself) == itself else f"%{digits}"

"""Distinguished names: when two of them are one (RFC 5280 section 7.1).

An authority may write its name in a revocation list otherwise than in its certificates: in
another case, with other white space, or as another type of string. Path validation compares
names byte by byte, as the backend does; here nothing is trusted because two names are one.
"""

from __future__ import annotations

import unicodedata
from typing import TypeAlias

from cryptography import x509

NameKey: TypeAlias = tuple[frozenset[tuple[str, str | bytes]], ...]
"""Equal for two names that are one, and hashable."""


def name_key(name: x509.Name) -> NameKey:
    """Return a value that is equal for two names that are one (RFC 5280 section 7.1).

    Case, white space around and between words, compatibility forms of characters and the type of
    the strings do not count (RFC 4518 section 2); the order of the relative names does.
    """
    return tuple(
        frozenset((each.oid.dotted_string, _prepared(each.value)) for each in relative)
        for relative in name.rdns
    )


def _prepared(value: str | bytes) -> str | bytes:
    if isinstance(value, bytes):
        return value
    # Folding the case can make a text that is not normal any more, so it is done between two normal forms.
    folded = unicodedata.normalize("NFKC", value).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())

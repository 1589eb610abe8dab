"""From the entries of a bundle to its authorities: one bad entry costs that entry and nothing more.

What a bundle costs is bounded here, since a partner wrote it: the load by the number of
entries and their size, and each handshake by the number of authorities that look the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from cryptography import x509

from meshid.certificates.authority import authority_fault
from meshid.certificates.leaf import Profile
from meshid.certificates.links import links_of, own_key_id
from meshid.certificates.namesakes import MAX_NAMESAKES, weight_of
from meshid.certificates.pem import MAX_BLOCKS
from meshid.certificates.reading import read_certificate
from meshid.certificates.rehearsal import Rehearsal
from meshid.errors import Problem
from meshid.support.quoting import quote

MAX_ENTRIES = MAX_BLOCKS
"""Entries of one bundle, in any format. OpenSSL takes 0.2 ms to load an authority."""

MAX_AUTHORITY_BYTES = 16 * 1024
"""Real authorities have 0.5 to 8 kB, and each peer that is remembered keeps its own."""

MAX_SKIPPED = 20
"""Findings about one bundle that are kept; each is an alarm."""

_Entry = TypeVar("_Entry")


def sort_authorities(
    entries: Iterable[tuple[str, _Entry]], decode: Callable[[_Entry], bytes], profile: Profile
) -> tuple[tuple[x509.Certificate, ...], tuple[Problem, ...]]:
    """Read the entries of a bundle, at most `MAX_ENTRIES`.

    Args:
        entries: Each entry with its place, for people.
        decode: Returns the DER certificate in an entry; raises `ValueError` if there is none.
        profile: How these authorities write names.

    Returns:
        The authorities, each once, and what was skipped: the first findings and how many more there are.
    """
    rehearsal = Rehearsal()
    usable: dict[x509.Certificate, None] = {}
    namesakes: Counter[tuple[bytes, bytes | None]] = Counter()
    skipped = []
    for where, entry in entries:
        try:
            authority = _read_authority(decode(entry), profile, rehearsal)
            if authority not in usable:
                _count(authority, namesakes)
        except ValueError as error:
            skipped.append(Problem(where, str(error)))
        else:
            usable[authority] = None
    return tuple(usable), first_of(skipped)


def _read_authority(der: bytes, profile: Profile, rehearsal: Rehearsal) -> x509.Certificate:
    if len(der) > MAX_AUTHORITY_BYTES:
        msg = f"it has {len(der)} bytes, and at most {MAX_AUTHORITY_BYTES} are read of one authority"
        raise ValueError(msg)
    authority = read_certificate(der)
    if fault := authority_fault(authority, profile) or rehearsal.fault(authority):
        subject = quote(authority.subject.rfc4514_string()) if authority.subject.rdns else "it"
        msg = f"{subject} can never verify a peer: {fault}"
        raise ValueError(msg)
    return authority


def _count(authority: x509.Certificate, namesakes: Counter[tuple[bytes, bytes | None]]) -> None:
    """Count the authorities that look the same to a certificate below them (RFC 5280 section 4.2.1.1).

    Raises:
        ValueError: If there are too many that look like this one.
    """
    look = links_of(authority).subject, own_key_id(authority)
    weight = weight_of(authority)
    if namesakes[look] + weight > MAX_NAMESAKES:
        subject = quote(authority.subject.rfc4514_string())
        msg = (
            f"there are more than {MAX_NAMESAKES // weight} authorities called {subject} that no key"
            f" identifier tells apart; give each its own"
        )
        raise ValueError(msg)
    namesakes[look] += weight


def first_of(skipped: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return the first findings, and how many more there are."""
    more = len(skipped) - MAX_SKIPPED
    return tuple(skipped) if more <= 0 else (*skipped[:MAX_SKIPPED], Problem("", f"{more} more entries"))

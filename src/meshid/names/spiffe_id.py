"""SPIFFE IDs and trust domains: strict text to value.

A text is either a value or an exception, once, here; after that nobody checks
again. SPIFFE-ID section 2 allows ASCII only, and the lower-case form only: there
is no folding of case, of Unicode or of percent-encoding, because each of these
lets two different texts be one name (U+212A KELVIN SIGN lower-cases to "k").
"""

from __future__ import annotations

import re
from typing import Self

import attrs

from meshid.errors import InvalidSpiffeId
from meshid.support.quoting import quote

MAX_ID_BYTES = 2048
"""SPIFFE-ID section 2.3: an implementation must support that many, and should not make more."""

MAX_TRUST_DOMAIN_BYTES = 255
"""SPIFFE-ID section 2.3."""

_SCHEME = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+", re.ASCII)
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+", re.ASCII)


def _check_trust_domain(_: object, __: object, name: str) -> None:
    if not name:
        msg = "a trust domain name is missing"
        raise InvalidSpiffeId(msg)
    if len(name) > MAX_TRUST_DOMAIN_BYTES:
        msg = f"trust domain {quote(name)} is longer than {MAX_TRUST_DOMAIN_BYTES} bytes"
        raise InvalidSpiffeId(msg)
    if not _TRUST_DOMAIN.fullmatch(name):
        msg = f"trust domain {quote(name)} may hold only a-z, 0-9, '.', '-' and '_'"
        raise InvalidSpiffeId(msg)


def _check_path(_: object, __: object, path: str) -> None:
    if not path:
        return
    root, *segments = path.split("/")
    if root:
        msg = f"path {quote(path)} must begin with '/'"
        raise InvalidSpiffeId(msg)
    for segment in segments:
        if not segment:
            msg = f"path {quote(path)} has an empty segment or ends in '/'"
            raise InvalidSpiffeId(msg)
        if segment in {".", ".."}:
            msg = f"path {quote(path)} has a segment {segment!r}"
            raise InvalidSpiffeId(msg)
        if not _SEGMENT.fullmatch(segment):
            msg = f"path segment {quote(segment)} may hold only a-z, A-Z, 0-9, '.', '-' and '_'"
            raise InvalidSpiffeId(msg)


@attrs.frozen(order=True, cache_hash=True)
class TrustDomain:
    """The name of a trust domain (SPIFFE-ID section 2.1), such as ``prod.example.org``.

    Attributes:
        name: 1 to 255 characters of a-z, 0-9, ``.``, ``-`` and ``_``.

    Raises:
        InvalidSpiffeId: If *name* is not a trust domain name.
    """

    name: str = attrs.field(validator=[attrs.validators.instance_of(str), _check_trust_domain])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a trust domain name, or the SPIFFE ID of a trust domain (``spiffe://name``).

        Raises:
            InvalidSpiffeId: If *text* is neither.
        """
        return cls(text.removeprefix(_SCHEME))

    def __str__(self) -> str:
        """Return the name."""
        return self.name


def _check_length(identity: SpiffeId, _: object, path: str) -> None:
    if len(_SCHEME) + len(identity.trust_domain.name) + len(path) > MAX_ID_BYTES:
        msg = f"the SPIFFE ID with path {quote(path)} is longer than {MAX_ID_BYTES} bytes"
        raise InvalidSpiffeId(msg)


@attrs.frozen(order=True, cache_hash=True)
class SpiffeId:
    """The name of a workload, or of a trust domain itself (SPIFFE-ID section 2).

    Attributes:
        trust_domain: The trust domain.
        path: Empty, or ``/`` and segments of a-z, A-Z, 0-9, ``.``, ``-`` and ``_``.

    Raises:
        InvalidSpiffeId: If *path* breaks these rules, or the whole is longer than 2048 bytes.
    """

    trust_domain: TrustDomain = attrs.field(validator=attrs.validators.instance_of(TrustDomain))
    path: str = attrs.field(
        default="",
        validator=[attrs.validators.instance_of(str), _check_length, _check_path],
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``spiffe://trust-domain/path``.

        Raises:
            InvalidSpiffeId: If *text* is not a SPIFFE ID; upper case in the
                scheme or the trust domain, a port, user info, query, fragment
                and percent-encoding are refused, not normalised.
        """
        if not text.startswith(_SCHEME):
            msg = f"{quote(text)} does not begin with {_SCHEME!r}"
            raise InvalidSpiffeId(msg)
        name, slash, path = text.removeprefix(_SCHEME).partition("/")
        return cls(TrustDomain(name), slash + path)

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's segments; none for the name of a trust domain."""
        return tuple(self.path.split("/")[1:])

    def __str__(self) -> str:
        """Return ``spiffe://trust-domain/path``."""
        return f"{_SCHEME}{self.trust_domain.name}{self.path}"

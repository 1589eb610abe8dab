"""SPIFFE IDs and trust domains: strict text to value.

A text is either a value or an exception, once, here; after that nobody checks
again. SPIFFE-ID section 2 allows only ASCII, and only the lower-case form. Nothing
folds case, Unicode or percent-encoding, because each of these makes one name of two
different texts (U+212A KELVIN SIGN lower-cases to "k").
"""

from __future__ import annotations

import re
from typing import Self

import attrs

from meshid.errors import InvalidSpiffeId
from meshid.support.quoting import quote
from meshid.support.types import check_type

MAX_ID_BYTES = 2048
"""SPIFFE-ID section 2.3: implementations must support IDs of this length, and should not make longer ones."""

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
        TypeError: If *name* is not a string.
        InvalidSpiffeId: If it is not the name of a trust domain.
    """

    name: str = attrs.field(validator=[attrs.validators.instance_of(str), _check_trust_domain])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the name of a trust domain.

        Args:
            text: The name, or the SPIFFE ID of the trust domain (``spiffe://name``).

        Raises:
            TypeError: If *text* is not a string.
            InvalidSpiffeId: If *text* is neither.
        """
        check_type(type(text), str, "a trust domain", "a str")
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
        trust_domain: The trust domain that the name is in.
        path: Empty for the trust domain itself; else segments of a-z, A-Z, 0-9, ``.``, ``-`` and
            ``_``, each after a ``/``.

    Raises:
        TypeError: If *trust_domain* is not a `TrustDomain`, or *path* is not a string.
        InvalidSpiffeId: If *path* breaks these rules, or the whole is longer than 2048 bytes.
    """

    trust_domain: TrustDomain = attrs.field(validator=attrs.validators.instance_of(TrustDomain))
    path: str = attrs.field(
        default="",
        validator=[attrs.validators.instance_of(str), _check_length, _check_path],
    )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a SPIFFE ID.

        Args:
            text: ``spiffe://trust-domain/path``.

        Raises:
            TypeError: If *text* is not a string.
            InvalidSpiffeId: If *text* is not a SPIFFE ID. Upper case in the scheme or
                the trust domain, a port, user info, a query, a fragment and
                percent-encoding are refused, not normalised.
        """
        check_type(type(text), str, "a SPIFFE ID", "a str")
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

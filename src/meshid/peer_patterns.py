"""Patterns of peers: a trust domain and a pattern of the path in it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

import attrs

from meshid.errors import InvalidPattern, InvalidSpiffeId
from meshid.names import SpiffeId, TrustDomain
from meshid.patterns import Pattern
from meshid.text import quote

_SCHEME = "spiffe://"


@attrs.frozen
class PeerPattern:
    """Which peers are meant.

    Attributes:
        trust_domain: The trust domain, exactly; None means "one's own", and who that
            is, is said when it is asked.
        path: The pattern of the path.
    """

    trust_domain: TrustDomain | None
    path: Pattern

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``/path/pattern`` or ``spiffe://trust-domain/path/pattern``.

        Raises:
            InvalidPattern: If *text* is neither, or could never match a SPIFFE ID.
        """
        if not text.startswith(_SCHEME):
            if not text.startswith("/"):
                msg = f"{quote(text)} must begin with '/' or {_SCHEME!r}: write {quote('/' + text)}?"
                raise InvalidPattern(msg)
            return cls(None, _path(text))
        domain, slash, path = text.removeprefix(_SCHEME).partition("/")
        if not slash:
            msg = f"{quote(text)} names no workload: write {quote(text + '/**')} for all of them"
            raise InvalidPattern(msg)
        try:
            return cls(TrustDomain(domain), _path(slash + path))
        except InvalidSpiffeId as error:
            msg = f"{quote(text)}: {error}; a trust domain has no wildcards"
            raise InvalidPattern(msg) from error

    def matches(self, spiffe_id: SpiffeId, own: Collection[TrustDomain]) -> bool:
        """Tell whether *spiffe_id* is meant, when one's *own* trust domains are these."""
        domain = spiffe_id.trust_domain
        in_domain = domain in own if self.trust_domain is None else domain == self.trust_domain
        return in_domain and self.path.matches(spiffe_id.path)

    def __str__(self) -> str:
        """Return the pattern as it is written."""
        return (
            self.path.text if self.trust_domain is None else f"{_SCHEME}{self.trust_domain}{self.path.text}"
        )


def _path(text: str) -> Pattern:
    pattern = Pattern.parse(text)
    for segment in pattern.segments:
        literal = segment.replace("*", "x")
        try:
            SpiffeId(TrustDomain("any"), f"/{literal}")
        except InvalidSpiffeId as error:
            msg = f"{quote(text)} can never match a SPIFFE ID: {error}"
            raise InvalidPattern(msg) from error
    return pattern

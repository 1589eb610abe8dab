"""Patterns of peers: a trust domain and a pattern of the path in it."""

from __future__ import annotations

import re
from typing import Self

import attrs

from meshid.errors import InvalidPattern, InvalidSpiffeId
from meshid.names.pattern import MAX_PATTERN_LENGTH, Pattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.support.quoting import MAX_QUOTED, quote
from meshid.support.types import check_type

_SCHEME = "spiffe://"
_SEGMENT = re.compile(r"[a-zA-Z0-9._*-]+")
_PATH = re.compile(rf"(?:/{_SEGMENT.pattern})+")

PEER = re.compile(rf"(?:{_SCHEME}[a-z0-9._-]{{1,255}})?{_PATH.pattern}")
"""The form of every pattern of peers; a text of this form can still break a rule of `Pattern`."""

_ANY_SCHEME = re.compile(r"spiffe(?::/{0,2}|//)", re.IGNORECASE)


@attrs.frozen
class PeerPattern:
    """A set of peers: a trust domain, and a pattern of the path in it.

    Attributes:
        trust_domain: The trust domain, exactly; None means the own trust domains of the
            service that asks.
        path: The pattern of the path.
    """

    trust_domain: TrustDomain | None
    path: Pattern

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Args:
            text: ``/path/pattern`` or ``spiffe://trust-domain/path/pattern``.

        Raises:
            TypeError: If *text* is not a string.
            InvalidPattern: If *text* is neither, or could never match a SPIFFE ID.
        """
        check_type(type(text), str, "a pattern of peers", "a str")
        if text.startswith("/"):
            return cls(None, _path(text, text))
        if not text.startswith(_SCHEME):
            msg = f"{quote(text)} must begin with '/' or {_SCHEME!r}{_hint(text)}"
            raise InvalidPattern(msg)
        domain, slash, path = text.removeprefix(_SCHEME).partition("/")
        try:
            trust_domain = TrustDomain(domain)
        except InvalidSpiffeId as error:
            wild = "; a trust domain has no wildcards, name each" if "*" in domain else ""
            msg = f"{quote(text)}: {error}{wild}{_hint(text)}"
            raise InvalidPattern(msg) from error
        if not path:
            msg = f"{quote(text)} names no workload{_hint(text)}"
            raise InvalidPattern(msg)
        return cls(trust_domain, _path(slash + path, text))

    def domains(self, own: tuple[TrustDomain, ...]) -> tuple[TrustDomain, ...]:
        """Return the trust domains that are meant.

        Args:
            own: The trust domains of the service that asks: what a pattern without one means.
        """
        return own if self.trust_domain is None else (self.trust_domain,)

    def matches(self, spiffe_id: SpiffeId, own: tuple[TrustDomain, ...]) -> bool:
        """Return whether *spiffe_id* is meant, exactly and case-sensitively.

        Args:
            spiffe_id: The name of a peer.
            own: The trust domains of the service that asks: what a pattern without one means.
        """
        return spiffe_id.trust_domain in self.domains(own) and self.path.matches(spiffe_id.path)

    def __str__(self) -> str:
        """Return the pattern as it is written."""
        domain = "" if self.trust_domain is None else f"{_SCHEME}{self.trust_domain}"
        return f"{domain}{self.path}"


def _path(path: str, text: str) -> Pattern:
    pattern = Pattern.parse(path)
    if not _PATH.fullmatch(path):
        msg = f"{quote(text)} can never match a SPIFFE ID: {_why_never(pattern)}{_hint(text)}"
        raise InvalidPattern(msg)
    return pattern


def _why_never(pattern: Pattern) -> str:
    wrong = next(segment for segment in pattern.segments if not _SEGMENT.fullmatch(segment))
    if not wrong:
        return "it ends in '/'"
    return f"segment {quote(wrong)} may hold only a-z, A-Z, 0-9, '.', '-', '_' and wildcards '*'"


def _hint(text: str) -> str:
    """Say what to write, if that is clear."""
    meant = _meant(text)
    everyone = " for all of them" if meant and meant[0].endswith("/**") and "*" not in text else ""
    return f": write {' or '.join(map(quote, meant))}{everyone}" if meant else ""


def _meant(text: str) -> list[str]:
    text = text.strip()
    scheme = _ANY_SCHEME.match(text)
    if not text or len(text) > MAX_PATTERN_LENGTH or ("://" in text and not scheme):
        return []
    domain, _, rest = text[scheme.end() :].partition("/") if scheme else ("", "", text)
    segments = list(filter(None, rest.split("/"))) or (["**"] if domain or not scheme else [])
    path = "/" + "/".join(segments)
    guesses = [f"{_SCHEME}{domain.lower()}{path}" if domain else path]
    # The principals of Istio begin with a trust domain, without a scheme.
    if not scheme and not text.startswith("/") and "." in segments[0]:
        guesses.append(f"{_SCHEME}{rest}")
    return [each for each in guesses if _is_right(each)]


def _is_right(text: str) -> bool:
    """Tell whether *text* is a pattern of peers, and one that a message shows whole."""
    if not PEER.fullmatch(text) or len(text) > MAX_QUOTED:
        return False
    domain, slash, path = text.removeprefix(_SCHEME).partition("/")
    try:
        if domain:
            TrustDomain(domain)
        Pattern.parse(slash + path)
    except (InvalidPattern, InvalidSpiffeId):
        return False
    return True

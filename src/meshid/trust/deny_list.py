"""The deny list: what the operator revokes at once, without any authority."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshid.certificates.distinguished_name import NameKey, name_key, read_name
from meshid.certificates.reading import fingerprints
from meshid.errors import InvalidPattern, InvalidRevocations
from meshid.names.pattern_index import PatternIndex
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.support.quoting import quote, quote_all
from meshid.trust.bundles import TrustBundle

MAX_SHOWN = 20
"""Entries that deny nobody that are told one by one."""

_MAX_COMPARED = 100
"""Entries about one peer that are looked at for the one to tell."""

_MAX_NAMES = 4
"""Names that a text about such an entry offers."""

_SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


def _pattern(value: PeerPattern | SpiffeId | str | None) -> PeerPattern | None:
    if value is None or isinstance(value, PeerPattern):
        return value
    text = str(value)
    try:
        pattern = PeerPattern.parse(text)
    except InvalidPattern as error:
        msg = f"deny list: {error}"
        raise InvalidRevocations(msg) from error
    if pattern.trust_domain is None:
        msg = f"deny list: {quote(text)} has no trust domain; write spiffe://trust-domain{text}"
        raise InvalidRevocations(msg)
    return pattern


def _name(value: x509.Name | str | None) -> x509.Name | None:
    if value is None or isinstance(value, x509.Name):
        return value
    try:
        return read_name(value)
    except ValueError as error:
        msg = (
            f"deny list: issuer {quote(value)} is not a distinguished name, such as 'CN=root,O=Example':"
            f" {error}"
        )
        raise InvalidRevocations(msg) from error


def _check_hash(_: Denial, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None and not _SHA256_HEX.fullmatch(value):
        msg = f"deny list: {attribute.name} {quote(value)} is not a SHA-256 in 64 lower-case hex digits"
        raise InvalidRevocations(msg)


def _check_until(_: Denial, __: object, value: datetime | None) -> None:
    if value is not None and value.tzinfo is None:
        msg = f"deny list: until {value} has no offset from UTC; write {value.isoformat()}Z"
        raise InvalidRevocations(msg)


@attrs.frozen(kw_only=True)
class Denial:
    """One entry of a deny list: a peer, a certificate, a key, or an issuer with a serial number.

    A certificate and a key may be those of a leaf or of an authority; with an authority,
    every certificate below it is denied.

    Attributes:
        peer: A SPIFFE ID, or a pattern of them.
        certificate: SHA-256 over the certificate in DER, in lower-case hex (`Peer.fingerprint`).
        key: SHA-256 over the public key in DER (SubjectPublicKeyInfo, RFC 5280 section 4.1.2.7).
        issuer: The issuer of a certificate, as RFC 4514 writes it or as `openssl` prints it, in
            either order: a name and the same one backwards are both meant. Names are compared as in
            RFC 5280 section 7.1.
        serial: Its serial number; required with *issuer*, and only then.
        reason: Why, for people; it is in the refusal's detail.
        until: When the entry ends, with an offset from UTC; None if it does not end.

    Raises:
        InvalidRevocations: If it does not name exactly one of these, or names one that is not valid.
    """

    peer: PeerPattern | None = attrs.field(default=None, converter=_pattern)
    certificate: str | None = attrs.field(default=None, validator=_check_hash)
    key: str | None = attrs.field(default=None, validator=_check_hash)
    issuer: x509.Name | None = attrs.field(default=None, converter=_name)
    serial: int | None = None
    reason: str = ""
    until: datetime | None = attrs.field(default=None, validator=_check_until)

    def __attrs_post_init__(self) -> None:
        if (self.issuer is None) is not (self.serial is None):
            msg = "deny list: an issuer and a serial number go together; write both"
            raise InvalidRevocations(msg)
        named = [each for each in (self.peer, self.certificate, self.key, self.issuer) if each is not None]
        if len(named) != 1:
            msg = "deny list: an entry names exactly one of peer, certificate, key, or issuer with serial"
            raise InvalidRevocations(msg)

    @classmethod
    def of(cls, entry: Denial | SpiffeId | str) -> Denial:
        """Return the entry for a SPIFFE ID, a pattern, or the SHA-256 of a certificate.

        Args:
            entry: The text; a `Denial` is returned as it is.

        Returns:
            The entry.

        Raises:
            InvalidRevocations: If it is none of these.
        """
        if isinstance(entry, Denial):
            return entry
        text = str(entry)
        if _SHA256_HEX.fullmatch(text):
            return cls(certificate=text)
        if not text.startswith("spiffe://"):
            msg = (
                f"deny list: {quote(text)} is neither spiffe://trust-domain/pattern nor a lower-case SHA-256"
            )
            raise InvalidRevocations(msg)
        return cls(peer=text)

    def __str__(self) -> str:
        why = f" ({quote(self.reason)})" if self.reason else ""
        if self.issuer is not None:
            return f"serial number {self.serial:x} of {quote(self.issuer.rfc4514_string())}{why}"
        kind = "certificate " if self.certificate else "key " if self.key else ""
        return f"{kind}{self.certificate or self.key or self.peer}{why}"


class DenyList:
    """The entries, indexed by what they name: the cost of a look-up does not depend on how many there are.

    Args:
        entries: The entries, in any order.
    """

    def __init__(self, entries: Iterable[Denial]) -> None:
        self._by_name: dict[object, list[Denial]] = {}
        self._patterns: dict[TrustDomain | None, PatternIndex[list[Denial]]] = {}
        self._by_domain: dict[TrustDomain | None, list[Denial]] = {}
        self._by_issuer: dict[NameKey, list[Denial]] = {}
        self._has_keys = False
        self._seen: set[NameKey] = set()
        self._last_unmatched: tuple[Mapping[TrustDomain, TrustBundle], int, tuple[str, ...]] | None = None
        for each in entries:
            self._file(each)

    def entry_for(
        self, spiffe_id: SpiffeId, path: tuple[x509.Certificate, ...], now: datetime
    ) -> Denial | None:
        """Return an entry in force that names the peer or a certificate of its path; None without one."""
        in_force = (each for each in self._about(spiffe_id, path) if each.until is None or now < each.until)
        # One is enough to refuse; which one is told should not depend on the order of the entries.
        return min(islice(in_force, _MAX_COMPARED), key=str, default=None)

    def unmatched(self, bundles: Mapping[TrustDomain, TrustBundle]) -> tuple[str, ...]:
        """Return a text for each entry that can match nothing that is known: it may be a typing error.

        An issuer is known if an authority or a certificate that was verified names it. Whether a
        certificate or a key is known cannot be told from its SHA-256.

        Args:
            bundles: The bundles of all trust domains.

        Returns:
            At most `MAX_SHOWN` texts, and one that says how many more there are.
        """
        last = self._last_unmatched
        if last is None or last[0] is not bundles or last[1] != len(self._seen):
            last = bundles, len(self._seen), _first_of(self._find_unmatched(bundles))
            self._last_unmatched = last
        return last[2]

    def _file(self, entry: Denial) -> None:
        if entry.peer is not None:
            domain = entry.peer.trust_domain
            index = self._patterns.setdefault(domain, PatternIndex())
            index.setdefault(entry.peer.path, list).append(entry)
            self._by_domain.setdefault(domain, []).append(entry)
        elif entry.issuer is not None:
            key = name_key(entry.issuer)
            self._by_issuer.setdefault(key, []).append(entry)
            # A text does not tell in which order it is, and no authority has another's name backwards.
            for order in {key, key[::-1]}:
                self._by_name.setdefault((order, entry.serial), []).append(entry)
        else:
            self._by_name.setdefault(entry.certificate or entry.key, []).append(entry)
            self._has_keys |= entry.key is not None

    def _about(self, spiffe_id: SpiffeId, path: tuple[x509.Certificate, ...]) -> Iterator[Denial]:
        for certificate in path:
            for name in self._names(certificate):
                yield from self._by_name.get(name, ())
        index = self._patterns.get(spiffe_id.trust_domain)
        for some in index.matching(spiffe_id.path) if index else ():
            yield from some

    def _names(self, certificate: x509.Certificate) -> Iterator[object]:
        yield from fingerprints(certificate)
        if self._by_issuer:
            issuer = name_key(certificate.issuer)
            self._seen.update({issuer, issuer[::-1]}.intersection(self._by_issuer))
            yield issuer, certificate.serial_number
        if self._has_keys:
            yield _key_hash(certificate)

    def _find_unmatched(self, bundles: Mapping[TrustDomain, TrustBundle]) -> Iterator[tuple[Denial, str]]:
        issuers = dict.fromkeys(
            name
            for bundle in bundles.values()
            for each in bundle.authorities
            for name in (each.subject, each.issuer)
        )
        known = self._seen.union(map(name_key, issuers))
        names = quote_all([each.rfc4514_string() for each in issuers], _MAX_NAMES) or "none"
        for key, entries in self._by_issuer.items():
            if known.isdisjoint((key, key[::-1])):
                yield from ((each, f"no issuer of that name is known; known are {names}") for each in entries)
        domains = ", ".join(sorted(map(str, bundles))[:_MAX_NAMES]) or "none"
        for domain, entries in self._by_domain.items():
            if domain not in bundles:
                yield from (
                    (each, f"no bundle of {domain} is loaded; loaded are {domains}") for each in entries
                )


def _first_of(found: Iterable[tuple[Denial, str]]) -> tuple[str, ...]:
    entries = list(found)
    texts = [f"{entry} denies nobody: {why}" for entry, why in entries[:MAX_SHOWN]]
    hidden = len(entries) - len(texts)
    return (*texts, f"and {hidden} more entries") if hidden else tuple(texts)


def _key_hash(certificate: x509.Certificate) -> str:
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(key).hexdigest()

"""The deny list: what the operator revokes at once, without any authority."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from datetime import datetime

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshid.certificates.reading import fingerprints
from meshid.errors import InvalidPattern, InvalidRevocations
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId
from meshid.support.quoting import quote

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
        return x509.Name.from_rfc4514_string(value)
    except ValueError as error:
        msg = f"deny list: issuer {quote(value)} is not a distinguished name, such as 'CN=root,O=Example'"
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
        issuer: The issuer of a certificate, as in RFC 4514.
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
    """The entries, indexed by what they name.

    Args:
        entries: The entries, in any order.
    """

    def __init__(self, entries: Collection[Denial]) -> None:
        self._by_name: dict[object, list[Denial]] = {}
        self._peers = [each for each in entries if each.peer is not None]
        for each in entries:
            self._by_name.setdefault(each.certificate or each.key or (each.issuer, each.serial), []).append(
                each
            )
        self._has_keys = any(each.key for each in entries)

    def entry_for(
        self, spiffe_id: SpiffeId, path: tuple[x509.Certificate, ...], now: datetime
    ) -> Denial | None:
        """Return an entry in force that names the peer or a certificate of its path; None without one."""
        in_force = (each for each in self._about(spiffe_id, path) if each.until is None or now < each.until)
        return min(in_force, key=str, default=None)

    def _about(self, spiffe_id: SpiffeId, path: tuple[x509.Certificate, ...]) -> Iterator[Denial]:
        for certificate in path:
            for name in self._names(certificate):
                yield from self._by_name.get(name, ())
        for each in self._peers:
            if each.peer is not None and each.peer.matches(spiffe_id, own=()):
                yield each

    def _names(self, certificate: x509.Certificate) -> Iterator[object]:
        yield from fingerprints(certificate)
        yield certificate.issuer, certificate.serial_number
        if self._has_keys:
            yield _key_hash(certificate)


def _key_hash(certificate: x509.Certificate) -> str:
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(key).hexdigest()

"""What was taken back: certificate revocation lists and a deny list.

Both only ever take away. A list speaks for the issuer that signed it and for
nobody else; the deny list is the operator's own word and needs no signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise

import attrs
from cryptography import x509

from meshid.certificates import fingerprints, pem_blocks
from meshid.errors import InvalidPattern, InvalidRevocations, rejected
from meshid.names import SpiffeId
from meshid.peer_patterns import PeerPattern
from meshid.profiles import extension
from meshid.reasons import Reason
from meshid.sieve import Sieve
from meshid.text import quote

_MAX_SIGNERS = 64
"""Issuers of one name that a list remembers; a name has one key, or two while it is renewed."""

_SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@attrs.frozen
class RevocationList:
    """One certificate revocation list, indexed (RFC 5280 section 5).

    Looking a serial number up in the list itself takes 9 ms in one with 100 000 entries.
    """

    crl: x509.CertificateRevocationList = attrs.field(hash=False)
    serials: frozenset[int] = attrs.field(repr=lambda it: f"<{len(it)}>", eq=False)

    # Which issuers were seen to have signed this list, and which not: a check of 100 000 entries takes 0.1 s.
    _signers: Sieve[x509.Certificate, bool] = attrs.field(
        init=False, eq=False, repr=False, factory=lambda: Sieve(_MAX_SIGNERS)
    )

    def is_from(self, issuer: x509.Certificate) -> bool:
        """Tell whether *issuer* signed this list and may do so (RFC 5280 section 6.3.3 (f), (g))."""
        if self.crl.issuer != issuer.subject:
            return False
        signed = self._signers.get(issuer)
        if signed is None:
            signed = _is_signed(self.crl, issuer)
            self._signers.put(issuer, signed)
        return signed


def _read_lists(crls: Iterable[bytes]) -> tuple[RevocationList, ...]:
    return tuple(
        _read_list(number, crl) for number, data in enumerate(crls, 1) for crl in _ders(number, data)
    )


def _read_deny(entries: Iterable[str | SpiffeId]) -> frozenset[PeerPattern | str]:
    return frozenset(_read_entry(str(entry)) for entry in entries)


@attrs.frozen(kw_only=True)
class Revocations:
    """Everything that was taken back.

    Attributes:
        crls: Revocation lists, given as PEM or DER bytes. A list counts for certificates
            whose issuer signed it; an issuer without a list has revoked nothing.
        deny: Given as SPIFFE IDs or patterns of them (``spiffe://prod.example.org/ns/ci/**``),
            and as SHA-256 fingerprints of certificates, in lower-case hex (`Peer.fingerprint`);
            a denied authority takes everything below it with it.

    Raises:
        InvalidRevocations: If a list cannot be read, covers only a part of what its issuer
            issued (RFC 5280 sections 5.2.4 and 5.2.5), or a deny entry is neither.
    """

    crls: tuple[RevocationList, ...] = attrs.field(default=(), converter=_read_lists)
    deny: frozenset[PeerPattern | str] = attrs.field(default=(), converter=_read_deny)

    def check(
        self, spiffe_id: SpiffeId, path: tuple[x509.Certificate, ...], now: datetime
    ) -> datetime | None:
        """Check that nothing of a verified path was taken back.

        Args:
            spiffe_id: The verified name.
            path: The certificates from the leaf to the anchor, both included.
            now: The instant of the verification.

        Returns:
            When the first of the consulted lists is due for its next update; None if no list was.

        Raises:
            PeerRejected: If the name or a certificate is denied or revoked, or if a list
                that counts is not in date (RFC 5280 section 6.3.3 (a)).
        """
        self._check_deny(spiffe_id, path)
        due = [
            _check_list(each, certificate, now)
            for certificate, issuer in pairwise(path)
            for each in self.crls
            if each.is_from(issuer)
        ]
        return min((date for date in due if date), default=None)

    def _check_deny(self, spiffe_id: SpiffeId, path: tuple[x509.Certificate, ...]) -> None:
        if not self.deny:
            return
        denied = frozenset().union(*map(fingerprints, path)) & self.deny
        if denied:
            raise rejected(Reason.DENY_LISTED, f"the deny list has certificate {min(denied)}")
        for entry in self.deny:
            if isinstance(entry, PeerPattern) and entry.matches(spiffe_id, own=()):
                raise rejected(Reason.DENY_LISTED, f"the deny list has {entry}")


def _is_signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    usage = extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        return False
    # The backend has verified with this key, so it is of a kind that it can verify with.
    return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]


def _check_list(each: RevocationList, certificate: x509.Certificate, now: datetime) -> datetime | None:
    issuer = quote(each.crl.issuer.rfc4514_string())
    due = each.crl.next_update_utc
    if now < each.crl.last_update_utc or (due is not None and now > due):
        msg = f"the list of {issuer} is valid from {each.crl.last_update_utc} to {due}"
        raise rejected(Reason.CRL_NOT_IN_DATE, msg)
    if certificate.serial_number in each.serials:
        msg = f"{issuer} revoked the certificate with serial number {certificate.serial_number:x}"
        raise rejected(Reason.REVOKED, msg)
    return due


def _ders(number: int, data: bytes) -> list[x509.CertificateRevocationList]:
    try:
        if b"-----BEGIN " not in data:
            return [x509.load_der_x509_crl(data)]
        blocks = pem_blocks(data)
        wrong = [label for label, _ in blocks if label != "X509 CRL"]
        if wrong:
            msg = f"a PEM block {quote(wrong[0])} does not belong here"
            raise ValueError(msg)
        return [x509.load_pem_x509_crl(block) for _, block in blocks]
    # The backend's exceptions have no common base here, either (see `read_certificate`).
    except Exception as error:
        msg = f"revocation list {number}: {quote(str(error))}"
        raise InvalidRevocations(msg) from error


def _read_list(number: int, crl: x509.CertificateRevocationList) -> RevocationList:
    try:
        # An issuing distribution point or a delta indicator, both critical, make a list partial.
        partial = [each.oid for each in crl.extensions if each.critical]
        serials = frozenset(entry.serial_number for entry in crl)
        # Parsed when it is first looked at, which must not be in a verification.
        _ = crl.issuer
    except Exception as error:
        msg = f"revocation list {number}: {quote(str(error))}"
        raise InvalidRevocations(msg) from error
    if partial:
        msg = (
            f"revocation list {number} has the critical extension {partial[0].dotted_string}:"
            f" only complete lists of one issuer can be used"
        )
        raise InvalidRevocations(msg)
    return RevocationList(crl, serials)


def _read_entry(text: str) -> PeerPattern | str:
    if _SHA256_HEX.fullmatch(text):
        return text
    if not text.startswith("spiffe://"):
        msg = f"deny list: {quote(text)} is neither spiffe://trust-domain/pattern nor a lower-case SHA-256"
        raise InvalidRevocations(msg)
    try:
        return PeerPattern.parse(text)
    except InvalidPattern as error:
        msg = f"deny list: {error}"
        raise InvalidRevocations(msg) from error

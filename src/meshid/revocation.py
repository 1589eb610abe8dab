"""What was taken back: certificate revocation lists and a deny list.

Both only ever take away. A list speaks for the issuer that signed it and for
nobody else; the deny list is the operator's own word and needs no signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar

import attrs
from cryptography import x509

from meshid.certificates import pem_blocks
from meshid.denials import Denial, DenyList
from meshid.errors import InvalidRevocations, rejected
from meshid.names import SpiffeId
from meshid.profiles import extension
from meshid.reasons import Reason
from meshid.sieve import Sieve
from meshid.text import quote

_E = TypeVar("_E", bound=x509.ExtensionType)

_MAX_SIGNERS = 64
"""Issuers of one name that a list remembers; a name has one key, or two while it is renewed."""


@attrs.frozen
class RevocationList:
    """One certificate revocation list, indexed (RFC 5280 section 5).

    Looking a serial number up in the list itself takes 9 ms in one with 100 000 entries.

    Attributes:
        crl: The list.
        serials: The serial numbers in it.
        number: Its number (section 5.2.3), if it has one.
        key_id: Which of its issuer's keys signed it (section 5.2.1), if it tells.
    """

    crl: x509.CertificateRevocationList = attrs.field(hash=False)
    serials: frozenset[int] = attrs.field(repr=lambda it: f"<{len(it)}>", eq=False)
    number: int | None = attrs.field(eq=False)
    key_id: bytes | None = attrs.field(eq=False, repr=False)

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

    def known_signers(self) -> list[x509.Certificate]:
        """Return the issuers that were seen to have signed this list."""
        return [issuer for issuer, signed in self._signers.items() if signed]

    def is_older_than(self, other: RevocationList) -> bool:
        """Tell whether *other* is a later list of the same issuer (RFC 5280 section 5.2.3)."""
        if self.crl.issuer != other.crl.issuer or self.key_id != other.key_id:
            return False
        if self.number is not None and other.number is not None:
            return self.number < other.number
        return self.crl.last_update_utc < other.crl.last_update_utc


def _read_lists(crls: Iterable[RevocationList | bytes]) -> tuple[RevocationList, ...]:
    return tuple(
        each
        for number, data in enumerate(crls, 1)
        for each in ((data,) if isinstance(data, RevocationList) else _lists_in(number, data))
    )


def _lists_in(number: int, data: bytes) -> Iterator[RevocationList]:
    return (_read_list(number, crl) for crl in _ders(number, data))


def _read_deny(entries: Iterable[Denial | SpiffeId | str]) -> frozenset[Denial]:
    return frozenset(map(Denial.of, entries))


def _check_grace(_: Revocations, __: object, value: float) -> None:
    if not value >= 0:
        msg = f"the grace of revocation lists is {value}; it is a number of seconds, 0 or more"
        raise InvalidRevocations(msg)


@attrs.frozen(kw_only=True)
class Revocations:
    """Everything that was taken back.

    Attributes:
        crls: Revocation lists, given as PEM or DER bytes, or read before. A list counts for certificates
            whose issuer signed it; an issuer without a list has revoked nothing.
        deny: Given as `Denial`; or short, as SPIFFE IDs or patterns of them
            (``spiffe://prod.example.org/ns/ci/**``) and as SHA-256 fingerprints of
            certificates, in lower-case hex (`Peer.fingerprint`).
        grace: How many seconds a list still counts as in date when its next update is
            overdue; `math.inf` for ever. Until then it takes back what it takes back; after
            that, whoever it is about is refused.

    Raises:
        InvalidRevocations: If a list cannot be read, covers only a part of what its issuer
            issued (RFC 5280 sections 5.2.4 and 5.2.5), or a deny entry cannot be.
    """

    crls: tuple[RevocationList, ...] = attrs.field(default=(), converter=_read_lists)
    deny: frozenset[Denial] = attrs.field(default=(), converter=_read_deny)
    grace: float = attrs.field(default=0.0, validator=_check_grace)
    _deny_list: DenyList = attrs.field(init=False, eq=False, repr=False)

    @_deny_list.default
    def _filed(self) -> DenyList:
        return DenyList(self.deny)

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
        self._check_deny(spiffe_id, path, now)
        due = [
            _check_list(each, certificate, now, self.grace)
            for certificate, issuer in pairwise(path)
            for each in self.crls
            if each.is_from(issuer)
        ]
        return min((date for date in due if date), default=None)

    def recognise(self, issuers: Iterable[x509.Certificate]) -> None:
        """Find out which of the *issuers* signed which list, before a handshake has to wait for it."""
        for issuer in issuers:
            for each in self.crls:
                each.is_from(issuer)

    def check_follows(self, before: Revocations) -> None:
        """Check that no list is older than the one *before*: that would give back what was taken.

        Raises:
            InvalidRevocations: If one is.
        """
        for each in self.crls:
            for known in before.crls:
                if each.is_older_than(known):
                    issuer = quote(each.crl.issuer.rfc4514_string())
                    msg = (
                        f"the revocation list of {issuer} is {_age(each)}, and one {_age(known)} is in force"
                    )
                    raise InvalidRevocations(msg)

    def _check_deny(self, spiffe_id: SpiffeId, path: tuple[x509.Certificate, ...], now: datetime) -> None:
        if self.deny and (entry := self._deny_list.entry_for(spiffe_id, path, now)):
            raise rejected(Reason.DENY_LISTED, f"the deny list has {entry}")


def _age(each: RevocationList) -> str:
    number = "" if each.number is None else f"number {each.number} "
    return f"{number}of {each.crl.last_update_utc}"


def _is_signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    usage = extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        return False
    # The backend has verified with this key, so it is of a kind that it can verify with.
    return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]


def _check_list(
    each: RevocationList, certificate: x509.Certificate, now: datetime, grace: float
) -> datetime | None:
    issuer = quote(each.crl.issuer.rfc4514_string())
    due = _end(each.crl.next_update_utc, grace)
    if now < each.crl.last_update_utc or (due is not None and now > due):
        msg = f"the list of {issuer} is valid from {each.crl.last_update_utc} to {due}"
        raise rejected(Reason.CRL_NOT_IN_DATE, msg)
    if certificate.serial_number in each.serials:
        msg = f"{issuer} revoked the certificate with serial number {certificate.serial_number:x}"
        raise rejected(Reason.REVOKED, msg)
    return due


def _end(due: datetime | None, grace: float) -> datetime | None:
    try:
        return due and due + timedelta(seconds=grace)
    except OverflowError:
        return None


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
        # Parsed when they are first looked at, which must not be in a verification.
        _ = crl.issuer
        counted = _value_of(crl, x509.CRLNumber)
        signer = _value_of(crl, x509.AuthorityKeyIdentifier)
    except Exception as error:
        msg = f"revocation list {number}: {quote(str(error))}"
        raise InvalidRevocations(msg) from error
    if partial:
        msg = (
            f"revocation list {number} has the critical extension {partial[0].dotted_string}:"
            f" only complete lists of one issuer can be used"
        )
        raise InvalidRevocations(msg)
    return RevocationList(
        crl, serials, counted.crl_number if counted else None, signer.key_identifier if signer else None
    )


def _value_of(crl: x509.CertificateRevocationList, kind: type[_E]) -> _E | None:
    try:
        return crl.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None

"""What is revoked: certificate revocation lists (CRLs) and the deny list.

Both can only refuse. A CRL counts only for certificates of the issuer that signed it;
the deny list is the operator's own and needs no signature.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

import attrs
from cryptography import x509

from meshid.errors import InvalidRevocations, Refused
from meshid.names.spiffe_id import SpiffeId
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.trust.crl import RevocationList, read_lists
from meshid.trust.deny_list import Denial, DenyList


def _read_lists(crls: Iterable[RevocationList | bytes]) -> tuple[RevocationList, ...]:
    return tuple(
        each
        for number, data in enumerate(crls, 1)
        for each in ((data,) if isinstance(data, RevocationList) else read_lists(number, data))
    )


def _read_deny(entries: Iterable[Denial | SpiffeId | str]) -> frozenset[Denial]:
    return frozenset(map(Denial.of, entries))


def _check_grace(_: Revocations, __: object, value: float) -> None:
    if not value >= 0:
        msg = f"the grace of revocation lists is {value}; write a number of seconds, 0 or more"
        raise InvalidRevocations(msg)


@attrs.frozen(kw_only=True)
class Revocations:
    """Everything that is revoked.

    Attributes:
        crls: Revocation lists, given as PEM or DER bytes or as `RevocationList`. A list counts
            for certificates whose issuer signed it; an issuer without a list has revoked nothing.
        deny: Entries of the deny list, given as `Denial`; or as SPIFFE IDs or patterns of them
            (``spiffe://prod.example.org/ns/ci/**``) and as SHA-256 fingerprints of
            certificates in lower-case hex (`Peer.fingerprint`).
        grace: How many seconds a list still counts when its next update is overdue; `math.inf`
            for ever. After that, every certificate of its issuer is refused.

    Raises:
        InvalidRevocations: If a list cannot be read or covers only a part of what its issuer
            issued (RFC 5280 sections 5.2.4 and 5.2.5), if a deny entry is not valid, or if
            *grace* is not a number of seconds, 0 or more.
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
        """Check that nothing in a verified path is revoked.

        Args:
            spiffe_id: The verified name.
            path: The certificates from the leaf to the anchor, both included.
            now: The instant of the verification.

        Returns:
            When the first of the lists that count is due for its next update; None without such a list.

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

    def find_signers(self, issuers: Iterable[x509.Certificate]) -> None:
        """Find out which of the *issuers* signed which list, so that no handshake waits for it.

        Args:
            issuers: Certificates that may have signed a list.
        """
        for issuer in issuers:
            for each in self.crls:
                each.is_from(issuer)

    def check_follows(self, before: Revocations) -> None:
        """Check that no list is older than the one in force, which would undo a revocation.

        Args:
            before: The revocations in force.

        Raises:
            InvalidRevocations: If a list is older.
        """
        for each in self.crls:
            for known in before.crls:
                if each.is_older_than(known):
                    issuer = quote(each.crl.issuer.rfc4514_string())
                    msg = (
                        f"the revocation list of {issuer} is {_age(each)}, older than the one in force,"
                        f" {_age(known)}"
                    )
                    raise InvalidRevocations(msg)

    def _check_deny(self, spiffe_id: SpiffeId, path: tuple[x509.Certificate, ...], now: datetime) -> None:
        if self.deny and (entry := self._deny_list.entry_for(spiffe_id, path, now)):
            raise Refused(Reason.DENY_LISTED, f"the deny list has {entry}")


def _age(each: RevocationList) -> str:
    number = "" if each.number is None else f"number {each.number} "
    return f"{number}of {each.crl.last_update_utc}"


def _check_list(
    each: RevocationList, certificate: x509.Certificate, now: datetime, grace: float
) -> datetime | None:
    issuer = quote(each.crl.issuer.rfc4514_string())
    due = _end(each.crl.next_update_utc, grace)
    if now < each.crl.last_update_utc or (due is not None and now > due):
        msg = f"the list of {issuer} is valid from {each.crl.last_update_utc} to {due}"
        raise Refused(Reason.CRL_NOT_IN_DATE, msg)
    if certificate.serial_number in each.serials:
        msg = f"{issuer} revoked the certificate with serial number {certificate.serial_number:x}"
        raise Refused(Reason.REVOKED, msg)
    return due


def _end(due: datetime | None, grace: float) -> datetime | None:
    try:
        return due and due + timedelta(seconds=grace)
    except OverflowError:
        return None

"""What is revoked: certificate revocation lists (CRLs) and the deny list.

Both can only refuse. A CRL counts only for certificates of the issuer that signed it;
the deny list is the operator's own and needs no signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import pairwise

import attrs
from cryptography import x509

from meshid.certificates.distinguished_name import NameKey, name_key
from meshid.errors import InvalidRevocations, Refused
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.reasons import Reason
from meshid.trust.bundles import TrustBundle
from meshid.trust.crl import RevocationList, Undetermined, read_lists, shown
from meshid.trust.deny_list import Denial, DenyList
from meshid.trust.succession import lists_after, newer_in, rollback, undetermined_after


def _read_lists(crls: Iterable[RevocationList | bytes]) -> tuple[RevocationList, ...]:
    return tuple(
        each
        for number, data in enumerate(crls, 1)
        for each in ((data,) if isinstance(data, RevocationList) else read_lists(number, data))
    )


def _read_deny(entries: Iterable[Denial | SpiffeId | str]) -> frozenset[Denial]:
    return frozenset(map(Denial.of, entries))


def _as_tuple(undetermined: Iterable[Undetermined]) -> tuple[Undetermined, ...]:
    return tuple(undetermined)


def _check_grace(_: Revocations, __: object, value: float) -> None:
    if not value >= 0:
        msg = f"the grace of revocation lists is {value}; write a number of seconds, 0 or more"
        raise InvalidRevocations(msg)


@attrs.frozen(kw_only=True)
class Revocations:
    """Everything that is revoked.

    Attributes:
        crls: Revocation lists, given as PEM or DER bytes or as `RevocationList`. A list counts
            for certificates of the issuer that signed it, by name (RFC 5280 section 7.1) and
            trust domain; an issuer without a list has revoked nothing.
        deny: Entries of the deny list, given as `Denial`; or as SPIFFE IDs or patterns of them
            (``spiffe://prod.example.org/ns/ci/**``) and as SHA-256 fingerprints of
            certificates in lower-case hex (`Peer.fingerprint`).
        grace: How many seconds a list still counts when its next update is overdue; `math.inf`
            for ever. After that, every certificate of its issuer is refused.
        undetermined: Lists that are there and cannot be used; every certificate of their
            issuer is refused.

    Raises:
        InvalidRevocations: If a list cannot be read or covers only a part of what its issuer
            revoked (RFC 5280 sections 5.2.4 and 5.2.5), if a deny entry is not valid, or if
            *grace* is not a number of seconds, 0 or more.
    """

    crls: tuple[RevocationList, ...] = attrs.field(default=(), converter=_read_lists)
    deny: frozenset[Denial] = attrs.field(default=(), converter=_read_deny)
    grace: float = attrs.field(default=0.0, validator=_check_grace)
    undetermined: tuple[Undetermined, ...] = attrs.field(default=(), converter=_as_tuple)
    _deny_list: DenyList = attrs.field(init=False, eq=False, repr=False)
    _by_issuer: Mapping[NameKey, tuple[RevocationList, ...]] = attrs.field(init=False, eq=False, repr=False)
    _unusable: Mapping[NameKey | None, Undetermined] = attrs.field(init=False, eq=False, repr=False)

    @_deny_list.default
    def _filed(self) -> DenyList:
        return DenyList(self.deny)

    @_by_issuer.default
    def _lists(self) -> Mapping[NameKey, tuple[RevocationList, ...]]:
        found: dict[NameKey, tuple[RevocationList, ...]] = {}
        for each in self.crls:
            found[each.issuer_key] = (*found.get(each.issuer_key, ()), each)
        return found

    @_unusable.default
    def _undetermined_by_issuer(self) -> Mapping[NameKey | None, Undetermined]:
        # One that is missed although there is a complete list stands for the others.
        parts_first = sorted(self.undetermined, key=lambda each: not each.is_part)
        return {each.issuer_key: each for each in parts_first}

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
            PeerRejected: If the name or a certificate is denied or revoked, if no list of an
                issuer is in date (RFC 5280 section 6.3.3 (a)), or if one cannot be used.
        """
        self._check_deny(spiffe_id, path, now)
        if not self.crls and not self.undetermined:
            return None
        due = [
            self._check_lists(spiffe_id.trust_domain, certificate, issuer, now)
            for certificate, issuer in pairwise(path)
        ]
        return min((date for date in due if date), default=None)

    def check_name(self, spiffe_id: SpiffeId, now: datetime) -> None:
        """Check that the deny list does not name a workload that no certificate has named.

        Args:
            spiffe_id: Its name, from a token.
            now: The instant of the verification.

        Raises:
            Refused: If an entry in force names it.
        """
        self._check_deny(spiffe_id, (), now)

    def find_signers(self, bundles: Iterable[TrustBundle]) -> None:
        """Find out which authorities signed which list, so that no handshake waits for it.

        Args:
            bundles: The bundles of all trust domains.
        """
        if not self.crls:
            return
        for bundle in bundles:
            for authority in bundle.authorities:
                self._ask(bundle.trust_domain, authority)

    def ask_signers_of(self, before: Revocations) -> None:
        """Find out which lists were signed by an intermediate that signed one of those *before*.

        Args:
            before: The revocations in force; intermediates are known from paths that were verified.
        """
        for known in before.crls:
            for domain, issuer in known.signers():
                self._ask(domain, issuer)

    def unmatched(self, bundles: Mapping[TrustDomain, TrustBundle]) -> tuple[str, ...]:
        """Return a text for each entry of the deny list that can match nothing that is known.

        An issuer is known if an authority or a certificate that was verified names it, and a
        peer if there is a bundle of its trust domain. Whether a certificate or a key is known
        cannot be told from its SHA-256.

        Args:
            bundles: The bundles of all trust domains.

        Returns:
            Some of the texts, and one that says how many more there are.
        """
        return self._deny_list.unmatched(bundles)

    def check_follows(self, before: Revocations) -> None:
        """Check that no list is older than the one in force, which would undo a revocation.

        Args:
            before: The revocations in force.

        Raises:
            InvalidRevocations: If a list is older.
        """
        for each in self.crls:
            if newer := newer_in(each, before.crls):
                raise InvalidRevocations(rollback(each, newer))

    def following(self, before: Revocations | None, now: datetime) -> tuple[Revocations, tuple[str, ...]]:
        """Return these revocations with everything from *before* that they fail to replace.

        Nothing that goes bad gives a revoked certificate back. For each issuer and key, the last
        good list stays where there is an older one now, one that cannot be used, or one that its
        signer did not sign; where there is none any more, it stays until its next update is due.
        A list that cannot be used counts as `undetermined` only where no good one was there before.

        Args:
            before: The revocations in force; None at the start.
            now: The present instant.

        Returns:
            The revocations to put in force, equal to *before* if nothing is new; and a text for each
            list that was not taken over or is missed.
        """
        if before is None:
            return self, ()
        crls, missed = lists_after(self.crls, self.undetermined, before.crls, now)
        undetermined, unusable = undetermined_after(self.undetermined, before.undetermined)
        merged = attrs.evolve(self, crls=crls, undetermined=undetermined)
        # The same object where nothing is new: it is filed already.
        return before if merged == before else merged, (*missed, *unusable)

    def _check_deny(self, spiffe_id: SpiffeId, path: tuple[x509.Certificate, ...], now: datetime) -> None:
        if self.deny and (entry := self._deny_list.entry_for(spiffe_id, path, now)):
            raise Refused(Reason.DENY_LISTED, f"the deny list has {entry}")

    def _ask(self, domain: TrustDomain, issuer: x509.Certificate) -> None:
        for each in self._by_issuer.get(name_key(issuer.subject), ()):
            each.counts_for(domain, issuer)

    def _check_lists(
        self, domain: TrustDomain, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime
    ) -> datetime | None:
        key = name_key(issuer.subject)
        named = self._by_issuer.get(key, ())
        lists = [each for each in named if each.counts_for(domain, issuer)]
        if any(certificate.serial_number in each.serials for each in lists):
            name = shown(issuer.subject)
            msg = f"{name} revoked the certificate with serial number {certificate.serial_number:x}"
            raise Refused(Reason.REVOKED, msg)
        covering = [each for each in lists if each.is_about(certificate) and each.covers(certificate)]
        ends = [each.dates(self.grace)[1] for each in covering if each.is_in_date(now, self.grace)]
        if why := self._why_undetermined(key, certificate, lists, is_determined=bool(ends)):
            raise Refused(Reason.REVOCATION_UNDETERMINED, why)
        if covering and not ends:
            begin, end = max((each.dates(self.grace) for each in covering), key=lambda dates: dates[0])
            msg = f"the list of {shown(issuer.subject)} is valid from {begin} to {end}"
            raise Refused(Reason.CRL_NOT_IN_DATE, msg)
        return None if None in ends else max(filter(None, ends), default=None)

    def _why_undetermined(
        self, key: NameKey, certificate: x509.Certificate, lists: list[RevocationList], *, is_determined: bool
    ) -> str | None:
        for unusable in filter(None, (self._unusable.get(key), self._unusable.get(None))):
            if not (unusable.is_part and is_determined):
                return unusable.text
        if is_determined:
            return None
        for each in self._by_issuer.get(key, ()):
            if not each.is_about(certificate):
                continue
            # The list of a namesake in another trust domain says nothing.
            if each not in lists and not each.signers():
                return f"{each} is signed by no authority of that name that is known"
            if each in lists and not each.covers(certificate):
                return f"{each} is for another distribution point"
        return None

"""Certificate revocation lists (RFC 5280 section 5).

A list counts only for certificates of the issuer that signed it.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from cryptography import x509

from meshid.certificates.pem import pem_blocks
from meshid.certificates.reading import extension
from meshid.errors import InvalidRevocations
from meshid.support.quoting import quote
from meshid.support.sieve import Sieve

_MAX_SIGNERS = 64
"""Issuers of one name that a list remembers; a name has one key, or two while it is renewed."""


@attrs.frozen
class RevocationList:
    """One certificate revocation list, indexed (RFC 5280 section 5).

    `cryptography` takes 9 ms to look up a serial number in a list with 100 000 entries.

    Attributes:
        crl: The list.
        serials: The serial numbers in it.
        number: Its number (section 5.2.3), if it has one.
        key_id: Which of its issuer's keys signed it (section 5.2.1), if it says so.
    """

    crl: x509.CertificateRevocationList = attrs.field(hash=False)
    serials: frozenset[int] = attrs.field(repr=lambda it: f"<{len(it)}>", eq=False)
    number: int | None = attrs.field(eq=False)
    key_id: bytes | None = attrs.field(eq=False, repr=False)

    # Who signed this list and who did not: with 100 000 entries, checking the signature takes 0.1 s.
    _signers: Sieve[x509.Certificate, bool] = attrs.field(
        init=False, eq=False, repr=False, factory=lambda: Sieve(_MAX_SIGNERS)
    )

    def is_from(self, issuer: x509.Certificate) -> bool:
        """Return whether *issuer* signed this list and may do so (RFC 5280 section 6.3.3 (f), (g))."""
        if self.crl.issuer != issuer.subject:
            return False
        signed = self._signers.get(issuer)
        if signed is None:
            signed = _is_signed(self.crl, issuer)
            self._signers.put(issuer, signed)
        return signed

    def known_signers(self) -> list[x509.Certificate]:
        """Return the issuers that are known to have signed this list."""
        return [issuer for issuer, signed in self._signers.items() if signed]

    def is_older_than(self, other: RevocationList) -> bool:
        """Return whether *other* is a later list of the same issuer (RFC 5280 section 5.2.3)."""
        if self.crl.issuer != other.crl.issuer or self.key_id != other.key_id:
            return False
        if self.number is not None and other.number is not None:
            return self.number < other.number
        return self.crl.last_update_utc < other.crl.last_update_utc


def read_lists(number: int, data: bytes) -> Iterator[RevocationList]:
    """Read the lists in *data*, PEM or DER.

    Args:
        number: The position of *data* among everything that is read, for an error message.
        data: One list in DER, or any number in PEM.

    Raises:
        InvalidRevocations: If it holds anything else, or a list that cannot be used.
    """
    return (_read_list(number, crl) for crl in _ders(number, data))


def _is_signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    usage = extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        return False
    # The backend has verified the path with this key, so it supports its kind.
    return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]


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
    # The backend's exceptions have no common base class (see `read_certificate`).
    except Exception as error:
        msg = f"revocation list {number}: {quote(str(error))}"
        raise InvalidRevocations(msg) from error


def _read_list(number: int, crl: x509.CertificateRevocationList) -> RevocationList:
    try:
        # An issuing distribution point or a delta indicator, both critical, make a list partial.
        partial = [each.oid for each in crl.extensions if each.critical]
        serials = frozenset(entry.serial_number for entry in crl)
        # `cryptography` parses each part when it is first used, which must not be during a verification.
        _ = crl.issuer
        counted = extension(crl, x509.CRLNumber)
        signer = extension(crl, x509.AuthorityKeyIdentifier)
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

"""Certificate revocation lists (RFC 5280 section 5).

The rules of this module:

- A list is read completely, once, with everything that can be wrong in it.
- A list counts only for certificates of the issuer that signed it; who signed it is found out
  with the digest of the list, so that a handshake never pays for the size of a list.
- A list that is there and cannot be used is a value as well, `Undetermined`: what it would have
  revoked is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from meshid.certificates.distinguished_name import NameKey, name_key
from meshid.certificates.links import issuer_key_id
from meshid.certificates.pem import pem_blocks
from meshid.certificates.reading import extension, public_key_of
from meshid.errors import InvalidRevocations
from meshid.names.spiffe_id import TrustDomain
from meshid.support.quoting import quote
from meshid.support.sieve import Sieve
from meshid.trust.crl_signature import digest_of, is_signed

MAX_LIST_BYTES = 32 * 1024 * 1024
"""The largest lists of public authorities have 10 MB; one with 100 000 entries has 5 MB."""

MAX_ENTRIES = 1_000_000
"""Reading one takes a microsecond; no mesh has issued so many certificates that are still in date."""

MAX_SHOWN = 20
"""Lists of one file that are told one by one, if they cannot be used."""

_MAX_SIGNERS = 64
"""Certificates of one name that a list remembers; a name has one key, or two while it is renewed."""

_LABEL = "X509 CRL"
_SEQUENCE = b"\x30"

_LIST_EXTENSIONS = (
    x509.AuthorityKeyIdentifier,
    x509.CRLNumber,
    x509.IssuerAlternativeName,
    x509.IssuingDistributionPoint,
)
"""What may be critical in a list (section 5.2): it is processed, or changes nothing about what is revoked."""

_ENTRY_EXTENSIONS = (x509.CRLReason, x509.InvalidityDate)
"""What may be critical in an entry (RFC 5280 section 5.3): neither changes that it is revoked."""


@attrs.frozen
class Undetermined:
    """A revocation list that is there and cannot be used, so that nobody knows what it revokes.

    Attributes:
        text: Which one it is, and why it cannot be used.
        issuer: Whose list it is; None if that cannot be read either, so that it may be anybody's.
        is_part: Whether it is readable and about a part of what its issuer revoked (RFC 5280
            sections 5.2.4 and 5.2.5), so that beside a complete list of the issuer it is not missed.
        issuer_key: The name of the issuer, for comparisons (RFC 5280 section 7.1); None without one.
    """

    text: str
    issuer: x509.Name | None
    is_part: bool = False
    issuer_key: NameKey | None = attrs.field(init=False, eq=False, repr=False)

    @issuer_key.default
    def _named(self) -> NameKey | None:
        return None if self.issuer is None else name_key(self.issuer)


@attrs.frozen
class RevocationList:
    """One certificate revocation list, indexed (RFC 5280 section 5).

    `cryptography` takes 9 ms to look up a serial number in a list with 100 000 entries.

    Attributes:
        crl: The list.
        fingerprint: SHA-256 over it, in DER: two with the same are equal.
        serials: The serial numbers in it.
        number: Its number (section 5.2.3), if it has one.
        key_id: Which of its issuer's keys signed it (section 5.2.1), if it says so.
        points: The distribution points that it is for (section 5.2.5); empty if it is for all.
        issuer_key: The name of its issuer, for comparisons (section 7.1).
        of_authorities: Whether it is about certificates of authorities only (True) or of
            leafs only (False), if it says so; None if it is about both.
    """

    crl: x509.CertificateRevocationList = attrs.field(eq=False)
    fingerprint: bytes = attrs.field(repr=False)
    serials: frozenset[int] = attrs.field(repr=lambda it: f"<{len(it)}>", eq=False)
    number: int | None = attrs.field(eq=False)
    key_id: bytes | None = attrs.field(eq=False, repr=False)
    points: frozenset[x509.GeneralName] = attrs.field(eq=False, repr=False)
    of_authorities: bool | None = attrs.field(eq=False, repr=False)
    _digest: bytes | None = attrs.field(eq=False, repr=False)

    issuer_key: NameKey = attrs.field(init=False, eq=False, repr=False)
    # What is known about who signed it and who did not.
    _checked: Sieve[x509.Certificate, bool] = attrs.field(
        init=False, eq=False, repr=False, factory=lambda: Sieve(_MAX_SIGNERS)
    )
    _vouchers: dict[TrustDomain, dict[x509.Certificate, None]] = attrs.field(
        init=False, eq=False, repr=False, factory=dict
    )

    @issuer_key.default
    def _named(self) -> NameKey:
        return name_key(self.crl.issuer)

    def is_from(self, issuer: x509.Certificate) -> bool:
        """Return whether *issuer* signed this list and may do so (RFC 5280 section 6.3.3 (f), (g))."""
        signed = self._checked.get(issuer)
        if signed is None:
            if name_key(issuer.subject) != self.issuer_key:
                return False
            signed = self._is_signed_by(issuer)
            self._checked.put(issuer, signed)
        return signed

    def counts_for(self, domain: TrustDomain, issuer: x509.Certificate) -> bool:
        """Return whether this list is about what *issuer* issued, and remember it.

        It is if *issuer* signed it, or an authority of the same name that is known in the same
        trust domain: RFC 5280 section 6.3.3 (f) asks for the same name and the same trust anchor,
        not for the same key, which changes when an authority is renewed.

        Args:
            domain: The trust domain under which *issuer* is verified.
            issuer: An authority, or an intermediate of a verified path.
        """
        if self.is_from(issuer):
            # For each trust domain: one cannot fill the place of another.
            known = self._vouchers.setdefault(domain, {})
            if len(known) < _MAX_SIGNERS:
                known[issuer] = None
            return True
        return self.issuer_key == name_key(issuer.subject) and domain in self._vouchers

    def domains(self) -> frozenset[TrustDomain]:
        """Return the trust domains in which it is known who signed this list."""
        return frozenset(self._vouchers)

    def signers(self) -> tuple[tuple[TrustDomain, x509.Certificate], ...]:
        """Return who is known to have signed this list, each with the trust domain it is verified under."""
        return tuple((domain, each) for domain, known in list(self._vouchers.items()) for each in list(known))

    def is_disowned(self) -> bool:
        """Return whether somebody of its issuer's name was asked, and nobody has signed it."""
        return not self._vouchers and len(self._checked) > 0

    def is_named_like(self, other: RevocationList) -> bool:
        """Return whether *other* is for the same certificates, by the names in it."""
        return (self.issuer_key, self.key_id, self.of_authorities, self.points) == (
            other.issuer_key,
            other.key_id,
            other.of_authorities,
            other.points,
        )

    def is_like(self, other: RevocationList) -> bool:
        """Return whether *other* is for the same certificates, and signed by who signed this, if known."""
        return self.is_named_like(other) and (
            not self._vouchers
            or self.domains() <= other.domains()
            or any(other.is_from(issuer) for _, issuer in self.signers())
        )

    def is_older_than(self, other: RevocationList) -> bool:
        """Return whether *other* is a later list of the same issuer (RFC 5280 section 5.2.3)."""
        if not other.is_like(self):
            return False
        if self.number is not None and other.number is not None and self.number != other.number:
            return self.number < other.number
        return self.crl.last_update_utc < other.crl.last_update_utc

    def is_about(self, certificate: x509.Certificate) -> bool:
        """Return whether it is about such certificates (RFC 5280 section 6.3.3 (b) (2) (ii), (iii))."""
        return self.of_authorities is None or self.of_authorities is _is_authority(certificate)

    def covers(self, certificate: x509.Certificate) -> bool:
        """Return whether it is for the distribution point of *certificate* (section 6.3.3 (b) (2) (i)).

        A certificate that names none is covered: its issuer has not divided what it issues.
        """
        points = _points_of(certificate) if self.points else frozenset()
        return not points or not self.points.isdisjoint(points)

    def dates(self, grace: float) -> tuple[datetime, datetime | None]:
        """Return from when and until when it counts, with *grace* seconds after its next update is due."""
        due = self.crl.next_update_utc
        try:
            return self.crl.last_update_utc, due and due + timedelta(seconds=grace)
        except OverflowError:
            return self.crl.last_update_utc, None

    def is_in_date(self, now: datetime, grace: float) -> bool:
        """Return whether it counts at the instant *now* (RFC 5280 section 6.3.3 (a))."""
        begin, end = self.dates(grace)
        return begin <= now and (end is None or now <= end)

    def version(self) -> str:
        """Return its number and date, for a text."""
        number = "" if self.number is None else f"number {self.number} "
        return f"{number}of {self.crl.last_update_utc}"

    def __str__(self) -> str:
        return f"the revocation list of {shown(self.crl.issuer)}, {self.version()},"

    def _is_signed_by(self, issuer: x509.Certificate) -> bool:
        usage = extension(issuer, x509.KeyUsage)
        if usage is not None and not usage.crl_sign:
            return False
        return is_signed(self.crl, self._digest, public_key_of(issuer))


def shown(issuer: x509.Name) -> str:
    """Return the name of an issuer for a text."""
    return quote(issuer.rfc4514_string())


def read_list_file(name: str, data: bytes) -> tuple[tuple[RevocationList, ...], tuple[Undetermined, ...]]:
    """Read the lists in a file, PEM or DER; what cannot be used is `Undetermined`, and the others stand.

    Args:
        name: What it is and where, for the texts.
        data: One list in DER, or any number in PEM, at most `MAX_LIST_BYTES`.

    Returns:
        The lists that can be used, and those that cannot.
    """
    lists: list[RevocationList] = []
    undetermined: list[Undetermined] = []
    for each in _parts_of(name, data):
        if isinstance(each, RevocationList):
            lists.append(each)
        else:
            undetermined.append(each)
    if hidden := undetermined[MAX_SHOWN:]:
        text = f"{name}: {len(hidden)} more revocation lists cannot be used"
        undetermined[MAX_SHOWN:] = [Undetermined(text, None)]
    return tuple(lists), tuple(undetermined)


def read_lists(number: int, data: bytes) -> tuple[RevocationList, ...]:
    """Read the lists in *data*, PEM or DER.

    Args:
        number: The position of *data* among everything that is read, for an error message.
        data: One list in DER, or any number in PEM.

    Raises:
        InvalidRevocations: If it holds anything else, or a list that cannot be used.
    """
    lists, undetermined = read_list_file(f"revocation list {number}", data)
    for each in undetermined:
        raise InvalidRevocations(each.text)
    return lists


def _parts_of(name: str, data: bytes) -> Iterator[RevocationList | Undetermined]:
    try:
        blocks = _blocks(data)
    except (ValueError, TypeError) as error:
        yield Undetermined(f"{name}: {error}", None)
        return
    for number, (label, block) in enumerate(blocks, 1):
        where = name if len(blocks) == 1 else f"{name}: block {number}"
        if label == _LABEL:
            yield _read_list(where, block)
        else:
            yield Undetermined(f"{where}: a PEM block {quote(label)} does not belong here", None)


def _blocks(data: bytes) -> list[tuple[str, bytes]]:
    if len(data) > MAX_LIST_BYTES:
        msg = f"it has {len(data)} bytes, and at most {MAX_LIST_BYTES} are read"
        raise ValueError(msg)
    if data.startswith(_SEQUENCE) and b"-----BEGIN " not in data:
        return [(_LABEL, data)]
    blocks = pem_blocks(data)
    if not blocks:
        msg = "it is no revocation list, neither in DER nor in PEM"
        raise ValueError(msg)
    return blocks


def _read_list(name: str, data: bytes) -> RevocationList | Undetermined:
    issuer = None
    try:
        crl = x509.load_pem_x509_crl(data) if data.startswith(b"-----") else x509.load_der_x509_crl(data)
        issuer = crl.issuer
        if reason := _why_partial(crl):
            return Undetermined(f"{name}: the list of {shown(issuer)} {reason}", issuer, is_part=True)
        return _indexed(crl)
    # The backend's exceptions have no common base class (see `read_certificate`).
    except Exception as error:  # noqa: BLE001
        whose = "" if issuer is None else f" the list of {shown(issuer)} cannot be used:"
        text = str(error)
        # That of the backend's parser is for its developers.
        why = "it is cut off, or no revocation list (RFC 5280 section 5.1)" if "asn1" in text else quote(text)
        return Undetermined(f"{name}:{whose} {why}", issuer)


def _why_partial(crl: x509.CertificateRevocationList) -> str | None:
    """Say why a list does not have everything that its issuer revoked; None if it has.

    Whether these extensions are critical, as they must be, does not matter: without them the
    list would be taken for a complete one.
    """
    if extension(crl, x509.DeltaCRLIndicator) is not None:
        return "has only what changed (a delta CRL)"
    point = extension(crl, x509.IssuingDistributionPoint)
    if point is None:
        return None
    if point.indirect_crl:
        return "is about certificates of other issuers (an indirect CRL)"
    if point.only_some_reasons is not None:
        return "has only those revoked for some reasons"
    if point.only_contains_attribute_certs:
        return "is about attribute certificates only"
    return "is for a relative distribution point" if point.relative_name is not None else None


def _indexed(crl: x509.CertificateRevocationList) -> RevocationList:
    # `cryptography` parses each part when it is first used, which must not be during a verification.
    for part in ("last_update_utc", "next_update_utc"):
        getattr(crl, part)
    _check_extensions(crl.extensions, _LIST_EXTENSIONS, "the list")
    serials = frozenset(_serials(crl))
    number = extension(crl, x509.CRLNumber)
    point = extension(crl, x509.IssuingDistributionPoint)
    only = point is not None and (point.only_contains_user_certs or point.only_contains_ca_certs)
    return RevocationList(
        crl=crl,
        fingerprint=crl.fingerprint(hashes.SHA256()),
        serials=serials,
        number=number.crl_number if number else None,
        key_id=issuer_key_id(crl),
        points=frozenset((point and point.full_name) or ()),
        of_authorities=point.only_contains_ca_certs if point and only else None,
        digest=digest_of(crl),
    )


def _serials(crl: x509.CertificateRevocationList) -> Iterator[int]:
    for count, entry in enumerate(crl, 1):
        if count > MAX_ENTRIES:
            msg = f"it has more than {MAX_ENTRIES} entries"
            raise ValueError(msg)
        # One that is taken off a list (removeFromCRL) belongs into a delta CRL; here it stays revoked.
        _check_extensions(entry.extensions, _ENTRY_EXTENSIONS, "an entry")
        yield entry.serial_number


def _check_extensions(
    extensions: x509.Extensions, processed: tuple[type[x509.ExtensionType], ...], what: str
) -> None:
    """Check that everything critical is processed: otherwise the list must not be used (section 5.2, 5.3)."""
    for each in extensions:
        # Who issued the certificate of an entry changes whose serial number it is, critical or not.
        is_unknown = each.critical and not isinstance(each.value, processed)
        if is_unknown or isinstance(each.value, x509.CertificateIssuer):
            msg = f"{what} has the extension {each.oid.dotted_string}, which is not processed"
            raise ValueError(msg)


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _points_of(certificate: x509.Certificate) -> frozenset[x509.GeneralName]:
    points = extension(certificate, x509.CRLDistributionPoints) or ()
    return frozenset(name for point in points for name in point.full_name or ())

"""Leaf certificate to the one name that it claims, and whether it may be a leaf at all.

The rule of this module: a claim is read, never guessed, and is worth nothing until
the bundle of its trust domain has confirmed it. The same two functions judge our
own certificate and a peer's, so the two can never drift apart.

spiffe   exactly one URI SAN, a SPIFFE ID with a path (X509-SVID sections 2 and 3.1).
         SANs of other types are allowed, and are not names.
linkerd  exactly one DNS SAN, `<sa>.<ns>.serviceaccount.identity.<control-plane-ns>.<trust-domain>`,
         is the peer `spiffe://<trust-domain>/ns/<ns>/sa/<sa>`.
dns      exactly one DNS SAN, `<host>`, is the peer `spiffe://<trust-domain>/dns/<host>`; the
         trust domain is that of the one dns bundle, because the name itself has none.

A leaf with a URI SAN is read as spiffe and as nothing else. The other profiles are read
only if a bundle is declared with one of them. A common name is never an identity.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum

import attrs
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from meshid.certificates.reading import curve_fault, extension, key_fault, public_key_of
from meshid.errors import InvalidSpiffeId, Refused
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.reasons import Reason
from meshid.support.quoting import quote, quote_all

MAX_NAMES = 64
"""Names in one leaf; Istio and SPIRE issue a handful at most, and each costs time and log space."""

MAX_HOST_LENGTH = 253
"""RFC 1035 section 2.3.4: 255 octets on the wire, which include the first length octet and the root label."""

_LINKERD_MARKER = ".serviceaccount.identity."
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?", re.ASCII)


class Profile(StrEnum):
    """How the authorities of a trust domain write a workload's name into a leaf."""

    SPIFFE = "spiffe"
    """One URI SAN, a SPIFFE ID (X509-SVID section 2)."""
    LINKERD = "linkerd"
    """One DNS SAN, ``<sa>.<ns>.serviceaccount.identity.<control-plane-ns>.<trust-domain>``."""
    DNS = "dns"
    """One DNS SAN, the exact name of a host."""


class Role(StrEnum):
    """What the peer is in the handshake; it decides the extended key usage (RFC 5280 section 4.2.1.12)."""

    # As for `Reason`: what counts and what verifies look it up for each request.
    __hash__ = str.__hash__

    CLIENT = "client"
    """The peer opened the connection."""
    SERVER = "server"
    """The peer accepted the connection."""


PURPOSE = {
    Role.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    Role.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
}
"""The extended key usage that each role needs."""

ANY_PURPOSE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE

_NETSCAPE_TYPE = ObjectIdentifier("2.16.840.1.113730.1.1")
_NETSCAPE_ROLE = {Role.CLIENT: 0x80, Role.SERVER: 0x40}
"""Its first octet: sslClient is its first bit, sslServer its second."""


@attrs.frozen
class Claim:
    """The name that a leaf claims; nothing about it is verified.

    Attributes:
        profile: The profile under which it was read.
        spiffe_id: The SPIFFE ID that is claimed; None for `Profile.DNS`, whose names have no trust domain.
        path: The path of the SPIFFE ID in its trust domain.
    """

    profile: Profile
    spiffe_id: SpiffeId | None
    path: str

    @property
    def trust_domain(self) -> TrustDomain | None:
        """The trust domain; None if the name has none."""
        return None if self.spiffe_id is None else self.spiffe_id.trust_domain

    @property
    def name(self) -> str:
        """The SPIFFE ID that is claimed, or its path if the name has no trust domain; for the record."""
        return str(self.spiffe_id or self.path)


def names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """Return every URI and DNS name in the leaf's SAN, as ``URI:...`` and ``DNS:...``."""
    uris, hosts = _subject_alternative_names(leaf)
    return (*(f"URI:{uri}" for uri in uris), *(f"DNS:{host}" for host in hosts))


def read_claim(leaf: x509.Certificate, declared: Collection[Profile]) -> Claim:
    """Read the one name that *leaf* claims.

    Args:
        leaf: A certificate from `read_certificate`.
        declared: The profiles that the bundles are declared with.

    Raises:
        Refused: If there is no such name, more than one, or an invalid one.
    """
    uris, hosts = _subject_alternative_names(leaf)
    if len(uris) + len(hosts) > MAX_NAMES:
        msg = f"the leaf has {len(uris) + len(hosts)} names; at most {MAX_NAMES} are read"
        raise Refused(Reason.CHAIN_TOO_LARGE, msg)
    if uris:
        return _spiffe_claim(uris)
    if not hosts or not {Profile.LINKERD, Profile.DNS} & set(declared):
        msg = f"the leaf has no URI SAN; its DNS names are: {quote_all(hosts) or 'none'}"
        raise Refused(Reason.NO_NAME, msg)
    if len(hosts) > 1:
        msg = f"the leaf has {len(hosts)} DNS names, not one: {quote_all(hosts)}"
        raise Refused(Reason.MANY_NAMES, msg)
    return _host_claim(hosts[0], declared)


def check_leaf(leaf: x509.Certificate) -> None:
    """Check that *leaf* is the certificate of a workload, whatever it is used for.

    Not checked here: its name, its dates, and who issued it.

    Raises:
        Refused: If it is an authority's certificate (X509-SVID sections 4.1 and 5.2), if its
            key usage is not a leaf's (4.3), or if its key is weak.
    """
    if (constraints := extension(leaf, x509.BasicConstraints)) and constraints.ca:
        raise Refused(Reason.LEAF_IS_CA, "its basic constraints say cA = true")
    usage = extension(leaf, x509.KeyUsage)
    if usage and (usage.key_cert_sign or usage.crl_sign):
        raise Refused(Reason.LEAF_MAY_SIGN, "its key usage has keyCertSign or cRLSign")
    if not usage or not usage.digital_signature:
        missing = "its key usage lacks digitalSignature" if usage else "it has no key usage"
        raise Refused(Reason.NO_DIGITAL_SIGNATURE, missing)
    key = public_key_of(leaf)
    if fault := key_fault(key) or curve_fault(leaf, key):
        raise Refused(Reason.WEAK_KEY, fault)


def check_purpose(leaf: x509.Certificate, role: Role) -> None:
    """Check that a peer in this *role* may present *leaf*.

    A leaf without extended key usage is good for both roles (X509-SVID section 4.4). In an
    extended key usage anyExtendedKeyUsage is not enough, as it is not for OpenSSL. Nor is a leaf
    good for a role that its Netscape certificate type leaves out, which is older and rare.

    Raises:
        Refused: If the extended key usage or the certificate type does not name the role's purpose.
    """
    purposes = extension(leaf, x509.ExtendedKeyUsage)
    if purposes is not None and PURPOSE[role] not in purposes:
        raise Refused(Reason.WRONG_KEY_PURPOSE, f"its extended key usage lacks {role}Auth")
    if _netscape_type(leaf, _NETSCAPE_ROLE[role]) == 0:
        msg = f"its Netscape certificate type (nsCertType) lacks SSL {role}, or cannot be read"
        raise Refused(Reason.WRONG_KEY_PURPOSE, msg)


def _netscape_type(leaf: x509.Certificate, wanted: int) -> int | None:
    """Return the bits that are *wanted* of the leaf's Netscape certificate type; None if it has none."""
    try:
        written = leaf.extensions.get_extension_for_oid(_NETSCAPE_TYPE).value.public_bytes()
    except x509.ExtensionNotFound:
        return None
    # A bit string of up to eight bits, of which so many at the end do not count (X.690 section 8.6).
    kind, unused, bits = written[:2], written[2:3], written[3:]
    if kind != b"\x03\x02" or len(bits) != 1:
        return 0
    return bits[0] & 0xFF << unused[0] & wanted


def _subject_alternative_names(leaf: x509.Certificate) -> tuple[list[str], list[str]]:
    names = extension(leaf, x509.SubjectAlternativeName)
    if names is None:
        return [], []
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris, names.get_values_for_type(x509.DNSName)


def _spiffe_claim(uris: list[str]) -> Claim:
    if len(uris) > 1:
        msg = f"the leaf has {len(uris)} URI SANs, not one: {quote_all(uris)}"
        raise Refused(Reason.MANY_NAMES, msg)
    try:
        spiffe_id = SpiffeId.parse(uris[0])
    except InvalidSpiffeId as error:
        raise Refused(Reason.INVALID_NAME, str(error)) from error
    if not spiffe_id.path:
        msg = f"{quote(uris[0])} is the name of a trust domain, not of a workload in it"
        raise Refused(Reason.NAME_WITHOUT_PATH, msg)
    return Claim(Profile.SPIFFE, spiffe_id, spiffe_id.path)


def _host_claim(host: str, declared: Collection[Profile]) -> Claim:
    if len(host) > MAX_HOST_LENGTH or not _HOST.fullmatch(host):
        msg = f"the DNS name {quote(host)} is not one exact host in lower-case ASCII"
        raise Refused(Reason.INVALID_NAME, msg)
    # Whatever looks like a Linkerd name is read as one, so that a dns authority cannot forge one.
    if _LINKERD_MARKER in host:
        return _linkerd_claim(host)
    if Profile.DNS not in declared:
        msg = f"the DNS name {quote(host)} is not a Linkerd identity, and no bundle is declared dns"
        raise Refused(Reason.NO_NAME, msg)
    return Claim(Profile.DNS, None, f"/dns/{host}")


def _linkerd_claim(host: str) -> Claim:
    workload, _, issuer = host.partition(_LINKERD_MARKER)
    account, _, namespace = workload.rpartition(".")
    control_plane, _, trust_domain = issuer.partition(".")
    # The name of a service account may contain the marker; two markers would let it choose its namespace.
    if _LINKERD_MARKER in f".{issuer}" or not all((account, namespace, control_plane, trust_domain)):
        msg = (
            f"the DNS name {quote(host)} is not of the form"
            f" <sa>.<ns>{_LINKERD_MARKER}<control-plane-ns>.<trust-domain>"
        )
        raise Refused(Reason.INVALID_NAME, msg)
    spiffe_id = SpiffeId(TrustDomain(trust_domain), f"/ns/{namespace}/sa/{account}")
    return Claim(Profile.LINKERD, spiffe_id, spiffe_id.path)

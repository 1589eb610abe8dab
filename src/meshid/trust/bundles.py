"""Trust bundles: which authorities speak for which trust domain.

A bundle belongs to one trust domain, and a set holds at most one bundle for each.
There is no way to pour two bundles into one: "bundle contents from different trust
domains MUST NOT be merged" (SPIFFE Federation section 4.3).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import attrs
from cryptography import x509

from meshid.certificates.authority import authority_fault
from meshid.certificates.jwk import KEY_TYPES, public_jwk
from meshid.certificates.leaf import Profile
from meshid.certificates.reading import (
    certificate_from_pem_block,
    pem_blocks,
    read_certificate,
    to_der,
    to_pem,
)
from meshid.errors import InvalidBundle, Problem
from meshid.names.spiffe_id import TrustDomain
from meshid.support.quoting import quote

MAX_BUNDLE_BYTES = 4 * 1024 * 1024
"""A bundle holds a handful of authorities of about 1 kB; this leaves room for thousands."""

_X509_USE = "x509-svid"
_OTHER_USES = frozenset({"jwt-svid", "wit-svid"})


@attrs.frozen
class TrustBundle:
    """The authorities of one trust domain (SPIFFE Trust Domain and Bundle section 3).

    What is in it is trusted: an authority need not be self-signed (X509-SVID section 6.1),
    and an intermediate in it is an anchor as good as a root. Two bundles with the same
    authorities are equal, in whatever order. An empty bundle is legal and trusts nobody
    (SPIFFE Trust Domain and Bundle section 4.1.3).

    Attributes:
        trust_domain: The one trust domain that these authorities may speak for.
        authorities: The trust anchors.
        profile: How these authorities write a workload's name into a leaf.
        skipped: The entries that were ignored, each with its place and why.
    """

    trust_domain: TrustDomain
    authorities: tuple[x509.Certificate, ...] = attrs.field(repr=lambda it: f"<{len(it)}>", eq=frozenset)
    profile: Profile = Profile.SPIFFE
    skipped: tuple[Problem, ...] = attrs.field(default=(), eq=False)

    @classmethod
    def from_pem(cls, trust_domain: TrustDomain | str, pem: bytes, *, profile: str = "spiffe") -> Self:
        """Read the authorities from PEM certificates (RFC 7468 section 5).

        Args:
            trust_domain: The trust domain that they speak for.
            pem: The certificates, at most `MAX_BUNDLE_BYTES`.
            profile: How these authorities write names: ``spiffe``, ``linkerd`` or ``dns``.

        Raises:
            InvalidBundle: If *pem* holds anything else, is cut off, or if none of its
                certificates can serve as an authority; those that can never verify a
                leaf are skipped otherwise.
            InvalidSpiffeId: If *trust_domain* is not a trust domain name.
        """
        domain, kind = _owner(trust_domain, profile)
        entries = _pem_entries(domain, _bounded(domain, pem))
        bundle = cls._of(domain, kind, entries, [])
        if not bundle.authorities:
            raise _fault(domain, "no certificate in it can be an authority", bundle.skipped)
        return bundle

    @classmethod
    def from_spiffe_json(
        cls, trust_domain: TrustDomain | str, data: bytes, *, profile: str = "spiffe"
    ) -> Self:
        """Read a SPIFFE bundle (SPIFFE Trust Domain and Bundle section 4, X509-SVID section 6).

        An entry that cannot be used is skipped and the bundle stands: an unknown
        ``kty`` or ``use``, a missing ``x5c``, an authority that can never verify a leaf.
        Of several ``x5c`` values only the first counts. Entries for JWT-SVIDs are
        somebody else's and are passed over.

        Args:
            trust_domain: The trust domain that the authorities speak for.
            data: The document, at most `MAX_BUNDLE_BYTES`.
            profile: As for `from_pem`.

        Raises:
            InvalidBundle: If *data* is not a JSON object with an array ``keys`` of objects.
            InvalidSpiffeId: If *trust_domain* is not a trust domain name.
        """
        domain, kind = _owner(trust_domain, profile)
        skipped: list[Problem] = []
        entries = list(_jwk_entries(_jwks(domain, _bounded(domain, data)), skipped))
        return cls._of(domain, kind, entries, skipped)

    @classmethod
    def _of(
        cls,
        domain: TrustDomain,
        profile: Profile,
        entries: Iterable[tuple[str, x509.Certificate]],
        skipped: list[Problem],
    ) -> Self:
        usable: dict[x509.Certificate, None] = {}
        for where, certificate in entries:
            if fault := authority_fault(certificate, profile):
                subject = quote(certificate.subject.rfc4514_string())
                skipped.append(Problem(where, f"{subject} can never verify a peer: {fault}"))
            else:
                usable[certificate] = None
        return cls(domain, tuple(usable), profile, tuple(skipped))

    def to_pem(self) -> bytes:
        """Return the authorities as PEM certificates."""
        return to_pem(to_der(authority) for authority in self.authorities)

    def to_spiffe_json(self) -> bytes:
        """Return the bundle as a SPIFFE bundle document (X509-SVID section 6.2)."""
        keys = [
            {"use": _X509_USE, **public_jwk(authority), "x5c": [base64.b64encode(to_der(authority)).decode()]}
            for authority in self.authorities
        ]
        return json.dumps({"keys": keys}, indent=2).encode()


class BundleSet(Mapping[TrustDomain, TrustBundle]):
    """The bundles of all trust domains that are trusted here, one for each.

    Args:
        bundles: The bundles; their order means nothing.

    Raises:
        InvalidBundle: If two are of the same trust domain, or two are declared with
            profile ``dns`` (a DNS name tells no trust domain, so only one can be meant).
    """

    __slots__ = ("_bundles",)

    def __init__(self, bundles: Iterable[TrustBundle] = ()) -> None:
        """Keep one bundle for each trust domain."""
        self._bundles: dict[TrustDomain, TrustBundle] = {}
        for bundle in bundles:
            if bundle.trust_domain in self._bundles:
                msg = f"there are two bundles for trust domain {bundle.trust_domain}; they are never merged"
                raise InvalidBundle(msg)
            self._bundles[bundle.trust_domain] = bundle
        nameless = [str(bundle.trust_domain) for bundle in self.values() if bundle.profile is Profile.DNS]
        if len(nameless) > 1:
            domains = ", ".join(nameless)
            msg = f"only one bundle can be of profile dns, for a host tells no trust domain: {domains}"
            raise InvalidBundle(msg)

    def __getitem__(self, trust_domain: TrustDomain) -> TrustBundle:
        """Return the bundle of *trust_domain*."""
        return self._bundles[trust_domain]

    def __iter__(self) -> Iterator[TrustDomain]:
        """Iterate over the trust domains."""
        return iter(self._bundles)

    def __len__(self) -> int:
        """Count the trust domains."""
        return len(self._bundles)

    def __hash__(self) -> int:
        """Hash by content, as equality does."""
        return hash(frozenset(self._bundles.items()))

    def __repr__(self) -> str:
        """Show the bundles."""
        return f"BundleSet({list(self.values())!r})"


def _owner(trust_domain: TrustDomain | str, profile: str) -> tuple[TrustDomain, Profile]:
    domain = trust_domain if isinstance(trust_domain, TrustDomain) else TrustDomain.parse(trust_domain)
    try:
        return domain, Profile(profile)
    except ValueError as error:
        msg = f"profile {quote(profile)} is unknown; write one of: {', '.join(Profile)}"
        raise InvalidBundle(msg) from error


def _fault(domain: TrustDomain, what: str, skipped: Iterable[Problem] = ()) -> InvalidBundle:
    return InvalidBundle("; ".join([f"bundle of {domain}: {what}", *map(str, skipped)]))


def _bounded(domain: TrustDomain, data: bytes) -> bytes:
    if len(data) > MAX_BUNDLE_BYTES:
        raise _fault(domain, f"it has {len(data)} bytes, and at most {MAX_BUNDLE_BYTES} are read")
    return data


def _pem_entries(domain: TrustDomain, pem: bytes) -> Iterator[tuple[str, x509.Certificate]]:
    try:
        blocks = pem_blocks(pem)
    except ValueError as error:
        raise _fault(domain, str(error)) from error
    if not blocks:
        raise _fault(domain, "it holds no PEM certificate")
    for number, (label, block) in enumerate(blocks, 1):
        if label != "CERTIFICATE":
            raise _fault(domain, f"PEM block {number} is {quote(label)}; only certificates belong here")
        try:
            yield f"certificate {number}", certificate_from_pem_block(block)
        except ValueError as error:
            raise _fault(domain, f"certificate {number}: {error}") from error


def _jwks(domain: TrustDomain, data: bytes) -> list[dict[str, Any]]:
    try:
        document = json.loads(data, object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _fault(domain, f"it is not JSON: {quote(str(error))}") from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise _fault(domain, 'it must be a JSON object with an array "keys" of objects')
    return keys


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object, none of which may occur twice.

    Raises:
        ValueError: If one does.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "a member occurs twice"
        raise ValueError(msg)
    return members


def _jwk_entries(
    keys: list[dict[str, Any]], skipped: list[Problem]
) -> Iterator[tuple[str, x509.Certificate]]:
    for index, key in enumerate(keys):
        use = key.get("use")
        if isinstance(use, str) and use in _OTHER_USES:
            continue
        where = f"keys[{index}]"
        try:
            yield where, _jwk_certificate(key)
        except ValueError as error:
            skipped.append(Problem(where, str(error)))


def _jwk_certificate(key: dict[str, Any]) -> x509.Certificate:
    for member, known in (("kty", KEY_TYPES), ("use", (_X509_USE,))):
        value = key.get(member)
        if not isinstance(value, str) or value not in known:
            msg = f"{member} is {quote(str(value))}; known: {', '.join(known)}"
            raise ValueError(msg)
    chain = key.get("x5c")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        msg = "x5c is missing, empty or not an array of strings"
        raise ValueError(msg)
    try:
        der = base64.b64decode(chain[0], validate=True)
    except ValueError as error:
        msg = "x5c[0] is not base64"
        raise ValueError(msg) from error
    return read_certificate(der)

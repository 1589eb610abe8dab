"""Trust bundles: which authorities speak for which trust domain.

A bundle belongs to one trust domain, and a set holds at most one bundle for each.
Nothing here merges two bundles: "bundle contents from different trust domains MUST NOT
be merged" (SPIFFE Federation section 4.3).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Self, TypeVar

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshid.certificates.jwk import KEY_TYPES, public_jwk
from meshid.certificates.leaf import Profile
from meshid.certificates.pem import decoded, pem_blocks
from meshid.certificates.reading import to_der
from meshid.errors import InvalidBundle, Problem
from meshid.names.spiffe_id import TrustDomain
from meshid.support.quoting import quote
from meshid.support.strict_json import parse_json
from meshid.support.types import check_type
from meshid.trust.authorities import MAX_ENTRIES, first_of, sort_authorities
from meshid.trust.token_key import TokenKey, read_svid_keys

MAX_BUNDLE_BYTES = 4 * 1024 * 1024
"""A bundle holds a handful of authorities of about 1 kB; this leaves room for hundreds of large ones."""

_Entry = TypeVar("_Entry")

_X509_USE = "x509-svid"
_JWT_USE = "jwt-svid"
_OTHER_USES = frozenset({_JWT_USE, "wit-svid"})


@attrs.frozen
class TrustBundle:
    """The authorities and keys of one trust domain (SPIFFE Trust Domain and Bundle section 3).

    What is in it is trusted: an authority need not be self-signed (X509-SVID section 6.1),
    and an intermediate in it is a trust anchor like a root. Two bundles with the same
    authorities and keys in any order are equal. An empty bundle is valid and trusts nobody
    (SPIFFE Trust Domain and Bundle section 4.1.3).

    Attributes:
        trust_domain: The one trust domain that these authorities may speak for.
        authorities: The trust anchors.
        profile: How these authorities write a workload's name into a leaf.
        skipped: The entries that were ignored, each with its place and the reason; the first 20 of
            each use, and how many more there are.
        jwt_keys: The keys that verify JWT-SVIDs of the trust domain (JWT-SVID section 6); only SPIFFE
            bundle documents have them.

    Raises:
        TypeError: If a part has another type.
    """

    trust_domain: TrustDomain
    authorities: tuple[x509.Certificate, ...] = attrs.field(repr=lambda it: f"<{len(it)}>", eq=frozenset)
    profile: Profile = Profile.SPIFFE
    skipped: tuple[Problem, ...] = attrs.field(default=(), eq=False)
    jwt_keys: tuple[TokenKey, ...] = attrs.field(default=(), eq=frozenset, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_type(type(self.trust_domain), TrustDomain, "trust_domain", "a TrustDomain")
        check_type(type(self.profile), Profile, "profile", "a Profile")
        for each in self.authorities:
            check_type(type(each), x509.Certificate, "each of the authorities", "an x509.Certificate")
        for key in self.jwt_keys:
            check_type(type(key), TokenKey, "each of the jwt_keys", "a TokenKey")

    @classmethod
    def from_pem(cls, trust_domain: TrustDomain | str, pem: bytes, *, profile: str = "spiffe") -> Self:
        """Read the authorities from PEM certificates (RFC 7468 section 5).

        Args:
            trust_domain: The trust domain that they speak for.
            pem: The certificates, at most `MAX_BUNDLE_BYTES`.
            profile: How these authorities write names: ``spiffe``, ``linkerd`` or ``dns``.

        Returns:
            The bundle; certificates that cannot be read or can never verify a leaf are in its `skipped`.

        Raises:
            InvalidBundle: If *pem* holds anything else, is cut off, or if none of its
                certificates can serve as an authority.
            InvalidSpiffeId: If *trust_domain* is not a trust domain name.
            TypeError: If *pem* is not bytes.
        """
        domain, kind = _owner(trust_domain, profile)
        check_type(type(pem), bytes, "pem", "PEM certificates as bytes, such as Path(...).read_bytes()")
        blocks = _certificate_blocks(domain, _bounded(domain, pem))
        return cls._of_certificates(domain, kind, blocks, decoded)

    @classmethod
    def from_der(
        cls, trust_domain: TrustDomain | str, certificates: Iterable[bytes], *, profile: str = "spiffe"
    ) -> Self:
        """Read the authorities from DER certificates.

        Args:
            trust_domain: The trust domain that they speak for.
            certificates: The certificates, at most 512.
            profile: As for `from_pem`.

        Returns:
            The bundle; certificates that cannot be read or can never verify a leaf are in its `skipped`.

        Raises:
            InvalidBundle: If there are too many, or if none can serve as an authority.
            InvalidSpiffeId: If *trust_domain* is not a trust domain name.
            TypeError: If *certificates* are not bytes, one for each.
        """
        domain, kind = _owner(trust_domain, profile)
        ders = _ders(domain, certificates)
        return cls._of_certificates(domain, kind, ders, bytes)

    @classmethod
    def from_spiffe_json(
        cls, trust_domain: TrustDomain | str, data: bytes, *, profile: str = "spiffe"
    ) -> Self:
        """Read a SPIFFE bundle (SPIFFE Trust Domain and Bundle section 4, X509-SVID section 6).

        An entry that cannot be used is skipped and the bundle stands: an unknown
        ``kty`` or ``use``, a missing ``x5c``, an authority that can never verify a leaf.
        Of several ``x5c`` values only the first counts. Entries for WIT-SVIDs are passed over. If
        no authority is left, the document withdraws all of them only if none was skipped, since one
        may have been skipped for a typo.

        Entries for JWT-SVIDs are its `jwt_keys`, which say nothing about the authorities, nor these
        about them. One that cannot be used is skipped, and so are all that have one ``kid``.

        Args:
            trust_domain: The trust domain that the authorities speak for.
            data: The document, at most `MAX_BUNDLE_BYTES`.
            profile: As for `from_pem`.

        Returns:
            The bundle; what was ignored, and why, is in its `skipped`.

        Raises:
            InvalidBundle: If *data* is not a JSON object with an array ``keys`` of objects, or if
                none of its entries for X509-SVIDs can be used.
            InvalidSpiffeId: If *trust_domain* is not a trust domain name.
            TypeError: If *data* is not bytes.
        """
        domain, _ = _owner(trust_domain, profile)
        return cls.from_spiffe_document(domain, parse_document(domain, data), profile=profile)

    @classmethod
    def from_spiffe_document(
        cls, trust_domain: TrustDomain | str, document: object, *, profile: str = "spiffe"
    ) -> Self:
        """Read a SPIFFE bundle that is parsed already; otherwise as `from_spiffe_json`.

        Args:
            trust_domain: The trust domain that the authorities speak for.
            document: The JSON document, as `json.loads` returns it.
            profile: As for `from_pem`.

        Returns:
            The bundle.

        Raises:
            InvalidBundle: If *document* is not an object with an array ``keys`` of objects, or if
                none of its entries for X509-SVIDs can be used.
            InvalidSpiffeId: If *trust_domain* is not a trust domain name.
        """
        domain, kind = _owner(trust_domain, profile)
        keys = [(f"keys[{index}]", key) for index, key in enumerate(_jwks(domain, document))]
        entries = [(where, key) for where, key in keys if _use_of(key) not in _OTHER_USES]
        bundle = cls._of(domain, kind, entries, _jwk_certificate)
        if entries and not bundle.authorities:
            raise _fault(domain, "none of its entries can be used", bundle.skipped)
        of_jwts = [(where, key) for where, key in keys if _use_of(key) == _JWT_USE]
        jwt_keys, skipped = read_svid_keys(of_jwts, _JWT_USE)
        return attrs.evolve(bundle, jwt_keys=jwt_keys, skipped=(*bundle.skipped, *first_of(skipped)))

    @classmethod
    def _of_certificates(
        cls,
        domain: TrustDomain,
        profile: Profile,
        certificates: Iterable[bytes],
        decode: Callable[[bytes], bytes],
    ) -> Self:
        entries = [(f"certificate {number}", each) for number, each in enumerate(certificates, 1)]
        bundle = cls._of(domain, profile, entries, decode)
        if not bundle.authorities:
            raise _fault(domain, "no certificate in it can be an authority", bundle.skipped)
        return bundle

    @classmethod
    def _of(
        cls,
        domain: TrustDomain,
        profile: Profile,
        entries: Iterable[tuple[str, _Entry]],
        decode: Callable[[_Entry], bytes],
    ) -> Self:
        authorities, skipped = sort_authorities(entries, decode, profile)
        return cls(domain, authorities, profile, skipped)

    def to_pem(self) -> bytes:
        """Return the authorities as PEM certificates (RFC 7468 section 5)."""
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self.authorities)

    def to_spiffe_json(self) -> bytes:
        """Return the bundle as a SPIFFE bundle document (X509-SVID section 6.2), in JSON."""
        return json.dumps(self.to_spiffe_document(), indent=2).encode()

    def to_spiffe_document(self) -> dict[str, object]:
        """Return the bundle as a SPIFFE bundle document (X509-SVID section 6.2), for `json.dumps`."""
        x509_keys = [
            {"use": _X509_USE, **public_jwk(authority), "x5c": [base64.b64encode(to_der(authority)).decode()]}
            for authority in self.authorities
        ]
        return {"keys": [*x509_keys, *(key.to_jwk(_JWT_USE) for key in self.jwt_keys)]}


class BundleSet(Mapping[TrustDomain, TrustBundle]):
    """The bundles of all trust domains that are trusted here, one for each: an immutable mapping.

    Args:
        bundles: The bundles, in any order.

    Raises:
        InvalidBundle: If two are of the same trust domain, or two have the profile ``dns``
            (a DNS name does not say its trust domain, so only one bundle can be meant).
        TypeError: If *bundles* are anything else.
    """

    __slots__ = ("_bundles",)

    def __init__(self, bundles: Iterable[TrustBundle] = ()) -> None:
        self._bundles: dict[TrustDomain, TrustBundle] = {}
        right = "a list of bundles, such as BundleSet([bundle, ...])"
        check_type(type(bundles), Iterable, "bundles", right)
        for bundle in bundles:
            check_type(type(bundle), TrustBundle, "each of the bundles", "a TrustBundle")
            if bundle.trust_domain in self._bundles:
                msg = f"there are two bundles for trust domain {bundle.trust_domain}; they are never merged"
                raise InvalidBundle(msg)
            self._bundles[bundle.trust_domain] = bundle
        nameless = [str(bundle.trust_domain) for bundle in self.values() if bundle.profile is Profile.DNS]
        if len(nameless) > 1:
            domains = ", ".join(nameless)
            msg = (
                "only one bundle can have the profile dns, because a host name does not say its"
                f" trust domain; these have it: {domains}"
            )
            raise InvalidBundle(msg)

    def __getitem__(self, trust_domain: TrustDomain) -> TrustBundle:
        return self._bundles[trust_domain]

    def __iter__(self) -> Iterator[TrustDomain]:
        return iter(self._bundles)

    def __len__(self) -> int:
        return len(self._bundles)

    def __hash__(self) -> int:
        return hash(frozenset(self._bundles.items()))

    def __repr__(self) -> str:
        return f"BundleSet({list(self.values())!r})"


def _owner(trust_domain: TrustDomain | str, profile: str) -> tuple[TrustDomain, Profile]:
    if not isinstance(trust_domain, TrustDomain):
        check_type(type(trust_domain), str, "trust_domain", "a TrustDomain or a str")
    check_type(type(profile), str, "profile", "a str")
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


def _ders(domain: TrustDomain, certificates: Iterable[bytes]) -> list[bytes]:
    check_type(type(certificates), Iterable, "certificates", "a list of DER certificates")
    ders = list(islice(certificates, MAX_ENTRIES + 1))
    for each in ders:
        check_type(type(each), bytes, "each of the certificates", "DER as bytes")
    _check_count(domain, len(ders))
    return ders


def _check_count(domain: TrustDomain, count: int) -> None:
    if count > MAX_ENTRIES:
        raise _fault(domain, f"it has more than {MAX_ENTRIES} entries")


def _certificate_blocks(domain: TrustDomain, pem: bytes) -> list[bytes]:
    try:
        blocks = pem_blocks(pem)
    except ValueError as error:
        raise _fault(domain, str(error)) from error
    if not blocks:
        is_der = pem.startswith(b"\x30")
        hint = ", and looks like DER: convert it with openssl x509 -inform der" if is_der else ""
        raise _fault(domain, f"it holds no PEM certificate{hint}")
    for number, (label, _) in enumerate(blocks, 1):
        if label != "CERTIFICATE":
            raise _fault(domain, f"PEM block {number} is {quote(label)}; only certificates belong here")
    return [block for _, block in blocks]


def parse_document(domain: TrustDomain, data: bytes) -> object:
    """Parse a SPIFFE bundle document of a trust domain.

    Raises:
        InvalidBundle: If it is not JSON, or larger than `MAX_BUNDLE_BYTES`.
    """
    check_type(type(data), bytes, "data", "a SPIFFE bundle as bytes, such as Path(...).read_bytes()")
    data = _bounded(domain, data)
    try:
        return parse_json(data)
    except ValueError as error:
        raise _fault(domain, str(error)) from error


def _jwks(domain: TrustDomain, document: object) -> list[dict[str, Any]]:
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise _fault(domain, 'it must be a JSON object with an array "keys" of objects')
    _check_count(domain, len(keys))
    return keys


def _use_of(key: dict[str, Any]) -> str | None:
    use = key.get("use")
    return use if isinstance(use, str) else None


def _jwk_certificate(key: dict[str, Any]) -> bytes:
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
        return base64.b64decode(chain[0], validate=True)
    except ValueError as error:
        msg = "x5c[0] is not base64"
        raise ValueError(msg) from error

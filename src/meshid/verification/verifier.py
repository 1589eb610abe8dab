"""Chain to peer.

The rules of this module:

- The claim chooses the bundle, and the bundle confirms the claim. A chain is checked
  against the authorities of the one trust domain that its leaf names; there is no pool.
- A `Peer` is the verified path and the name in one value. Only this file can make one.
- Everything that an unknown peer sent is bounded before it costs anything.
- The clock is read once, before the verification, and never kept: a verifier object of
  the backend freezes its time when it is built, so one is built for each chain.
- The steps do not know the name in the leaf: each raises `Refused`, and one place makes
  it a `PeerRejected` about the claimed name.

The backend (`cryptography.x509.verification`) builds paths and checks signatures; meshid
never does. What the backend leaves out is done here or in `certificates/` and `trust/`: the leaf's profile
and key, revocation, limits, and the reason. The backend's reason is a sentence for people,
so ours is found by a second look at the chain, after a failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import attrs
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ObjectIdentifier

from meshid.certificates.chain import Chain, read_chain
from meshid.certificates.leaf import (
    ANY_PURPOSE,
    PURPOSE,
    Claim,
    Profile,
    Role,
    check_leaf,
    check_purpose,
    names_of,
    read_claim,
)
from meshid.certificates.links import looks_self_signed, may_have_issued
from meshid.certificates.reading import fingerprint, to_der
from meshid.errors import PeerRejected, Refused
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy.evidence import TokenEvidence
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.support.sieve import Sieve
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.revocations import Revocations
from meshid.verification.diagnosis import Diagnosis
from meshid.verification.selection import MAX_DEPTH, Authorities, select
from meshid.verification.upper_path import REMEMBERED_PATHS, Path, UpperPath, search


@attrs.frozen(init=False)
class Peer:
    """The other end of a connection, verified.

    It has no public constructor: a `Peer` is proof that a `ChainVerifier` made it.

    Attributes:
        spiffe_id: The one name.
        names: Every URI and DNS name in the leaf (``URI:...``, ``DNS:...``), for the record only.
        chain: The verified path as DER, leaf first, trust anchor last.
        not_before: When the last certificate of the path became valid (aware, UTC).
        not_after: When the first certificate of the path expires, or the first revocation list that was
            consulted is due for its next update, graces included (aware, UTC).
        fingerprint: SHA-256 over the leaf's DER, in lower-case hex.
        profile: The profile under which the name was read.
        role: What the peer is in the handshake: client or server.
        token: What a token has added, by `Mesh.bind`; None without one.
    """

    spiffe_id: SpiffeId
    names: tuple[str, ...]
    chain: tuple[bytes, ...] = attrs.field(repr=lambda it: f"<{len(it)}>")
    not_before: datetime
    not_after: datetime
    fingerprint: str
    profile: Profile
    role: Role
    token: TokenEvidence | None = None

    def __init__(self) -> None:
        msg = "a Peer is made by verification only: call Mesh.admit() or ChainVerifier.verify()"
        raise TypeError(msg)

    @property
    def trust_domain(self) -> TrustDomain:
        """The trust domain of the name."""
        return self.spiffe_id.trust_domain

    @property
    def evidence(self) -> frozenset[str]:
        """By what it has proven itself: ``x509``, and ``token``."""
        return frozenset({"x509"} if self.token is None else {"x509", "token"})


def with_token(peer: Peer, token: TokenEvidence) -> Peer:
    """Return a *peer* with what a *token* adds; both were verified, and the token is bound to its leaf."""
    bound = Peer.__new__(Peer)
    bound.__attrs_init__(
        spiffe_id=peer.spiffe_id,
        names=peer.names,
        chain=peer.chain,
        not_before=peer.not_before,
        not_after=peer.not_after,
        fingerprint=peer.fingerprint,
        profile=peer.profile,
        role=peer.role,
        token=token,
    )
    return bound


class ChainVerifier:
    """Verifies chains under a set of bundles; remembers no peer.

    Args:
        bundles: The bundles of all trust domains that are trusted.
        revocations: The revocation lists and the deny list; none by default.
        clock: Returns the POSIX time in seconds.
        leaf_grace: For how many seconds after its end a leaf still counts; see `meshid.verification.grace`.

    Attributes:
        bundles: The bundles that chains are verified under.
        revocations: The revocation lists and the deny list; empty if there are none.
        clock: Returns the POSIX time in seconds.
        leaf_grace: For how many seconds after its end a leaf still counts.
    """

    def __init__(
        self,
        bundles: BundleSet,
        *,
        revocations: Revocations | None = None,
        clock: Callable[[], float] = time.time,
        leaf_grace: float = 0.0,
    ) -> None:
        self.bundles = bundles
        self.leaf_grace = leaf_grace
        self.revocations = revocations or Revocations()
        self.revocations.find_signers(bundles.values())
        self.clock = clock
        self._profiles = frozenset(bundle.profile for bundle in bundles.values())
        self._authorities = {domain: Authorities(bundle.authorities) for domain, bundle in bundles.items()}
        self._rules = {
            (domain, role): _rules_for(authorities.every, role)
            for domain, authorities in self._authorities.items()
            for role in Role
        }
        self._upper_paths = {
            rule: Sieve[tuple[bytes, ...], UpperPath](REMEMBERED_PATHS) for rule in self._rules
        }
        self._diagnosis = Diagnosis(bundles)

    def verify(self, chain: Sequence[bytes], *, role: str = "client", now: float | None = None) -> Peer:
        """Verify *chain* and return the peer.

        Args:
            chain: DER certificates, leaf first; the order of the others means nothing.
            role: What the peer is in this handshake, ``"client"`` or ``"server"``.
            now: The instant of the verification, in POSIX seconds; the clock's if None.

        Raises:
            PeerRejected: If the chain is not that of a workload of a trust domain that is
                trusted here, at this instant (RFC 5280 section 6; X509-SVID section 5.2).
            ValueError: If *role* is neither of the two.
        """
        part = Role(role)
        instant = datetime.fromtimestamp(self.clock() if now is None else now, UTC)
        name = None
        try:
            presented = read_chain(chain, self._read_before(tuple(chain[1:])))
            claim = read_claim(presented.leaf, self._profiles)
            name = claim.name
            bundle = self._bundle_for(claim, presented.leaf, part)
            leaf_end = _check_dates(presented.leaf, instant, self.leaf_grace)
            path = self._build_path(bundle, part, presented, instant)
            spiffe_id = claim.spiffe_id or SpiffeId(bundle.trust_domain, claim.path)
            due = self.revocations.check(spiffe_id, path, instant)
        except Refused as refusal:
            rejection = PeerRejected(refusal.decision(name), of_server=part is Role.SERVER)
            raise rejection from refusal.__cause__
        # Of the leaf, the bytes that it was read from are its DER.
        ders = (chain[0], *map(to_der, path[1:]))
        ends = [leaf_end, *(certificate.not_valid_after_utc for certificate in path[1:])]
        peer = Peer.__new__(Peer)
        peer.__attrs_init__(
            spiffe_id=spiffe_id,
            names=names_of(path[0]),
            chain=ders,
            not_before=max(certificate.not_valid_before_utc for certificate in path),
            not_after=min([*ends, due] if due else ends),
            fingerprint=fingerprint(ders[0]),
            profile=claim.profile,
            role=part,
        )
        return peer

    def _bundle_for(self, claim: Claim, leaf: x509.Certificate, role: Role) -> TrustBundle:
        """Return the bundle that the claim is about, if nothing but its dates is wrong with the leaf."""
        bundle = self._bundle_of(claim)
        check_leaf(leaf)
        check_purpose(leaf, role)
        return bundle

    def _bundle_of(self, claim: Claim) -> TrustBundle:
        if claim.trust_domain is None:
            return next(bundle for bundle in self.bundles.values() if bundle.profile is claim.profile)
        bundle = self.bundles.get(claim.trust_domain)
        if bundle is None:
            known = ", ".join(sorted(map(str, self.bundles))) or "none"
            msg = f"the leaf claims {claim.spiffe_id}; bundles are loaded for: {known}"
            raise Refused(Reason.UNKNOWN_TRUST_DOMAIN, msg)
        if bundle.profile is not claim.profile:
            msg = (
                f"the name is a {claim.profile} name; the bundle of {bundle.trust_domain} is {bundle.profile}"
            )
            raise Refused(Reason.PROFILE_MISMATCH, msg)
        return bundle

    def _read_before(self, sent: tuple[bytes, ...]) -> Path | None:
        """Return what was *sent* with a leaf, if it is in a path that is remembered."""
        if not sent:
            return None
        return next((known.sent for each in self._upper_paths.values() if (known := each.get(sent))), None)

    def _build_path(self, bundle: TrustBundle, role: Role, chain: Chain, now: datetime) -> Path:
        # The backend knows one instant for the whole path.
        instant = min(now, chain.leaf.not_valid_after_utc)
        known = self._upper_paths[bundle.trust_domain, role].get(chain.sent)
        path = known.below(chain.leaf, instant, now) if known else None
        if path is None:
            path = self._search_path(bundle, role, chain, instant, now)
        _check_link(*path[:2])
        return path

    def _search_path(
        self, bundle: TrustBundle, role: Role, chain: Chain, instant: datetime, now: datetime
    ) -> Path:
        authorities = self._authorities[bundle.trust_domain]
        selection = select(authorities, chain)
        if selection is None:
            nowhere = Refused(Reason.UNKNOWN_AUTHORITY, "no name in it leads to one")
            raise self._diagnose(bundle, chain, now, nowhere)
        rules = self._rules[bundle.trust_domain, role]
        try:
            store = authorities.store(selection.anchors)
            path = search(rules.store(store).time(instant), chain.leaf, selection.intermediates)
        # A few hostile names make the backend raise exceptions that are not its own; all mean: no path.
        except Exception as error:
            words = f"the X.509 backend says: {quote(_plain(error))}"
            raise self._diagnose(bundle, chain, now, Refused(Reason.INVALID_PATH, words)) from error
        # A path of another instant is only a candidate for this one: its leaf alone may have ended.
        if instant < now and any(each.not_valid_after_utc < now for each in path[1:]):
            msg = f"a certificate above the leaf has ended, and it is {now:%Y-%m-%d %H:%M:%S} here"
            raise Refused(Reason.AUTHORITY_NOT_IN_DATE, msg)
        if upper := UpperPath.of(path, chain, selection.anchors, rules):
            self._upper_paths[bundle.trust_domain, role].put(chain.sent, upper)
        return path

    def _diagnose(self, bundle: TrustBundle, chain: Chain, now: datetime, otherwise: Refused) -> Refused:
        domain = bundle.trust_domain
        return self._diagnosis.refusal(domain, self._authorities[domain], chain, now, otherwise)


def _rules_for(anchors: frozenset[x509.Certificate], role: Role) -> verification.PolicyBuilder:
    return (
        verification.PolicyBuilder()
        .max_chain_depth(MAX_DEPTH)
        .extension_policies(
            ca_policy=_authority_policy(anchors, role),
            ee_policy=_LEAF_POLICY,
        )
    )


def _authority_policy(anchors: frozenset[x509.Certificate], role: Role) -> verification.ExtensionPolicy:
    """Accept what real meshes issue; the defaults of the backend refuse every Istio chain.

    Whether an extension is critical is not checked: RFC 5280 section 4.2 binds issuers.
    """

    def key_usage(_: object, authority: x509.Certificate, usage: x509.KeyUsage | None) -> None:
        # An anchor may lack key usage, because it is trusted by configuration.
        if usage is None and authority in anchors:
            return
        if usage is None or not usage.key_cert_sign:
            msg = "a certificate authority's key usage lacks keyCertSign"
            raise ValueError(msg)

    def purpose(_: object, __: object, purposes: x509.ExtendedKeyUsage | None) -> None:
        if purposes is not None and not {ANY_PURPOSE, PURPOSE[role]} & set(purposes):
            msg = f"a certificate authority's extended key usage lacks {role}Auth"
            raise ValueError(msg)

    agnostic = verification.Criticality.AGNOSTIC
    # The callbacks are passed by position: their keyword has one name in the stub and another at run time.
    return (
        verification.ExtensionPolicy.webpki_defaults_ca()
        .require_present(x509.BasicConstraints, agnostic, None)
        .may_be_present(x509.KeyUsage, agnostic, key_usage)
        .may_be_present(x509.ExtendedKeyUsage, agnostic, purpose)
    )


class _ProxyCertificate(x509.ExtensionType):
    """RFC 3820 section 3.8."""

    oid = ObjectIdentifier("1.3.6.1.5.5.7.1.14")


class _AddressBlocks(x509.ExtensionType):
    """RFC 3779 section 2.2."""

    oid = ObjectIdentifier("1.3.6.1.5.5.7.1.7")


class _AutonomousSystems(x509.ExtensionType):
    """RFC 3779 section 3.2."""

    oid = ObjectIdentifier("1.3.6.1.5.5.7.1.8")


_UNCRITICAL = verification.Criticality.NON_CRITICAL
_LEAF_POLICY = (
    # `check_leaf` and `check_purpose` have checked the leaf; the backend still refuses critical
    # extensions that it does not know. It knows some more than OpenSSL, and some less.
    verification.ExtensionPolicy.permit_all()
    .may_be_present(x509.SubjectKeyIdentifier, _UNCRITICAL, None)
    .may_be_present(x509.AuthorityKeyIdentifier, _UNCRITICAL, None)
    .may_be_present(x509.AuthorityInformationAccess, _UNCRITICAL, None)
    .require_not_present(_ProxyCertificate)
    .require_not_present(_AddressBlocks)
    .require_not_present(_AutonomousSystems)
)


def _check_link(leaf: x509.Certificate, issuer: x509.Certificate) -> None:
    """Check that a leaf and what it says of its issuer mislead nobody, as they do OpenSSL.

    Raises:
        Refused: If the leaf names another certificate of its issuer, or cannot be told from it.
    """
    if not may_have_issued(issuer, leaf):
        msg = (
            "the leaf was issued by the key of this authority, and names another certificate of it:"
            f" the serial number or the issuer in its authority key identifier is not that of"
            f" {quote(issuer.subject.rfc4514_string())}"
        )
        raise Refused(Reason.INVALID_PATH, msg)
    if looks_self_signed(leaf):
        msg = "the leaf has the subject of its issuer, and no key identifiers that tell the two apart"
        raise Refused(Reason.INVALID_PATH, msg)


def _check_dates(leaf: x509.Certificate, now: datetime, grace: float) -> datetime:
    """Check that a leaf is in date, or ended less than its *grace* ago; return when it ends."""
    if now < leaf.not_valid_before_utc:
        msg = f"valid from {leaf.not_valid_before_utc}, and it is {now:%Y-%m-%d %H:%M:%S} here"
        raise Refused(Reason.NOT_YET_VALID, msg)
    end = leaf.not_valid_after_utc
    if now <= end:
        return end
    if (now - end).total_seconds() > grace:
        after = f" with {grace:g} s of grace" if grace else ""
        msg = f"valid until {end}{after}, and it is {now:%Y-%m-%d %H:%M:%S} here"
        raise Refused(Reason.EXPIRED, msg)
    return end + timedelta(seconds=grace)


def _plain(error: Exception) -> str:
    """Return the words of an error of the backend, without its data structures."""
    return str(error).split(": AlgorithmIdentifier", 1)[0]

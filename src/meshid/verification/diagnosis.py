"""Why no path was found: a second look at a failure.

The chain has already been refused; nothing here can change that, because every result
is a refusal. The work is bounded, because an unknown peer sent the chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from meshid.certificates.chain import Chain
from meshid.certificates.reading import subject_of
from meshid.errors import Refused
from meshid.names.spiffe_id import TrustDomain
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.trust.bundles import BundleSet, TrustBundle

MAX_SIGNATURE_CHECKS = 8
"""Signatures checked to explain one failure: enough for a chain of four links and four wrong turns."""


class _Budget:
    """Counts signature checks down; once none is left, nobody has signed anything."""

    def __init__(self) -> None:
        self.left = MAX_SIGNATURE_CHECKS

    def issued(self, issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
        if subject_of(issuer) != certificate.issuer or not self.left:
            return False
        self.left -= 1
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            return False
        return True


def diagnose(
    bundles: BundleSet,
    bundle: TrustBundle,
    chain: Chain,
    now: datetime,
    error: Exception,
) -> Refused:
    """Return the refusal of a leaf for which no path to an authority of *bundle* was found.

    Args:
        bundles: All bundles, to see whether an authority of another trust domain signed the leaf.
        bundle: The bundle of the trust domain that the leaf claims.
        chain: What the peer presented.
        now: The instant of the verification.
        error: The error that the backend raised.
    """
    budget = _Budget()
    if budget.issued(chain.leaf, chain.leaf):
        return Refused(Reason.SELF_SIGNED, "the leaf is signed by its own key")
    if owner := _foreign_owner(bundles, bundle, chain, budget):
        msg = f"the leaf claims {bundle.trust_domain}, and an authority of {owner} signed it"
        return Refused(Reason.FOREIGN_AUTHORITY, msg)
    if not any(
        budget.issued(authority, each) for each in _lineage(chain) for authority in bundle.authorities
    ):
        return Refused(Reason.UNKNOWN_AUTHORITY, _missing_link(bundle, chain))
    current = TrustBundle(bundle.trust_domain, _in_date(bundle.authorities, now))
    if not _reaches(current, Chain(chain.leaf, _in_date(chain.intermediates, now))):
        msg = f"each path to an authority of {bundle.trust_domain} has a certificate that is not in date"
        return Refused(Reason.AUTHORITY_NOT_IN_DATE, msg)
    return Refused(Reason.INVALID_PATH, f"the X.509 backend says: {quote(str(error))}")


def _missing_link(bundle: TrustBundle, chain: Chain) -> str:
    issuer = quote(_lineage(chain)[-1].issuer.rfc4514_string())
    if _reaches(bundle, chain):
        return (
            f"{bundle.trust_domain} has an authority called {issuer}, and its key has not signed this chain"
        )
    sent = len(chain.intermediates)
    return (
        f"{bundle.trust_domain} has no authority called {issuer}; the peer sent {sent} usable intermediates"
    )


def _foreign_owner(
    bundles: BundleSet, bundle: TrustBundle, chain: Chain, budget: _Budget
) -> TrustDomain | None:
    """Follow the signatures upwards until an authority of another trust domain has signed."""
    own = set(bundle.authorities)
    foreign = [
        (domain, authority)
        for domain, other in bundles.items()
        for authority in other.authorities
        if authority not in own
    ]
    certificate: x509.Certificate | None = chain.leaf
    while certificate is not None:
        for domain, authority in foreign:
            if budget.issued(authority, certificate):
                return domain
        lower = certificate
        certificate = next((each for each in chain.intermediates if budget.issued(each, lower)), None)
    return None


def _lineage(chain: Chain) -> list[x509.Certificate]:
    """Return the leaf, and the intermediates that could be above it, going by their names alone."""
    lineage = [chain.leaf]
    waiting = list(chain.intermediates)
    for lower in lineage:
        lineage += [each for each in waiting if each.subject == lower.issuer]
        waiting = [each for each in waiting if each.subject != lower.issuer]
    return lineage


def _reaches(bundle: TrustBundle, chain: Chain) -> bool:
    subjects = {authority.subject for authority in bundle.authorities}
    return any(each.issuer in subjects for each in _lineage(chain))


def _in_date(certificates: Iterable[x509.Certificate], now: datetime) -> tuple[x509.Certificate, ...]:
    return tuple(
        each for each in certificates if each.not_valid_before_utc <= now <= each.not_valid_after_utc
    )

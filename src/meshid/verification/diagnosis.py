"""Why no path was found: a second look at a failure.

The chain has already been refused; nothing here can change that, because every result
is a refusal. The work is bounded, because an unknown peer sent the chain, and does not
depend on how many bundles and authorities there are, because partners send those.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from meshid.certificates.chain import Chain
from meshid.certificates.reading import key_fault, public_key_of, subject_of
from meshid.certificates.signature import signature_fault
from meshid.errors import Refused
from meshid.names.spiffe_id import TrustDomain
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.trust.bundles import BundleSet
from meshid.verification.selection import Authorities, Step, climb, leading

MAX_SIGNATURE_CHECKS = 8
"""Signatures checked to explain one failure: enough for a chain of four links and four wrong turns."""


class Diagnosis:
    """Explains failures under one set of bundles.

    Args:
        bundles: The bundles of all trust domains.
    """

    def __init__(self, bundles: BundleSet) -> None:
        self._owners = {
            authority: domain for domain, bundle in bundles.items() for authority in bundle.authorities
        }
        self._all = Authorities(self._owners)

    def refusal(
        self, domain: TrustDomain, authorities: Authorities, chain: Chain, now: datetime, otherwise: Refused
    ) -> Refused:
        """Return why *chain* does not lead to an authority of the trust domain that its leaf claims.

        Args:
            domain: The trust domain.
            authorities: Its authorities.
            chain: What the peer presented.
            now: The instant of the verification.
            otherwise: The answer, if the names, the signatures and the dates are in order.
        """
        budget = _Budget()
        if budget.issued(chain.leaf, chain.leaf):
            return Refused(Reason.SELF_SIGNED, "the leaf is signed by its own key")
        if owner := self._foreign_owner(authorities, chain, budget):
            msg = f"the leaf claims {domain}, and an authority of {owner} signed it"
            return Refused(Reason.FOREIGN_AUTHORITY, msg)
        steps = climb(authorities, chain)
        path = leading(steps)
        # It comes before the signatures, because a signature that is not accepted is not checked.
        if fault := _algorithm_fault(path, chain):
            return Refused(Reason.INVALID_PATH, fault)
        links = ((anchor.certificate, step.certificate) for step in path for anchor in step.anchors)
        if not any(budget.issued(anchor, certificate) for anchor, certificate in links):
            return Refused(Reason.UNKNOWN_AUTHORITY, _missing_link(domain, chain, steps, path))
        _forget_namesakes(steps[0], budget)
        if steps[0] not in leading(steps, lambda each: _is_in_date(each, now)):
            msg = f"each path to an authority of {domain} has a certificate that is not in date"
            return Refused(Reason.AUTHORITY_NOT_IN_DATE, msg)
        return otherwise

    def _foreign_owner(self, own: Authorities, chain: Chain, budget: _Budget) -> TrustDomain | None:
        """Return whose authority signed the leaf, or what is above it, if it is of another trust domain."""
        steps = climb(self._all, chain)
        signed: dict[Step, TrustDomain] = {}
        # From the top down: only below a signature of ours is it worth to check those that the peer chose.
        for step in leading(steps):
            anchors = (each.certificate for each in step.anchors)
            foreign = (each for each in anchors if each not in own.every)
            signer = next((each for each in foreign if budget.issued(each, step.certificate)), None)
            if signer is not None:
                signed[step] = self._owners[signer]
                continue
            upper = (
                each
                for each in step.above
                if each in signed and budget.issued(each.certificate, step.certificate)
            )
            if above := next(upper, None):
                signed[step] = signed[above]
        return signed.get(steps[0])


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


def _forget_namesakes(leaf: Step, budget: _Budget) -> None:
    """Leave the *leaf* only those possible issuers that have signed it, if some of them have."""
    named = [*(step.certificate for step in leaf.above), *(anchor.certificate for anchor in leaf.anchors)]
    signed = [each for each in named if budget.issued(each, leaf.certificate)]
    if signed:
        leaf.above = [each for each in leaf.above if each.certificate in signed]
        leaf.anchors = [each for each in leaf.anchors if each.certificate in signed]


def _algorithm_fault(path: list[Step], chain: Chain) -> str | None:
    """Say which certificate on the way to an authority has an algorithm that the backend does not accept."""
    for step in path:
        is_leaf = step.certificate == chain.leaf
        what = "the leaf" if is_leaf else f"the intermediate {_name(step.certificate.subject)}"
        if fault := signature_fault(step.certificate):
            return f"{what} is {fault}"
        if not is_leaf and (fault := key_fault(public_key_of(step.certificate))):
            return f"{what} cannot have signed: {fault}"
    return None


def _missing_link(domain: TrustDomain, chain: Chain, steps: list[Step], path: list[Step]) -> str:
    if path:
        top = next(step for step in path if step.anchors)
        issuer = _name(top.certificate.issuer)
        if len(top.anchors) == 1:
            return f"{domain} has an authority called {issuer}, and its key has not signed this chain"
        return (
            f"{domain} has several authorities called {issuer}, and none of their keys has signed this chain"
        )
    issuer, sent = _name(steps[-1].certificate.issuer), len(chain.intermediates)
    return f"{domain} has no authority called {issuer}; certificates sent beside the leaf: {sent}"


def _name(name: x509.Name) -> str:
    return quote(name.rfc4514_string())


def _is_in_date(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc

"""Our own certificate, as our peers see it.

A peer decides about us under its bundles and lists, which are the same as ours where all goes well.
So we are verified here as a peer of ours would be, now, and not as we were when we were loaded:
since then the bundle may have been replaced, or an intermediate may have ended before the leaf.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs
from cryptography import x509

from meshid.admission.snapshot import Snapshot
from meshid.certificates.leaf import Role
from meshid.certificates.reading import read_certificate
from meshid.decisions import Decision
from meshid.errors import PeerRejected
from meshid.names.spiffe_id import TrustDomain
from meshid.reasons import Reason
from meshid.support.quoting import described, joined, quote
from meshid.trust.bundles import TrustBundle
from meshid.trust.credentials import X509Svid

_OURS = {Role.CLIENT: Role.SERVER, Role.SERVER: Role.CLIENT}


@attrs.frozen
class OwnPath:
    """The path of our own certificate, as far as it is known here.

    Attributes:
        certificates: From the leaf to the authority; the leaf alone if its trust domain has no
            bundle here.
        leads_to: The trust domain whose bundle it leads to; None if it leads to none.
        refusal: Why peers refuse us; None if they do not.
        not_sent: The intermediate that the path leads to, which our bundle has and our own file lacks; None
            if there is none.
    """

    certificates: tuple[x509.Certificate, ...]
    leads_to: TrustDomain | None = None
    refusal: str | None = None
    not_sent: x509.Certificate | None = None

    @property
    def first_to_end(self) -> x509.Certificate:
        """The certificate of the path that ends first: we are refused from then on."""
        return min(self.certificates, key=lambda each: each.not_valid_after_utc)


def find_own_path(snapshot: Snapshot, own: X509Svid, peers: Collection[Role]) -> OwnPath:
    """Verify our own certificate under the trust in force.

    Args:
        snapshot: What is in force.
        own: Our own certificate.
        peers: What peers are to us; if there are none yet, one purpose of the certificate is enough.
    """
    name = snapshot.name
    # Our own trust domain may be known to our peers only: a client of a partner needs no other bundle.
    if name is None or name.trust_domain not in snapshot.bundles:
        return OwnPath((own.leaf,))
    domain, path = name.trust_domain, OwnPath((own.leaf,))
    refused: dict[Role, Decision] = {}
    for role in peers or Role:
        try:
            found = snapshot.verifier.verifier.verify(own.chain, role=_OURS[role])
        except PeerRejected as rejection:
            refused[role] = rejection.decision
        # The clock is the user's code; without it nobody is admitted, and that is no reason to be silent.
        except Exception as error:  # noqa: BLE001
            detail = described(error)
            refused[role] = Decision(allowed=False, reason=Reason.INTERNAL_ERROR, detail=detail)
        else:
            above = tuple(map(read_certificate, found.chain[1:]))
            # That it is an authority here does not keep it from being sent.
            is_sent = found.chain[-1] in own.chain
            not_sent = None if is_sent else _intermediate_in(snapshot.bundles[domain], above[-1])
            path = OwnPath((own.leaf, *above), domain, not_sent=not_sent)
    if not refused or (path.leads_to and not peers):
        return path
    role, decision = next(iter(refused.items()))
    who = f"{role}s" if len(refused) == 1 else "peers"
    return attrs.evolve(path, refusal=f"{who} refuse us: {_why(decision, own, domain)}")


def _intermediate_in(bundle: TrustBundle, end: x509.Certificate) -> x509.Certificate | None:
    """Return the *end* of our path if the bundle has its issuer, too; so a peer may trust that one alone."""
    if end.issuer != end.subject and any(each.subject == end.issuer for each in bundle.authorities):
        return end
    return None


def _why(decision: Decision, own: X509Svid, domain: TrustDomain) -> str:
    """Return why peers refuse us, and what to do, for people."""
    match decision.reason:
        case Reason.UNKNOWN_AUTHORITY | Reason.FOREIGN_AUTHORITY | Reason.SELF_SIGNED | Reason.INVALID_PATH:
            issuer = quote(read_certificate(own.chain[-1]).issuer.rfc4514_string())
            return (
                f"it leads to no authority of the bundle of {domain} in force; add its issuer, {issuer}, to"
                f" that bundle, or renew it ({decision.detail})"
            )
        case Reason.AUTHORITY_NOT_IN_DATE:
            return (
                "an authority or intermediate that it leads to has ended; renew it with its intermediates,"
                f" and the bundle of {domain}"
            )
    return f"{decision.detail}; {joined(decision.reason.remedy)}"

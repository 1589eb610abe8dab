"""The decision about a server: it is the one that is meant, or it is not. No policy is asked."""

from __future__ import annotations

from collections.abc import Collection

from meshid.admission.snapshot import Snapshot
from meshid.decisions import Decision
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.reasons import Reason
from meshid.verification.verifier import Peer


def expected(peer: Peer, expect: Collection[PeerPattern], snapshot: Snapshot) -> Decision:
    """Decide whether a server has one of the names that are expected of it."""
    own = _own_trust_domains(snapshot)
    allowed = any(pattern.matches(peer.spiffe_id, own) for pattern in expect)
    wanted = ", ".join(map(str, expect))
    return Decision(
        allowed=allowed,
        reason=Reason.EXPECTED if allowed else Reason.UNEXPECTED_SERVER,
        name=str(peer.spiffe_id),
        detail="" if allowed else f"expected: {wanted}",
    )


def _own_trust_domains(snapshot: Snapshot) -> tuple[TrustDomain, ...]:
    if snapshot.policy is not None:
        return snapshot.policy.environment.trust_domains
    return () if snapshot.name is None else (snapshot.name.trust_domain,)

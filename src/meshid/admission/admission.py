"""Admission: who may be here, decided under one snapshot and recorded.

The rules of this module:

- A snapshot is read once for each decision, and the decision counts only if the same
  snapshot is still in force when it has been made. So nobody is admitted under a state
  that has been replaced.
- Failing is refusing: an exception, in meshid or in an audit sink, is a refusal.
- Every decision is recorded as one event before it takes effect. The exception is a
  review that lets an open connection stay: nothing changes, so nothing is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import attrs

from meshid.admission.open_connections import Connection, OpenConnection, OpenConnections
from meshid.admission.question import Question
from meshid.admission.snapshot import Changes, Snapshot, first_snapshot, next_snapshot
from meshid.audit.connection_info import ConnectionInfo
from meshid.audit.counters import Counters
from meshid.audit.event import LOGGER, AuditEvent, Sink, record, wants
from meshid.audit.rate_limit import RateLimit
from meshid.decisions import Call, Decision
from meshid.errors import PeerRejected
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.reasons import Reason
from meshid.support.locks import Order, new_lock
from meshid.support.quoting import quote
from meshid.trust.credentials import X509Svid
from meshid.verification.verifier import Peer

OnRevoked = Callable[[Peer, PeerRejected, Connection], None]
"""Called after an open connection was ended, with its peer and the refusal."""


def _accept(_: X509Svid) -> None:
    """Accept any credentials: no TLS context of ours will present them."""


class Admission:
    """Admits peers under the snapshot in force; the arguments are those of `Mesh`.

    Args:
        changes: The first parts to put in force.
        try_credentials: Tries new credentials before they are in force; raises `InvalidCredentials`.
        clock: Returns the POSIX time in seconds.
    """

    def __init__(  # noqa: PLR0913  # a mesh has that many parts, all named
        self,
        changes: Changes,
        *,
        spiffe_id: SpiffeId | None = None,
        service: str | None = None,
        audit: Sink | None = None,
        on_revoked: OnRevoked | None = None,
        try_credentials: Callable[[X509Svid], None] = _accept,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service = service
        self.clock = clock
        self.connections = OpenConnections()
        self.counters = Counters()
        self._sink = audit
        self._log_limit = RateLimit()
        self._on_revoked = on_revoked
        self._try_credentials = try_credentials
        self._publishing = new_lock(Order.PUBLISHING)
        self._snapshot = first_snapshot(clock, spiffe_id)
        self.publish(changes)

    @property
    def snapshot(self) -> Snapshot:
        """Everything in force at this instant."""
        return self._snapshot

    def publish(self, changes: Changes) -> Snapshot:
        """Put changed parts in force, all of them or none, as `Mesh.publish` does."""
        with self._publishing:
            before = self._snapshot
            snapshot = next_snapshot(before, changes)
            if snapshot.credentials is not None and snapshot.credentials is not before.credentials:
                self._try_credentials(snapshot.credentials)
            self._snapshot = snapshot
        if snapshot is not before:
            self.review()
        return snapshot

    def review(self) -> None:
        """Decide again about each open connection; end those whose peers may no longer be there."""
        for each in self.connections.now():
            self.review_one(each)

    def review_one(self, each: OpenConnection) -> None:
        """Decide again about one open connection; end it if its peer may no longer be there."""
        connection = each.connection()
        if connection is None or (peer := connection.peer) is None:
            return
        snapshot, renewed, decision = self._settle(peer.chain, each.question)
        if renewed is not None and decision.allowed:
            connection.peer = renewed
            return
        decision = self._record(Call.REVIEW, peer.chain, each.question, snapshot, decision, connection)
        rejection = PeerRejected(decision)
        connection.end(rejection)
        if self._on_revoked is not None:
            _call_back(self._on_revoked, peer, rejection, connection)

    def admit(self, chain: Sequence[bytes], question: Question, connection: Connection | None = None) -> Peer:
        """Verify a chain and ask the policy; return the peer, or raise.

        Args:
            chain: DER certificates, leaf first, of a peer that has proved that it holds the leaf's key.
            question: What is asked about it.
            connection: The connection, for the record.

        Raises:
            PeerRejected: If the peer may not be there, or if meshid fails.
        """
        snapshot, peer, decision = self._settle(chain, question)
        decision = self._record(Call.ADMIT, chain, question, snapshot, decision, connection)
        if peer is None or not decision.allowed:
            raise PeerRejected(decision)
        return peer

    def check(self, peer: Peer, question: Question) -> Decision:
        """Decide again about a peer with an open connection, as `Mesh.check` does."""
        snapshot, _, decision = self._settle(peer.chain, question)
        return self._record(Call.CHECK, peer.chain, question, snapshot, decision, None)

    def _settle(self, chain: Sequence[bytes], question: Question) -> tuple[Snapshot, Peer | None, Decision]:
        while True:
            snapshot = self._snapshot
            try:
                peer, decision = self._judge(snapshot, chain, question)
            # The only catch-all: whatever fails in here is a refusal, with its own reason.
            except Exception as error:  # noqa: BLE001
                peer, decision = None, _internal_error(error)
            if snapshot is self._snapshot:
                return snapshot, peer, decision

    def _judge(
        self, snapshot: Snapshot, chain: Sequence[bytes], question: Question
    ) -> tuple[Peer | None, Decision]:
        try:
            peer = snapshot.verifier.verify(chain, role=question.role)
        except PeerRejected as rejection:
            policy_hash = snapshot.policy.hash if snapshot.policy else None
            return None, attrs.evolve(rejection.decision, target=question.target, policy_hash=policy_hash)
        if question.tls_error is not None:
            detail = f"the TLS library says: {quote(question.tls_error)}"
            return None, Decision(
                allowed=False,
                reason=Reason.TLS_FAILED,
                name=str(peer.spiffe_id),
                target=question.target,
                detail=detail,
            )
        if question.expect is not None:
            return peer, _expected(peer, question.expect, snapshot)
        if snapshot.policy is None:
            return peer, Decision(
                allowed=False, reason=Reason.NO_POLICY, name=str(peer.spiffe_id), target=question.target
            )
        return peer, snapshot.policy.decide(peer, question.required_target, question.request)

    def _record(  # noqa: PLR0913, PLR0917  # all that a decision was made from
        self,
        call: Call,
        chain: Sequence[bytes],
        question: Question,
        snapshot: Snapshot,
        decision: Decision,
        connection: Connection | None,
    ) -> Decision:
        self.counters.add(call, question.role, decision)
        if not wants(self._sink, allowed=decision.allowed):
            return decision
        try:
            own_name = snapshot.name
            event = AuditEvent(
                time=self.clock(),
                call=call,
                decision=decision,
                role=question.role,
                leaf=chain[0] if chain else None,
                local_name=str(own_name) if own_name else None,
                environment=snapshot.policy.environment.name if snapshot.policy else None,
                generation=snapshot.generation,
                connection=ConnectionInfo() if connection is None else connection.info(),
            )
            record(self._sink, event, self._log_limit)
        # The sink is the user's code, and may raise anything. No record, no admission.
        except Exception as error:  # noqa: BLE001
            failure = _internal_error(error)
            LOGGER.error("refused: the decision could not be recorded: %s", failure.detail)
            return failure
        return decision


def _call_back(on_revoked: OnRevoked, peer: Peer, rejection: PeerRejected, connection: Connection) -> None:
    try:
        on_revoked(peer, rejection, connection)
    # The user's code must not keep the next connection from being ended.
    except Exception:  # noqa: BLE001
        LOGGER.exception("on_revoked failed")


def _internal_error(error: Exception) -> Decision:
    detail = f"{type(error).__name__}: {quote(str(error))}"
    return Decision(allowed=False, reason=Reason.INTERNAL_ERROR, detail=detail)


def _expected(peer: Peer, expect: Collection[PeerPattern], snapshot: Snapshot) -> Decision:
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

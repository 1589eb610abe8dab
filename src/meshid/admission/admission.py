"""The one door: who may be here, decided under one snapshot, told to the audit.

The rules of this room:

- A snapshot is read once for each decision, and the decision counts only if the same
  snapshot is still in force when it has fallen; so nobody is admitted under a state
  that was gone before they were.
- Nothing gets past by failing: an exception, of meshid or of a sink, is a refusal.
- Every decision is one event, before it takes effect. That a connection which is open
  may stay is no event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Unpack

import attrs

from meshid.admission.open_connections import Connection, OpenConnection, OpenConnections
from meshid.admission.question import Question
from meshid.admission.snapshot import Changes, Snapshot, first_snapshot, next_snapshot
from meshid.audit.connection_info import ConnectionInfo
from meshid.audit.counters import Counters
from meshid.audit.event import LOGGER, AuditEvent, Sink, record, wants
from meshid.audit.rate_limit import RateLimit
from meshid.decisions import Decision
from meshid.errors import PeerRejected
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy import Policy, RequestLike
from meshid.reasons import Reason
from meshid.support.locks import Order, new_lock
from meshid.support.quoting import quote
from meshid.trust.bundles import BundleSet
from meshid.trust.credentials import X509Svid
from meshid.trust.revocations import Revocations
from meshid.verification.verifier import Peer

OnRevoked = Callable[[Peer, PeerRejected, Connection], None]
"""Is called after an open connection was ended."""


class Admission:
    """Admits peers under the snapshot in force.

    Args:
        credentials: Our own certificate and key.
        bundles: Whom we trust.
        policy: Who may reach what; without one, nobody comes in.
        revocations: What was taken back.
        service: The name of this service: the target of a peer that names no other.
        audit: Is called with each `AuditEvent`; if it raises, the peer is refused.
        on_revoked: Is called with the peer, the refusal and the connection (an
            `ssl.SSLObject` or `ssl.SSLSocket`) after an open connection was ended.
        clock: Returns the POSIX time in seconds.

    Raises:
        InvalidCredentials: If the credentials are not in date, lead to no authority of
            their trust domain, or belong to another environment than the policy.
        InvalidBundle: If none of the authorities of a bundle is in date.
    """

    def __init__(  # noqa: PLR0913  # a mesh has that many parts, all named
        self,
        *,
        credentials: X509Svid | None = None,
        bundles: BundleSet | None = None,
        policy: Policy | None = None,
        revocations: Revocations | None = None,
        service: str | None = None,
        audit: Sink | None = None,
        on_revoked: OnRevoked | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Put the first snapshot in force."""
        self.service = service
        self._sink = audit
        self._throttle = RateLimit()
        self._clock = clock
        self._on_revoked = on_revoked
        self._publishing = new_lock(Order.PUBLISHING)
        self.live = OpenConnections()
        self.counts = Counters()
        changes: Changes = {
            "credentials": credentials,
            "bundles": BundleSet() if bundles is None else bundles,
            "policy": policy,
            "revocations": Revocations() if revocations is None else revocations,
        }
        self._snapshot = first_snapshot(changes, clock)
        self._rehearse(changes)

    @property
    def snapshot(self) -> Snapshot:
        """Everything in force at this instant."""
        return self._snapshot

    def publish(self, **changes: Unpack[Changes]) -> Snapshot:
        """Put changed parts in force, all of them or none.

        After it has returned, no decision is made under the old state. Parts with equal
        content are not a change: the same snapshot stays, with its cache.

        Args:
            changes: Any of ``credentials``, ``bundles``, ``revocations``, ``policy``.

        Returns:
            The snapshot in force.

        Raises:
            InvalidCredentials, InvalidBundle, InvalidPolicy: If a part cannot be put in
                force; everything then stays as it was.
        """
        with self._publishing:
            before = self._snapshot
            snapshot = next_snapshot(before, changes)
            if snapshot is not before:
                self._rehearse(changes)
            self._snapshot = snapshot
        if snapshot is not before:
            self.review()
        return snapshot

    def _rehearse(self, changes: Changes) -> None:
        """Try what a change means for those who use it, before it is in force.

        Raises:
            MeshidError: If it would not work.
        """

    def review(self) -> None:
        """Decide again about each open connection, and end those whose peers may no longer be there.

        It is done with each publication. The connections are those of TLS contexts.
        """
        for live in self.live.now():
            self.review_one(live)

    def review_one(self, live: OpenConnection) -> None:
        """Decide again about one open connection, and end it if its peer may no longer be there."""
        connection = live.connection()
        if connection is None:
            return
        snapshot, peer, decision = self._settle(live.peer.chain, live.question)
        if peer is not None and decision.allowed:
            live.peer = peer
            return
        decision = self._told("review", live.peer.chain, live.question, snapshot, decision, connection)
        rejection = PeerRejected(decision)
        connection.end(rejection)
        if self._on_revoked is not None:
            _call_back(self._on_revoked, live.peer, rejection, connection)

    def admit(
        self,
        chain: Sequence[bytes],
        *,
        target: str | None = None,
        request: RequestLike = None,
        expect: Collection[PeerPattern] | None = None,
    ) -> Peer:
        """Verify a chain and ask the policy; return the peer, or raise.

        Args:
            chain: DER certificates, leaf first, of a peer that has proved to hold the leaf's key.
            target: What the peer wants to reach; this service if None.
            request: The request, as `Request` or ``"METHOD /path"``; `REQUEST_FOLLOWS` if
                the caller will `check()` each one; None if there is none.
            expect: For a peer that is a server, in place of the policy: the patterns, one
                of which its name must match.

        Raises:
            PeerRejected: If the peer may not be there, or if anything goes wrong.
        """
        return self.ask(chain, Question(target=target, request=request, expect=expect))

    def ask(self, chain: Sequence[bytes], question: Question, connection: Connection | None = None) -> Peer:
        """Do as `admit`, for an edge that asks the same question about each chain.

        Args:
            chain: As for `admit`.
            question: What is asked.
            connection: The connection, for the record.

        Raises:
            PeerRejected: If the peer may not be there, or if anything goes wrong.
        """
        peer, decision = self._decide("admit", chain, question, connection)
        if peer is None or not decision.allowed:
            raise PeerRejected(decision)
        return peer

    def check(
        self,
        peer: Peer,
        *,
        target: str | None = None,
        request: RequestLike = None,
        expect: Collection[PeerPattern] | None = None,
    ) -> Decision:
        """Decide again about a peer with an open connection: still valid, trusted, allowed?

        Args:
            peer: The peer, as it was admitted.
            target: As for `admit`.
            request: As for `admit`.
            expect: As for `admit`; needed if the peer is a server.

        Returns:
            The decision, under the snapshot in force now.

        Raises:
            ValueError: If *expect* does not fit what the peer is.
        """
        question = Question(target=target, request=request, expect=expect)
        if question.role is not peer.role:
            msg = f"the peer is a {peer.role}: give expect= for a server, and for a server only"
            raise ValueError(msg)
        return self._decide("check", peer.chain, question)[1]

    def _decide(
        self, call: str, chain: Sequence[bytes], question: Question, connection: Connection | None = None
    ) -> tuple[Peer | None, Decision]:
        snapshot, peer, decision = self._settle(chain, question)
        return peer, self._told(call, chain, question, snapshot, decision, connection)

    def _settle(self, chain: Sequence[bytes], question: Question) -> tuple[Snapshot, Peer | None, Decision]:
        while True:
            snapshot = self._snapshot
            try:
                peer, decision = self._judge(snapshot, chain, question)
            # The one catch-all: whatever fails in here is a refusal, and is told.
            except Exception as error:  # noqa: BLE001
                peer, decision = None, _internal_error(error)
            if snapshot is self._snapshot:
                return snapshot, peer, decision

    def _judge(
        self, snapshot: Snapshot, chain: Sequence[bytes], question: Question
    ) -> tuple[Peer | None, Decision]:
        target = self.service if question.target is None else question.target
        try:
            peer = snapshot.verifier.verify(chain, role=question.role)
        except PeerRejected as rejection:
            policy_hash = snapshot.policy.hash if snapshot.policy else None
            return None, attrs.evolve(rejection.decision, target=target, policy_hash=policy_hash)
        if question.broken is not None:
            detail = f"the TLS library says: {quote(question.broken)}"
            return None, Decision(
                allowed=False,
                reason=Reason.TLS_FAILED,
                name=str(peer.spiffe_id),
                target=target,
                detail=detail,
            )
        if question.expect is not None:
            return peer, _expected(peer, question.expect, snapshot)
        if target is None:
            msg = "no target: name it in the call, or give the Mesh a service"
            raise ValueError(msg)
        if snapshot.policy is None:
            return peer, Decision(
                allowed=False, reason=Reason.NO_POLICY, name=str(peer.spiffe_id), target=target
            )
        return peer, snapshot.policy.decide(peer, target, question.request)

    def _told(  # noqa: PLR0913, PLR0917  # all that a decision was made from
        self,
        call: str,
        chain: Sequence[bytes],
        question: Question,
        snapshot: Snapshot,
        decision: Decision,
        connection: Connection | None,
    ) -> Decision:
        self.counts.add(call, question.role, decision)
        if not wants(self._sink, allowed=decision.allowed):
            return decision
        try:
            own_name = snapshot.name
            event = AuditEvent(
                time=self._clock(),
                call=call,
                decision=decision,
                role=question.role,
                leaf=chain[0] if chain and isinstance(chain[0], bytes) else None,
                local_name=str(own_name) if own_name else None,
                environment=snapshot.policy.environment.name if snapshot.policy else None,
                generation=snapshot.generation,
                connection=ConnectionInfo() if connection is None else connection.info(),
            )
            record(self._sink, event, self._throttle)
        # A sink is the caller's code; no record, no entry.
        except Exception as error:  # noqa: BLE001
            failure = _internal_error(error)
            LOGGER.error("refused, for the decision could not be recorded: %s", failure.detail)
            return failure
        return decision


def _call_back(on_revoked: OnRevoked, peer: Peer, rejection: PeerRejected, connection: Connection) -> None:
    try:
        on_revoked(peer, rejection, connection)
    # The caller's code must not keep the next connection from being ended.
    except Exception:  # noqa: BLE001
        LOGGER.exception("on_revoked failed")


def _internal_error(error: Exception) -> Decision:
    detail = f"{type(error).__name__}: {quote(str(error))}"
    return Decision(allowed=False, reason=Reason.INTERNAL_ERROR, detail=detail)


def _expected(peer: Peer, expect: Collection[PeerPattern], snapshot: Snapshot) -> Decision:
    own = _own_trust_domains(snapshot)
    allowed = any(pattern.matches(peer.spiffe_id, own) for pattern in expect)
    wanted = ", ".join(map(str, expect)) or "nobody"
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

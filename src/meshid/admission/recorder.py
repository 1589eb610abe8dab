"""Records each decision before it takes effect: no record, no admission."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshid.admission.settled import Settled
from meshid.audit.connection_info import ConnectionInfo
from meshid.audit.counters import Counters
from meshid.audit.event import LOGGER, AuditEvent, Sink, new_limits, record, wants
from meshid.certificates.leaf import Role
from meshid.decisions import Call, Decision
from meshid.reasons import Reason
from meshid.support.logs import ERROR, log
from meshid.support.quoting import described


class Recorder:
    """Counts each decision, and gives its event to the sink and the log.

    Args:
        sink: The user's sink, if there is one.
        counters: Counts decisions by kind.
    """

    def __init__(self, sink: Sink | None, counters: Counters) -> None:
        self._sink = sink
        self._counters = counters
        self._log_limits = new_limits()

    def record(
        self,
        call: Call,
        chain: Sequence[bytes],
        role: Role,
        settled: Settled,
        info: Callable[[], ConnectionInfo] = ConnectionInfo,
    ) -> Decision:
        """Record a decision, and return it; a refusal instead, if it cannot be recorded.

        Args:
            call: Which call asked for it.
            chain: The chain that it is about.
            role: What the peer is in the handshake.
            settled: The decision.
            info: Returns what is known of the connection.
        """
        snapshot, decision = settled.snapshot, settled.decision
        self._counters.add(call, role, decision)
        if not wants(self._sink, allowed=decision.allowed):
            return decision
        try:
            own_name = snapshot.name
            event = AuditEvent(
                time=settled.time,
                call=call,
                decision=decision,
                role=role,
                leaf=chain[0] if chain else None,
                local_name=str(own_name) if own_name else None,
                environment=snapshot.policy.environment.name if snapshot.policy else None,
                generation=snapshot.generation,
                token=settled.token,
                connection=info(),
            )
            record(self._sink, event, self._log_limits)
        # The sink is the user's code, and may raise anything. No record, no admission.
        except Exception as error:  # noqa: BLE001
            failure = internal_error(error)
            log(LOGGER, ERROR, "refused: the decision could not be recorded: %s", failure.detail)
            return failure
        return decision


def internal_error(error: Exception) -> Decision:
    """Return the refusal of a peer about whom something failed."""
    return Decision(allowed=False, reason=Reason.INTERNAL_ERROR, detail=described(error))

"""How many decisions there were of each kind, over all peers together."""

from __future__ import annotations

import attrs

from meshid.certificates.leaf import Role
from meshid.decisions import Call, Decision
from meshid.reasons import Reason
from meshid.support.locks import Order, new_lock


@attrs.frozen
class DecisionKind:
    """What the decisions of one kind have in common.

    Attributes:
        call: Which call asked for them.
        role: What the peers are in the handshake: ``client`` or ``server``.
        allowed: Whether the peers were let in.
        reason: The cause.
    """

    call: Call
    role: Role
    allowed: bool
    reason: Reason


class Counters:
    """Counts decisions by kind, exactly, under threads and in signal handlers too."""

    def __init__(self) -> None:
        self._counting = new_lock(Order.COUNTING)
        self._counts: dict[tuple[Call, Role, bool, Reason], list[int]] = {}

    def add(self, call: Call, role: Role, decision: Decision) -> None:
        """Count one decision."""
        # A `DecisionKind` takes as long to make as everything else in here.
        kind = call, role, decision.allowed, decision.reason
        # A signal handler may run before or after this call, and count, too. The sum is made without a call.
        count = self._counts.setdefault(kind, [0])
        with self._counting:
            count[0] += 1

    def now(self) -> dict[DecisionKind, int]:
        """Return all counts so far."""
        return {DecisionKind(*kind): count for kind, (count,) in dict(self._counts).items()}

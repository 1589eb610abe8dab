"""How many decisions there were of each kind, over all peers together."""

from __future__ import annotations

from collections import Counter

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
    """Counts decisions by kind, exactly, under threads too."""

    def __init__(self) -> None:
        self._counting = new_lock(Order.COUNTING)
        self._counts: Counter[DecisionKind] = Counter()

    def add(self, call: Call, role: Role, decision: Decision) -> None:
        """Count one decision."""
        kind = DecisionKind(call, role, decision.allowed, decision.reason)
        with self._counting:
            self._counts[kind] += 1

    def now(self) -> dict[DecisionKind, int]:
        """Return all counts so far."""
        with self._counting:
            return dict(self._counts)

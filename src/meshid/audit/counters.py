"""How many decisions there were, of what kind; never of whom."""

from __future__ import annotations

from collections import Counter

import attrs

from meshid.certificates.leaf import Role
from meshid.decisions import Call, Decision
from meshid.reasons import Reason
from meshid.support.locks import Order, new_lock


@attrs.frozen
class DecisionKind:
    """One kind of decisions.

    Attributes:
        call: Which call asked.
        role: What the peers are in the handshake.
        allowed: Whether they may be there.
        reason: Why.
    """

    call: Call
    role: Role
    allowed: bool
    reason: Reason


class Counters:
    """How many decisions there were of each kind; exact, under threads, too."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._counting = new_lock(Order.COUNTING)
        self._counts: Counter[DecisionKind] = Counter()

    def add(self, call: Call, role: Role, decision: Decision) -> None:
        """Count one more."""
        kind = DecisionKind(call, role, decision.allowed, decision.reason)
        with self._counting:
            self._counts[kind] += 1

    def now(self) -> dict[DecisionKind, int]:
        """Return all of them."""
        with self._counting:
            return dict(self._counts)

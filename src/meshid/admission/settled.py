"""A decision that is made and has not taken effect: nobody was told of it, and nobody was let in."""

from __future__ import annotations

from typing import NamedTuple

import attrs

from meshid.admission.snapshot import Snapshot
from meshid.decisions import Decision
from meshid.reasons import Reason
from meshid.verification.verifier import Peer


class Settled(NamedTuple):
    """A decision about a chain.

    Attributes:
        time: When it was made, in POSIX seconds.
        snapshot: What it was made under.
        peer: The peer, bound if a token counts; None if its chain is refused.
        decision: The decision.
    """

    time: float
    snapshot: Snapshot
    peer: Peer | None
    decision: Decision

    @property
    def admits(self) -> bool:
        """Whether it lets the peer in."""
        return self.peer is not None and self.decision.allowed

    def failed(self, reason: Reason, detail: str) -> Settled:
        """Return the refusal of the same peer for a *reason* that was found later."""
        decision = attrs.evolve(self.decision, allowed=False, reason=reason, rule=None, detail=detail)
        return self._replace(peer=None, decision=decision)

"""A decision that is made and has not taken effect: nobody was told of it, and nobody was let in."""

from __future__ import annotations

from typing import NamedTuple

import attrs

from meshid.admission.snapshot import Snapshot
from meshid.decisions import Decision
from meshid.policy.evidence import TokenEvidence
from meshid.reasons import Reason
from meshid.verification.verifier import Peer


@attrs.frozen(kw_only=True)
class Aside:
    """What is done about a token that is refused, besides refusing it.

    Attributes:
        wants_keys_of: The name of the issuer whose keys would be needed, if that is why.
        token: What it says, if it was verified: for the record.
    """

    wants_keys_of: str | None = None
    token: TokenEvidence | None = None


class Settled(NamedTuple):
    """A decision about a chain.

    Attributes:
        time: When it was made, in POSIX seconds.
        snapshot: What it was made under.
        peer: The peer, bound if a token counts; None if its chain is refused.
        decision: The decision.
        aside: What is done about a token that is refused.
    """

    time: float
    snapshot: Snapshot
    peer: Peer | None
    decision: Decision
    aside: Aside | None = None

    @property
    def token(self) -> TokenEvidence | None:
        """What a token says of the peer, whether it counts or not; None without one that was verified."""
        if self.aside is not None and self.aside.token is not None:
            return self.aside.token
        return None if self.peer is None else self.peer.token

    @property
    def admits(self) -> bool:
        """Whether it lets the peer in."""
        return self.peer is not None and self.decision.allowed

    def failed(self, reason: Reason, detail: str) -> Settled:
        """Return the refusal of the same peer for a *reason* that was found later."""
        decision = attrs.evolve(self.decision, allowed=False, reason=reason, rule=None, detail=detail)
        return self._replace(peer=None, decision=decision)

"""A decision: the answer, and everything that it takes to explain it."""

from __future__ import annotations

from enum import StrEnum

import attrs

from meshid.reasons import Reason


class Call(StrEnum):
    """Which call asked for a decision."""

    # As for `Reason`.
    __hash__ = str.__hash__

    ADMIT = "admit"
    """A handshake, or `Mesh.admit`."""
    CHECK = "check"
    """`Mesh.check`."""
    BIND = "bind"
    """`Mesh.bind`: a token that was refused."""
    REVIEW = "review"
    """meshid itself: it ended an open connection, because its peer may no longer be there."""


@attrs.frozen(kw_only=True)
class Decision:
    """Whether a peer is admitted, and why.

    A decision is plain data, and is true exactly when the peer is admitted.

    Attributes:
        allowed: Whether the peer is admitted.
        reason: The cause, from the closed enum.
        rule: The id of the rule that decided, if one did.
        policy_hash: SHA-256 of the policy in force, in hex; None without a policy.
        name: The peer's SPIFFE ID. If the chain was refused, only the name that its leaf
            claims; None if it claims no name that can be read.
        peer_name: The name that the policy gives to the peer; None if it gives none.
        target: What the peer wants to reach.
        request: The request (``"METHOD /path"``, normalised), if there was one.
        observed: What observing rules, or an observing policy, would have
            decided: ``"allow: rule-id"``, ``"deny: rule-id"`` or ``"no_rule"``.
        detail: The facts of this case in one sentence, bounded and escaped.
    """

    allowed: bool
    reason: Reason
    rule: str | None = None
    policy_hash: str | None = None
    name: str | None = None
    peer_name: str | None = None
    target: str | None = None
    request: str | None = None
    observed: tuple[str, ...] = ()
    detail: str = ""

    @property
    def sentence(self) -> str:
        """The reason for a person: what it means, the facts of this case, and the clause."""
        return " ".join(filter(None, (self.reason.meaning, self.detail, f"({self.reason.clause})")))

    def __bool__(self) -> bool:
        """Tell whether the peer is admitted."""
        return self.allowed

    def as_dict(self) -> dict[str, str | list[str]]:
        """Return it as plain data, without what is empty.

        A reason other than ``allowed`` comes with its meaning and its remedy. The name is left out: a
        caller knows whether it was verified or is only claimed.
        """
        reason = self.reason
        facts: dict[str, str | list[str]] = {
            "verdict": "admitted" if self.allowed else "refused",
            "reason": str(reason),
            "rule": self.rule or "",
            "peer": self.peer_name or "",
            "target": self.target or "",
            "request": self.request or "",
            "observed": list(self.observed),
            "detail": self.detail,
        }
        if reason is not Reason.ALLOWED:
            facts |= {"meaning": reason.meaning, "clause": reason.clause, "what_to_do": reason.remedy}
        return {name: fact for name, fact in facts.items() if fact}

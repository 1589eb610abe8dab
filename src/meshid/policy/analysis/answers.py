"""The answers of the analysis: who has access, and whether a proof holds.

They are apart from what computes them, so that `import meshid` need not load that.
"""

from __future__ import annotations

import attrs

from meshid.decisions import Decision
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.evidence import TokenName
from meshid.policy.rules import Environment


@attrs.frozen
class Access:
    """One peer at one target.

    Attributes:
        spiffe_id: The peer.
        target: The target.
        request: The request, as ``"METHOD /path"``; None at a handshake.
        token: A token that it shows; None without one.
    """

    spiffe_id: SpiffeId
    target: str
    request: str | None = None
    token: TokenName | None = None

    def __str__(self) -> str:
        shown = [repr(self.request)] if self.request else []
        shown += [str(self.token)] if self.token else []
        return f"{self.spiffe_id} at {self.target!r}{' with ' * bool(shown)}{' and '.join(shown)}"

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data; a token is only in it if there is one."""
        values: dict[str, object] = {
            "peer": str(self.spiffe_id),
            "target": self.target,
            "request": self.request,
        }
        return values if self.token is None else values | {"token": attrs.asdict(self.token)}


@attrs.frozen
class Counterexample:
    """A peer that reaches what it never should.

    Attributes:
        access: The peer, the target and the request.
        decision: What `decide` says of it.
    """

    access: Access
    decision: Decision

    def __str__(self) -> str:
        rule = f' by rule "{self.decision.rule}"' if self.decision.rule else ""
        return f"{self.access} is {self.decision.reason}{rule}"


@attrs.frozen
class Proof:
    """What was asked, and whether it holds for all names and all targets.

    Attributes:
        never: The peers.
        reach: The targets.
        environment: The environment of the policy.
        policy_hash: SHA-256 of the policy, in hex.
        counterexample: The shortest counterexample; None if the proof holds.
        doubts: Why it may say less than it seems, if it holds: it is about a name of nothing that is loaded.
    """

    never: PeerPattern
    reach: Pattern
    environment: Environment
    policy_hash: str
    counterexample: Counterexample | None
    doubts: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether there is no counterexample."""
        return self.counterexample is None

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        verdict = "holds" if self.counterexample is None else "does not hold"
        what = f"{self.never} never reaches {self.reach}"
        lines = [f"{verdict} in {self.environment.name!r}: {what}{', but' if self.doubts else ''}"]
        lines += [f"  {self.counterexample}"] if self.counterexample else []
        lines += [f"  {each}" for each in self.doubts]
        domain = self.never.trust_domain
        if domain in self.environment.elsewhere:
            lines.append(f"  {domain} belongs to another environment, or is federated only there")
        lines.append(f"  policy {self.policy_hash}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        example = self.counterexample
        return {
            "holds": self.holds,
            "never": str(self.never),
            "reach": str(self.reach),
            "environment": self.environment.name,
            "policy_hash": self.policy_hash,
            "counterexample": {**example.access.as_dict(), "rule": example.decision.rule}
            if example
            else None,
            "doubts": list(self.doubts),
        }

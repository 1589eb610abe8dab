"""The answers of the analysis: what changes between two policies, and whether a proof holds.

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

_FEW = 5


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
class Change:
    """What a rule lets some peers reach on one side of a comparison, and no rule does on the other.

    Attributes:
        rule: The id of the allow rule.
        peers: The pattern of the peers.
        targets: The pattern of the targets.
        requests: The condition on the requests, as ``"METHOD /path"``; None if there is none.
        within: The deny rule of the other side, as ``"effect: rule-id"``, if only what it
            refuses changes; None if all of it does.
        unless: The rules by which parts of it do not change, as ``"effect: rule-id"``: those
            parts were reached before as well, or are still denied.
        example: The shortest access that changes.
    """

    rule: str
    peers: str
    targets: str
    requests: str | None
    within: str | None
    unless: tuple[str, ...]
    example: Access

    def __str__(self) -> str:
        request = f" for {self.requests}" if self.requests else ""
        within = f", where {self.within} refuses it on the other side" if self.within else ""
        few = ", ".join(self.unless[:_FEW]) + (" ..." if len(self.unless) > _FEW else "")
        unless = f", except what stays as it was because of {few}" if self.unless else ""
        where = f"{self.peers} -> {self.targets}{request}"
        return f'{where} (rule "{self.rule}"{within}{unless})\n      such as {self.example}'

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            **attrs.asdict(self, recurse=False),
            "unless": list(self.unless),
            "example": self.example.as_dict(),
        }


@attrs.frozen
class PolicyDiff:
    """What changes from one policy to another.

    Attributes:
        gains: What can be reached after, and could not before.
        losses: What could be reached before, and cannot after.
        observes: Whether each of the two policies, before and after, only observes: such a
            policy lets every verified peer in, whatever its rules say; the rules are compared.
        environments: The names of their environments.
        hashes: Their hashes.
        names: What changes in whom tokens name, a sentence each. The gains and losses are about names.
    """

    gains: tuple[Change, ...]
    losses: tuple[Change, ...]
    observes: tuple[bool, bool]
    environments: tuple[str, str]
    hashes: tuple[str, str]
    names: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes for any peer."""
        return not (self.gains or self.losses or self.names) and self.observes[0] == self.observes[1]

    def __str__(self) -> str:
        before, after = self.environments
        scope = (
            f"in {before!r}" if before == after else f"from {before!r} to {after!r}, each with its own peers"
        )
        lines = [f"{'nothing changes' if self.is_empty else 'changes'} {scope}"]
        if self.observes[1] and not self.observes[0]:
            lines.append("  the new policy only observes: it lets EVERY verified peer in")
        if self.observes[0] and not self.observes[1]:
            lines.append("  the old policy only observed: peers that no rule allows are refused from now on")
        lines += [f"  + may reach:        {change}" for change in self.gains]
        lines += [f"  - no longer reach:  {change}" for change in self.losses]
        lines += [f"  ~ {each}" for each in self.names]
        lines.append(f"  policy {self.hashes[0]} -> {self.hashes[1]}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "empty": self.is_empty,
            "gains": [change.as_dict() for change in self.gains],
            "losses": [change.as_dict() for change in self.losses],
            "observes": list(self.observes),
            "environments": list(self.environments),
            "policy_hashes": list(self.hashes),
            **({"names": list(self.names)} if self.names else {}),
        }


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
    """

    never: PeerPattern
    reach: Pattern
    environment: Environment
    policy_hash: str
    counterexample: Counterexample | None

    @property
    def holds(self) -> bool:
        """Whether there is no counterexample."""
        return self.counterexample is None

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        verdict = "holds" if self.counterexample is None else "does not hold"
        lines = [f"{verdict} in {self.environment.name!r}: {self.never} never reaches {self.reach}"]
        lines += [f"  {self.counterexample}"] if self.counterexample else []
        domain = self.never.trust_domain
        if domain not in (None, *self.environment.trust_domains, *self.environment.federates_with):
            lines.append(
                f"  environment {self.environment.name!r} neither has nor federates with {domain}:"
                " is the name right?"
            )
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
        }

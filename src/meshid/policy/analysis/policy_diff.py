"""What changes between two policies: values that a diff consists of.

They are apart from what computes them, so that `import meshid` need not load that.
"""

from __future__ import annotations

import attrs

from meshid.policy.analysis.answers import Access
from meshid.policy.analysis.change_words import lines_of
from meshid.policy.rules import Effect


@attrs.frozen
class Area:
    """Peers at targets, with requests or without: all that the entries of a rule have in common.

    Attributes:
        peers: Entries as in ``from``: patterns, and ``@name``; where not all of an entry is meant, it is
            followed by which part of it, such as ``by certificate /a``. Empty for those of the rules that
            a change names.
        targets: Patterns of the targets; empty for those of the rules that a change names.
        requests: Conditions on the requests, as ``"METHOD /path"``; ``"* /**"`` for all; empty for none.
        connections: Whether connections without requests are meant as well.
        only_peers: If there are any, only the peers of these patterns are meant.
        only_requests: If there are any, only the requests of these conditions are meant.
        not_peers: The patterns of peers that are not meant.
        not_requests: The conditions of requests that are not meant.
    """

    peers: tuple[str, ...]
    targets: tuple[str, ...]
    requests: tuple[str, ...] = ()
    connections: bool = False
    only_peers: tuple[str, ...] = ()
    only_requests: tuple[str, ...] = ()
    not_peers: tuple[str, ...] = ()
    not_requests: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data; the narrowing members are only in it if there are any."""
        values: dict[str, object] = {
            "peers": list(self.peers),
            "targets": list(self.targets),
            "requests": list(self.requests),
            "connections": self.connections,
        }
        narrowed = ("only_peers", "only_requests", "not_peers", "not_requests")
        return values | {key: list(getattr(self, key)) for key in narrowed if getattr(self, key)}


@attrs.frozen
class Unchanged:
    """A part of a change that does not change, because of a rule.

    Attributes:
        rule: The id of the rule.
        effect: A deny rule keeps it out on both sides; an allow rule lets it in on both.
        area: What of the rule lies in the change.
    """

    rule: str
    effect: Effect
    area: Area

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        return {"rule": self.rule, "effect": str(self.effect), **self.area.as_dict()}


@attrs.frozen
class Change:
    """What some peers can reach on one side of a comparison, and not on the other, because of one rule.

    Attributes:
        rule: The id of the rule: an allow rule that allows it on the one side; a deny rule that refuses it
            on the other; or the rule that alone names a method.
        effect: The effect of the rule.
        status: What has become of the rule: ``new``, ``gone``, ``edited``, ``ended`` or ``in force again``
            by its last day, or ``the same`` if something else makes the change.
        area: What changes.
        allowed_by: The ids of the allow rules that allow it on the one side, if *rule* is none of
            them: only what they are about changes.
        unchanged: The parts of the area that do not change.
        reached_without_token: Whether those peers do not change that, on the other side, reach it with
            their certificate alone.
        example: The shortest access that changes.
    """

    rule: str
    effect: Effect
    status: str
    area: Area
    allowed_by: tuple[str, ...]
    unchanged: tuple[Unchanged, ...]
    reached_without_token: bool
    example: Access

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "rule": self.rule,
            "effect": str(self.effect),
            "status": self.status,
            **self.area.as_dict(),
            **({"allowed_by": list(self.allowed_by)} if self.allowed_by else {}),
            "unchanged": [each.as_dict() for each in self.unchanged],
            **({"reached_without_token": True} if self.reached_without_token else {}),
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
        names: What changes in whom certificates and tokens name, a sentence each. The gains and losses are
            about names.
        ends: What changes in the last days of rules, a sentence each.
        notes: What else changes, and decides nothing today: owners, reviewers, rules that only observe, rules
            that come or go and let in nobody else, members of sets.
    """

    gains: tuple[Change, ...]
    losses: tuple[Change, ...]
    observes: tuple[bool, bool]
    environments: tuple[str, str]
    hashes: tuple[str, str]
    names: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes for any peer, now or later."""
        told = self.gains or self.losses or self.names or self.ends
        return not told and self.observes[0] == self.observes[1]

    def __str__(self) -> str:
        return "\n".join(lines_of(self))

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
            **({"ends": list(self.ends)} if self.ends else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }

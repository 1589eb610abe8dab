"""What lint says: one finding each, with its place in the file."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import attrs


class FindingKind(StrEnum):
    """What is wrong with a policy that can be loaded."""

    NEVER_MATCHES = "never_matches"
    """No peer can have such a name."""
    SWALLOWED = "swallowed"
    """Deny rules leave nothing of an allow rule."""
    POINTLESS = "pointless"
    """Other rules or entries already say the same, or an exception excepts nothing."""
    WIDE = "wide"
    """An allow rule for everybody, for a whole federated trust domain, or to every target."""
    UNUSED_FEDERATION = "unused_federation"
    """No rule names a federated trust domain."""
    UNUSED_PEER = "unused_peer"
    """No rule names a peer by name."""
    UNUSED_SET = "unused_set"
    """No rule names a set of peers."""
    UNUSED_ISSUER = "unused_issuer"
    """The tokens of an issuer name nobody."""
    AVOIDABLE = "avoidable"
    """A deny rule for a name that only tokens prove: whoever has it need not send one."""
    LOOKALIKE = "lookalike"
    """A name is one slip away from another; a guess."""
    NO_WHY = "no_why"
    """A rule does not say what it is for; a warning."""
    EXPIRED = "expired"
    """The last day of a rule is over, so that it decides nothing; a warning."""
    NOT_HERE = "not_here"
    """A rule or a peer by name counts for nothing in this environment, whose issuers and trust domains are
    others; a warning."""

    @property
    def is_warning(self) -> bool:
        """Whether the policy means what it says, and people only miss something."""
        return self in {FindingKind.NO_WHY, FindingKind.NOT_HERE, FindingKind.EXPIRED}


@attrs.frozen
class Finding:
    """One thing in a policy that is probably not meant.

    Attributes:
        kind: What it is.
        where: Its place in the file, such as ``allow[3].from[0]``.
        rule: The id of the rule; None if it is about no rule.
        what: What is wrong and what would be right, in a sentence.
    """

    kind: FindingKind
    where: str
    rule: str | None
    what: str

    def __str__(self) -> str:
        rule = f' (rule "{self.rule}")' if self.rule else ""
        return f"{self.where}{rule}: {self.what}"

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data, with ``warning`` for whether its kind is one."""
        return {
            "kind": str(self.kind),
            "warning": self.kind.is_warning,
            "where": self.where,
            "rule": self.rule,
            "what": self.what,
        }


def by_environment(findings: Iterable[tuple[str, Iterable[Finding]]]) -> dict[Finding, list[str]]:
    """Return each finding once, with the environments that it is true of.

    Args:
        findings: The name of each environment, and the findings of the policy that is loaded for it.
    """
    environments: dict[Finding, list[str]] = {}
    for name, found in findings:
        for finding in found:
            environments.setdefault(finding, []).append(name)
    return environments

"""The verdicts of a cell: what is true of all peers of its row at all targets of its column.

Here, an *access* is one of these peers at one of these targets with one request, or with none. Where there
is no request, a deny rule for some requests denies, and an allow rule for some requests allows nothing.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from meshid.names.peer_pattern import PeerPattern


class Verdict(StrEnum):
    """What is true of all peers of a row at all targets of a column; exactly one is."""

    ALLOWED = "allowed"
    """Every access is allowed."""
    REQUESTS = "some requests"
    """Not every access, but for each of the peers at each of the targets, one is allowed."""
    PARTLY = "partly"
    """Some access is allowed; but some of the peers at some of the targets has none without a token."""
    DENIED = "denied"
    """No access is allowed; deny rules match each that an allow rule matches, and there is such a one; or
    they match every access."""
    NO_RULE = "no rule"
    """No access is allowed; no allow rule matches any, and deny rules do not match all."""

    @property
    def meaning(self) -> str:
        """What it means, in a sentence for people."""
        return _MEANINGS[self]


_MEANINGS = {
    Verdict.ALLOWED: "All of these peers may reach all of these targets, with any request and without one.",
    Verdict.REQUESTS: "All of these peers may reach all of these targets with some requests, named by the"
    " rules beside it; not with every request, or not without one.",
    Verdict.PARTLY: "Some of these peers may reach some of these targets; others may not, or only with a"
    " token.",
    Verdict.DENIED: "None of these peers reaches any of these targets, because a rule forbids it.",
    Verdict.NO_RULE: "None of these peers reaches any of these targets, because no rule allows it. A rule"
    " beside it forbids some requests only, or only observes.",
}


@attrs.frozen(order=True)
class RuleBehind:
    """A rule behind a verdict.

    Attributes:
        allows: Whether it is an allow rule; denies come first.
        rule: Its id.
        is_whole: Whether it is about all of the peers at all of the targets; the requests do not count.
        observe: Whether it only observes, so that the verdict is as it would be without it.
        not_for: The exceptions of it that are about some of the peers.
    """

    allows: bool
    rule: str
    is_whole: bool
    observe: bool = False
    not_for: tuple[PeerPattern, ...] = attrs.field(default=(), order=False)


@attrs.frozen
class Cell:
    """One verdict.

    Attributes:
        verdict: What is true of all its peers and targets.
        behind: The rules behind it: denies first, then allows, each by id.
        is_named: Whether a rule names these peers, and these targets or wider ones, and no wider cell says
            all of it. What is in no such cell is refused.
        if_enforced: The verdict if the observing rules among them decided, too; None if there are none.
    """

    verdict: Verdict
    behind: tuple[RuleBehind, ...]
    is_named: bool
    if_enforced: Verdict | None = None

    @property
    def rules(self) -> tuple[str, ...]:
        """The ids of the rules behind it; denies first, then allows."""
        return tuple(each.rule for each in self.behind)

"""What came of a replay: values."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Self

import attrs

from meshid.decisions import Decision
from meshid.support.quoting import MAX_QUOTED

MAX_LINE_BYTES = 64 * 1024
"""An event has at most 16 strings of about 256 characters, which JSON writes in at most 12 bytes each."""

MAX_FLIPS = 1000
"""Flips that are told apart; what else flips is only counted."""

MAX_REQUESTS = 5
"""Requests of one flip that are told apart: most paths have a number in them."""

MAX_EXAMPLES = 3
"""Lines that are shown for each cause."""


class Cause(StrEnum):
    """Why a line cannot be replayed.

    Attributes:
        meaning: One sentence, for a person.
    """

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Make a member that is *value* and knows its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    REFUSED_BEFORE = "refused_before", "Refused before a policy was asked, and so under every policy."
    OF_A_SERVER = "of_a_server", "The peer is a server, which `expect` judges and no policy."
    NO_POLICY = "no_policy", "No policy was in force, and what was requested is not in the log."
    OTHER_ENVIRONMENT = "other_environment", "Decided in another environment than the policy's."
    OTHER_RECORD = "other_record", "Another record of the same log, of no decision."
    REQUESTS_UNKNOWN = (
        "requests_unknown",
        "A handshake that this policy would answer one way if requests follow and another if none do.",
    )
    CUT = "cut", f"Something in it had more than {MAX_QUOTED} characters, and the log has only the beginning."
    WRONG_EVENT = "wrong_event", "A field of the event is missing or wrong."
    NOT_JSON = "not_json", "Not a JSON object."
    TOO_LONG = "too_long", f"Longer than {MAX_LINE_BYTES} bytes, as no event is."
    EMPTY = "empty", "Empty."


@attrs.frozen
class Requests:
    """How often a decision was made about one request.

    Attributes:
        request: The request, as ``"METHOD /path"``; None for a handshake.
        count: How often.
    """

    request: str | None
    count: int


@attrs.frozen(kw_only=True)
class Flip:
    """Decisions that would flip: of one peer at one target, from one cause to another.

    Attributes:
        was: The first of them, as it is in the log: whether the peer was let in, the
            reason, the rule and what was asked.
        now: What the policy says of that one now.
        count: How many they are.
        first: When the earliest was made.
        last: When the latest was made.
        requests: What they were about, at most `MAX_REQUESTS` of them; so their counts
            may add up to less than *count*.
    """

    was: Decision
    now: Decision
    count: int
    first: datetime
    last: datetime
    requests: tuple[Requests, ...]

    def as_dict(self) -> dict[str, object]:
        """Return them as plain data."""
        return {
            "spiffe_id": self.was.name,
            "target": self.was.target,
            "was": _verdict(self.was),
            "now": _verdict(self.now),
            "count": self.count,
            "first": self.first.isoformat(sep=" "),
            "last": self.last.isoformat(sep=" "),
            "requests": [attrs.asdict(each) for each in self.requests],
        }


def _verdict(decision: Decision) -> dict[str, object]:
    return {
        "verdict": "admitted" if decision.allowed else "refused",
        "reason": str(decision.reason),
        "rule": decision.rule,
        "detail": decision.detail,
    }


@attrs.frozen
class Example:
    """A line that was not replayed.

    Attributes:
        line: Its number, from 1.
        what: What is the matter with it, in a few words.
    """

    line: int
    what: str


@attrs.frozen
class Skipped:
    """Lines that were not replayed, for one cause.

    Attributes:
        cause: The cause.
        count: How many.
        examples: The first of them, at most `MAX_EXAMPLES`.
    """

    cause: Cause
    count: int
    examples: tuple[Example, ...]

    def as_dict(self) -> dict[str, object]:
        """Return them as plain data."""
        return {
            "cause": str(self.cause),
            "meaning": self.cause.meaning,
            "count": self.count,
            "examples": [attrs.asdict(each) for each in self.examples],
        }


@attrs.frozen(kw_only=True)
class Replayed:
    """What came of it.

    Attributes:
        lines: The lines of the log.
        replayed: How many of them were replayed; the others are in *skipped*.
        flipped: How many decisions would flip.
        flips: These by peer, target and cause, the most frequent first; at most `MAX_FLIPS`.
        unlisted: How many would flip that are not in *flips*.
        skipped: Why the other lines were not replayed, the most frequent cause first.
        environment: The name of the policy's environment.
        policy_hash: SHA-256 of the policy, in hex.
    """

    lines: int
    replayed: int
    flipped: int
    flips: tuple[Flip, ...]
    unlisted: int
    skipped: tuple[Skipped, ...]
    environment: str
    policy_hash: str

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "lines": self.lines,
            "replayed": self.replayed,
            "flipped": self.flipped,
            "flips": [each.as_dict() for each in self.flips],
            "unlisted": self.unlisted,
            "skipped": [each.as_dict() for each in self.skipped],
            "environment": self.environment,
            "policy_hash": self.policy_hash,
        }

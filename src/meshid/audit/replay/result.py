"""The result of a replay."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Self

import attrs

from meshid.decisions import Decision
from meshid.support.quoting import MAX_QUOTED

MAX_LINE_BYTES = 96 * 1024
"""An event has at most 24 strings of about 256 characters, each at most 12 bytes in JSON."""

MAX_FLIPS = 1000
"""Kinds of flips that are listed; further ones are only counted."""

MAX_REQUESTS = 5
"""Requests that are listed for one kind of flip: most paths have a number in them."""

MAX_EXAMPLES = 3
"""Lines that are listed for each cause."""


class Cause(StrEnum):
    """Why a line cannot be replayed.

    Attributes:
        meaning: One sentence, for a person.
    """

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Return the member that is *value* and has a *meaning*."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    REFUSED_BEFORE = "refused_before", "Refused before any policy was asked, so every policy refuses it."
    OF_A_SERVER = "of_a_server", "The peer is a server, which `expect` judges, not a policy."
    NO_POLICY = "no_policy", "No policy was in force, and what was requested is not in the log."
    OTHER_ENVIRONMENT = "other_environment", "Decided in another environment than the policy is for."
    OTHER_RECORD = "other_record", "Another record of the same log, not a decision."
    REQUESTS_UNKNOWN = (
        "requests_unknown",
        "This policy decides one way if requests follow and the other way if not; the log does not say.",
    )
    CUT = "cut", f"A field had more than {MAX_QUOTED} characters, and the log has only the beginning of it."
    WRONG_EVENT = "wrong_event", "A field of the event is missing or wrong."
    NOT_JSON = "not_json", "Not a JSON object."
    TOO_LONG = "too_long", f"Longer than {MAX_LINE_BYTES} bytes; no event is."
    EMPTY = "empty", "Empty."

    @property
    def is_undecided(self) -> bool:
        """Whether such a line may be a decision that the policy would have to make."""
        return self not in _NOT_ITS_OWN


_NOT_ITS_OWN = frozenset(
    {Cause.REFUSED_BEFORE, Cause.OF_A_SERVER, Cause.OTHER_ENVIRONMENT, Cause.OTHER_RECORD, Cause.EMPTY}
)
"""Lines that no policy of the environment has to decide, or that every one decides alike."""


@attrs.frozen
class Requests:
    """How many decisions of one kind were about one request.

    Attributes:
        request: The request, as ``"METHOD /path"``; None for a handshake or a review of an
            open connection.
        count: How often.
    """

    request: str | None
    count: int


@attrs.frozen(kw_only=True)
class Flip:
    """Decisions that would flip: about one peer at one target, from one reason and rule to another.

    Attributes:
        was: The first of them, as it is in the log: whether the peer was let in, the
            reason, the rule and what was asked.
        now: What the policy decides in its place.
        count: How many there are.
        first: When the earliest was made.
        last: When the latest was made.
        requests: What they were about, at most `MAX_REQUESTS` different requests; so their
            counts may add up to less than *count*.
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
        what: What is wrong with it, in a few words; may be empty.
    """

    line: int
    what: str


@attrs.frozen
class Skipped:
    """The lines that were not replayed for one cause.

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
    """The result of a replay.

    Attributes:
        lines: How many lines the log has.
        replayed: How many of them were replayed; the others are in *skipped*.
        flipped: How many decisions would flip.
        flips: Which, by peer, target, reason and rule, the most frequent first; at most `MAX_FLIPS`.
        unlisted: How many decisions would flip that are not in *flips*.
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

    @property
    def undecided(self) -> int:
        """How many lines that are not replayed may be decisions that the policy would have to make."""
        return sum(each.count for each in self.skipped if each.cause.is_undecided)

    @property
    def is_enough(self) -> bool:
        """Whether it speaks for the log: at least one line was replayed, and no more are undecided."""
        return self.replayed >= max(1, self.undecided)

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
            "enough": self.is_enough,
        }

"""Decides again what an audit log says was decided.

The rules of this module:

- A decision flips if the peer was refused and would be let in, or the other way round;
  another rule or another reason alone is not a flip.
- Only what a policy decided is decided again. A chain that was refused before stays refused
  under every policy, and a server is judged by what its client expects.
- The log has everything that was asked, except one thing: at a handshake, and when an open
  connection was reviewed, whether requests were to follow. If the peer was let through to
  await them, they were; otherwise both are tried, and the event counts only if they agree.
- A token is decided about by whom it named: that it was valid is in the log, and it is not verified again.
- A line that cannot be replayed is counted, with its cause, and does not end the replay.
  Memory does not grow with the log.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import TypeAlias

from meshid.audit.replay.log import Recorded, SkipError, recorded
from meshid.audit.replay.result import (
    MAX_EXAMPLES,
    MAX_FLIPS,
    MAX_REQUESTS,
    Cause,
    Example,
    Flip,
    Replayed,
    Requests,
    Skipped,
)
from meshid.decisions import Decision
from meshid.policy import REQUEST_FOLLOWS, Policy
from meshid.support.quoting import quote


def replay(lines: Iterable[bytes], policy: Policy, now: float | None = None) -> Replayed:
    """Decide again, by *policy*, what an audit log says was decided.

    Args:
        lines: The lines of the log, such as `lines_of` yields; there may be any number.
        policy: The policy. Only decisions of its environment are replayed.
        now: When all of it is decided again, in POSIX seconds; this instant if None. It counts for rules with
            a last day: whoever reviews a change asks what it does from now on.
    """
    count, tally = 0, _Tally()
    # One instant for all, however long it takes.
    now = time.time() if now is None else now
    for line in lines:
        count += 1
        try:
            event = recorded(line, policy.environment.name)
            tally.add(event, _decide(event, policy, now))
        except SkipError as skip:
            tally.skip(count, skip)
    return tally.result(count, policy)


def _decide(event: Recorded, policy: Policy, now: float) -> Decision:
    ask = partial(policy.decide, event.spiffe_id, event.target, token=event.token, now=now)
    if event.request is not None:
        return ask(event.request)
    alone, before_requests = ask(), ask(REQUEST_FOLLOWS)
    if alone.allowed == before_requests.allowed:
        return alone
    is_same_stage = policy.next_end(event.time.timestamp()) == policy.next_end(now)
    if event.decision.policy_hash == policy.hash and is_same_stage:
        # This very policy decided, and knew.
        return alone if alone.allowed == event.decision.allowed else before_requests
    raise SkipError(Cause.REQUESTS_UNKNOWN, f"{event.decision.name} at {quote(event.target)}")


class _Tally:
    """Counts, in bounded memory."""

    def __init__(self) -> None:
        self.replayed = 0
        self.unlisted = 0
        self.groups: dict[_Kind, _Group] = {}
        self.skipped: Counter[Cause] = Counter()
        self.examples: dict[Cause, list[Example]] = {}

    def add(self, event: Recorded, now: Decision) -> None:
        self.replayed += 1
        if event.decision.allowed == now.allowed:
            return
        kind = _kind(event.decision, now)
        if kind not in self.groups:
            if len(self.groups) >= MAX_FLIPS:
                self.unlisted += 1
                return
            self.groups[kind] = _Group(event, now)
        self.groups[kind].add(event)

    def skip(self, line: int, skip: SkipError) -> None:
        self.skipped[skip.cause] += 1
        examples = self.examples.setdefault(skip.cause, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(Example(line, skip.what))

    def result(self, lines: int, policy: Policy) -> Replayed:
        flips = sorted((group.flip() for group in self.groups.values()), key=lambda flip: -flip.count)
        return Replayed(
            lines=lines,
            replayed=self.replayed,
            flipped=sum(flip.count for flip in flips) + self.unlisted,
            flips=tuple(flips),
            unlisted=self.unlisted,
            skipped=tuple(
                Skipped(cause, count, tuple(self.examples[cause]))
                for cause, count in self.skipped.most_common()
            ),
            environment=policy.environment.name,
            policy_hash=policy.hash,
        )


_Kind: TypeAlias = tuple[str | None, ...]


def _kind(was: Decision, now: Decision) -> _Kind:
    return was.name, was.target, was.reason, was.rule, now.reason, now.rule


class _Group:
    """One flip, as it is counted."""

    def __init__(self, event: Recorded, now: Decision) -> None:
        self.was = event.decision
        self.now = now
        self.count = 0
        self.first = self.last = event.time
        self.requests: Counter[str | None] = Counter()

    def add(self, event: Recorded) -> None:
        self.count += 1
        self.first, self.last = min(self.first, event.time), max(self.last, event.time)
        request = event.decision.request
        if request in self.requests or len(self.requests) < MAX_REQUESTS:
            self.requests[request] += 1

    def flip(self) -> Flip:
        return Flip(
            was=self.was,
            now=self.now,
            count=self.count,
            first=self.first,
            last=self.last,
            requests=tuple(Requests(request, count) for request, count in self.requests.most_common()),
        )

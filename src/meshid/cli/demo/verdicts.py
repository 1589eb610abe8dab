"""What came of a knock, held against what must come of it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from meshid.audit.event import AuditEvent
from meshid.cli.demo.clients import ALERT, CLOSED, GREETING, SERVED, Client
from meshid.decisions import Call, Decision
from meshid.reasons import Reason


@attrs.frozen(kw_only=True)
class Expected:
    """What must come of a knock.

    Attributes:
        reason: The reason of the decision.
        rule: The rule that decides.
        call: Where it is decided: in the handshake, on a connection that is open,
            or for one that is open, without anybody asking.
        name: Whom the server greets, if it admits anybody.
    """

    reason: Reason
    rule: str | None = None
    call: Call = Call.ADMIT
    name: str = ""

    @property
    def admitted(self) -> bool:
        """Whether the peer is let in."""
        return self.reason is Reason.ALLOWED

    @property
    def calls(self) -> list[Call]:
        """What the audit must hear of, in order: who is let in is asked about once more, for its line."""
        return [Call.ADMIT, Call.CHECK] if self.admitted and self.call is Call.ADMIT else [self.call]


@attrs.frozen(kw_only=True)
class Evidence:
    """What came of a knock.

    Attributes:
        client: The kind of client.
        saw: What the client saw.
        events: What the audit was told.
        received: What the application read.
    """

    client: Client
    saw: str
    events: tuple[AuditEvent, ...]
    received: bytes

    @property
    def decision(self) -> Decision | None:
        """The first decision; None if the audit was told of none."""
        return self.events[0].decision if self.events else None

    @property
    def detail(self) -> str:
        """The detail of that decision."""
        return "" if self.decision is None else self.decision.detail


def faults(expected: Expected, evidence: Evidence) -> Iterator[str]:
    """Say everything that is not as it must be."""
    calls = [event.call for event in evidence.events]
    if calls != expected.calls:
        yield f"the audit heard of {_names(calls)}, and must hear of {_names(expected.calls)}"
    for event in evidence.events:
        decision = event.decision
        told = (decision.allowed, decision.reason, decision.rule)
        if told != (expected.admitted, expected.reason, expected.rule):
            must = f"{expected.reason}, rule {expected.rule or '-'}"
            yield f"the {event.call} must say {must}; it says {decision.reason}, rule {decision.rule or '-'}"
    if not _may_be_seen(expected, evidence.saw):
        yield f"the client must not see {evidence.saw!r}"
    may_read = GREETING if expected.admitted else b""
    if evidence.received != may_read:
        yield f"the application must have read {may_read!r}, and has read {evidence.received!r}"


def _may_be_seen(expected: Expected, saw: str) -> bool:
    if expected.admitted:
        return saw == f"{SERVED}hello {expected.name}"
    # Newer releases of Python send OpenSSL's alert before they close (CPython gh-98078).
    return saw == CLOSED or saw.startswith(ALERT)


def _names(calls: list[Call]) -> str:
    return " and ".join(calls) or "nothing"

"""The table of the demo: each case is held against its outcome, and printed as soon as it is known."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

import attrs

from meshid.audit.event import AuditEvent
from meshid.cli.demo.clients import ALERT, CLOSED, GREETING, SERVED, Client
from meshid.cli.terminal import Colour, Paint
from meshid.decisions import Call, Decision
from meshid.reasons import Reason

RIGHT = "✓"
WRONG = "✗"
STAR = "★"
"""Begins the case to look at."""

_WIDTHS = (2, 1, 31, 8, 27, 8, 20, 16)
_HEADINGS = ("", "", "case", "client", "the client saw", "decision", "reason", "rule")
_INDENT = " " * 5
_WIDTH = 120


@attrs.frozen
class Case:
    """What a client does, and what must come of it.

    Attributes:
        what: What the client does, or is.
        reason: The reason of the decision.
        rule: The rule that decides.
        name: The name that the server greets, if it admits the peer.
        call: The call that decides: in the handshake, on an open connection, or in a review of those.
    """

    what: str
    reason: Reason
    rule: str | None = None
    name: str = ""
    call: Call = Call.ADMIT


@attrs.frozen(kw_only=True)
class Outcome:
    """What the client saw, and what the server's audit and application got in the meantime."""

    client: Client
    saw: str
    events: tuple[AuditEvent, ...]
    received: bytes

    @property
    def decision(self) -> Decision | None:
        """The first decision; None if there was none."""
        return self.events[0].decision if self.events else None

    @property
    def detail(self) -> str:
        """The detail of that decision."""
        return "" if self.decision is None else self.decision.detail


def mismatches(case: Case, outcome: Outcome) -> Iterator[str]:
    """Yield everything about the outcome that is not as it must be."""
    admitted = case.reason is Reason.ALLOWED
    # The server asks once more for the line that an admitted peer sends.
    calls = [Call.ADMIT, Call.CHECK] if admitted and case.call is Call.ADMIT else [case.call]
    decision = Decision(allowed=admitted, reason=case.reason, rule=case.rule)
    must = [_words(call, decision) for call in calls]
    says = [_words(event.call, event.decision) for event in outcome.events]
    if says != must:
        yield f"the audit must say {'; '.join(must)}; it says {'; '.join(says) or 'nothing'}"
    # A resumed session gets no alert, and one that sends meanwhile may lose it.
    refused = outcome.saw == CLOSED or outcome.saw.startswith(ALERT)
    if not (outcome.saw == f"{SERVED}hello {case.name}" if admitted else refused):
        yield f"the client must not see {outcome.saw!r}"
    readable = GREETING if admitted else b""
    if outcome.received != readable:
        yield f"the application must have read {readable!r}, and has read {outcome.received!r}"


class CaseTable:
    """Prints rows, and keeps the numbers of those that are wrong."""

    def __init__(self, paint: Paint) -> None:
        self.rows = 0
        self.wrong: list[int] = []
        self._paint = paint

    def say(self, text: str = "", colour: Colour | None = None) -> None:
        """Print a line at once."""
        print(self._paint(text, colour) if colour else text, flush=True)

    def head(self) -> None:
        """Print the headings of the columns."""
        self.say()
        self.say(_line(_HEADINGS), Colour.QUIET)

    def section(self, title: str) -> None:
        """Begin a section of rows."""
        self.say()
        self.say(f"{_INDENT}{title}", Colour.TITLE)

    def add(self, case: Case, outcome: Outcome, more: Iterable[str] = (), note: str = "") -> None:
        """Print the next row; below it what is wrong, *more* included, and a *note*."""
        wrong = [*mismatches(case, outcome), *more]
        self.rows += 1
        self.wrong += [self.rows] * bool(wrong)
        line = _line([str(self.rows), WRONG if wrong else RIGHT, case.what, *_cells(outcome)])
        if wrong:
            self.say(line, Colour.BAD)
        elif case.what.startswith(STAR):
            self.say(line, Colour.STAR)
        else:
            self.say(line.replace(RIGHT, self._paint(RIGHT, Colour.GOOD), 1))
        for text, colour in (*((each, Colour.BAD) for each in wrong), (note, Colour.QUIET)):
            for each in textwrap.wrap(text, _WIDTH - len(_INDENT)):
                self.say(f"{_INDENT}{each}", colour)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    decision = outcome.decision
    if decision is None:
        return outcome.client, outcome.saw, "none", "-", "-"
    return outcome.client, outcome.saw, _verdict(decision), str(decision.reason), decision.rule or "-"


def _words(call: Call, decision: Decision) -> str:
    return f"{call}: {_verdict(decision)}, {decision.reason}, rule {decision.rule or '-'}"


def _verdict(decision: Decision) -> str:
    return "admitted" if decision.allowed else "refused"


def _line(cells: Sequence[str]) -> str:
    number, *rest = (
        cell.ljust(width) if len(cell) <= width else f"{cell[: width - 1]}…"
        for cell, width in zip(cells, _WIDTHS, strict=True)
    )
    return " ".join([f"{number.strip():>2}", *rest]).rstrip()

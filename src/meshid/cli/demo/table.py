"""The table that the demo prints: a row as soon as it is known, at most 120 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import attrs

from meshid.cli.terminal import Colour, Paint
from meshid.decisions import Decision

RIGHT = "✓"
WRONG = "✗"
STAR = "★"
"""Begins the case to look at."""

_WIDTHS = (2, 1, 31, 8, 27, 8, 20, 16)
_HEADINGS = ("", "", "case", "client", "the client saw", "decision", "reason", "rule")
_INDENT = " " * 5
_WIDTH = 120


@attrs.frozen(kw_only=True)
class Row:
    """One case and what came of it.

    Attributes:
        what: The case.
        client: The kind of client.
        saw: What the client saw.
        decision: As the audit was told it; None if it was told nothing.
        faults: What is not as it must be.
        note: What else is worth knowing.
    """

    what: str
    client: str
    saw: str
    decision: Decision | None
    faults: tuple[str, ...]
    note: str = ""


class Table:
    """Prints rows and counts them.

    Attributes:
        rows: How many there are.
        wrong: The numbers of those that are not as they must be.
    """

    def __init__(self, paint: Paint) -> None:
        """Begin before row 1."""
        self.rows = 0
        self.wrong: list[int] = []
        self._paint = paint

    def head(self) -> None:
        """Print the headings of the columns."""
        self.say()
        self.say(_line(_HEADINGS), Colour.QUIET)

    def say(self, text: str = "", colour: Colour | None = None) -> None:
        """Print a line at once, for whoever is watching."""
        print(self._paint(text, colour) if colour else text, flush=True)

    def section(self, title: str) -> None:
        """Begin a section of rows."""
        self.say()
        self.say(f"{_INDENT}{title}", Colour.TITLE)

    def add(self, row: Row) -> None:
        """Print the next row, with what is wrong with it below."""
        self.rows += 1
        if row.faults:
            self.wrong.append(self.rows)
        line = _line(_cells(self.rows, row))
        colour = _colour(row)
        self.say(line if colour else line.replace(RIGHT, self._paint(RIGHT, Colour.GOOD), 1), colour)
        for fault in row.faults:
            self._below(fault, Colour.BAD)
        self._below(row.note, Colour.QUIET)

    def _below(self, text: str, colour: Colour) -> None:
        for line in textwrap.wrap(text, _WIDTH - len(_INDENT)):
            self.say(f"{_INDENT}{line}", colour)


def _colour(row: Row) -> Colour | None:
    if row.faults:
        return Colour.BAD
    return Colour.STAR if row.what.startswith(STAR) else None


def _cells(number: int, row: Row) -> Sequence[str]:
    mark = WRONG if row.faults else RIGHT
    decision = row.decision
    if decision is None:
        return (str(number), mark, row.what, row.client, row.saw, "none", "-", "-")
    verdict = "admitted" if decision.allowed else "refused"
    return (
        str(number),
        mark,
        row.what,
        row.client,
        row.saw,
        verdict,
        str(decision.reason),
        decision.rule or "-",
    )


def _line(cells: Sequence[str]) -> str:
    number, *rest = (_fitted(*each) for each in zip(cells, _WIDTHS, strict=True))
    return " ".join([f"{number.strip():>2}", *rest]).rstrip()


def _fitted(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"

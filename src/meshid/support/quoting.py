"""Texts for people: strings that somebody else wrote, made safe to show; and counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

_T = TypeVar("_T")

MAX_QUOTED = 256
"""The most characters of a foreign string that a message or a log shows."""


def quote(text: str, limit: int = MAX_QUOTED) -> str:
    """Return *text* in quotes, as printable ASCII, cut after *limit* characters.

    So whatever an attacker writes into a certificate, a header or a file can neither
    forge a log line nor fill a disk.
    """
    if len(text) <= limit:
        return ascii(text)
    return f"{text[:limit]!a}... ({len(text)} characters)"


def escaped(text: str) -> str:
    """Return *text* as `quote` does, without the quotes: for a field of its own."""
    return quote(text)[1:-1] if len(text) <= MAX_QUOTED else quote(text)


def quote_all(texts: Sequence[str], limit: int = 8) -> str:
    """Return the first *limit* of *texts*, quoted and joined by commas, and how many more there are."""
    return some_of(texts, limit, quote)


def some_of(values: Sequence[_T], limit: int, show: Callable[[_T], str] = str) -> str:
    """Return the first *limit* of the *values*, shown and joined by commas, and how many more there are."""
    shown = ", ".join(map(show, values[:limit]))
    return shown if len(values) <= limit else f"{shown} and {len(values) - limit} more"


def joined(sentence: str) -> str:
    """Return a *sentence* as the end of another one: without its capital and its full stop."""
    return sentence[:1].lower() + sentence[1:].removesuffix(".")


def plural(count: int, noun: str) -> str:
    """Return the *count* with the *noun*, in the plural unless it is one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def one_line(error: BaseException) -> str:
    """Return the text of an error of ours in one line: some have a line for each thing that is wrong."""
    return "; ".join(str(error).splitlines())


def described(error: BaseException) -> str:
    """Return the class and the text of an exception that may be anybody's, and may not even have a text."""
    try:
        text = quote(str(error))
    except Exception:  # noqa: BLE001 - its `__str__` is the user's code, too
        text = "(its text cannot be made)"
    return f"{type(error).__name__}: {text}"

"""One thing that a person should look at."""

from __future__ import annotations

from enum import StrEnum

import attrs


class AlarmLevel(StrEnum):
    """How urgent an alarm is."""

    WARNING = "warning"
    """What is in force works; something needs attention before it stops."""
    ERROR = "error"
    """Something does not work, or soon will not."""


@attrs.frozen(kw_only=True)
class Alarm:
    """One thing to look at.

    Attributes:
        level: How urgent it is.
        about: What it is about, such as ``own certificate``.
        text: What is wrong, and what to do, for people.
        is_outage: Whether it means that nobody gets in: the mesh is then not ready.
    """

    level: AlarmLevel
    about: str
    text: str
    is_outage: bool = False

    def __str__(self) -> str:
        return f"{self.about}: {self.text}"


def outage(about: str, text: str) -> Alarm:
    """Return an alarm that means that nobody gets in."""
    return Alarm(level=AlarmLevel.ERROR, about=about, text=text, is_outage=True)

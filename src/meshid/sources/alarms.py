"""What fails now, told once each.

A writer that is met between two files makes a fault that is gone at the next look. So a
fault is told when it has lasted, and then not again until it is another one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator

import attrs

from meshid.health.health import Alarm, AlarmLevel

LOGGER = logging.getLogger("meshid.refresh")
"""Gets each alarm when it begins, at the level that it has, and each end of one at INFO."""

LASTING = 1.0
"""Seconds after which a fault is no passing one."""


@attrs.define
class _Failing:
    alarm: Alarm
    fault: Hashable
    since: float
    told: Hashable = None


class Faults:
    """What fails now.

    Args:
        clock: Returns seconds, from whenever.

    Attributes:
        are_told: Whether there is a last good state, so that a fault is no outage, and is told.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none."""
        self.are_told = False
        self._clock = clock
        self._failing: dict[str, _Failing] = {}

    def failed(self, what: str, about: str, text: str, fault: Hashable = None) -> None:
        """Note that something failed.

        Args:
            what: What failed; at most one fault of it is known.
            about: The same for people.
            text: What is wrong, for people.
            fault: Two faults that are equal are told as one; the *text* if None.
        """
        now = self._clock()
        alarm = Alarm(level=AlarmLevel.WARNING, about=about, text=text)
        fault = text if fault is None else fault
        failing = self._failing.setdefault(what, _Failing(alarm, fault, now))
        failing.alarm = alarm
        if failing.fault != fault:
            failing.fault, failing.since = fault, now
        self._tell(failing, LASTING)

    def tell_lasting(self) -> None:
        """Tell what has lasted, of a source that waits for news and so does not fail again."""
        for failing in self._failing.values():
            # Twice as long, so that whoever is looked at each second gets a second look.
            self._tell(failing, 2 * LASTING)

    def worked(self, what: str) -> None:
        """Note that something worked."""
        failing = self._failing.pop(what, None)
        if failing is not None and failing.told is not None:
            LOGGER.info("%s: works again", failing.alarm.about)

    def _tell(self, failing: _Failing, after: float) -> None:
        lasted = self._clock() - failing.since
        if self.are_told and lasted >= after and failing.told != failing.fault:
            failing.told = failing.fault
            LOGGER.warning("%s; the last good state stays in force", failing.alarm)

    def texts(self) -> list[str]:
        """Return all that is failing, told or not."""
        return [str(failing.alarm) for failing in self._failing.values()]

    def alarms(self) -> Iterator[Alarm]:
        """Return those that have lasted."""
        return (failing.alarm for failing in self._failing.values() if failing.told is not None)

    def __contains__(self, what: object) -> bool:
        """Tell whether something is failing."""
        return what in self._failing

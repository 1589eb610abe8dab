"""What is wrong now; each alarm is logged once when it begins, and once when it ends.

A read that meets a writer between two files fails, and the next one succeeds. So a failure
becomes an alarm when it has lasted, and is then not logged again until it changes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator

import attrs

from meshid.health.health import Alarm, AlarmLevel

LOGGER = logging.getLogger("meshid.refresh")
"""Gets each alarm when it begins, at its level, and when it ends, at INFO."""

LASTING = 1.0
"""Seconds after which a failure is an alarm."""

_LEVELS = {AlarmLevel.WARNING: logging.WARNING, AlarmLevel.ERROR: logging.ERROR}


@attrs.define
class _Failure:
    alarm: Alarm
    fault: Hashable
    since: float
    logged: Hashable = None


class Alarms:
    """The alarms of a mesh: what fails, and what is wrong with the snapshot in force.

    Args:
        clock: Returns seconds, from any starting point.

    Attributes:
        have_good_state: Whether there is a last good state, so that a failure is not an outage,
            and is logged.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.have_good_state = False
        self._clock = clock
        self._failures: dict[str, _Failure] = {}
        self._of_snapshot: dict[str, Alarm] = {}

    def failed(self, what: str, about: str, text: str, fault: Hashable = None) -> None:
        """Note that something failed.

        Args:
            what: What failed; it has at most one failure at a time.
            about: The same for people.
            text: What is wrong, for people.
            fault: Two failures with equal faults are logged as one; the *text* if None.
        """
        now = self._clock()
        alarm = Alarm(level=AlarmLevel.WARNING, about=about, text=text)
        fault = text if fault is None else fault
        failure = self._failures.setdefault(what, _Failure(alarm, fault, now))
        failure.alarm = alarm
        if failure.fault != fault:
            failure.fault, failure.since = fault, now
        self._log(failure, LASTING)

    def worked(self, what: str) -> None:
        """Note that something worked."""
        failure = self._failures.pop(what, None)
        if failure is not None and failure.logged is not None:
            LOGGER.info("%s: recovered", failure.alarm.about)

    def log_lasting(self) -> None:
        """Log the failures that have lasted, for sources that fail once and then wait for news."""
        for failure in self._failures.values():
            # Twice as long, so that a file, which is read each second, gets a second read first.
            self._log(failure, 2 * LASTING)

    def log_changes(self, of_snapshot: Iterable[Alarm]) -> None:
        """Log which alarms about the snapshot in force have begun, changed or ended."""
        now = {alarm.about: alarm for alarm in of_snapshot}
        for about, alarm in now.items():
            if self._of_snapshot.get(about) != alarm:
                LOGGER.log(_LEVELS[alarm.level], "%s", alarm)
        for about in self._of_snapshot.keys() - now.keys():
            LOGGER.info("%s: recovered", about)
        self._of_snapshot = now

    def texts(self) -> list[str]:
        """Return all that fails, logged or not."""
        return [str(failure.alarm) for failure in self._failures.values()]

    def failures(self) -> Iterator[Alarm]:
        """Return the failures that have lasted."""
        return (failure.alarm for failure in self._failures.values() if failure.logged is not None)

    def __contains__(self, what: object) -> bool:
        return what in self._failures

    def _log(self, failure: _Failure, after: float) -> None:
        lasted = self._clock() - failure.since
        if self.have_good_state and lasted >= after and failure.logged != failure.fault:
            failure.logged = failure.fault
            LOGGER.warning("%s; the last good state stays in force", failure.alarm)

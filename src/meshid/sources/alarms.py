"""What is wrong now; each alarm is logged once when it begins, and once when it ends.

A read that meets a writer between two files fails, and the next one succeeds. So a failure
becomes an alarm when it has lasted, and is then not logged again until it changes.

One thread at a time changes the alarms; others may read them meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

import attrs

from meshid.health.alarm import Alarm, AlarmLevel
from meshid.health.refresh_event import RefreshEvent
from meshid.support.logs import ERROR, INFO, WARNING

LASTING = 1.0
"""Seconds after which a failure is an alarm."""

MAX_TEXTS = 20
"""The most alarms about one thing: whoever writes a file with 100 000 mistakes fills no log."""

Key: TypeAlias = tuple[object, ...]
"""What fails: its kind, and what distinguishes it from others of its kind."""

_LEVELS = {AlarmLevel.WARNING: WARNING, AlarmLevel.ERROR: ERROR}


class Say(Protocol):
    """Logs a line, or has it logged."""

    def __call__(self, level: int, message: str, *args: object, meshid: RefreshEvent) -> None:
        """Log a message and its event, as `logging` does; raise nothing, and do not wait."""


@attrs.frozen(kw_only=True)
class Failure:
    """Something that fails.

    Attributes:
        about: What fails, for people.
        text: What is wrong, for people.
        fault: Two failures with equal faults are logged as one; the text if None.
        stays: Whether a last good state of it stays in force.
        is_lasting: Whether waiting cannot heal it.
        part: The part of the snapshot that is not what the sources say; None if a source cannot be read.
    """

    about: str
    text: str
    fault: object = None
    stays: bool = True
    is_lasting: bool = False
    part: str | None = None

    @property
    def identity(self) -> object:
        """What is equal for two failures that are logged as one; never None."""
        return self.text if self.fault is None else self.fault

    @property
    def alarm(self) -> Alarm:
        """What a person should look at."""
        return Alarm(level=AlarmLevel.WARNING, about=self.about, text=self.text)


@attrs.frozen(kw_only=True)
class _Seen:
    failure: Failure
    since: float
    times: int = 1
    logged: object = None


class Alarms:
    """The alarms of a mesh: what fails, and what is wrong with the snapshot in force.

    Args:
        say: Logs a line.
        clock: Returns seconds, from any starting point.

    Attributes:
        is_started: Whether the mesh has started; before that, no failure is logged here.
    """

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_started = False
        self._say = say
        self._clock = clock
        # Replaced whole, so that reading it takes no lock.
        self._seen: Mapping[Key, _Seen] = {}
        self._of_snapshot: dict[str, Alarm] = {}

    def failed(self, what: Key, failure: Failure) -> None:
        """Note that something failed.

        Args:
            what: What failed; it has at most one failure at a time.
            failure: How.
        """
        seen = self._seen.get(what)
        if seen is None:
            seen = _Seen(failure=failure, since=self._clock())
        elif seen.failure.identity != failure.identity:
            seen = attrs.evolve(seen, failure=failure, since=self._clock(), times=1)
        else:
            seen = attrs.evolve(seen, failure=failure, times=seen.times + 1)
        self._seen = {**self._seen, what: self._logged(seen, LASTING)}

    def worked(self, what: Key) -> None:
        """Note that something worked; it has recovered once nothing else is wrong with it."""
        if what in self._seen:
            seen = self._seen[what]
            self._seen = {each: other for each, other in self._seen.items() if each != what}
            about = seen.failure.about
            if seen.logged is not None and about not in {each.about for each in self.failures()}:
                self._recovered(about)

    def forget(self, what: Key) -> None:
        """Note that nobody asks any more whether something fails, and whatever is below it."""
        self._seen = {each: seen for each, seen in self._seen.items() if each[: len(what)] != what}

    def replace(self, kind: Key, failures: Mapping[Hashable, Failure]) -> None:
        """Note everything of one *kind* that fails; what else of it failed before has worked.

        Args:
            kind: How the keys of its failures begin.
            failures: What fails now, by the rest of its key.
        """
        now: dict[Key, Failure] = {(*kind, what): failure for what, failure in failures.items()}
        for key, failure in now.items():
            self.failed(key, failure)
        for what in self._seen.keys() - now.keys():
            if what[: len(kind)] == kind:
                self.worked(what)

    def log_lasting(self) -> None:
        """Log the failures that have lasted, for sources that fail once and then wait for news."""
        # Twice as long, so that a file, which is read each second, gets a second read first.
        self._seen = {what: self._logged(seen, 2 * LASTING) for what, seen in self._seen.items()}

    def log_changes(self, of_snapshot: Iterable[Alarm]) -> None:
        """Log which alarms about the snapshot in force have begun, changed or ended."""
        now = {alarm.about: alarm for alarm in of_snapshot}
        for about, alarm in now.items():
            if self._of_snapshot.get(about) != alarm:
                self._say(_LEVELS[alarm.level], "%s", alarm, meshid=RefreshEvent.of_alarm(alarm))
        for about in self._of_snapshot.keys() - now.keys():
            self._recovered(about)
        self._of_snapshot = now

    def texts(self) -> list[str]:
        """Return all that fails, logged or not."""
        return [str(seen.failure.alarm) for seen in self._seen.values()]

    def waited_for(self) -> list[str]:
        """Return what fails, except for what waiting cannot heal."""
        return [str(seen.failure.alarm) for seen in self._seen.values() if not seen.failure.is_lasting]

    def failures(self) -> list[Alarm]:
        """Return the failures that have lasted."""
        return [seen.failure.alarm for seen in self._seen.values() if seen.logged is not None]

    def cannot_heal(self, what: Key) -> bool:
        """Return whether something fails in a way that waiting does not heal, and was seen twice to do so."""
        seen = self._seen.get(what)
        return (
            seen is not None
            and seen.failure.is_lasting
            and seen.times > 1
            and self._clock() - seen.since >= LASTING
        )

    def __contains__(self, what: object) -> bool:
        return what in self._seen

    def _logged(self, seen: _Seen, after: float) -> _Seen:
        failure = seen.failure
        if not self.is_started or self._clock() - seen.since < after or seen.logged == failure.identity:
            return seen
        stays = "; the last good state stays in force" if failure.stays else ""
        event = RefreshEvent.of_alarm(failure.alarm, failure.part)
        self._say(WARNING, "%s%s", failure.alarm, stays, meshid=event)
        return attrs.evolve(seen, logged=failure.identity)

    def _recovered(self, about: str) -> None:
        self._say(INFO, "%s: recovered", about, meshid=RefreshEvent.of_recovery(about))


def bounded(texts: Sequence[str]) -> Iterator[str]:
    """Yield the first of the *texts*, and how many more there are."""
    # One more takes no more room than to say so, and may be a count itself: of what a reader left out.
    if len(texts) <= MAX_TEXTS + 1:
        yield from texts
    else:
        yield from texts[:MAX_TEXTS]
        yield f"and {len(texts) - MAX_TEXTS} more like that"

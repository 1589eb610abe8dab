"""What each source has delivered, and how it does: every read has one outcome, and that is noted here."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

import attrs

from meshid.health.alarm import Alarm, AlarmLevel
from meshid.health.status import SourceStatus
from meshid.sources.alarms import MAX_TEXTS, Alarms, Failure, bounded
from meshid.sources.merging import Origin
from meshid.sources.reader import Reader
from meshid.sources.source import State
from meshid.trust.bundles import BundleSet

_R = TypeVar("_R", bound=Reader)


class Deliveries:
    """The last good state of each source, and its status; one thread at a time notes, and any may look.

    Args:
        readers: The sources, in order.
        alarms: What is wrong.

    Attributes:
        states: The last good state of each source that has delivered one, in order.
        statuses: How each source does, in order.
        first: The sources whose first state was not put in force yet; whoever does that empties it.
    """

    def __init__(self, readers: Iterable[Reader], alarms: Alarms) -> None:
        # What others read is replaced whole, so that they need no lock.
        self.states: Mapping[Origin, State] = {}
        self.statuses: Mapping[Reader, SourceStatus] = {}
        self.first: frozenset[Reader] = frozenset()
        self._alarms = alarms
        self.follow(dict.fromkeys(readers), ())

    def follow(self, begun: Mapping[Reader, Reader | None], ended: Iterable[Reader]) -> None:
        """Note that some sources are read from now on, and others no more.

        Args:
            begun: The new ones, each with the one in whose place it is: what that has delivered counts
                until the new one has. None for one that begins with nothing.
            ended: Those that are read no more; what they have delivered is forgotten, and what was wrong.
        """
        for reader, before in begun.items():
            self.statuses = {**self.statuses, reader: SourceStatus(name=reader.name)}
            if before is not None and before in self.states:
                self._put(reader, self.states[before])
        for each in ended:
            self.statuses = {reader: status for reader, status in self.statuses.items() if reader is not each}
            self.states = {source: state for source, state in self.states.items() if source is not each}
            self.first -= {each}
            for kind in ("read", "fault"):
                self._alarms.forget((kind, each))

    def unread(self, readers: Iterable[_R]) -> list[_R]:
        """Return those of the *readers* of which no read has ended yet."""
        return [each for each in readers if each in self.statuses and not self.statuses[each].reads]

    def warnings(self) -> list[Alarm]:
        """Return what the sources warn of."""
        return [
            Alarm(level=AlarmLevel.WARNING, about=source.name, text=text)
            for source, state in self.states.items()
            for text in bounded(state.warnings)
        ]

    def note(self, reader: Reader, outcome: State | Failure, in_force: BundleSet, now: float) -> bool:
        """Note the outcome of a read; return whether there is something new to put in force.

        Args:
            reader: The source.
            outcome: What it delivered, or what is wrong.
            in_force: The bundles in force.
            now: The POSIX time in seconds.
        """
        # Whoever is read no more may have been in the middle of it.
        if reader not in self.statuses:
            return False
        before = self.states.get(reader)
        if isinstance(outcome, Failure):
            self._note_status(reader, outcome.text, now)
            self._alarms.failed(("read", reader), attrs.evolve(outcome, stays=before is not None))
            return False
        texts = tuple(bounded([fault.text for fault in outcome.faults]))
        self._note_status(reader, "; ".join(texts) or None, now)
        self._alarms.worked(("read", reader))
        self._alarms.replace(("fault", reader), _failures_of(reader, outcome, in_force))
        if outcome == before:
            return False
        self._put(reader, outcome)
        if before is None:
            self.first |= {reader}
        return True

    def _note_status(self, reader: Reader, fault: str | None, now: float) -> None:
        self.statuses = {**self.statuses, reader: self.statuses[reader].after(fault, now)}

    def _put(self, reader: Reader, state: State) -> None:
        # In the order in which the sources were given, whichever delivered first.
        states = {**self.states, reader: state}
        self.states = {each: states[each] for each in self.statuses if each in states}


def _failures_of(source: Reader, state: State, in_force: BundleSet) -> dict[Hashable, Failure]:
    return {
        fault.text: Failure(
            about=source.name,
            text=fault.text,
            stays=fault.trust_domain is None or fault.trust_domain in in_force,
            # What an agent sends may be better the next time.
            is_lasting=not source.is_stream,
        )
        for fault in state.faults[:MAX_TEXTS]
    }

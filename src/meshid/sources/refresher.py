"""Keeps a mesh at what its sources say.

The rules of this room:

- Each source is followed by a thread of its own, so that one which is slow keeps no other waiting.
- What a source says is published whole; if that fails, each part by itself, so that an
  expired certificate does not hold up a revocation. Whatever fails, the last good state
  stays in force, and is tried again with the next look.
- The threads hold the mesh only for an instant: one that is forgotten stops.
- A forked child follows the sources with threads of its own.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import attrs

from meshid.admission.admission import Admission
from meshid.admission.snapshot import Changes, Snapshot
from meshid.errors import MeshidError
from meshid.health.health import Alarm, AlarmLevel, health_of
from meshid.health.state_file import StateFile
from meshid.health.status import SourceStatus, status_of
from meshid.sources import Source, SourceUnavailable, State
from meshid.sources.alarms import LOGGER, Faults
from meshid.sources.merging import PARTS, holders
from meshid.support.locks import Order, new_lock
from meshid.support.quoting import quote

_LEVELS = {AlarmLevel.WARNING: logging.WARNING, AlarmLevel.ERROR: logging.ERROR}

_EACH_SECOND = 1.0


@attrs.frozen(eq=False)
class _Reader:
    """A source, which one thread reads at a time."""

    source: Source
    reading: threading.Lock = attrs.field(factory=threading.Lock)

    def read(self) -> State | str:
        """Return its state, or what is wrong."""
        with self.reading:
            try:
                return self.source.read()
            # A source of the caller's may fail in any way, and is asked again all the same.
            except Exception as error:  # noqa: BLE001
                return _words(error)


class Refresher:
    """Keeps a mesh at what its sources say.

    Args:
        admission: The mesh.
        sources: Its sources.
        clock: Returns the POSIX time in seconds.
        state_file: Where to tell how it does, for `meshid status`.
    """

    def __init__(
        self,
        admission: Admission,
        sources: Iterable[Source],
        clock: Callable[[], float] = time.time,
        state_file: Path | None = None,
    ) -> None:
        """Begin to read."""
        self._admission = admission
        self._sources = tuple(sources)
        self._clock = clock
        self._lock = new_lock(Order.REFRESHING)
        self._news = threading.Condition(self._lock)
        self._states: dict[Source, State] = {}
        self._reports = {source: SourceStatus(name=source.name) for source in self._sources}
        self._state_file = None if state_file is None else StateFile(state_file)
        self._faults = Faults()
        self._alarms: dict[str, Alarm] = {}
        self._published: set[str] = set()
        self._tried = -_EACH_SECOND
        self._is_started = False
        self._follow_all()
        _ALL.add(self)

    def start(self, timeout: float) -> None:
        """Put the first state in force.

        Args:
            timeout: How many seconds to wait for the sources that are required, and for a
                state of them that can be in force.

        Raises:
            SourceUnavailable: With all that was wrong at the end of that time.
        """
        end = time.monotonic() + timeout
        is_told = False
        with self._news:
            while not self._try_to_start():
                if not is_told and (faults := self._faults.texts()):
                    LOGGER.warning("waiting up to %g s for: %s", timeout, "; ".join(faults))
                    is_told = True
                self._news.wait(min(_EACH_SECOND, end - time.monotonic()))
                if time.monotonic() >= end:
                    raise SourceUnavailable("\n".join(self._faults.texts() or self._silent()))
            self._is_started = self._faults.are_told = True

    def refresh(self) -> None:
        """Read every source now, but for streams, which have told all they know; publish what is new.

        Raises:
            SourceUnavailable: With all that is wrong; the last good state stays in force.
        """
        for reader in self._readers:
            if not reader.source.is_stream:
                self.take(reader.source, reader.read())
        with self._lock:
            if faults := self._faults.texts():
                raise SourceUnavailable("\n".join(faults))

    def alarms(self) -> tuple[Alarm, ...]:
        """Return what fails, and what the sources warn of."""
        with self._lock:
            warnings = [
                Alarm(level=AlarmLevel.WARNING, about=source.name, text=text)
                for source, state in self._states.items()
                for text in state.warnings
            ]
            return (*self._faults.alarms(), *warnings)

    def close(self) -> None:
        """Stop reading; what is in force stays so."""
        self._finalizer()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_EACH_SECOND)

    def take(self, source: Source, outcome: State | str) -> None:
        """Take what came of reading a source: a state, or what was wrong."""
        with self._news:
            what = f"read {source.name}"
            self._reports[source] = self._reports[source].after(outcome, self._clock())
            if isinstance(outcome, str):
                self._faults.failed(what, source.name, outcome.removeprefix(f"{source.name}: "))
            else:
                self._faults.worked(what)
                is_new = self._states.get(source) is not outcome
                self._states[source] = outcome
                if self._is_started and (is_new or self._is_due()):
                    self._publish()
            self._news.notify_all()

    def sweep(self) -> None:
        """End the connections of peers whose time is over, and tell of what begins to be wrong."""
        if self._admission.connections.first_end() <= self._clock():
            self._admission.review()
        with self._lock:
            self._faults.tell_lasting()
        health = health_of(self._admission.snapshot, datetime.fromtimestamp(self._clock(), UTC))
        self._tell(health.alarms)
        if self._state_file is not None:
            self._write(self._state_file)

    def reports(self) -> tuple[SourceStatus, ...]:
        """Return how each source does."""
        with self._lock:
            return tuple(self._reports.values())

    def follow_anew(self) -> None:
        """Follow the sources with new threads; the state file is the parent's."""
        self._state_file = None
        self._finalizer.detach()
        self._news = threading.Condition(self._lock)
        self._follow_all()

    def _write(self, file: StateFile) -> None:
        now = self._clock()
        health = health_of(self._admission.snapshot, datetime.fromtimestamp(now, UTC), *self.alarms())
        try:
            file.write(status_of(self._admission, health, self.reports(), now), time.monotonic())
        except OSError as error:
            text = f"cannot be written: {error.strerror}"
            with self._lock:
                self._faults.failed("state file", f"state file {quote(str(file.path))}", text)
        else:
            with self._lock:
                self._faults.worked("state file")

    def _follow_all(self) -> None:
        self._readers = tuple(map(_Reader, self._sources))
        self._threads: list[threading.Thread] = []
        stopping = threading.Event()
        # At the end of the process, too: a daemon thread must not meet an interpreter that is half gone.
        self._finalizer = weakref.finalize(self, _stop, stopping, self._sources)
        for reader in self._readers:
            self._begin(_follow, reader, stopping)
        self._begin(_sweep, stopping)

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(
            target=work, args=(weakref.ref(self), *arguments), name="meshid-refresh", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _try_to_start(self) -> bool:
        if any(source.is_required and source not in self._states for source in self._sources):
            return False
        return self._publish()

    def _silent(self) -> list[str]:
        return [f"{source.name} has said nothing" for source in self._sources if source not in self._states]

    def _is_due(self) -> bool:
        return any(part in self._faults for part in PARTS) and time.monotonic() - self._tried >= _EACH_SECOND

    def _publish(self) -> bool:
        self._tried = time.monotonic()
        # In the order in which they were given, whichever was first to speak.
        states = {source: self._states[source] for source in self._sources if source in self._states}
        parts = [part for part in PARTS if part in self._published or holders(part, states)]
        before = self._admission.snapshot
        if not self._publish_parts(parts, states):
            for part in parts:
                self._publish_parts([part], states, told=True)
        now = self._admission.snapshot
        if now is not before:
            LOGGER.info("generation %d: new %s", now.generation, _differences(before, now))
        return not any(part in self._faults for part in parts)

    def _publish_parts(self, parts: list[str], states: dict[Source, State], *, told: bool = False) -> bool:
        try:
            changes: Changes = {}
            for part in parts:
                changes.update(PARTS[part](states))
            self._admission.publish(changes)
        # Whatever cannot be published, the last good state stays.
        except Exception as error:  # noqa: BLE001
            if told:
                about = " and ".join(source.name for source in holders(parts[0], states))
                self._faults.failed(parts[0], about, _words(error), tuple(states.values()))
            return False
        for part in parts:
            self._faults.worked(part)
        self._published.update(parts)
        return True

    def _tell(self, alarms: Iterable[Alarm]) -> None:
        now = {alarm.about: alarm for alarm in alarms}
        for about, alarm in now.items():
            if self._alarms.get(about) != alarm:
                LOGGER.log(_LEVELS[alarm.level], "%s", alarm)
        for about in self._alarms.keys() - now.keys():
            LOGGER.info("%s: is well again", about)
        self._alarms = now


def _words(error: Exception) -> str:
    if isinstance(error, MeshidError):
        return "; ".join(str(error).splitlines())
    return f"{type(error).__name__}: {quote(str(error))}"


def _differences(before: Snapshot, now: Snapshot) -> str:
    return ", ".join(part for part in PARTS if getattr(before, part) != getattr(now, part))


def _follow(refresher: weakref.ref[Refresher], reader: _Reader, stopping: threading.Event) -> None:
    while not stopping.is_set():
        outcome = reader.read()
        taker = refresher()
        if taker is None or stopping.is_set():
            return
        with _going_on():
            taker.take(reader.source, outcome)
        del taker
        stopping.wait(reader.source.pause())


def _sweep(refresher: weakref.ref[Refresher], stopping: threading.Event) -> None:
    while not stopping.wait(_EACH_SECOND):
        sweeper = refresher()
        if sweeper is None:
            return
        with _going_on():
            sweeper.sweep()
        del sweeper


@contextmanager
def _going_on() -> Iterator[None]:
    """Tell of a fault of ours and go on: a thread that ends would take no trust away any more."""
    try:
        yield
    except Exception:  # noqa: BLE001 - whatever it is, it is logged
        LOGGER.exception("a fault of meshid, please report it; the next look is in a moment")


def _stop(stopping: threading.Event, sources: tuple[Source, ...]) -> None:
    stopping.set()
    for source in sources:
        source.close()


_ALL: weakref.WeakSet[Refresher] = weakref.WeakSet()


def follow_all_anew() -> None:
    """Follow the sources of every mesh in a forked child, which has none of the threads."""
    for refresher in list(_ALL):
        refresher.follow_anew()


# Windows does not fork.
if hasattr(os, "register_at_fork"):  # pragma: no branch - the tests run where it is there
    os.register_at_fork(after_in_child=follow_all_anew)

"""Keeps a mesh up to date with its sources.

The rules of this module:

- Each source is read by a thread of its own, so that a slow one delays no other.
- What a source delivers is published whole; if that fails, each part by itself, so that an
  expired certificate does not hold up a revocation. Whatever fails, the last good state
  stays in force, and is tried again after the next read.
- The threads hold the mesh only for an instant, so that a mesh without a reference stops.
- A forked child reads the sources with threads of its own.
"""

from __future__ import annotations

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
from meshid.admission.snapshot import Changes
from meshid.errors import MeshidError, SourceUnavailable
from meshid.health.health import Alarm, AlarmLevel, alarms_about, health_of
from meshid.health.state_file import StateFile
from meshid.health.status import SourceStatus, status_of
from meshid.sources.alarms import LOGGER, Alarms
from meshid.sources.merging import PARTS, holders
from meshid.sources.source import Source, State
from meshid.support.locks import Order, new_lock
from meshid.support.quoting import quote

TICK_SECONDS = 1.0


@attrs.frozen(eq=False)
class _Reader:
    """A source, which one thread reads at a time."""

    source: Source
    reading: threading.Lock = attrs.field(factory=threading.Lock)

    def read(self) -> State | str:
        """Return its state, or a text that says what is wrong."""
        with self.reading:
            try:
                return self.source.read()
            # The caller's own source may fail in any way, and is read again all the same.
            except Exception as error:  # noqa: BLE001
                return _one_line(error)


class Refresher:
    """Keeps a mesh up to date with its sources; it begins to read them at once.

    Args:
        admission: The mesh.
        sources: Its sources.
        clock: Returns the POSIX time in seconds.
        state_file: The file for `meshid status`; None to write none.
    """

    def __init__(
        self,
        admission: Admission,
        sources: Iterable[Source],
        clock: Callable[[], float] = time.time,
        state_file: Path | None = None,
    ) -> None:
        self._admission = admission
        self._sources = tuple(sources)
        self._clock = clock
        self._lock = new_lock(Order.REFRESHING)
        self._was_read = threading.Condition(self._lock)
        self._states: dict[Source, State] = {}
        self._statuses = {source: SourceStatus(name=source.name) for source in self._sources}
        self._state_file = None if state_file is None else StateFile(state_file)
        self._alarms = Alarms()
        self._published: set[str] = set()
        self._last_try = -TICK_SECONDS
        self._is_started = False
        self._start_threads()
        _REFRESHERS.add(self)

    def start(self, timeout: float) -> None:
        """Put the first state in force.

        Args:
            timeout: How many seconds to wait until the required sources deliver a state that
                can be put in force.

        Raises:
            SourceUnavailable: With everything that is wrong at the end of that time.
        """
        end = time.monotonic() + timeout
        is_logged = False
        with self._was_read:
            while not self._try_to_start():
                if not is_logged and (texts := self._alarms.texts()):
                    LOGGER.warning("not ready yet, waiting up to %g s: %s", timeout, "; ".join(texts))
                    is_logged = True
                self._was_read.wait(min(TICK_SECONDS, end - time.monotonic()))
                if time.monotonic() >= end:
                    silent = [
                        f"{source.name} has not delivered any state"
                        for source in self._sources
                        if source not in self._states
                    ]
                    raise SourceUnavailable("\n".join(self._alarms.texts() or silent))
            self._is_started = self._alarms.have_good_state = True

    def refresh(self) -> None:
        """Read every source now, except streams, which deliver by themselves; publish what is new.

        Raises:
            SourceUnavailable: With everything that is wrong; the last good state stays in force.
        """
        for reader in self._readers:
            if not reader.source.is_stream:
                self.accept(reader.source, reader.read())
        with self._lock:
            if texts := self._alarms.texts():
                raise SourceUnavailable("\n".join(texts))

    def alarms(self) -> tuple[Alarm, ...]:
        """Return what fails, and what the sources warn of."""
        with self._lock:
            warnings = [
                Alarm(level=AlarmLevel.WARNING, about=source.name, text=text)
                for source, state in self._states.items()
                for text in state.warnings
            ]
            return (*self._alarms.failures(), *warnings)

    def close(self) -> None:
        """Stop reading; what is in force stays in force."""
        self._finalizer()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(TICK_SECONDS)

    def accept(self, source: Source, outcome: State | str) -> None:
        """Accept the outcome of a read: a state to publish, or a text that says what is wrong."""
        with self._was_read:
            what = f"read {source.name}"
            self._statuses[source] = self._statuses[source].after(outcome, self._clock())
            if isinstance(outcome, str):
                self._alarms.failed(what, source.name, outcome.removeprefix(f"{source.name}: "))
            else:
                self._alarms.worked(what)
                is_new = self._states.get(source) is not outcome
                self._states[source] = outcome
                if self._is_started and (is_new or self._is_due()):
                    self._publish()
            self._was_read.notify_all()

    def tick(self) -> None:
        """Do what is due each second: end expired connections, log alarms, write the state file."""
        now = self._clock()
        self._admission.tell(self._admission.sweep())
        with self._lock:
            self._alarms.log_lasting()
        self._alarms.log_changes(alarms_about(self._admission.snapshot, datetime.fromtimestamp(now, UTC)))
        if self._state_file is not None:
            self._write(self._state_file, now)

    def statuses(self) -> tuple[SourceStatus, ...]:
        """Return the status of each source."""
        with self._lock:
            return tuple(self._statuses.values())

    def restart(self) -> None:
        """Read the sources with new threads, in a forked child; the state file stays the parent's."""
        self._state_file = None
        self._finalizer.detach()
        self._was_read = threading.Condition(self._lock)
        self._start_threads()

    def _write(self, file: StateFile, now: float) -> None:
        health = health_of(self._admission.snapshot, datetime.fromtimestamp(now, UTC), *self.alarms())
        try:
            file.write(status_of(self._admission, health, self.statuses(), now), time.monotonic())
        except OSError as error:
            text = f"cannot be written: {error.strerror}"
            with self._lock:
                self._alarms.failed("state file", f"state file {quote(str(file.path))}", text)
        else:
            with self._lock:
                self._alarms.worked("state file")

    def _start_threads(self) -> None:
        self._readers = tuple(map(_Reader, self._sources))
        self._threads: list[threading.Thread] = []
        stopping = threading.Event()
        # Also at exit: a daemon thread must not run while the interpreter shuts down.
        self._finalizer = weakref.finalize(self, _stop, stopping, self._sources)
        for reader in self._readers:
            self._start_thread(_keep_reading, reader, stopping)
        self._start_thread(_keep_ticking, stopping)

    def _start_thread(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(
            target=work, args=(weakref.ref(self), *arguments), name="meshid-refresh", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _try_to_start(self) -> bool:
        if any(source.is_required and source not in self._states for source in self._sources):
            return False
        return self._publish()

    def _is_due(self) -> bool:
        waited = time.monotonic() - self._last_try
        return waited >= TICK_SECONDS and any(part in self._alarms for part in PARTS)

    def _publish(self) -> bool:
        self._last_try = time.monotonic()
        # In the order in which they were given, whichever delivered first.
        states = {source: self._states[source] for source in self._sources if source in self._states}
        parts = [part for part in PARTS if part in self._published or holders(part, states)]
        before = self._admission.snapshot
        if not self._publish_parts(parts, states):
            for part in parts:
                self._publish_parts([part], states, report=True)
        now = self._admission.snapshot
        if now is not before:
            changed = ", ".join(part for part in PARTS if getattr(before, part) != getattr(now, part))
            LOGGER.info("generation %d: new %s", now.generation, changed)
        return not any(part in self._alarms for part in parts)

    def _publish_parts(self, parts: list[str], states: dict[Source, State], *, report: bool = False) -> bool:
        try:
            changes: Changes = {}
            for part in parts:
                changes.update(PARTS[part](states))
            self._admission.publish(changes)
        # Whatever cannot be published: the last good state stays in force.
        except Exception as error:  # noqa: BLE001
            if report:
                about = " and ".join(source.name for source in holders(parts[0], states))
                self._alarms.failed(parts[0], about, _one_line(error), tuple(states.values()))
            return False
        for part in parts:
            self._alarms.worked(part)
        self._published.update(parts)
        return True


def _one_line(error: Exception) -> str:
    if isinstance(error, MeshidError):
        return "; ".join(str(error).splitlines())
    return f"{type(error).__name__}: {quote(str(error))}"


def _keep_reading(owner: Callable[[], Refresher | None], reader: _Reader, stopping: threading.Event) -> None:
    while not stopping.is_set():
        outcome = reader.read()
        refresher = owner()
        if refresher is None or stopping.is_set():
            return
        with _surviving():
            refresher.accept(reader.source, outcome)
        del refresher
        stopping.wait(reader.source.pause())


def _keep_ticking(owner: Callable[[], Refresher | None], stopping: threading.Event) -> None:
    while not stopping.wait(TICK_SECONDS):
        refresher = owner()
        if refresher is None:
            return
        with _surviving():
            refresher.tick()
        del refresher


@contextmanager
def _surviving() -> Iterator[None]:
    """Log a bug of ours and go on: without its thread, a mesh would never revoke anything again."""
    try:
        yield
    except Exception:  # noqa: BLE001 - whatever it is, it is logged
        LOGGER.exception("a bug in meshid, please report it; meshid tries again in a moment")


def _stop(stopping: threading.Event, sources: tuple[Source, ...]) -> None:
    stopping.set()
    for source in sources:
        source.close()


_REFRESHERS: weakref.WeakSet[Refresher] = weakref.WeakSet()


def restart_all() -> None:
    """Restart the refreshers in a forked child, which has none of their threads."""
    for refresher in list(_REFRESHERS):
        refresher.restart()


# Windows does not fork.
if hasattr(os, "register_at_fork"):  # pragma: no branch - the tests run where it is there
    os.register_at_fork(after_in_child=restart_all)

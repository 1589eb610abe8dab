"""Keeps a mesh up to date with its sources.

The rules of this module:

- Each source is read by a thread of its own and by no other, so that a slow one delays no other.
- Each part of what they deliver is put in force by itself. Whatever fails, the last good one
  stays, and what is wanted is tried again each second.
- The user's code runs without a lock of ours, and nobody waits for it: what there is to tell is
  told by a thread of its own, and who asks for the health or the status takes no lock.
- The threads hold the mesh only for an instant, so that a mesh without a reference stops. A context
  or a connection of it is one: what is open, or may be opened, is kept up to date.
- The keys of each issuer of the policy in force are read by a thread, too, as long as it is in force.
- A forked child reads the sources with threads of its own.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeAlias, cast

from meshid.admission.admission import Admission
from meshid.admission.ended import Ended
from meshid.errors import SourceUnavailable
from meshid.health.about_keys import keys_of
from meshid.health.alarm import Alarm, AlarmLevel
from meshid.health.health import alarms_about, health_of
from meshid.health.refresh_event import RefreshEvent
from meshid.health.state_file import StateFile
from meshid.health.status import SourceStatus, status_of
from meshid.sources.alarms import Alarms, Failure
from meshid.sources.deliveries import Deliveries
from meshid.sources.merging import Origin
from meshid.sources.publishing import Publisher
from meshid.sources.reader import Done, Reader
from meshid.sources.source import Source, State
from meshid.sources.starting import Obstacles, obstacles_to_start
from meshid.sources.telling import Telling
from meshid.sources.token_keys.issuer_readers import IssuerReaders
from meshid.support.locks import Order, new_lock
from meshid.support.logs import ERROR, INFO, WARNING
from meshid.support.quoting import described, plural, quote

TICK_SECONDS = 1.0

REFRESH_SECONDS = 10.0
"""How long `Refresher.refresh` waits for the sources at most."""

_STATE_FILE = ("state file",)

_Step: TypeAlias = "Callable[[Refresher], None]"


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
        self._readers = tuple(map(Reader, sources))
        self._clock = clock
        # For those who change what follows. What others read is replaced whole, so that they need no lock.
        self._lock = new_lock(Order.REFRESHING)
        self._telling = Telling()
        self._alarms = Alarms(self._telling.say)
        self._deliveries = Deliveries(self._readers, self._alarms)
        self._publisher = Publisher(admission)
        self._issuers = IssuerReaders(clock)
        self._is_started = self._is_behind = False
        self._news: SimpleQueue[None] = SimpleQueue()
        self._state_file = None if state_file is None else StateFile(state_file)
        self._start_threads()
        admission.wants_keys = self._issuers.want
        _REFRESHERS.add(self)

    def start(self, timeout: float) -> None:
        """Put the first state in force.

        It waits for what is ours: the required sources, and the bundle of our own trust domain.

        Args:
            timeout: How many seconds to wait. What waiting cannot heal ends it after two reads.

        Raises:
            SourceUnavailable: With everything that is wrong then.
        """
        begun = time.monotonic()
        is_logged = False
        while not self._try_to_start(waited := time.monotonic() - begun):
            texts = self._alarms.texts()
            # With a timeout of 0, too, each source is read once. Written this way so that NaN is the end.
            limit = max(TICK_SECONDS, timeout) if self._is_first_read(waited) else timeout
            if not waited < limit or self._obstacles().cannot_heal(self._alarms):
                silent = [f"{each.name} has not delivered any state" for each in self._unheard()]
                raise SourceUnavailable("\n".join(texts or silent))
            # What is not waited for is told once, by the exception.
            if not is_logged and (wanted := "; ".join(self._alarms.waited_for())):
                self._telling.say(WARNING, "not ready yet, waiting up to %g s: %s", timeout, wanted)
                is_logged = True
            with suppress(Empty):
                self._news.get(timeout=min(TICK_SECONDS, limit - waited))

    def refresh(self) -> None:
        """Have every source read now, except streams, which deliver by themselves; publish what is new.

        To the code of a source, which must not wait for itself, it returns at once.

        Raises:
            SourceUnavailable: With everything that is wrong; the last good state stays in force.
        """
        done: Done = SimpleQueue()
        asked = {reader for reader in (*self._readers, *self._issuers) if not reader.is_stream}
        for reader in asked:
            reader.inbox.put(done)
        if threading.current_thread() in self._threads:
            asked.clear()
        end = time.monotonic() + REFRESH_SECONDS
        # Who closes it meanwhile ends the readers, and nobody answers any more.
        while asked and self.is_open and (left := end - time.monotonic()) > 0:
            with suppress(Empty):
                asked.discard(done.get(timeout=min(TICK_SECONDS, left)))
            # An issuer may be gone meanwhile.
            asked &= self._deliveries.statuses.keys()
        if not self.is_open:
            asked.clear()
        late = [f"{each.name}: it was not read within {REFRESH_SECONDS:g} s" for each in asked]
        if texts := self._alarms.texts() + late:
            raise SourceUnavailable("\n".join(texts))

    def alarms(self) -> tuple[Alarm, ...]:
        """Return what fails, and what the sources warn of."""
        warnings = self._deliveries.warnings()
        if dropped := self._telling.dropped:
            text = (
                f"{plural(dropped, 'call')} of on_revoked, a sink or a log handler had to be left out,"
                " because an earlier one takes too long"
            )
            warnings.append(Alarm(level=AlarmLevel.ERROR, about="what there is to tell", text=text))
        return (*self._alarms.failures(), *warnings)

    def statuses(self) -> tuple[SourceStatus, ...]:
        """Return the status of each source."""
        return tuple(self._deliveries.statuses.values())

    @property
    def is_open(self) -> bool:
        """Whether it still reads."""
        return self._finalizer.alive

    def close(self) -> None:
        """Stop reading; what is in force stays in force."""
        self._finalizer()
        for thread in (*self._threads, self._telling.thread):
            if thread is not threading.current_thread():
                thread.join(TICK_SECONDS)

    def accept(self, reader: Reader, outcome: State | Failure) -> None:
        """Accept the outcome of a read: a state to put in force, or what is wrong."""
        now = self._now()
        with self._lock:
            in_force = self._admission.snapshot.bundles
            if self._deliveries.note(reader, outcome, in_force, now) and self._is_started:
                self._publish(now, reader)
        if not self._is_started:
            self._news.put(None)

    def sweep(self) -> None:
        """End the connections whose time is over, and those that no review has reached."""
        self._tell(self._admission.sweep(self._now()))

    def retry(self) -> None:
        """Put in force what could not be before, if it can be now."""
        now = self._now()
        with self._lock:
            if not self._is_started:
                return
            self._start_waiting()
            # Somebody may have published another policy.
            self._follow_issuers()
            if self._is_behind or self._publisher.is_back(now):
                self._publish(now)

    def look(self) -> None:
        """Log what has lasted, and what is wrong with the snapshot in force."""
        if self._is_started:
            # Nobody waits for keys. What has been read, as seen with the lock, is in force.
            with self._lock:
                unread = {keys_of(each.issuer.name) for each in self._deliveries.unread(self._issuers)}
            found = list(alarms_about(self._admission, datetime.fromtimestamp(self._now(), UTC)))
            with self._lock:
                self._alarms.log_lasting()
                self._alarms.log_changes(alarm for alarm in found if alarm.about not in unread)

    def write(self, file: StateFile) -> None:
        """Write the state file."""
        now = self._now()
        health = health_of(self._admission, datetime.fromtimestamp(now, UTC), *self.alarms())
        fault = file.write(status_of(self._admission, health, self.statuses(), now), time.monotonic())
        with self._lock:
            if fault is None:
                self._alarms.worked(_STATE_FILE)
            else:
                about = f"state file {quote(str(file.path))}"
                self._alarms.failed(_STATE_FILE, Failure(about=about, text=fault, stays=False))

    def restart(self) -> None:
        """Read the sources with new threads, in a forked child; the state file stays the parent's."""
        self._state_file = None
        # What was closed stays closed.
        if self._finalizer.detach() is None:
            return
        self._telling.restart()
        for reader in self._readers:
            reader.restart()
        self._issuers.restart()
        self._start_threads()

    def _start_threads(self) -> None:
        self._threads: list[threading.Thread] = []
        inboxes: list[SimpleQueue[None]] = [SimpleQueue(), SimpleQueue()]
        # Also at exit: a daemon thread must not run while the interpreter shuts down.
        self._finalizer = weakref.finalize(self, _stop, self._readers, self._issuers, inboxes, self._telling)
        for reader in self._readers:
            self._start_thread(_keep_reading, reader)
        self._start_waiting()
        self._start_thread(_keep_doing, inboxes[0], (Refresher.sweep, Refresher.retry, Refresher.look))
        # On its own, because a disk may hang.
        if (file := self._state_file) is not None:
            self._start_thread(_keep_doing, inboxes[1], (lambda refresher: refresher.write(file),))

    def _start_thread(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(
            target=work, args=(weakref.ref(self), *arguments), name="meshid-refresh", daemon=True
        )
        thread.start()
        self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]

    def _start_waiting(self) -> None:
        """Start the threads of issuers that have none yet."""
        while (reader := self._issuers.take_waiting()) is not None:
            try:
                self._start_thread(_keep_reading, reader)
            # There can be no more threads now.
            except RuntimeError as error:
                self._issuers.waiting.append(reader)
                self._alarms.failed(("read", reader), Failure(about=reader.name, text=described(error)))
                return
            # Who closes it meanwhile may not have seen this one.
            if not self.is_open:
                reader.close()

    def _follow_issuers(self) -> bool:
        """Read the keys of the issuers of the policy in force; return whether that changes who is read."""
        if not self.is_open or (following := self._issuers.follow(self._admission.snapshot.policy)) is None:
            return False
        self._deliveries.follow(following.begun, following.ended)
        self._start_waiting()
        return True

    def _unheard(self) -> list[Reader]:
        return self._deliveries.unread(self._readers)

    def _is_first_read(self, waited: float) -> bool:
        return bool(self._unheard()) and waited < TICK_SECONDS

    def _try_to_start(self, waited: float) -> bool:
        now = self._now()
        with self._lock:
            # What is there at once is in force from the start, also what the start does not wait for.
            if self._is_first_read(waited):
                return False
            states = self._deliveries.states
            if all(reader in states for reader in self._readers if reader.is_required):
                self._publish(now, *states)
                if not self._obstacles():
                    self._is_started = self._alarms.is_started = True
            return self._is_started

    def _obstacles(self) -> Obstacles:
        states = self._deliveries.states
        return obstacles_to_start(self._readers, states, self._alarms, self._admission.snapshot)

    def _publish(self, now: float, *news: Origin) -> None:
        before = self._admission.snapshot
        # Until it is known to have gone well: whatever happens, it is tried again.
        self._is_behind = True
        states, first = self._deliveries.states, self._deliveries.first
        failures = self._publisher.publish(states, first, now)
        if self._follow_issuers():
            failures = self._publisher.publish(self._deliveries.states, first, now)
        for ended in self._publisher.take_ended():
            self._tell(ended)
        self._alarms.replace(("publish",), failures)
        self._deliveries.first = frozenset()
        self._is_behind = bool(failures)
        after = self._admission.snapshot
        if after.generation != before.generation:
            event = RefreshEvent.of_change(before, after, [source.name for source in news])
            changed = ", ".join(cast("list[str]", event.fields["meshid.parts"]))
            self._telling.say(INFO, "generation %d: new %s", after.generation, changed, meshid=event)

    def _tell(self, ended: Ended) -> None:
        if ended.connections or ended.failures:
            self._telling.put(partial(self._admission.tell, ended))

    def _now(self) -> float:
        try:
            now = self._clock()
            datetime.fromtimestamp(now, UTC)
        # Without it nobody is admitted; what is taken away is taken away all the same.
        except Exception:  # noqa: BLE001
            return time.time()
        return now

    def _survive(self, step: Callable[[], object]) -> None:
        """Do something, and go on after a bug of ours: without its thread, nothing would ever be revoked."""
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is logged
            self._telling.say(
                ERROR, "a bug in meshid, please report it; meshid tries again in a moment", error=error
            )


def _keep_reading(owner: Callable[[], Refresher | None], reader: Reader) -> None:
    asked: list[Done] | None = []
    while asked is not None:
        outcome = reader.read()
        refresher = owner()
        if refresher is None or not refresher.is_open:
            return
        refresher._survive(partial(refresher.accept, reader, outcome))  # noqa: SLF001 - it is ours
        del refresher
        for each in asked:
            each.put(reader)
        asked = reader.wait()


def _keep_doing(
    owner: Callable[[], Refresher | None], inbox: SimpleQueue[None], steps: Iterable[_Step]
) -> None:
    while True:
        with suppress(Empty):
            return inbox.get(timeout=TICK_SECONDS)
        refresher = owner()
        if refresher is None:
            return None
        for step in steps:
            refresher._survive(partial(step, refresher))  # noqa: SLF001 - it is ours
        del refresher


def _stop(
    readers: Iterable[Reader],
    issuers: Iterable[Reader],
    inboxes: Iterable[SimpleQueue[None]],
    telling: Telling,
) -> None:
    for inbox in inboxes:
        inbox.put(None)
    for reader in (*readers, *issuers):
        reader.close()
    telling.close()


_REFRESHERS: weakref.WeakSet[Refresher] = weakref.WeakSet()


def restart_all() -> None:
    """Restart the refreshers in a forked child, which has none of their threads."""
    for refresher in list(_REFRESHERS):
        refresher.restart()


# Windows does not fork.
if hasattr(os, "register_at_fork"):  # pragma: no branch - the tests run where it is there
    os.register_at_fork(after_in_child=restart_all)

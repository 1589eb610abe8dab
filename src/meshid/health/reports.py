"""What a mesh tells of itself: whether it would admit, what it has loaded, what it has decided."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from meshid.admission.admission import Admission
from meshid.admission.snapshot import Snapshot
from meshid.audit.counters import DecisionKind
from meshid.health.alarm import Alarm
from meshid.health.health import Health, health_of
from meshid.health.status import SourceStatus, status_of


class Following(Protocol):
    """What follows the sources of a mesh."""

    def alarms(self) -> tuple[Alarm, ...]:
        """Return what is wrong with them, and with what they say."""

    def statuses(self) -> tuple[SourceStatus, ...]:
        """Return the status of each."""


class Reports:
    """The part of a mesh that tells what it is doing; it changes nothing."""

    _admission: Admission
    _refresher: Following | None = None

    @property
    def service(self) -> str | None:
        """The name of this service."""
        return self._admission.service

    @property
    def snapshot(self) -> Snapshot:
        """Everything in force at this instant."""
        return self._admission.snapshot

    def health(self) -> Health:
        """Return whether the next peer that ought to be admitted would be, and what to look at."""
        alarms = () if self._refresher is None else self._refresher.alarms()
        return health_of(self._admission, datetime.fromtimestamp(self._admission.clock(), UTC), *alarms)

    def status(self) -> dict[str, object]:
        """Return what is loaded, until when it is valid, and what failed last, as plain values."""
        return status_of(self._admission, self.health(), self.sources(), self._admission.clock())

    def sources(self) -> tuple[SourceStatus, ...]:
        """Return the status of each source that the mesh follows."""
        return () if self._refresher is None else self._refresher.statuses()

    def counts(self) -> dict[DecisionKind, int]:
        """Return how many decisions there were of each kind."""
        return self._admission.counters.now()

    @property
    def open_connections(self) -> int:
        """How many connections of the mesh's TLS contexts are open, and how many are watched."""
        return len(self._admission.connections)

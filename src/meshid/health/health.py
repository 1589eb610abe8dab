"""Whether a mesh can serve, and the alarms that a person should look at before it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

import attrs

from meshid.admission.snapshot import Snapshot
from meshid.support.quoting import quote
from meshid.trust.bundles import TrustBundle
from meshid.trust.credentials import X509Svid
from meshid.trust.crl import RevocationList

_SOON = 1 / 3
"""The share of its lifetime that our own certificate may have left before it is overdue for renewal:
SPIRE, Istio and cert-manager renew after a half or two thirds of it. An authority lives for years
and may be renewed late, so only the last tenth counts for it."""

_NOW = 1 / 10


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
        about: What it is about, such as ``own certificate``; there is at most one alarm about it.
        text: What is wrong, for people.
    """

    level: AlarmLevel
    about: str
    text: str

    def __str__(self) -> str:
        return f"{self.about}: {self.text}"


@attrs.frozen(kw_only=True)
class Health:
    """The health of a mesh at one instant; true if it can serve.

    Attributes:
        ready: Whether it can serve: its own certificate, if it has one, is valid now.
        generation: The number of the snapshot in force.
        alarms: What to look at.
    """

    ready: bool
    generation: int
    alarms: tuple[Alarm, ...]

    def __bool__(self) -> bool:
        return self.ready

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values, for a probe or a file."""
        alarms = [{"level": str(each.level), "about": each.about, "text": each.text} for each in self.alarms]
        return {"ready": self.ready, "generation": self.generation, "alarms": alarms}


def health_of(snapshot: Snapshot, now: datetime, *more: Alarm) -> Health:
    """Return the health of a mesh at the instant *now*, with *more* alarms that others have found."""
    own = snapshot.credentials
    return Health(
        ready=own is None or own.leaf.not_valid_before_utc <= now <= own.leaf.not_valid_after_utc,
        generation=snapshot.generation,
        alarms=(*alarms_about(snapshot, now), *more),
    )


def alarms_about(snapshot: Snapshot, now: datetime) -> Iterator[Alarm]:
    """Return what is wrong with a snapshot at the instant *now*, or soon will be."""
    if snapshot.credentials is not None:
        yield from _about_credentials(snapshot.credentials, now)
    if None not in {snapshot.name, snapshot.first_name} and snapshot.name != snapshot.first_name:
        text = f"is {snapshot.name}, and was {snapshot.first_name} at the start; MESHID_SPIFFE_ID pins it"
        yield Alarm(level=AlarmLevel.WARNING, about="own SPIFFE ID", text=text)
    for bundle in snapshot.bundles.values():
        yield from _about_bundle(bundle, now)
    for each in snapshot.revocations.crls:
        yield from _about_list(each, snapshot.revocations.grace, now)


def _about_credentials(own: X509Svid, now: datetime) -> Iterator[Alarm]:
    about, leaf = "own certificate", own.leaf
    since, until = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    left = _share_left(since, until, now)
    if now < since:
        yield Alarm(level=AlarmLevel.ERROR, about=about, text=f"begins at {since}: is the clock right?")
    elif left < 0:
        yield Alarm(level=AlarmLevel.ERROR, about=about, text=f"ended at {until}, so peers refuse us")
    elif left < _SOON:
        level = AlarmLevel.ERROR if left < _NOW else AlarmLevel.WARNING
        yield Alarm(level=level, about=about, text=f"ends at {until} and has not been renewed")


def _about_bundle(bundle: TrustBundle, now: datetime) -> Iterator[Alarm]:
    last = max(bundle.authorities, key=lambda each: each.not_valid_after_utc, default=None)
    if last is None:
        return
    about, until = f"bundle of {bundle.trust_domain}", last.not_valid_after_utc
    left = _share_left(last.not_valid_before_utc, until, now)
    if left < 0:
        text = f"its last authority ended at {until}, so no peer of this trust domain is admitted"
        yield Alarm(level=AlarmLevel.ERROR, about=about, text=text)
    elif left < _NOW:
        text = f"its last authority ends at {until}"
        yield Alarm(level=AlarmLevel.WARNING, about=about, text=text)


def _about_list(each: RevocationList, grace: float, now: datetime) -> Iterator[Alarm]:
    due = each.crl.next_update_utc
    if due is None or now <= due:
        return
    about = f"revocation list of {quote(each.crl.issuer.rfc4514_string())}"
    refused = (now - due).total_seconds() > grace
    text = "peers that it covers are refused" if refused else f"it counts for {grace:g} s after that"
    level = AlarmLevel.ERROR if refused else AlarmLevel.WARNING
    yield Alarm(level=level, about=about, text=f"its next update was due at {due}; {text}")


def _share_left(since: datetime, until: datetime, now: datetime) -> float:
    return (until - now) / max(until - since, datetime.resolution)

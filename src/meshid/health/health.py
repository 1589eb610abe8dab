"""Whether a mesh can serve, and the alarms that a person should look at before it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

import attrs

from meshid.admission.snapshot import Snapshot
from meshid.certificates.distinguished_name import NameKey
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.credentials import X509Svid
from meshid.trust.crl import RevocationList, Undetermined, shown
from meshid.trust.revocations import Revocations

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
    for bundle in snapshot.bundles.values():
        yield from _about_bundle(bundle, now)
    yield from _about_revocations(snapshot.revocations, snapshot.bundles, now)


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


def _about_revocations(revocations: Revocations, bundles: BundleSet, now: datetime) -> Iterator[Alarm]:
    by_issuer: dict[NameKey | None, list[RevocationList]] = {}
    for each in revocations.crls:
        by_issuer.setdefault(each.issuer_key, []).append(each)
    # There is one alarm about an issuer: the worst.
    worst: dict[str, Alarm] = {}
    for lists in by_issuer.values():
        counting = [each for each in lists if each.signers() and each.is_in_date(now, revocations.grace)]
        for each in lists:
            if alarm := _about_list(each, revocations.grace, now, is_missed=counting in ([], [each])):
                _keep_worse(worst, alarm)
    for unusable in revocations.undetermined:
        _keep_worse(worst, _about_unusable(unusable, has_list=unusable.issuer_key in by_issuer))
    yield from worst.values()
    if texts := revocations.unmatched(bundles):
        yield Alarm(level=AlarmLevel.WARNING, about="deny list", text="; ".join(texts))


def _keep_worse(worst: dict[str, Alarm], alarm: Alarm) -> None:
    known = worst.setdefault(alarm.about, alarm)
    if known.level is not AlarmLevel.ERROR:
        worst[alarm.about] = alarm


def _about_list(each: RevocationList, grace: float, now: datetime, *, is_missed: bool) -> Alarm | None:
    about, due = f"revocation list of {shown(each.crl.issuer)}", each.crl.next_update_utc
    consequence = "every certificate of this issuer is refused" if is_missed else "another list counts"
    level = AlarmLevel.ERROR if is_missed else AlarmLevel.WARNING
    if not each.signers():
        if each.is_disowned():
            text = f"the one {each.version()} is signed by no authority of that name; {consequence}"
            return Alarm(level=level, about=about, text=text)
        text = (
            f"the one {each.version()} is signed by no authority that is known so far; certificates of its"
            f" issuer are refused, unless their issuer has signed it"
        )
        return Alarm(level=AlarmLevel.WARNING, about=about, text=text)
    if now < each.crl.last_update_utc:
        text = f"the one {each.version()} is not valid yet: is the clock right? {consequence}"
        return Alarm(level=level, about=about, text=text)
    if due is None or now <= due:
        return None
    if each.is_in_date(now, grace):
        text = f"its next update was due at {due}; it counts for {grace:g} s after that"
        return Alarm(level=AlarmLevel.WARNING, about=about, text=text)
    return Alarm(level=level, about=about, text=f"its next update was due at {due}; {consequence}")


def _about_unusable(each: Undetermined, *, has_list: bool) -> Alarm:
    if each.issuer is None:
        about, whom = "revocation lists", "every peer"
    else:
        about, whom = f"revocation list of {shown(each.issuer)}", "every certificate of this issuer"
    if each.is_part and has_list:
        text = f"{each.text}; it is not used, and {whom} is refused that no complete list covers"
        return Alarm(level=AlarmLevel.WARNING, about=about, text=text)
    return Alarm(
        level=AlarmLevel.ERROR, about=about, text=f"{each.text}; {whom} is refused while it is there"
    )


def _share_left(since: datetime, until: datetime, now: datetime) -> float:
    return (until - now) / max(until - since, datetime.resolution)

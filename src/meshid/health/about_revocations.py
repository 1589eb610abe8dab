"""Alarms about revocation lists and the deny list.

They say what a list refuses by being overdue, or unusable; whether that is everybody is not asked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from meshid.certificates.distinguished_name import NameKey
from meshid.health.alarm import Alarm, AlarmLevel
from meshid.trust.bundles import BundleSet
from meshid.trust.crl import RevocationList, Undetermined, shown
from meshid.trust.revocations import Revocations


def about_revocations(revocations: Revocations, bundles: BundleSet, now: datetime) -> Iterator[Alarm]:
    """Return alarms about lists that do not count, or soon will not, and denials that deny nobody.

    Args:
        revocations: The lists and the deny list in force.
        bundles: The bundles in force.
        now: The present instant.
    """
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
        level=AlarmLevel.ERROR, about=about, text=f"{each.text}; {whom} is refused until that is mended"
    )

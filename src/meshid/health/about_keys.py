"""Alarms about the keys of issuers of tokens: each is about one issuer alone, and keeps no other peer out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from meshid.admission.snapshot import Snapshot
from meshid.health.alarm import Alarm, AlarmLevel
from meshid.policy.issuers import IssuerProfile
from meshid.support.quoting import quote


def about_keys(snapshot: Snapshot, now: datetime) -> Iterator[Alarm]:
    """Return alarms about issuers of the policy in force whose keys do not count: their tokens are refused.

    Args:
        snapshot: What is in force.
        now: The present instant.
    """
    for issuer in () if snapshot.policy is None else snapshot.policy.issuers:
        # The keys of a trust domain are in its bundle.
        if issuer.profile is IssuerProfile.JWT_SVID:
            continue
        keys = snapshot.keys.get(issuer.name)
        if keys is None:
            text = "there are none, so its tokens are refused: publish keys, or look at its source"
        elif not keys.keys:
            text = "there is none that can be used, so its tokens are refused: look at its key set"
        elif keys.serve_until < now.timestamp():
            since = datetime.fromtimestamp(keys.serve_until, UTC)
            text = (
                f"they count no more since {since}, so its tokens are refused: they could not be read again"
            )
        else:
            continue
        yield Alarm(level=AlarmLevel.ERROR, about=keys_of(issuer.name), text=text)


def keys_of(issuer: str) -> str:
    """Return what an alarm about the keys of an issuer is about.

    Args:
        issuer: The name of the issuer.
    """
    return f"keys of issuer {quote(issuer)}"

"""Alarms about the keys of issuers of tokens: each is about one issuer alone, and keeps no other peer out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from meshid.admission.snapshot import Snapshot
from meshid.errors import MissingExtra
from meshid.health.alarm import Alarm, AlarmLevel
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.support.quoting import quote
from meshid.tokens.token_signature import require_extra


def about_keys(snapshot: Snapshot, now: datetime) -> Iterator[Alarm]:
    """Return alarms about issuers of the policy in force whose tokens are all refused, for want of keys.

    One is about the want of issuers themselves, where each request needs a token.

    Args:
        snapshot: What is in force.
        now: The present instant.
    """
    issuers = () if snapshot.policy is None else snapshot.policy.issuers
    if snapshot.requires_tokens and not issuers:
        text = (
            "each request needs one, and the policy has no issuer in this environment, so that each is"
            " refused: declare one under [environments.NAME.issuers.NAME], or set tokens to optional"
        )
        yield Alarm(level=AlarmLevel.ERROR, about="tokens", text=text)
    if issuers:
        try:
            require_extra()
        except MissingExtra as missing:
            yield Alarm(level=AlarmLevel.ERROR, about="tokens", text=f"every token is refused: {missing}")
    for issuer in issuers:
        if why := _why_none(issuer, snapshot, now):
            text = f"{why}; until then, its tokens are refused"
            yield Alarm(level=AlarmLevel.ERROR, about=keys_of(issuer.name), text=text)


def keys_of(issuer: str) -> str:
    """Return what an alarm about the keys of an issuer is about.

    Args:
        issuer: The name of the issuer.
    """
    return f"keys of issuer {quote(issuer)}"


def _why_none(issuer: Issuer, snapshot: Snapshot, now: datetime) -> str | None:
    if issuer.profile is IssuerProfile.JWT_SVID:
        domains = snapshot.policy.environment.trust_domains if snapshot.policy else ()
        if any(domain in snapshot.bundles and snapshot.bundles[domain].jwt_keys for domain in domains):
            return None
        return "no bundle of a trust domain of this environment has keys for JWT-SVIDs: serve them with it"
    keys = snapshot.keys.get(issuer.name)
    if keys is None:
        return "there are none: publish them, or look at their source"
    if not keys.keys:
        return "none of them can be used: look at its key set"
    if keys.serve_until <= now.timestamp():
        since = datetime.fromtimestamp(keys.serve_until, UTC)
        return f"they could not be read again, and count no more since {since}: look at their source"
    return None

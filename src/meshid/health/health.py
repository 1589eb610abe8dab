"""Whether a mesh would let in the next peer that ought to be, and what a person should look at.

The rules of this module:

- Ready means: the next peer that ought to be admitted would be. What means that nobody is, is an alarm
  that says so, and the only thing that makes a mesh not ready.
- It goes by what is in force and not by what was loaded: what was good when it was loaded may have
  ended since, or no longer fit what came after it.
- The policy and the service count only where clients are admitted: for a mesh that has the name of a
  service, or has made a server's context.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

import attrs
from cryptography import x509

from meshid.admission.admission import Admission
from meshid.admission.question import Question
from meshid.admission.snapshot import Snapshot
from meshid.certificates.leaf import Role
from meshid.decisions import Call
from meshid.health.about_keys import about_keys
from meshid.health.about_revocations import about_revocations
from meshid.health.alarm import Alarm, AlarmLevel, outage
from meshid.health.entrance import why_closed, why_nobody
from meshid.health.own_path import OwnPath, find_own_path
from meshid.names.spiffe_id import TrustDomain
from meshid.policy import REQUEST_FOLLOWS
from meshid.support.logs import failures
from meshid.support.quoting import quote
from meshid.trust.bundles import TrustBundle

_SOON = 1 / 3
"""The share of its lifetime that our own certificate may have left before it is overdue for renewal:
SPIRE, Istio and cert-manager renew after a half or two thirds of it. An authority lives for years
and may be renewed late, so only the last tenth counts for it."""

_NOW = 1 / 10

_MANY = 4
"""Peers of whom one would have asked for something by now."""

_OWN = "own certificate"


@attrs.frozen(kw_only=True)
class Health:
    """The health of a mesh at one instant; true if it is ready.

    Attributes:
        ready: Whether the next peer that ought to be admitted would be: no alarm is an outage.
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
        alarms = [{**attrs.asdict(each), "level": str(each.level)} for each in self.alarms]
        return {"ready": self.ready, "generation": self.generation, "alarms": alarms}


def health_of(admission: Admission, now: datetime, *more: Alarm) -> Health:
    """Return the health of a mesh at the instant *now*, with *more* alarms that others have found."""
    snapshot = admission.snapshot
    alarms = (*_alarms(admission, snapshot, now), *more, *_about_log())
    ready = not any(alarm.is_outage for alarm in alarms)
    return Health(ready=ready, generation=snapshot.generation, alarms=alarms)


def _about_log() -> Iterator[Alarm]:
    # Not in `alarms_about`, whose alarms are logged: it would lose, or log, a new line each second.
    if lost := failures():
        yield Alarm(level=AlarmLevel.WARNING, about="log", text=f"{lost}; see to the log handler")


def alarms_about(admission: Admission, now: datetime) -> Iterator[Alarm]:
    """Return what is wrong with the snapshot in force at the instant *now*, or soon will be."""
    return _alarms(admission, admission.snapshot, now)


def _alarms(admission: Admission, snapshot: Snapshot, now: datetime) -> Iterator[Alarm]:
    peers, path = _peers(admission), None
    if snapshot.credentials is not None:
        path = find_own_path(snapshot, snapshot.credentials, peers)
        yield from _about_own(path, now)
    # Behind a proxy, or beside one, no certificate is needed.
    elif admission.roles:
        yield outage(_OWN, "there is none any more, so no handshake succeeds: publish one")
    if None not in {snapshot.name, snapshot.first_name} and snapshot.name != snapshot.first_name:
        text = f"is {snapshot.name}, and was {snapshot.first_name} at the start; MESHID_SPIFFE_ID pins it"
        yield Alarm(level=AlarmLevel.WARNING, about="own SPIFFE ID", text=text)
    closed = {
        domain: why
        for domain, bundle in snapshot.bundles.items()
        # That there is a path to it is a better proof than any.
        if not (path and path.leads_to == domain) and (why := why_closed(bundle, snapshot.revocations, now))
    }
    yield from _about_bundles(snapshot, peers, closed, now)
    if Role.CLIENT in peers:
        yield from _about_policy(admission, snapshot, frozenset(snapshot.bundles) - closed.keys(), now)
        yield from _about_promise(admission)
    yield from about_revocations(snapshot.revocations, snapshot.bundles, now)
    yield from about_keys(snapshot, now)


def _peers(admission: Admission) -> frozenset[Role]:
    """Return what peers are to us: what our TLS contexts meet, and clients if there is a service."""
    roles = frozenset(admission.roles)
    return roles if admission.service is None else roles | {Role.CLIENT}


def _about_own(path: OwnPath, now: datetime) -> Iterator[Alarm]:
    leaf, first = path.certificates[0], path.first_to_end
    since, until = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    left = _share_left(since, first.not_valid_after_utc, now)
    if now < since:
        yield outage(_OWN, f"begins at {since}: is the clock right?")
    elif now > until:
        yield outage(_OWN, f"ended at {until}, so peers refuse us: renew it")
    elif path.refusal:
        yield outage(_OWN, path.refusal)
    elif left < _SOON:
        level = AlarmLevel.ERROR if left < _NOW else AlarmLevel.WARNING
        yield Alarm(level=level, about=_OWN, text=_about_end(first, is_leaf=first is leaf))
    elif path.not_sent is not None:
        yield Alarm(level=AlarmLevel.WARNING, about=_OWN, text=_about_not_sent(path.not_sent))


def _about_not_sent(intermediate: x509.Certificate) -> str:
    called, root = (quote(each.rfc4514_string()) for each in (intermediate.subject, intermediate.issuer))
    return (
        f"lacks its intermediate {called}, which is in our bundle: peers that trust {root} alone refuse us;"
        " append it to the certificate's file"
    )


def _about_end(first: x509.Certificate, *, is_leaf: bool) -> str:
    until = first.not_valid_after_utc
    if is_leaf:
        return f"ends at {until} and has not been renewed: look at its agent, or its mount"
    above = quote(first.subject.rfc4514_string())
    return f"the authority above it, {above}, ends at {until}, before it: renew it, with its intermediates"


def _about_bundles(
    snapshot: Snapshot, peers: Collection[Role], closed: Mapping[TrustDomain, str], now: datetime
) -> Iterator[Alarm]:
    """Return alarms about bundles that vouch for nobody, or soon will not."""
    bundles, policy = snapshot.bundles, snapshot.policy
    own = policy.environment.trust_domains if policy and Role.CLIENT in peers else ()
    is_outage = not any(domain in bundles and domain not in closed for domain in own or bundles)
    level = AlarmLevel.ERROR if is_outage else AlarmLevel.WARNING
    for domain in own:
        if domain not in bundles:
            text = "there is none, so no peer of this trust domain of our own is admitted: set MESHID_TRUST"
            yield Alarm(level=level, about=f"bundle of {domain}", text=text, is_outage=is_outage)
    if not (bundles or own):
        yield outage("trust bundles", "there are none, so nobody is admitted: set MESHID_TRUST")
    for domain, bundle in bundles.items():
        about, is_ours = f"bundle of {domain}", not own or domain in own
        if domain not in closed:
            yield from _about_last_authority(about, bundle, now)
        # A partner may withdraw its authorities.
        elif bundle.authorities or (is_ours and is_outage):
            text = f"no peer of this trust domain is admitted: {closed[domain]}"
            yield Alarm(level=AlarmLevel.ERROR, about=about, text=text, is_outage=is_ours and is_outage)


def _about_last_authority(about: str, bundle: TrustBundle, now: datetime) -> Iterator[Alarm]:
    last = max(bundle.authorities, key=lambda each: each.not_valid_after_utc)
    until = last.not_valid_after_utc
    if _share_left(last.not_valid_before_utc, until, now) < _NOW:
        yield Alarm(
            level=AlarmLevel.WARNING,
            about=about,
            text=f"its last authority ends at {until}: add the next one",
        )


def _about_policy(
    admission: Admission, snapshot: Snapshot, vouching: frozenset[TrustDomain], now: datetime
) -> Iterator[Alarm]:
    """Return alarms about targets that nobody reaches: an outage only if that is all of them."""
    if snapshot.policy is None:
        yield outage("policy", "there is none, so no client is admitted: set MESHID_POLICY, or publish one")
        return
    questions = frozenset(admission.listeners)
    if not questions:
        # What the requests of a service are like is not known without a context.
        questions = frozenset({Question(target=admission.service, request=REQUEST_FOLLOWS)})
    # That nobody of our own trust domains gets in is told by their bundles.
    is_told = vouching.isdisjoint(snapshot.policy.environment.trust_domains)
    whose = None if is_told else vouching
    at = now.timestamp()
    nobody = {each: why for each in questions if (why := why_nobody(snapshot.policy, each, whose, at))}
    for target, why in {each.target: why for each, why in nobody.items()}.items():
        yield Alarm(
            level=AlarmLevel.ERROR,
            about=f"target {quote(str(target))}",
            text=why,
            is_outage=len(nobody) == len(questions),
        )


def _about_promise(admission: Admission) -> Iterator[Alarm]:
    """Return an alarm if all contexts promise that each request is checked, and none ever is."""
    listeners = frozenset(admission.listeners)
    if not listeners or any(each.request is not REQUEST_FOLLOWS for each in listeners):
        return
    counts = {kind: count for kind, count in admission.counters.now().items() if kind.role is Role.CLIENT}
    admitted = sum(count for kind, count in counts.items() if kind.call is Call.ADMIT and kind.allowed)
    if admitted >= _MANY and not any(kind.call is Call.CHECK for kind in counts):
        text = (
            f"{_MANY} peers or more were admitted with http=True, and no request was ever checked: put"
            " ASGIMiddleware or WSGIMiddleware around the application, or call Mesh.check() for each"
        )
        yield Alarm(level=AlarmLevel.ERROR, about="requests", text=text)


def _share_left(since: datetime, until: datetime, now: datetime) -> float:
    return (until - now) / max(until - since, datetime.resolution)

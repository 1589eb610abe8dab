"""What a mesh cannot start without: only what is ours.

That is our own certificate, a policy and a deny list if they are named, and the bundle of our own
trust domain. A partner's bundle, or a revocation list, holds up nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from meshid.admission.snapshot import Snapshot
from meshid.names.spiffe_id import TrustDomain
from meshid.sources.alarms import Alarms, Key
from meshid.sources.merging import CREDENTIALS, POLICY, States
from meshid.sources.publishing import DENY
from meshid.sources.reader import Reader


@attrs.frozen
class Obstacles:
    """What holds up the start, as keys of `Alarms`; false if nothing does.

    Attributes:
        needed: Each of these has to go.
        own_bundle: One of these has to go, so that there may be a bundle of our own trust domain.
    """

    needed: tuple[Key, ...]
    own_bundle: tuple[Key, ...]

    def __bool__(self) -> bool:
        return bool(self.needed or self.own_bundle)

    def cannot_heal(self, alarms: Alarms) -> bool:
        """Return whether waiting for them to go is of no use."""
        in_vain = bool(self.own_bundle) and all(map(alarms.cannot_heal, self.own_bundle))
        return in_vain or any(map(alarms.cannot_heal, self.needed))


def obstacles_to_start(
    readers: Iterable[Reader], states: States, alarms: Alarms, snapshot: Snapshot
) -> Obstacles:
    """Return what holds up the start.

    Args:
        readers: The sources.
        states: What each has delivered so far.
        alarms: What is wrong.
        snapshot: What is in force.
    """
    unread = [reader for reader in readers if reader not in states]
    parts = [("publish", part) for part in (DENY, CREDENTIALS, POLICY) if ("publish", part) in alarms]
    needed = (*(("read", reader) for reader in unread if reader.is_required), *parts)
    own = _own_trust_domain(snapshot)
    # Without a name of our own, any bundle is better than none.
    if snapshot.bundles if own is None else own in snapshot.bundles:
        return Obstacles(needed, ())
    return Obstacles(needed, (*(("read", reader) for reader in unread), *_about_bundle(own, states, alarms)))


def _own_trust_domain(snapshot: Snapshot) -> TrustDomain | None:
    if snapshot.name is not None:
        return snapshot.name.trust_domain
    return None if snapshot.policy is None else snapshot.policy.environment.trust_domains[0]


def _about_bundle(own: TrustDomain | None, states: States, alarms: Alarms) -> Iterator[Key]:
    """Return what is wrong with bundles of that trust domain, or with any if there is none."""
    for source, state in states.items():
        for bundle in state.bundles:
            if own in {None, bundle.trust_domain} and (key := ("publish", bundle.trust_domain)) in alarms:
                yield key
        for fault in state.faults:
            if own in {None, fault.trust_domain}:
                yield "fault", source, fault.text

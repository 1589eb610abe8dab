"""What is removed is gone within a second, on every loop, and other peers do not notice."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from meshid import BundleSet, Mesh, Reason, Revocations, TrustBundle
from meshid.testing import CA, Issued
from tests.helpers.lines import goes_on, is_ended, line, sweep
from tests.helpers.loops import EVERYWHERE, tells
from tests.helpers.tls_peers import PATH, POLICY, Heard, Serving, knock, mesh_of, policy, stranger
from tests.helpers.world import HOUR, Clock

NAME = f"spiffe://prod.example.org{PATH}"
OTHER = "/ns/shop/sa/other"
WITHIN = 1.0
"""Seconds from the removal to the end; it takes 2 ms on an idle machine."""


class Removal:
    """A mesh with two authorities, and an open connection of a peer of each."""

    def __init__(self, clock: Clock, heard: Heard) -> None:
        self.clock = clock
        self.lasting, self.going = CA("prod.example.org"), CA("prod.example.org", subject="CN=going")
        both = TrustBundle.from_pem("prod.example.org", self.lasting.pem + self.going.pem)
        self.mesh: Mesh = mesh_of(self.lasting, bundles=BundleSet([both]), clock=clock, audit=heard)
        self.going_peer: Issued = self.going.issue(PATH, not_after=clock.now + HOUR)
        self.lasting_peer: Issued = self.lasting.issue(OTHER, not_after=clock.now + 9 * HOUR)

    def deny(self) -> None:
        self.mesh.publish(revocations=Revocations(deny=[NAME]))

    def revoke(self) -> None:
        crls = [self.lasting.crl(), self.going.crl(self.going_peer)]
        self.mesh.publish(revocations=Revocations(crls=crls))

    def remove_authority(self) -> None:
        self.mesh.publish(bundles=BundleSet([self.lasting.bundle()]))

    def remove_rule(self) -> None:
        self.mesh.publish(policy=policy(POLICY.replace('["/ns/shop/**"]', f'["{OTHER}"]')))

    def expire(self) -> None:
        self.clock.now += 2 * HOUR
        sweep(self.mesh)


REMOVALS: dict[str, tuple[Callable[[Removal], None], Reason]] = {
    "deny list": (Removal.deny, Reason.DENY_LISTED),
    "revocation list": (Removal.revoke, Reason.REVOKED),
    "authority": (Removal.remove_authority, Reason.UNKNOWN_AUTHORITY),
    "rule": (Removal.remove_rule, Reason.NO_RULE),
    "expiry": (Removal.expire, Reason.EXPIRED),
}


@pytest.mark.parametrize(("remove", "reason"), REMOVALS.values(), ids=REMOVALS)
@pytest.mark.parametrize("serve", EVERYWHERE.values(), ids=EVERYWHERE)
def test_an_idle_connection_of_the_removed_peer_ends_and_no_other(
    serve: Serving, remove: Callable[[Removal], None], reason: Reason, clock: Clock, heard: Heard
) -> None:
    removal = Removal(clock, heard)
    with (
        serve(removal.mesh.server_context()) as service,
        line(service.port, stranger(removal.going_peer)) as ending,
        line(service.port, stranger(removal.lasting_peer)) as going_on,
    ):
        assert heard.of_handshakes() == [Reason.ALLOWED] * 2
        before = time.monotonic()
        remove(removal)
        assert is_ended(ending)
        assert time.monotonic() - before < WITHIN
        assert tells(service.refusal(), reason, serve)
        ended = heard.next()
        assert (ended.call, ended.decision.reason) == ("review", reason)
        assert (ended.connection.address, ended.connection.port) == ending.getsockname()
        assert removal.mesh.open_connections == 1
        assert knock(service.port, stranger(removal.going_peer)).answer == b""
        refused = heard.next()
        assert (refused.call, refused.decision.reason) == ("admit", reason)
        assert refused.connection.address == ended.connection.address
        assert goes_on(going_on)
    assert heard.is_quiet()

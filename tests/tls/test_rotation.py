"""Rotation under load: what is published counts from then on, and other peers do not notice."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshid import BundleSet, PeerRejected, TrustBundle
from meshid.testing import CA
from tests.helpers.loops import EVERYWHERE, LOST
from tests.helpers.tls_peers import PATH, Serving, Visit, asyncio_server, credentials, knock, mesh_of

DURATION = 20.0
"""Seconds of load."""

SHORT = 3.0
"""Seconds of load on each of the other loops."""

PERIOD = 0.02
"""Seconds from one publication to the next."""

RESTORED = 4
"""The second authority is back in one of so many publications, and removed in the others."""


class Fire:
    """A mesh whose credentials and trust keep changing, and the clients that connect to it."""

    def __init__(self) -> None:
        self.lasting = CA("prod.example.org")
        self.going = CA("prod.example.org", subject="CN=going")
        both = TrustBundle.from_pem("prod.example.org", self.lasting.pem + self.going.pem)
        self.both, self.one = BundleSet([both]), BundleSet([self.lasting.bundle()])
        self.mesh = mesh_of(self.lasting, bundles=self.both)
        self.over = threading.Event()
        self.publications = self.restoring = self.admitted = self.refused = 0
        self.wrong: list[Visit] = []

    def publish(self) -> None:
        while not self.over.wait(PERIOD):
            self.publications += 1
            restore = self.publications % RESTORED == 0
            # Odd while the second authority is being restored, so that a client can see whether it was.
            self.restoring += restore
            bundles = self.both if restore else self.one
            self.mesh.publish(credentials=credentials(self.lasting), bundles=bundles)
            self.restoring += restore

    def good_peer(self, port: int) -> None:
        context = self.lasting.issue(PATH).client_context()
        while not self.over.is_set():
            visit = knock(port, context)
            if visit.answer:
                self.admitted += 1
            else:
                self.wrong.append(visit)

    def removed_peer(self, port: int) -> None:
        context = self.going.issue(PATH).client_context()
        while not self.over.is_set():
            before = self.restoring
            if before % 2 or self.mesh.snapshot.bundles is not self.one:
                continue
            visit = knock(port, context)
            # If its authority was restored meanwhile, either answer is right.
            if before == self.restoring:
                self.refused += not visit.answer
                self.wrong += [visit] if visit.answer else []


@pytest.mark.slow
@pytest.mark.parametrize("serve", EVERYWHERE.values(), ids=EVERYWHERE)
def test_no_good_peer_fails_and_no_removed_one_succeeds(serve: Serving) -> None:
    fire, seconds = Fire(), DURATION if serve is asyncio_server else SHORT
    with serve(fire.mesh.server_context(resumption=True)) as service, ThreadPoolExecutor(5) as pool:
        running = [
            pool.submit(fire.publish),
            *(pool.submit(fire.good_peer, service.port) for _ in range(2)),
            *(pool.submit(fire.removed_peer, service.port) for _ in range(2)),
        ]
        time.sleep(seconds)
        fire.over.set()
        for each in running:
            each.result(timeout=30)
    print(f"{fire.publications} publications, {fire.admitted} admitted, {fire.refused} refused")  # noqa: T201
    assert fire.wrong == []
    # A peer whose authority is removed while it is being served; it may have gone by then, in each direction.
    raised = [service.raised.get() for _ in range(service.raised.qsize())]
    assert [each for each in raised if not isinstance(each, (PeerRejected, *LOST))] == []
    assert min(fire.publications, fire.admitted, fire.refused) > 2.5 * seconds

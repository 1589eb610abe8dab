"""A grace moves the end of a leaf, and nothing else."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from meshid import BundleSet, InvalidInput, PeerRejected, Reason, Revocations
from meshid.testing import CA
from meshid.verification.grace import MAX_LEAF_GRACE, checked_leaf_grace
from meshid.verification.verifier import ChainVerifier
from tests.helpers.world import HOUR, PATH, Clock

GRACE = timedelta(seconds=60)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("seconds", [0, 0.5, MAX_LEAF_GRACE])
def test_a_grace_is_a_number_of_seconds(seconds: float) -> None:
    assert checked_leaf_grace(seconds) == seconds


@pytest.mark.parametrize("seconds", [-1, MAX_LEAF_GRACE + 1, math.inf, math.nan, "60", None])
def test_what_is_no_grace(seconds: object) -> None:
    with pytest.raises(
        InvalidInput, match=r"the grace of a leaf is .*: write a number of seconds from 0 to 3600"
    ):
        checked_leaf_grace(seconds)


class TestAVerifierWithAGrace:
    @pytest.fixture
    def ca(self, clock: Clock) -> CA:
        return CA("prod.example.org", not_after=clock.now + 10 * HOUR)

    def verifier(
        self, ca: CA, clock: Clock, grace: timedelta = GRACE, revocations: Revocations | None = None
    ) -> ChainVerifier:
        return ChainVerifier(
            BundleSet([ca.bundle()]), revocations=revocations, clock=clock, leaf_grace=grace.total_seconds()
        )

    def refused(self, verifier: ChainVerifier, chain: tuple[bytes, ...]) -> PeerRejected:
        with pytest.raises(PeerRejected) as caught:
            verifier.verify(chain)
        return caught.value

    def test_lets_a_leaf_count_until_its_end_and_that_much_longer(self, ca: CA, clock: Clock) -> None:
        leaf, verifier = ca.issue(PATH, not_after=clock.now + HOUR), self.verifier(ca, clock)
        clock.now += HOUR
        assert verifier.verify(leaf.chain).not_after == clock.now
        for _ in ("at once", "at the end of the grace"):
            clock.now += GRACE / 2
            assert verifier.verify(leaf.chain).not_after == leaf.certificate.not_valid_after_utc + GRACE
        clock.now += SECOND
        raised = self.refused(verifier, leaf.chain)
        assert raised.reason is Reason.EXPIRED
        assert " with 60 s of grace, and it is " in raised.detail

    def test_does_not_move_its_beginning(self, ca: CA, clock: Clock) -> None:
        leaf = ca.issue(PATH, not_before=clock.now + SECOND)
        assert self.refused(self.verifier(ca, clock), leaf.chain).reason is Reason.NOT_YET_VALID

    def test_does_not_move_the_end_of_an_intermediate(self, ca: CA, clock: Clock) -> None:
        issuing = ca.intermediate(not_after=clock.now + HOUR + GRACE / 2)
        leaf, verifier = issuing.issue(PATH, not_after=clock.now + HOUR), self.verifier(ca, clock)
        clock.now += HOUR + GRACE / 2
        assert verifier.verify(leaf.chain).not_after == clock.now
        clock.now += SECOND
        assert self.refused(verifier, leaf.chain).reason is Reason.AUTHORITY_NOT_IN_DATE

    def test_does_not_move_the_end_of_an_authority(self, clock: Clock) -> None:
        ca = CA("prod.example.org", not_after=clock.now + HOUR)
        leaf, verifier = ca.issue(PATH, not_after=clock.now + HOUR), self.verifier(ca, clock)
        clock.now += HOUR + SECOND
        assert self.refused(verifier, leaf.chain).reason is Reason.AUTHORITY_NOT_IN_DATE

    def test_does_not_move_the_end_of_a_revocation_list(self, ca: CA, clock: Clock) -> None:
        due = clock.now + HOUR + GRACE / 2
        verifier = self.verifier(ca, clock, revocations=Revocations(crls=[ca.crl(next_update=due)]))
        leaf = ca.issue(PATH, not_after=clock.now + HOUR)
        clock.now += HOUR + SECOND
        assert verifier.verify(leaf.chain).not_after == due
        clock.now = due + SECOND
        assert self.refused(verifier, leaf.chain).reason is Reason.CRL_NOT_IN_DATE

    def test_sees_a_revocation(self, ca: CA, clock: Clock) -> None:
        leaf = ca.issue(PATH, not_after=clock.now + HOUR)
        verifier = self.verifier(ca, clock, revocations=Revocations(crls=[ca.crl(leaf)]))
        clock.now += HOUR + SECOND
        assert self.refused(verifier, leaf.chain).reason is Reason.REVOKED

    def test_knows_no_leaf_that_never_ends(self, ca: CA, clock: Clock) -> None:
        """RFC 5280 section 4.1.2.5: 99991231235959Z has no instant after it."""
        del ca
        forever = clock.now.replace(year=9999, month=12, day=31, hour=23, minute=59, second=59)
        ca = CA("prod.example.org", not_after=forever)
        peer = self.verifier(ca, clock).verify(ca.issue(PATH, not_after=forever).chain)
        assert peer.not_after == forever

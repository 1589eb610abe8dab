"""What a person should look at, and from when on."""

from __future__ import annotations

import json
import math
from datetime import timedelta

import pytest

from meshid import BundleSet, Mesh, Revocations, TrustBundle
from meshid.health.health import AlarmLevel
from meshid.testing import CA
from tests.helpers.world import DAY, HOUR, Clock

OWN = "/ns/pay/sa/payments"


def said(mesh: Mesh) -> list[tuple[str, str]]:
    return [(str(alarm.level), str(alarm)) for alarm in mesh.health().alarms]


@pytest.fixture
def ca(clock: Clock) -> CA:
    return CA("prod.example.org", not_before=clock.now - HOUR, not_after=clock.now + 1000 * DAY)


class TestOwnCertificate:
    @pytest.fixture
    def mesh(self, ca: CA, clock: Clock) -> Mesh:
        """A mesh with a certificate of 30 hours."""
        own = ca.issue(OWN, not_before=clock.now, not_after=clock.now + 30 * HOUR)
        return Mesh(credentials=own.svid, bundles=BundleSet([ca.bundle()]), clock=clock)

    @pytest.mark.parametrize(
        ("hours", "level", "text"),
        [
            (0, None, ""),
            (19.9, None, ""),
            (20.1, AlarmLevel.WARNING, "ends at {end} and has not been renewed"),
            (26.9, AlarmLevel.WARNING, "ends at {end} and has not been renewed"),
            (27.1, AlarmLevel.ERROR, "ends at {end} and has not been renewed"),
            (30.1, AlarmLevel.ERROR, "ended at {end}, so peers refuse us"),
            (-0.1, AlarmLevel.ERROR, "begins at {begin}: is the clock right?"),
        ],
    )
    def test_the_less_time_is_left_the_louder(
        self, mesh: Mesh, clock: Clock, hours: float, level: AlarmLevel | None, text: str
    ) -> None:
        begin, end = clock.now, clock.now + 30 * HOUR
        clock.now += hours * HOUR
        expected = [] if level is None else [(level, "own certificate: " + text.format(begin=begin, end=end))]
        assert said(mesh) == expected
        assert mesh.health().ready is bool(mesh.health()) is (0 <= hours <= 30)

    def test_a_mesh_without_one_only_verifies_and_is_ready(self, ca: CA) -> None:
        health = Mesh(bundles=BundleSet([ca.bundle()])).health()
        assert (health.ready, health.alarms) == (True, ())


class TestBundles:
    def test_the_authority_that_lasts_longest_counts(self, ca: CA, clock: Clock) -> None:
        fading = CA("prod.example.org", not_after=clock.now + HOUR)
        bundle = TrustBundle.from_pem("prod.example.org", fading.pem + ca.pem)
        mesh = Mesh(bundles=BundleSet([bundle]), clock=clock)
        end = ca.certificate.not_valid_after_utc
        assert said(mesh) == []
        clock.now = end - 10 * DAY
        about = "bundle of prod.example.org: its last authority "
        assert said(mesh) == [("warning", f"{about}ends at {end}")]
        clock.now = end + HOUR
        text = f"{about}ended at {end}, so no peer of this trust domain is admitted"
        assert said(mesh) == [("error", text)]
        assert not mesh.health().ready

    def test_a_partner_may_withdraw_its_authorities(self, ca: CA, clock: Clock) -> None:
        withdrawn = TrustBundle.from_spiffe_json("partner.example", b'{"keys": []}')
        assert said(Mesh(bundles=BundleSet([ca.bundle(), withdrawn]), clock=clock)) == []


class TestRevocationLists:
    @pytest.mark.parametrize(
        ("grace", "level", "text"),
        [
            (0, "error", "peers that it covers are refused"),
            (7200, "warning", "it counts for 7200 s after that"),
            (math.inf, "warning", "it counts for inf s after that"),
        ],
    )
    def test_one_that_is_overdue(self, ca: CA, clock: Clock, grace: float, level: str, text: str) -> None:
        due = clock.now + HOUR
        # The list of an intermediate, which is not the only one that issues.
        crl = ca.intermediate(subject="CN=issuing").crl(next_update=due)
        revocations = Revocations(crls=[crl], grace=grace)
        mesh = Mesh(bundles=BundleSet([ca.bundle()]), revocations=revocations, clock=clock)
        assert said(mesh) == []
        clock.now += timedelta(hours=1, seconds=1)
        issuer = "revocation list of 'CN=issuing'"
        assert said(mesh) == [(level, f"{issuer}: its next update was due at {due}; {text}")]


def test_it_is_plain_values_for_a_probe() -> None:
    mesh = Mesh()
    document = mesh.health().as_dict()
    assert json.loads(json.dumps(document)) == document
    alarm = {
        "level": "error",
        "about": "trust bundles",
        "text": "there are none, so nobody is admitted: set MESHID_TRUST",
        "is_outage": True,
    }
    assert document == {"ready": False, "generation": 0, "alarms": [alarm]}

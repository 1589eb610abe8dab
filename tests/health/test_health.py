"""What a person should look at, and from when on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import timedelta

import pytest

from meshid import BundleSet, Denial, Mesh, PeerRejected, Policy, Reason, Revocations, TrustBundle
from meshid.health.alarm import AlarmLevel
from meshid.testing import CA, Issued
from meshid.trust.crl import Undetermined
from tests.helpers.tls_peers import PATH, asyncio_server, knock, mesh_of
from tests.helpers.world import DAY, HOUR, Clock

OWN = "/ns/pay/sa/payments"


POLICY = Policy.from_toml(
    """
    version = 1
    [environments.prod]
    trust_domains = ["prod.example.org"]
    [[allow]]
    id = "all"
    from = ["/**"]
    to = ["payments"]
    """,
    environment="prod",
)


def admitting(ca: CA, revocations: Revocations, clock: Clock) -> Mesh:
    return Mesh(
        bundles=BundleSet([ca.bundle()]),
        revocations=revocations,
        policy=POLICY,
        service="payments",
        clock=clock,
    )


def said(mesh: Mesh) -> list[tuple[str, str]]:
    return [(str(alarm.level), str(alarm)) for alarm in mesh.health().alarms]


def said_of_lists(mesh: Mesh) -> list[tuple[str, str]]:
    """Leave out what it means for all peers, which `test_ready.py` asks."""
    return [(level, text) for level, text in said(mesh) if not text.startswith("bundle of")]


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
        "what", ["neither", "it is in the file", "the bundle has no root"], ids=lambda what: what
    )
    def test_one_whose_intermediate_is_in_the_bundle_alone(self, ca: CA, clock: Clock, what: str) -> None:
        issuing = ca.intermediate(subject="CN=issuing")
        own = issuing.issue(OWN)
        mine = own if what == "it is in the file" else Issued(own.certificate, own.key, ())
        pem = issuing.pem + (b"" if what == "the bundle has no root" else ca.pem)
        bundles = BundleSet([TrustBundle.from_pem("prod.example.org", pem)])
        mesh = Mesh(credentials=mine.svid, bundles=bundles, clock=clock)
        root = ca.certificate.subject.rfc4514_string()
        text = (
            "own certificate: lacks its intermediate 'CN=issuing', which is in our bundle: peers that trust"
            f" '{root}' alone refuse us; append it to the certificate's file"
        )
        assert said(mesh) == ([("warning", text)] if what == "neither" else [])
        assert mesh.health().ready

    @pytest.mark.parametrize(
        ("hours", "level", "text"),
        [
            (0, None, ""),
            (19.9, None, ""),
            (
                20.1,
                AlarmLevel.WARNING,
                "ends at {end} and has not been renewed: look at its agent, or its mount",
            ),
            (
                26.9,
                AlarmLevel.WARNING,
                "ends at {end} and has not been renewed: look at its agent, or its mount",
            ),
            (
                27.1,
                AlarmLevel.ERROR,
                "ends at {end} and has not been renewed: look at its agent, or its mount",
            ),
            (30.1, AlarmLevel.ERROR, "ended at {end}, so peers refuse us: renew it"),
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

    def test_another_name_than_at_the_start_is_an_alarm_until_it_is_the_first_again(
        self, mesh: Mesh, ca: CA, clock: Clock
    ) -> None:
        first = mesh.snapshot.credentials
        for name in ("/ns/pay/sa/other", "/ns/pay/sa/third"):
            other = ca.issue(name, not_before=clock.now, not_after=clock.now + HOUR).svid
            mesh.publish(credentials=other)
            text = (
                f"own SPIFFE ID: is spiffe://prod.example.org{name}, and was spiffe://prod.example.org{OWN}"
                " at the start; MESHID_SPIFFE_ID pins it"
            )
            assert said(mesh) == [("warning", text)]
            assert mesh.health().ready
            mesh.publish(credentials=None)
            assert said(mesh) == []
        mesh.publish(credentials=first)
        assert said(mesh) == []

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
        about = "bundle of prod.example.org: "
        assert said(mesh) == [("warning", f"{about}its last authority ends at {end}: add the next one")]
        clock.now = end + HOUR
        text = (
            f"no peer of this trust domain is admitted: its last authority ended at {end}; add the next one"
        )
        assert said(mesh) == [("error", about + text)]
        assert not mesh.health().ready

    def test_a_partner_may_withdraw_its_authorities(self, ca: CA, clock: Clock) -> None:
        withdrawn = TrustBundle.from_spiffe_json("partner.example", b'{"keys": []}')
        assert said(Mesh(bundles=BundleSet([ca.bundle(), withdrawn]), clock=clock)) == []


class TestRevocationLists:
    ISSUER = "revocation list of 'CN=root,O=prod.example.org'"

    @pytest.mark.parametrize(
        ("grace", "level", "text"),
        [
            (0, "error", "every certificate of this issuer is refused"),
            (7200, "warning", "it counts for 7200 s after that"),
            (math.inf, "warning", "it counts for inf s after that"),
        ],
    )
    def test_one_that_is_overdue(self, ca: CA, clock: Clock, grace: float, level: str, text: str) -> None:
        due = clock.now + HOUR
        mesh = lists_in(clock, ca, ca.crl(next_update=due), grace=grace)
        assert said_of_lists(mesh) == []
        clock.now += timedelta(hours=1, seconds=1)
        assert said_of_lists(mesh) == [(level, f"{self.ISSUER}: its next update was due at {due}; {text}")]

    def test_one_that_is_overdue_beside_one_that_is_not(self, ca: CA, clock: Clock) -> None:
        due = clock.now + HOUR
        mesh = lists_in(clock, ca, ca.crl(next_update=due), ca.crl(next_update=due + DAY))
        clock.now += 2 * HOUR
        text = f"{self.ISSUER}: its next update was due at {due}; another list counts"
        assert said_of_lists(mesh) == [("warning", text)]

    def test_one_of_tomorrow(self, ca: CA, clock: Clock) -> None:
        begin = clock.now + HOUR
        mesh = lists_in(clock, ca, ca.crl(last_update=begin))
        text = f"the one of {begin} is not valid yet: is the clock right? every certificate"
        assert said_of_lists(mesh) == [("error", f"{self.ISSUER}: {text} of this issuer is refused")]

    def test_one_that_an_authority_of_its_name_did_not_sign(self, ca: CA, clock: Clock) -> None:
        forged = CA("prod.example.org").crl(last_update=clock.now)
        mesh = lists_in(clock, ca, forged)
        text = f"{self.ISSUER}: the one of {clock.now} is signed by no authority of that name;"
        assert said_of_lists(mesh) == [("error", f"{text} every certificate of this issuer is refused")]
        mesh = lists_in(clock, ca, forged, ca.crl())
        assert said_of_lists(mesh) == [("warning", f"{text} another list counts")]

    def test_one_of_an_intermediate_until_its_first_certificate_comes(self, ca: CA, clock: Clock) -> None:
        issuing, other = (ca.intermediate(subject=f"CN={name}") for name in ("issuing", "other"))
        lists = [issuing.crl(last_update=clock.now), CA("x", subject="CN=other").crl(last_update=clock.now)]
        mesh = lists_in(clock, ca, *lists)
        about = f"the one of {clock.now} is signed by no authority that is known so far; certificates of its"
        text = f"{about} issuer are refused, unless their issuer has signed it"
        assert said_of_lists(mesh) == [
            ("warning", f"revocation list of 'CN={name}': {text}") for name in ("issuing", "other")
        ]
        mesh.admit(issuing.issue().chain)
        with pytest.raises(PeerRejected) as caught:
            mesh.admit(other.issue().chain)
        assert caught.value.reason is Reason.REVOCATION_UNDETERMINED
        ((level, alarm),) = said_of_lists(mesh)
        assert level == "error"
        assert alarm.endswith(
            "is signed by no authority of that name; every certificate of this issuer is refused"
        )

    def test_one_that_cannot_be_used(self, ca: CA, clock: Clock) -> None:
        issuer = ca.certificate.subject
        mesh = lists_in(clock, ca, undetermined=[Undetermined("'a.crl': broken", issuer)])
        text = "'a.crl': broken; every certificate of this issuer is refused until that is mended"
        assert said_of_lists(mesh) == [("error", f"{self.ISSUER}: {text}")]
        mesh = lists_in(clock, ca, undetermined=[Undetermined("'README': junk", None)])
        text = "revocation lists: 'README': junk; every peer is refused until that is mended"
        assert said_of_lists(mesh) == [("error", text)]

    def test_a_part_beside_the_whole(self, ca: CA, clock: Clock) -> None:
        part = Undetermined("'a.crl': a delta", ca.certificate.subject, is_part=True)
        text = "every certificate of this issuer is refused that no complete list covers"
        assert said_of_lists(lists_in(clock, ca, ca.crl(), undetermined=[part])) == [
            ("warning", f"{self.ISSUER}: 'a.crl': a delta; it is not used, and {text}")
        ]
        assert [level for level, _ in said_of_lists(lists_in(clock, ca, undetermined=[part]))] == ["error"]

    @pytest.mark.parametrize("turn", [1, -1])
    def test_of_several_about_one_issuer_the_worst(self, ca: CA, clock: Clock, turn: int) -> None:
        issuer = ca.certificate.subject
        several = [Undetermined("part", issuer, is_part=True), Undetermined("broken", issuer)][::turn]
        ((level, alarm),) = said_of_lists(lists_in(clock, ca, ca.crl(), undetermined=several))
        assert level == "error"
        assert "broken" in alarm


def lists_in(
    clock: Clock, ca: CA, *crls: bytes, grace: float = 0, undetermined: Sequence[Undetermined] = ()
) -> Mesh:
    revocations = Revocations(crls=crls, grace=grace, undetermined=undetermined)
    return admitting(ca, revocations, clock)


def test_a_denial_that_denies_nobody_is_told_by_name(ca: CA, clock: Clock) -> None:
    denial = Denial(issuer="CN=rot,O=prod.example.org", serial=7)
    mesh = admitting(ca, Revocations(deny=[denial]), clock)
    text = f"deny list: {denial} denies nobody: no issuer of that name is known; known are 'CN=root,"
    ((level, alarm),) = said(mesh)
    assert level == "warning"
    assert alarm.startswith(text)


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


class TestThePromiseToCheckRequests:
    """`Mesh.server_context(http=True)` gives it, and whoever forgets the middleware breaks it in silence."""

    @staticmethod
    def said_after(visits: int, *contexts: bool, checks: bool = False) -> list[str]:
        ca = CA("prod.example.org")
        mesh, visitor = mesh_of(ca), ca.issue(PATH).client_context()
        served, *_ = [mesh.server_context(http=each) for each in contexts]
        with asyncio_server(served) as service:
            assert all(knock(service.port, visitor).answer for _ in range(visits))
        if checks:
            assert mesh.check(mesh.admit(ca.issue(PATH).chain))
        return [alarm.text for alarm in mesh.health().alarms]

    def test_requests_that_nobody_checks_are_an_alarm(self) -> None:
        assert [text.partition(",")[0] for text in self.said_after(4, True)] == [
            "4 peers or more were admitted with http=True"
        ]

    @pytest.mark.parametrize(
        ("visits", "contexts", "checks"),
        [
            pytest.param(3, (True,), False, id="few peers"),
            pytest.param(4, (True,), True, id="one checked"),
            pytest.param(4, (True, False), False, id="another listener without the promise"),
            pytest.param(4, (False,), False, id="no promise"),
        ],
    )
    def test_else_there_is_none(self, visits: int, contexts: tuple[bool, ...], *, checks: bool) -> None:
        assert self.said_after(visits, *contexts, checks=checks) == []

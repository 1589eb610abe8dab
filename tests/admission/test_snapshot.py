"""A part is checked when it arrives, and a bad one changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest

from meshid import (
    BundleSet,
    InvalidBundle,
    InvalidCredentials,
    InvalidPolicy,
    InvalidSpiffeId,
    Mesh,
    MeshidError,
    Policy,
    Reason,
    Revocations,
    SpiffeId,
    TrustBundle,
    X509Svid,
)
from meshid.admission.admission import Admission
from meshid.admission.snapshot import Changes
from meshid.testing import CA
from tests.helpers.tls_peers import CLOSED_POLICY, credentials, mesh_of, policy
from tests.helpers.world import HOUR, Clock

DEV_POLICY = 'version = 1\n[environments.dev]\ntrust_domains = ["dev.example.org"]'


@pytest.fixture
def mesh(prod_ca: CA, clock: Clock) -> Mesh:
    return mesh_of(prod_ca, clock=clock)


class TestABadUpdateChangesNothing:
    """A bad update changes nothing: the last good state stays in force."""

    def refuse(self, mesh: Mesh, error: type[MeshidError], words: str, changes: Changes) -> None:
        before, peers = mesh.snapshot, mesh.snapshot.verifier
        with pytest.raises(error, match=words):
            mesh.publish(**changes)
        assert mesh.snapshot is before
        assert mesh.snapshot.verifier is peers

    @pytest.mark.parametrize("days", [-1, 1], ids=["expired", "not yet valid"])
    def test_a_certificate_that_is_not_in_date(self, days: int, mesh: Mesh, prod_ca: CA) -> None:
        when = datetime.now(UTC) + timedelta(days=days)
        own = prod_ca.issue("/ns/pay/sa/x", not_before=when - HOUR, not_after=when + HOUR).svid
        self.refuse(mesh, InvalidCredentials, "own certificate: valid from", {"credentials": own})

    def test_a_certificate_of_an_authority_that_peers_do_not_trust(self, mesh: Mesh) -> None:
        own = credentials(CA("prod.example.org"))
        self.refuse(mesh, InvalidCredentials, "No path leads from the leaf", {"credentials": own})

    def test_a_certificate_with_another_name_than_the_pinned_one(self, prod_ca: CA) -> None:
        bundles = BundleSet([prod_ca.bundle()])
        mesh = Mesh(bundles=bundles, spiffe_id="spiffe://prod.example.org/a")
        mesh.publish(credentials=prod_ca.issue("/a").svid)
        said = r"its SPIFFE ID is spiffe://prod\.example\.org/b, and must be spiffe://prod\.example\.org/a$"
        self.refuse(mesh, InvalidCredentials, said, {"credentials": prod_ca.issue("/b").svid})
        mesh.publish(credentials=None)
        mesh.publish(credentials=prod_ca.issue("/a").svid)
        pinned = SpiffeId.parse("spiffe://prod.example.org/a")
        with pytest.raises(InvalidCredentials, match=said):
            Mesh(credentials=prod_ca.issue("/b").svid, bundles=bundles, spiffe_id=pinned)
        with pytest.raises(InvalidSpiffeId, match=r"^'a' does not begin with"):
            Mesh(spiffe_id="a")

    def test_a_host_name_that_no_bundle_makes_a_name(self) -> None:
        corp = CA("corp.example")
        own = corp.issue(uris=[], dns=["api.corp.example"]).svid
        pin = "spiffe://corp.example/dns/api.corp.example"
        said = f"its SPIFFE ID is /dns/api.corp.example, and must be {pin}"
        with pytest.raises(InvalidCredentials, match=said):
            Mesh(credentials=own, spiffe_id=pin)
        mesh = Mesh(credentials=own, bundles=BundleSet([corp.bundle(profile="dns")]), spiffe_id=pin)
        assert str(mesh.snapshot.name) == pin

    def test_a_certificate_of_another_environment(self, mesh: Mesh, dev_ca: CA) -> None:
        own = credentials(dev_ca)
        self.refuse(mesh, InvalidCredentials, "the policy is for environment prod", {"credentials": own})

    def test_a_policy_of_another_environment(self, mesh: Mesh) -> None:
        other = Policy.from_toml(DEV_POLICY, environment="dev")
        self.refuse(mesh, InvalidPolicy, "the policy is for environment dev", {"policy": other})

    @pytest.mark.parametrize("hours", [-1, 2], ids=["expired", "not yet valid"])
    def test_a_bundle_without_an_authority_in_date(self, hours: int, mesh: Mesh) -> None:
        when = datetime.now(UTC) + hours * HOUR
        faded = CA("prod.example.org", not_before=when - timedelta(minutes=1), not_after=when)
        self.refuse(
            mesh,
            InvalidBundle,
            "prod.example.org: no authority in it is in date",
            {"bundles": BundleSet([faded.bundle()])},
        )

    def test_one_bad_part_among_good_ones(self, mesh: Mesh, prod_ca: CA) -> None:
        self.refuse(
            mesh,
            InvalidCredentials,
            "own certificate",
            {
                "revocations": Revocations(deny=["spiffe://prod.example.org/x"]),
                "credentials": prod_ca.issue("/x", not_after=datetime.now(UTC) - HOUR).svid,
            },
        )

    def test_a_part_that_there_is_not(self, mesh: Mesh) -> None:
        with pytest.raises(TypeError, match="has no part 'generation'; write one of: credentials, "):
            mesh.publish(generation=7)  # type: ignore[call-arg]


class TestAnUpdateIsNotHeldUp:
    """What must take effect does, whatever state the rest is in."""

    def test_a_revocation_by_an_expired_certificate_of_ours(self, prod_ca: CA, clock: Clock) -> None:
        mesh = mesh_of(prod_ca, clock=clock)
        peer = mesh.admit(prod_ca.issue("/ns/shop/sa/web", not_after=clock.now + 5 * HOUR).chain)
        clock.now += 2 * HOUR
        mesh.publish(revocations=Revocations(deny=[peer.fingerprint]))
        assert mesh.check(peer).reason is Reason.DENY_LISTED

    def test_the_removal_of_our_own_authority(self, mesh: Mesh, prod_ca: CA) -> None:
        peer = mesh.admit(prod_ca.issue("/ns/shop/sa/web").chain)
        mesh.publish(bundles=BundleSet([CA("prod.example.org").bundle()]))
        assert mesh.check(peer).reason is Reason.UNKNOWN_AUTHORITY

    def test_a_bundle_that_has_been_emptied(self, mesh: Mesh, prod_ca: CA) -> None:
        peer = mesh.admit(prod_ca.issue("/ns/shop/sa/web").chain)
        mesh.publish(bundles=BundleSet([TrustBundle.from_spiffe_json("prod.example.org", b'{"keys": []}')]))
        assert mesh.check(peer).reason is Reason.UNKNOWN_AUTHORITY

    def test_another_bundle_by_one_that_has_faded_in_place(self, clock: Clock, prod_ca: CA) -> None:
        fading = CA("dev.example.org", not_after=clock.now + HOUR).bundle()
        mesh = Mesh(bundles=BundleSet([prod_ca.bundle(), fading]), clock=clock)
        clock.now += 2 * HOUR
        assert mesh.publish(bundles=BundleSet([fading])).bundles == BundleSet([fading])


class TestWhatIsDerivedHangsOnItsPart:
    """New trust means a new, empty cache; a new certificate of our own alone keeps it."""

    def test_equal_content_is_no_update(self, mesh: Mesh, prod_ca: CA) -> None:
        before = mesh.snapshot
        again = TrustBundle.from_pem("prod.example.org", prod_ca.pem)
        assert mesh.publish(bundles=BundleSet([again]), revocations=Revocations(), policy=policy()) is before
        assert mesh.publish() is before

    def test_a_new_certificate_keeps_the_cache(self, mesh: Mesh, prod_ca: CA) -> None:
        before = mesh.snapshot
        after = mesh.publish(credentials=credentials(prod_ca))
        assert after.verifier is before.verifier
        assert after.generation == before.generation + 1

    def test_a_new_policy_keeps_the_cache(self, mesh: Mesh) -> None:
        before = mesh.snapshot
        after = mesh.publish(
            policy=policy('version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]')
        )
        assert after.verifier is before.verifier

    @pytest.mark.parametrize("part", ["bundles", "revocations"])
    def test_new_trust_begins_with_an_empty_cache(
        self, part: str, mesh: Mesh, prod_ca: CA, dev_ca: CA
    ) -> None:
        mesh.admit(prod_ca.issue("/ns/shop/sa/web").chain)
        assert mesh.snapshot.verifier.stats().size == 1
        if part == "bundles":
            mesh.publish(bundles=BundleSet([prod_ca.bundle(), dev_ca.bundle()]))
        else:
            mesh.publish(revocations=Revocations(deny=["spiffe://prod.example.org/x"]))
        assert mesh.snapshot.verifier.stats().size == 0


class TestOurOwnName:
    def test_is_the_one_in_the_certificate(self, mesh: Mesh) -> None:
        assert mesh.snapshot.name == SpiffeId.parse("spiffe://prod.example.org/ns/pay/sa/payments")

    def test_is_that_of_linkerd(self) -> None:
        ca = CA("cluster.local")
        own = ca.issue(uris=[], dns=["api.pay.serviceaccount.identity.linkerd.cluster.local"]).svid
        mesh = Mesh(credentials=own, bundles=BundleSet([ca.bundle(profile="linkerd")]))
        assert str(mesh.snapshot.name) == "spiffe://cluster.local/ns/pay/sa/api"

    def test_is_a_host_in_the_trust_domain_of_the_dns_bundle(self) -> None:
        ca = CA("corp.example")
        own = ca.issue(uris=[], dns=["pay.corp.example"]).svid
        assert Mesh(credentials=own).snapshot.name is None
        mesh = Mesh(credentials=own, bundles=BundleSet([ca.bundle(profile="dns")]))
        assert str(mesh.snapshot.name) == "spiffe://corp.example/dns/pay.corp.example"

    def test_is_missing_without_a_certificate(self) -> None:
        assert Mesh().snapshot.name is None

    def test_may_be_of_a_trust_domain_whose_bundle_is_not_loaded(self, prod_ca: CA, dev_ca: CA) -> None:
        mesh = Mesh(credentials=credentials(prod_ca), bundles=BundleSet([dev_ca.bundle()]))
        assert str(mesh.snapshot.name) == "spiffe://prod.example.org/ns/pay/sa/payments"


@pytest.mark.parametrize("purpose", ["client", "server"])
def test_a_certificate_for_one_purpose_is_enough(purpose: str, prod_ca: CA, mesh: Mesh) -> None:
    own = prod_ca.issue("/ns/pay/sa/x", purposes={purpose}).svid
    assert mesh.publish(credentials=own).credentials == own


def test_credentials_can_be_taken_away(mesh: Mesh) -> None:
    assert mesh.publish(credentials=None).credentials is None


def test_a_snapshot_cannot_be_changed(mesh: Mesh) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        mesh.snapshot.policy = None  # type: ignore[misc]


def test_credentials_are_tried_when_they_are_new_and_only_then(prod_ca: CA) -> None:
    """A policy that is reloaded does not make an unchanged certificate shake hands again."""
    tried: list[X509Svid] = []
    own, renewed = prod_ca.issue("/own").svid, prod_ca.issue("/own").svid
    parts: Changes = {"credentials": own, "bundles": BundleSet([prod_ca.bundle()]), "policy": policy()}
    admission = Admission(parts, try_credentials=tried.append)
    admission.publish({**parts, "policy": CLOSED_POLICY})
    admission.publish({"revocations": Revocations(deny=["spiffe://prod.example.org/x"])})
    assert tried == [own]
    admission.publish({"credentials": renewed})
    assert tried == [own, renewed]

"""A mesh starts as soon as what is ours is there; what waiting cannot heal is told at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest

from meshid import Mesh, PeerRejected, Reason, Revocations
from meshid.sources import (
    BundleMapFile,
    Fault,
    RevocationListFiles,
    Source,
    SourceUnavailable,
    State,
    TrustFile,
)
from meshid.testing import CA
from meshid.trust.crl import Undetermined
from tests.helpers.fake_sources import FakeSource, FakeStream
from tests.helpers.mounted import OWN, Mounted, eventually
from tests.helpers.tls_peers import PATH, POLICY
from tests.helpers.volumes import pair
from tests.sources.test_removal import put

LONG = 60.0
"""Seconds that nobody wants to wait here."""


pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture
def mounted(tmp_path: Path, prod_ca: CA) -> Mounted:
    return Mounted(tmp_path, prod_ca)


WRONG: dict[str, tuple[Callable[[Mounted], object], str]] = {
    "a typo in the policy": (
        lambda mounted: put(mounted.policy, POLICY.replace("from =", "form =", 1)),
        "did you mean 'from'?",
    ),
    "a policy of another environment": (
        lambda mounted: put(mounted.policy, POLICY.replace('["prod.example.org"]', '["other.example.org"]')),
        "own certificate is spiffe://prod.example.org/ns/pay/sa/payments, and the policy is for",
    ),
    "a typo in the deny list": (lambda mounted: put(mounted.deny, "version = 2\n"), "version: must be 1"),
    "a wrong key": (
        lambda mounted: mounted.secret.swap(
            pair(mounted.ca.issue(OWN)) | {"tls.key": mounted.ca.issue(OWN).key_pem}
        ),
        "the private key is not that of",
    ),
    "a bundle of our own that is none": (
        lambda mounted: put(mounted.trust, "?"),
        "bundle of prod.example.org",
    ),
}


@pytest.mark.parametrize(("spoil", "said"), WRONG.values(), ids=WRONG)
def test_what_waiting_cannot_heal_ends_the_start_at_once(
    mounted: Mounted, spoil: Callable[[Mounted], object], said: str
) -> None:
    spoil(mounted)
    begun = time.monotonic()
    with pytest.raises(SourceUnavailable) as caught:
        Mesh.from_sources(mounted.sources(), service="payments", timeout=LONG)
    assert time.monotonic() - begun < LONG / 4
    assert said in str(caught.value)
    assert caught.value.__context__ is None


def test_everything_that_is_wrong_is_told(mounted: Mounted) -> None:
    put(mounted.policy, "?")
    put(mounted.deny, "?")
    mounted.trust.unlink()
    with pytest.raises(SourceUnavailable) as caught:
        Mesh.from_sources(mounted.sources(), service="payments", timeout=LONG)
    texts = str(caught.value).splitlines()
    assert {text.partition(" ")[0] for text in texts} == {"policy", "deny", "trust"}


@pytest.mark.parametrize("missing", ["trust", "policy", "deny"])
def test_what_is_missing_is_waited_for(mounted: Mounted, missing: str) -> None:
    path: Path = getattr(mounted, missing)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(SourceUnavailable, match="No such file or directory"):
        Mesh.from_sources(mounted.sources(), service="payments", timeout=0.3)
    threading.Timer(0.3, path.write_bytes, [content]).start()
    with Mesh.from_sources(mounted.sources(), service="payments", timeout=LONG) as mesh:
        assert mesh.health().ready


def test_a_mistake_that_is_mended_in_time_is_none(own: FakeSource) -> None:
    class Mended(FakeSource):
        def read(self) -> State:
            if self.reads == 1:
                self.now = own.now
            return super().read()

    half = Mended("own", SourceUnavailable("own: half written", is_lasting=True))
    with Mesh.from_sources([half], service="payments", timeout=LONG) as mesh:
        assert mesh.snapshot.credentials is not None


PAST = datetime.now(UTC) - timedelta(hours=1)
PARTNERS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path,
    "garbage": lambda path: path.write_text("?"),
    "expired": lambda path: path.write_bytes(CA("partner.example", not_after=PAST).pem),
}


@pytest.mark.parametrize("spoil", PARTNERS.values(), ids=PARTNERS)
def test_a_partners_bundle_holds_up_nothing(mounted: Mounted, spoil: Callable[[Path], object]) -> None:
    path = mounted.root / "partner.pem"
    spoil(path)
    sources = [
        *mounted.sources(),
        TrustFile("partner.example", path),
        BundleMapFile(mounted.root / "map.json"),
    ]
    with Mesh.from_sources(sources, service="payments", timeout=LONG) as mesh:
        assert mesh.health().ready
        assert eventually(lambda: any("partner" in str(alarm) for alarm in mesh.health().alarms))
        good = CA("partner.example")
        put(path, good.pem)
        assert eventually(lambda: good.bundle().trust_domain in mesh.snapshot.bundles)


def test_our_own_bundle_may_come_from_a_map(mounted: Mounted) -> None:
    path = mounted.root / "map.json"
    sources = [source for source in mounted.sources() if not isinstance(source, TrustFile)]
    sources.append(BundleMapFile(path))
    put(path, json.dumps({"trust_domains": {"prod.example.org": []}}))
    with pytest.raises(SourceUnavailable, match=r"bundle of prod\.example\.org"):
        Mesh.from_sources(sources, service="payments", timeout=LONG)
    put(
        path,
        json.dumps({"trust_domains": {"prod.example.org": json.loads(mounted.ca.bundle().to_spiffe_json())}}),
    )
    with Mesh.from_sources(sources, service="payments", timeout=LONG) as mesh:
        assert mesh.health().ready


def test_the_fault_of_a_partner_does_not_stand_for_our_own_bundle(own: FakeSource) -> None:
    """Ours is missing, which may heal; what is wrong with the other one does not count."""
    assert isinstance(own.now, State)
    partner = CA("partner.example").bundle().trust_domain
    map_ = FakeSource("map", State(faults=(Fault("?", partner),)), is_required=False)
    ours = FakeSource("ours", SourceUnavailable("ours: not there"), is_required=False)
    later, own.now = own.now.bundles, attrs.evolve(own.now, bundles=())
    threading.Timer(0.5, setattr, [ours, "now", State(bundles=later)]).start()
    with Mesh.from_sources([own, map_, ours], service="payments", timeout=LONG) as mesh:
        assert mesh.snapshot.bundles


def test_what_an_agent_sends_may_be_better_the_next_time(own: FakeSource, prod_ca: CA) -> None:
    assert isinstance(own.now, State)
    bad = attrs.evolve(own.now, bundles=(), faults=(Fault("cut off", prod_ca.bundle().trust_domain),))
    stream = FakeStream(bad, bad)
    with pytest.raises(SourceUnavailable, match=r"^stream: cut off$"):
        Mesh.from_sources([stream], service="payments", timeout=0.5)
    later = FakeStream(bad, own.now)
    with Mesh.from_sources([later], service="payments", timeout=LONG) as mesh:
        assert mesh.health().ready


class TestWithoutANameOfOurOwn:
    def test_any_bundle_is_enough(self, prod_ca: CA, tmp_path: Path) -> None:
        trust = FakeSource("trust", State(bundles=(prod_ca.bundle(),)))
        sources: list[Source] = [trust, TrustFile("partner.example", tmp_path / "gone")]
        with Mesh.from_sources(sources, timeout=LONG) as mesh:
            assert list(mesh.snapshot.bundles) == [prod_ca.bundle().trust_domain]

    def test_without_any_it_does_not_start(self) -> None:
        expired = FakeSource("expired", State(bundles=(CA("partner.example", not_after=PAST).bundle(),)))
        with pytest.raises(SourceUnavailable, match="no authority in it is in date"):
            Mesh.from_sources([expired], timeout=0.3)
        faulty = FakeSource("faulty", State(faults=(Fault("?"),)))
        with pytest.raises(SourceUnavailable, match=r"^faulty: \?$"):
            Mesh.from_sources([faulty], timeout=LONG)

    def test_with_no_source_of_one_it_does(self) -> None:
        with Mesh.from_sources([FakeSource("nothing", State())], timeout=LONG) as mesh:
            assert not mesh.snapshot.bundles


class TestRevocations:
    def test_a_list_that_cannot_be_used_holds_up_nothing_and_refuses(self, mounted: Mounted) -> None:
        peer = mounted.ca.issue(PATH)
        (mounted.crls / "prod.crl").write_bytes(mounted.ca.crl()[:99])
        with Mesh.from_sources(mounted.sources(), service="payments", timeout=LONG) as mesh:
            with pytest.raises(PeerRejected) as caught:
                mesh.admit(peer.chain)
            assert caught.value.reason is Reason.REVOCATION_UNDETERMINED
            put(mounted.crls / "prod.crl", mounted.ca.crl())
            assert eventually(lambda: not mesh.snapshot.revocations.undetermined)
            mesh.admit(peer.chain)
            # From now on, it is an alarm only.
            put(mounted.crls / "prod.crl", mounted.ca.crl()[:99])
            assert eventually(lambda: any("prod.crl" in str(alarm) for alarm in mesh.health().alarms))
            mesh.admit(peer.chain)

    def test_it_counts_as_well_if_its_source_is_late(self, own: FakeSource, prod_ca: CA) -> None:
        unusable = Undetermined("it is cut off", None)
        late = FakeStream()
        late.is_required = False
        lists = FakeSource("lists", State(revocations=Revocations(crls=[prod_ca.crl()])))
        with Mesh.from_sources([own, lists, late], service="payments", timeout=LONG) as mesh:
            mesh.admit(prod_ca.issue(PATH).chain)
            late.news.put(State(revocations=Revocations(undetermined=(unusable,))))
            assert eventually(lambda: mesh.snapshot.revocations.undetermined == (unusable,))
            late.news.put(State(revocations=Revocations()))
            assert eventually(lambda: not mesh.snapshot.revocations.undetermined)
            late.news.put(State(revocations=Revocations(undetermined=(unusable,))))
            assert eventually(lambda: any("it is cut off" in str(alarm) for alarm in mesh.health().alarms))
            assert not mesh.snapshot.revocations.undetermined

    def test_a_deny_list_that_vanishes_stays_in_force(self, mounted: Mounted) -> None:
        put(mounted.deny, f"version = 1\n[[deny]]\npeer = 'spiffe://prod.example.org{PATH}'\n")
        with Mesh.from_sources(mounted.sources(), service="payments") as mesh:
            mounted.deny.unlink()
            assert eventually(
                lambda: any(alarm.about.startswith("deny list") for alarm in mesh.health().alarms)
            )
            with pytest.raises(PeerRejected) as caught:
                mesh.admit(mounted.ca.issue(PATH).chain)
            assert caught.value.reason is Reason.DENY_LISTED

    def test_a_list_that_vanishes_stays_until_its_next_update(
        self, own: FakeSource, prod_ca: CA, tmp_path: Path
    ) -> None:
        revoked = prod_ca.issue(PATH)
        (tmp_path / "prod.crl").write_bytes(prod_ca.crl(revoked))
        skip = [0.0]
        sources: list[Source] = [own, RevocationListFiles([tmp_path])]
        with Mesh.from_sources(sources, service="payments", clock=lambda: time.time() + skip[0]) as mesh:
            (tmp_path / "prod.crl").unlink()
            assert eventually(
                lambda: any("is gone, and stays in force" in str(a) for a in mesh.health().alarms)
            )
            with pytest.raises(PeerRejected) as caught:
                mesh.admit(revoked.chain)
            assert caught.value.reason is Reason.REVOKED
            skip[0] = timedelta(days=1, hours=1).total_seconds()
            assert eventually(lambda: not mesh.snapshot.revocations.crls)

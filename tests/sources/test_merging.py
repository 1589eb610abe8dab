"""What the sources say becomes what is wanted of each part; a fault of one part concerns no other."""

from __future__ import annotations

import pytest

from meshid import BundleSet, Denial, Revocations, TrustBundle, TrustDomain
from meshid.admission.snapshot import Snapshot, first_snapshot, next_snapshot
from meshid.sources import Fault, State
from meshid.sources.merging import Offer, Part, in_force, offers_of, revocations_of
from meshid.testing import CA
from tests.helpers.fake_sources import FakeSource
from tests.helpers.mounted import OWN
from tests.helpers.tls_peers import policy
from tests.helpers.world import Clock

PARTNER = CA("partner.example")
PARTNERS = PARTNER.bundle().trust_domain
A, B, C = (FakeSource(name, State()) for name in "ABC")


@pytest.fixture
def own(prod_ca: CA) -> State:
    return State(credentials=prod_ca.issue(OWN).svid, bundles=(prod_ca.bundle(),), policy=policy())


@pytest.fixture
def snapshot(own: State, clock: Clock) -> Snapshot:
    """A snapshot in which everything of *own* and the partner's bundle is in force."""
    bundles = BundleSet([*own.bundles, PARTNER.bundle()])
    changes = {"credentials": own.credentials, "bundles": bundles, "policy": own.policy}
    return next_snapshot(first_snapshot(clock, 0.0), changes, clock())  # type: ignore[arg-type]


def test_each_part_comes_from_the_source_that_has_it(own: State, snapshot: Snapshot, prod_ca: CA) -> None:
    offers = offers_of({A: own, B: State(bundles=(PARTNER.bundle(),))}, {})
    assert {part: offer.owner for part, offer in offers.items()} == {
        "credentials": A,
        "policy": A,
        prod_ca.bundle().trust_domain: A,
        PARTNERS: B,
    }
    empty = first_snapshot(lambda: 0.0, 0.0)
    for part, offer in offers.items():
        assert offer.wanted(empty) == in_force(part, snapshot)
        assert offer.ambiguity == ""


def part_of(own: State, what: str) -> tuple[Part, State]:
    parts: dict[str, tuple[Part, State]] = {
        "our own certificate": ("credentials", State(credentials=own.credentials)),
        "the policy": ("policy", State(policy=own.policy)),
        "the bundle of prod.example.org": (TrustDomain("prod.example.org"), State(bundles=own.bundles)),
    }
    return parts[what]


@pytest.mark.parametrize("what", ["our own certificate", "the policy", "the bundle of prod.example.org"])
def test_of_two_sources_the_first_stays_in_charge(own: State, snapshot: Snapshot, what: str) -> None:
    part, state = part_of(own, what)
    first = offers_of({A: state}, {})
    both = offers_of({B: state, A: state}, first)[part]
    assert both.owner is A
    assert both.about == "B and A"
    assert both.ambiguity == f"{what} comes from B and from A: remove one of them"
    # Without a first one, nothing changes.
    neither = offers_of({A: state, B: state}, {})[part]
    assert neither.owner is None
    assert neither.wanted(snapshot) == in_force(part, snapshot)
    assert neither.wanted(first_snapshot(lambda: 0.0, 0.0)) is None
    # As soon as there is one, it is in charge.
    assert offers_of({B: state}, {part: both})[part].owner is B


def test_who_is_in_charge_can_take_away_what_it_gave(snapshot: Snapshot) -> None:
    many = TrustBundle.from_pem("partner.example", PARTNER.pem + CA("partner.example").pem)
    first = offers_of({A: State(bundles=(many,))}, {})
    both = offers_of({A: State(bundles=(PARTNER.bundle(),)), B: State(bundles=(many,))}, first)
    assert both[PARTNERS].wanted(snapshot) == PARTNER.bundle()


def test_what_no_source_has_any_more_is_gone(own: State, snapshot: Snapshot) -> None:
    offers = offers_of({A: State()}, offers_of({A: own}, {}))
    assert [offer.wanted(snapshot) for offer in offers.values()] == [None, None, None]


def test_what_its_source_cannot_read_stays(own: State, snapshot: Snapshot) -> None:
    before = offers_of({A: own, B: State(bundles=(PARTNER.bundle(),))}, {})
    faults = (
        Fault("own certificate: the key is not that of it"),
        Fault("cut off", TrustDomain("prod.example.org")),
    )
    offers = offers_of({A: State(faults=faults), B: State(faults=(Fault("?"),))}, before)
    for part in ("credentials", "policy", TrustDomain("prod.example.org")):
        assert offers[part].wanted(snapshot) == in_force(part, snapshot)
        assert offers[part].wanted(snapshot) is not None
    # B says nothing about its bundle.
    assert offers[PARTNERS].wanted(snapshot) is None


def test_another_source_does_not_take_over_while_the_one_in_charge_cannot_read_it(snapshot: Snapshot) -> None:
    stranger = CA("partner.example").bundle()
    before = offers_of({A: State(bundles=(PARTNER.bundle(),)), B: State(bundles=(stranger,))}, {})
    before = {PARTNERS: Offer(PARTNERS, before[PARTNERS].values, A)}
    now = offers_of({A: State(faults=(Fault("?", PARTNERS),)), B: State(bundles=(stranger,))}, before)
    assert now[PARTNERS].owner is A
    assert now[PARTNERS].wanted(snapshot) == PARTNER.bundle()


def test_what_any_source_revokes_is_revoked(prod_ca: CA) -> None:
    crl, denied = prod_ca.crl(), "spiffe://prod.example.org/x"
    lists = State(revocations=Revocations(crls=[crl], grace=60))
    denying = State(revocations=Revocations(deny=[denied]))
    assert revocations_of({A: State(), B: lists, C: denying}) == Revocations(
        crls=[crl], deny=[Denial(peer=denied)], grace=60
    )
    assert revocations_of({A: State(), B: lists}) is lists.revocations
    assert revocations_of({A: State()}) == Revocations()

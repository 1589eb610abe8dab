"""The states of all sources become one snapshot, or say which two are in each other's way."""

from __future__ import annotations

import pytest

from meshid import BundleSet, Denial, Revocations
from meshid.sources import AmbiguousSources, State
from meshid.sources.merging import PARTS, States, holders
from meshid.testing import CA
from tests.helpers.fake_sources import FakeSource
from tests.helpers.mounted import OWN
from tests.helpers.tls_peers import policy


def states_of(**states: State) -> States:
    return {FakeSource(name, state): state for name, state in states.items()}


@pytest.fixture
def own(prod_ca: CA) -> State:
    return State(credentials=prod_ca.issue(OWN).svid, bundles=(prod_ca.bundle(),), policy=policy())


def merged(states: States) -> dict[str, object]:
    return {name: value for part in PARTS.values() for name, value in part(states).items()}


def test_each_part_comes_from_the_source_that_has_it(own: State, prod_ca: CA) -> None:
    partner = CA("partner.example").bundle()
    states = states_of(own=own, partner=State(bundles=(partner,)))
    assert merged(states) == {
        "credentials": own.credentials,
        "bundles": BundleSet([prod_ca.bundle(), partner]),
        "policy": own.policy,
        "revocations": Revocations(),
    }
    assert [source.name for source in holders("bundles", states)] == ["own", "partner"]
    assert [source.name for source in holders("policy", states)] == ["own"]


def test_what_any_source_revokes_is_revoked(own: State, prod_ca: CA) -> None:
    crl, denied = prod_ca.crl(), "spiffe://prod.example.org/x"
    lists = State(revocations=Revocations(crls=[crl], grace=60))
    states = states_of(own=own, lists=lists, denied=State(revocations=Revocations(deny=[denied])))
    assert merged(states)["revocations"] == Revocations(crls=[crl], deny=[Denial(peer=denied)], grace=60)


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ("credentials", "our own certificate"),
        ("policy", "the policy"),
        ("bundles", "the bundle of prod.example.org"),
    ],
)
def test_two_sources_of_one_thing_are_an_error(own: State, part: str, what: str) -> None:
    states = states_of(own=own, other=State(**{part: getattr(own, part)}))
    with pytest.raises(AmbiguousSources) as caught:
        PARTS[part](states)
    assert str(caught.value) == f"{what} comes from own and from other: remove one of them"

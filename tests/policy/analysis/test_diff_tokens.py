"""Each sentence of a diff of peers by name against brute force: every token of a small world is tried."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from meshid.policy import Change, Policy
from tests.helpers import diff_reading
from tests.helpers.diff_reading import World, area_of, excepted
from tests.helpers.named_world import ALIASES, IDS, PLACES, REQUESTS, Reading, documents, policy_of
from tests.policy.analysis.test_token_states import tokens_of

NAMES: list[str | None] = [None, "", *(each["name"] for each in ALIASES)]
PEERS = list(product(IDS, NAMES))


def _asked(request: str | None) -> tuple[str, str] | None:
    if request is None:
        return None
    method, path = request.split(" ")
    return method, path


WORLD = World(tuple(PEERS), tuple(PLACES), tuple(map(_asked, REQUESTS)))
EVERY = list(product(PEERS, PLACES, map(_asked, REQUESTS)))


class Truth:
    """What a file allows, by a second reading of it."""

    def __init__(self, document: dict[str, Any]) -> None:
        reading = Reading(document)
        tokens = {each: tokens_of(reading, each) for each in IDS}
        for each in IDS:
            # The JWT-SVID of a certificate that has a name gives that name.
            if reading.by_certificate(each) is not None:
                tokens[each].pop("", None)
        self.names = {
            (each.trust_domain, name)
            for each, some in tokens.items()
            for name, token in some.items()
            if token
        }
        self.agree = {(each, name) for each, some in tokens.items() for name, token in some.items() if token}
        self.allowed = {
            ((each, name), target, _asked(request))
            for each, name in PEERS
            for target, request in product(PLACES, REQUESTS)
            if reading.reason(each, tokens[each].get(name), target, request) == "allowed"
        }

    def is_as_without(self, peer: diff_reading.Peer) -> bool:
        """Tell whether no token of this name counts for certificates of this trust domain."""
        return (peer[0].trust_domain, peer[1]) not in self.names


def check(changes: tuple[Change, ...], allowing: Policy, other: Policy, here: Truth, there: Truth) -> None:
    one, two = diff_reading.Reading(WORLD, allowing), diff_reading.Reading(WORLD, other)
    claimed = set()
    changed = here.allowed - there.allowed
    for change in changes:
        area = set(WORLD.points(area_of(change, one, two)))
        # A change is about peers with a token only where it is not about all, with one or without.
        area = {each for each in area if each[0][1] is None or _without(each) not in area}
        holes = [set(WORLD.points(each)) for each in excepted(change, one, two)]
        held = area.difference(*holes)
        if change.reached_without_token:
            held = {each for each in held if each[0][1] is None or _without(each) not in there.allowed}
        wrong = {each for each in held - changed if _is_told(each[0], here, there)}
        assert not wrong, f"{change} is not so for {sorted(wrong, key=str)[:2]}"
        claimed |= held
    told = {each for each in changed if _is_told(each[0], here, there)}
    left = {each for each in told - claimed if each[0][1] is None or _without(each) not in changed}
    assert not left, f"not told: {sorted(left, key=str)[:3]}"


def _without(point: Any) -> Any:  # noqa: ANN401 - a point
    (spiffe_id, _), target, request = point
    return (spiffe_id, None), target, request


def _is_told(peer: diff_reading.Peer, here: Truth, there: Truth) -> bool:
    """Tell whether a change for a peer is told: not if its token disagrees on one side."""
    if peer[1] is None:
        return True
    return peer in here.agree and (peer in there.agree or there.is_as_without(peer))


def compare_all(one: dict[str, Any], two: dict[str, Any], *, same_names: bool) -> None:
    if same_names:
        two = one | {"allow": one["allow"][1:], "deny": one["deny"][1:] or two["deny"][:0]}
    before, after = policy_of(one), policy_of(two)
    diff = before.diff(after)
    try:
        check(diff.gains, after, before, Truth(two), Truth(one))
        check(diff.losses, before, after, Truth(one), Truth(two))
    except AssertionError as error:
        pytest.fail(f"{error}\n{one}\n{two}\n{diff}")


def many(count: int) -> settings:
    return settings(
        max_examples=count, deadline=None, phases=[Phase.generate], database=None, derandomize=True
    )


@many(25)
@given(one=documents(), two=documents(), same_names=st.booleans())
def test_a_few_diffs_claim_exactly_what_changes(
    one: dict[str, Any], two: dict[str, Any], *, same_names: bool
) -> None:
    compare_all(one, two, same_names=same_names)


@pytest.mark.slow
@many(150)
@given(one=documents(), two=documents(), same_names=st.booleans())
def test_many_diffs_claim_exactly_what_changes(
    one: dict[str, Any], two: dict[str, Any], *, same_names: bool
) -> None:
    compare_all(one, two, same_names=same_names)

"""The same verification, remembered: never longer, never for another, and no refusal ever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshid.certificates.leaf import Role
from meshid.certificates.reading import to_der
from meshid.errors import PeerRejected
from meshid.reasons import Reason
from meshid.testing import CA
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.revocations import Revocations
from meshid.verification.cache import DEFAULT_CAPACITY, MAX_AGE, CachedVerifier, CacheStats
from meshid.verification.verifier import ChainVerifier, Peer
from tests.helpers.chain_case import Case
from tests.helpers.chain_cases import CASES
from tests.helpers.forged import twin
from tests.helpers.world import DAY, DEV, HOST, HOUR, PATH, PROD, Clock, World

SECOND = timedelta(seconds=1)
AGE = timedelta(seconds=MAX_AGE)


@pytest.fixture
def cache(world: World, clock: Clock) -> CachedVerifier:
    return CachedVerifier(ChainVerifier(world.bundles, revocations=world.revocations, clock=clock))


def verdict(
    cache: CachedVerifier | ChainVerifier, chain: tuple[bytes, ...], role: str
) -> Peer | tuple[Reason, str | None]:
    try:
        return cache.verify(chain, role=role)
    except PeerRejected as refusal:
        return refusal.reason, refusal.decision.name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_verdict_is_the_same_uncached_cold_and_warm(case: Case, world: World) -> None:
    verifier = ChainVerifier(case.bundles(world), revocations=world.revocations)
    cache = CachedVerifier(verifier)
    chain = case.chain(world)
    uncached, cold, warm = (verdict(each, chain, case.role) for each in (verifier, cache, cache))
    assert uncached == cold == warm
    if case.reason is Reason.ALLOWED:
        assert cold is warm
        assert cache.recall(chain[0], role=case.role) is cold
        assert cache.stats().size == 1
    else:
        assert cold == (case.reason, case.claims)
        assert cache.stats() == CacheStats(hits=0, misses=2 if chain else 0, size=0, evictions=0)


# -- What enters --------------------------------------------------------------


def test_a_refusal_is_never_remembered(cache: CachedVerifier, world: World) -> None:
    # Somebody else has seen the leaf and sends it without its intermediates; its owner is still admitted.
    leaf = world.issuing.issue(PATH)
    for _ in range(3):
        with pytest.raises(PeerRejected):
            cache.verify(leaf.chain[:1])
    assert cache.stats().size == 0
    assert str(cache.verify(leaf.chain).spiffe_id) == PROD


def test_a_refusal_of_one_instant_does_not_outlive_it(
    cache: CachedVerifier, world: World, clock: Clock
) -> None:
    leaf = world.prod.issue(PATH, not_before=clock.now + HOUR, not_after=clock.now + 2 * HOUR)
    with pytest.raises(PeerRejected):
        cache.verify(leaf.chain)
    clock.now += HOUR
    assert cache.verify(leaf.chain).spiffe_id.path == PATH


def test_the_leaf_alone_is_enough_once_a_path_was_found(cache: CachedVerifier, world: World) -> None:
    leaf = world.issuing.issue(PATH)
    peer = cache.verify(leaf.chain)
    assert cache.recall(leaf.chain[0]) is peer
    assert cache.verify(leaf.chain[:1]) is peer
    assert cache.verify((leaf.chain[0], b"junk")) is peer
    assert peer.chain[1] == to_der(world.issuing.certificate)


def test_a_fresh_copy_of_the_leaf_is_the_leaf(cache: CachedVerifier, world: World) -> None:
    leaf = world.prod.issue(PATH).chain[0]
    assert cache.verify([leaf]) is cache.recall(bytes(bytearray(leaf)))


def test_the_leaf_is_compared_byte_by_byte(cache: CachedVerifier, world: World) -> None:
    # The same name, key and serial number, and a signature that is as good; not the same bytes.
    leaf = world.prod.issue(PATH)
    other = twin(leaf.certificate)
    peer = cache.verify(leaf.chain)
    assert cache.recall(other) is None
    assert cache.verify([other]).fingerprint != peer.fingerprint
    assert cache.stats().size == 2


@pytest.mark.parametrize("position", [0, 100, -1])
def test_another_leaf_is_not_recalled(cache: CachedVerifier, world: World, position: int) -> None:
    leaf = world.prod.issue(PATH).chain[0]
    cache.verify([leaf])
    changed = bytearray(leaf)
    changed[position] ^= 1
    assert cache.recall(bytes(changed)) is None
    with pytest.raises(PeerRejected):
        cache.verify([bytes(changed)])


def test_an_intermediate_is_not_recalled_as_a_leaf(cache: CachedVerifier, world: World) -> None:
    leaf = world.issuing.issue(PATH)
    cache.verify(leaf.chain)
    assert cache.recall(leaf.chain[1]) is None
    assert cache.recall(b"") is None


def test_a_verdict_is_for_one_role(cache: CachedVerifier, world: World) -> None:
    leaf = world.prod.issue(PATH, purposes={"client"})
    cache.verify(leaf.chain, role="client")
    assert cache.recall(leaf.chain[0], role="server") is None
    with pytest.raises(PeerRejected) as caught:
        cache.verify(leaf.chain, role="server")
    assert caught.value.reason is Reason.WRONG_KEY_PURPOSE
    assert cache.recall(leaf.chain[0], role="client") is not None


@pytest.mark.parametrize("role", ["", "Client", "any"])
def test_an_unknown_role_is_a_miss_and_then_the_callers_mistake(
    cache: CachedVerifier, world: World, role: str
) -> None:
    leaf = world.prod.issue(PATH)
    cache.verify(leaf.chain)
    assert cache.recall(leaf.chain[0], role=role) is None
    with pytest.raises(ValueError, match="is not a valid Role"):
        cache.verify(leaf.chain, role=role)


def test_no_chain_is_refused(cache: CachedVerifier) -> None:
    with pytest.raises(PeerRejected) as caught:
        cache.verify(())
    assert caught.value.reason is Reason.NO_CERTIFICATE


def test_each_profile_is_remembered(cache: CachedVerifier, world: World) -> None:
    leaf = world.corp.issue(uris=[], dns=[HOST])
    assert cache.verify(leaf.chain) is cache.recall(leaf.chain[0])


def test_a_new_verifier_starts_with_an_empty_cache(cache: CachedVerifier, world: World) -> None:
    leaf = world.prod.issue(PATH)
    peer = cache.verify(leaf.chain)
    for bundles, lists in (
        (BundleSet([world.dev.bundle()]), Revocations()),
        (world.bundles, Revocations(deny=[peer.fingerprint])),
    ):
        after = CachedVerifier(ChainVerifier(bundles, revocations=lists))
        assert after.recall(leaf.chain[0]) is None
        with pytest.raises(PeerRejected):
            after.verify(leaf.chain)


# -- How long -----------------------------------------------------------------


def remembered_for(
    cache: CachedVerifier, chain: tuple[bytes, ...], clock: Clock, until: timedelta
) -> tuple[bool, bool]:
    """Return whether the verdict is in force *until* then, and a second later."""
    start = clock.now
    cache.verify(chain)
    clock.now = start + until
    then = cache.recall(chain[0]) is not None
    clock.now += SECOND
    return then, cache.recall(chain[0]) is not None


def test_a_verdict_lives_no_longer_than_half_an_hour(
    cache: CachedVerifier, world: World, clock: Clock
) -> None:
    leaf = world.prod.issue(PATH, not_after=clock.now + 12 * HOUR)
    assert MAX_AGE == 1800
    assert remembered_for(cache, leaf.chain, clock, AGE) == (True, False)
    # Then it is verified again, not refused.
    assert cache.verify(leaf.chain).spiffe_id.path == PATH


def test_an_answer_from_memory_does_not_make_a_verdict_younger(
    cache: CachedVerifier, world: World, clock: Clock
) -> None:
    leaf = world.prod.issue(PATH, not_after=clock.now + 12 * HOUR)
    cache.verify(leaf.chain)
    for _ in range(3):
        clock.now += AGE / 3
        assert cache.recall(leaf.chain[0]) is not None
        assert cache.verify(leaf.chain) is not None
    clock.now += SECOND
    assert cache.recall(leaf.chain[0]) is None


@pytest.mark.parametrize("first", ["leaf", "intermediate", "anchor", "revocation list"])
def test_a_verdict_does_not_outlive_anything_that_it_rests_on(clock: Clock, first: str) -> None:
    def until(what: str) -> timedelta:
        return AGE / 2 if what == first else DAY

    start = clock.now
    root = CA("prod.example.org", not_after=start + until("anchor"))
    signer = root.intermediate(not_after=start + until("intermediate"))
    leaf = signer.issue(PATH, not_after=start + until("leaf"))
    lists = Revocations(crls=[root.crl(next_update=start + until("revocation list"))])
    cache = CachedVerifier(ChainVerifier(BundleSet([root.bundle()]), revocations=lists, clock=clock))
    assert remembered_for(cache, leaf.chain, clock, AGE / 2) == (True, False)
    with pytest.raises(PeerRejected):
        cache.verify(leaf.chain)


def test_a_leaf_that_expires_between_two_calls_is_refused(
    cache: CachedVerifier, world: World, clock: Clock
) -> None:
    leaf = world.prod.issue(PATH, not_after=clock.now + SECOND)
    cache.verify(leaf.chain)
    clock.now += 2 * SECOND
    with pytest.raises(PeerRejected) as caught:
        cache.verify(leaf.chain)
    assert caught.value.reason is Reason.EXPIRED


def test_a_clock_that_steps_back_is_a_miss(cache: CachedVerifier, world: World, clock: Clock) -> None:
    leaf = world.prod.issue(PATH)
    peer = cache.verify(leaf.chain)
    clock.now -= SECOND
    assert cache.recall(leaf.chain[0]) is None
    again = cache.verify(leaf.chain)
    assert again == peer
    assert again is not peer


def test_a_clock_that_steps_back_before_the_leaf_is_a_refusal(
    cache: CachedVerifier, world: World, clock: Clock
) -> None:
    leaf = world.prod.issue(PATH, not_before=clock.now)
    cache.verify(leaf.chain)
    clock.now -= SECOND
    with pytest.raises(PeerRejected) as caught:
        cache.verify(leaf.chain)
    assert caught.value.reason is Reason.NOT_YET_VALID


class TickingClock:
    """A clock that advances by a second each time that it is read."""

    def __init__(self, start: float) -> None:
        self.now = start

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_a_verdict_counts_from_the_instant_of_its_verification(world: World, clock: Clock) -> None:
    ticking = TickingClock(clock())
    cache = CachedVerifier(ChainVerifier(world.bundles, clock=ticking))
    leaf = world.prod.issue(PATH, not_after=clock.now + DAY)
    begun = ticking.now + 1
    cache.verify(leaf.chain)
    ticking.now = begun + MAX_AGE - 1
    assert cache.recall(leaf.chain[0]) is not None
    assert cache.recall(leaf.chain[0]) is None


# -- How many -----------------------------------------------------------------


def test_a_flood_from_one_trust_domain_evicts_no_peer_of_another(world: World, clock: Clock) -> None:
    cache = CachedVerifier(ChainVerifier(world.bundles, clock=clock), capacity=4)
    regulars = [world.prod.issue(f"/ns/regular/sa/{number}") for number in range(4)]
    for regular in regulars:
        cache.verify(regular.chain)
    for number in range(40):
        cache.verify(world.dev.issue(f"/ns/flood/sa/{number}").chain)
    assert all(cache.recall(regular.chain[0]) for regular in regulars)
    assert cache.stats().size == 8
    assert cache.stats().evictions == 36


def test_a_flood_in_one_role_evicts_no_peer_in_the_other(world: World) -> None:
    cache = CachedVerifier(ChainVerifier(world.bundles), capacity=2)
    server = world.prod.issue("/ns/regular/sa/server")
    cache.verify(server.chain, role="server")
    for number in range(20):
        cache.verify(world.prod.issue(f"/ns/flood/sa/{number}").chain, role="client")
    assert cache.recall(server.chain[0], role="server") is not None


def test_a_flood_from_ones_own_trust_domain_does_not_evict_peers_that_come_back(world: World) -> None:
    cache = CachedVerifier(ChainVerifier(world.bundles), capacity=4)
    regular = world.prod.issue("/ns/regular/sa/api")
    cache.verify(regular.chain)
    for number in range(40):
        assert cache.recall(regular.chain[0]) is not None
        cache.verify(world.prod.issue(f"/ns/flood/sa/{number}").chain)
    assert cache.stats().size == 4


def test_peers_that_are_refused_evict_nobody(world: World) -> None:
    cache = CachedVerifier(ChainVerifier(world.bundles), capacity=1)
    regular = world.prod.issue(PATH)
    cache.verify(regular.chain)
    for number in range(20):
        with pytest.raises(PeerRejected):
            cache.verify(world.stranger.issue(f"spiffe://prod.example.org/ns/flood/sa/{number}").chain)
    assert cache.recall(regular.chain[0]) is not None
    assert cache.stats().evictions == 0


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_is_positive(world: World, capacity: int) -> None:
    with pytest.raises(ValueError, match="capacity"):
        CachedVerifier(ChainVerifier(world.bundles), capacity=capacity)


def test_the_capacity_is_large_by_default() -> None:
    assert DEFAULT_CAPACITY == 4096


def test_the_counters_say_what_happened(world: World) -> None:
    cache = CachedVerifier(ChainVerifier(world.bundles), capacity=1)
    one, two = world.prod.issue("/ns/one/sa/api"), world.dev.issue(DEV)
    assert cache.stats() == CacheStats(hits=0, misses=0, size=0, evictions=0)
    for issued in (one, two, one, one):
        cache.verify(issued.chain)
    assert cache.stats() == CacheStats(hits=2, misses=2, size=2, evictions=0)
    cache.verify(world.prod.issue(PATH).chain)
    assert cache.stats() == CacheStats(hits=2, misses=3, size=2, evictions=1)


def test_the_capacity_counts_for_each_trust_domain_and_role(world: World) -> None:
    two = BundleSet([world.prod.bundle(), TrustBundle.from_pem("dev.example.org", world.dev.pem)])
    cache = CachedVerifier(ChainVerifier(two), capacity=3)
    for authority in (world.prod, world.dev):
        for role in Role:
            for number in range(5):
                cache.verify(authority.issue(f"/ns/a/sa/{number}").chain, role=role)
    assert cache.stats().size == 3 * 2 * 2

"""The part of a path that is remembered: whatever came before, the answer is that of a new verifier."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.certificates.reading import fingerprint, to_der
from meshid.decisions import Decision
from meshid.errors import PeerRejected
from meshid.reasons import Reason
from meshid.testing import CA, Issued
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.revocations import Revocations
from meshid.verification.upper_path import REMEMBERED_PATHS
from meshid.verification.verifier import ChainVerifier, Peer
from tests.helpers.chain_cases import CASES
from tests.helpers.world import DAY, HOUR, PATH, Clock, World, called, key_id, renewal, renewed, sending

# Not the time of the import: a certificate of the last test begins five minutes before that test runs.
START = Clock().now + timedelta(minutes=50)
MINUTE = timedelta(minutes=1)


def outcome(
    verifier: ChainVerifier, chain: Sequence[bytes], role: str = "client", now: float = START.timestamp()
) -> Peer | Decision:
    try:
        return verifier.verify(chain, role=role, now=now)
    except PeerRejected as refusal:
        return refusal.decision


class Scene:
    """A verifier that remembers, and what a new one says."""

    def __init__(
        self, *authorities: CA, revocations: Revocations | None = None, leaf_grace: float = 0.0
    ) -> None:
        by_domain: dict[str, bytes] = {}
        for each in authorities:
            domain = str(each.trust_domain)
            by_domain[domain] = by_domain.get(domain, b"") + each.pem
        self.bundles = BundleSet([TrustBundle.from_pem(domain, pem) for domain, pem in by_domain.items()])
        self.revocations = revocations
        self.leaf_grace = leaf_grace
        self.used = self.new()

    def new(self) -> ChainVerifier:
        return ChainVerifier(self.bundles, revocations=self.revocations, leaf_grace=self.leaf_grace)

    def judge(
        self, issued: Issued, *, role: str = "client", after: timedelta = timedelta(0)
    ) -> Peer | Decision:
        """Return what both say."""
        now = (START + after).timestamp()
        mine = outcome(self.used, issued.chain, role, now)
        assert mine == outcome(self.new(), issued.chain, role, now)
        return mine

    def admits(self, issued: Issued, *, role: str = "client", after: timedelta = timedelta(0)) -> None:
        peer = self.judge(issued, role=role, after=after)
        assert isinstance(peer, Peer)

    def refuses(
        self, issued: Issued, reason: Reason, *, role: str = "client", after: timedelta = timedelta(0)
    ) -> None:
        decision = self.judge(issued, role=role, after=after)
        assert isinstance(decision, Decision)
        assert decision.reason is reason

    def remembered(self) -> int:
        return sum(map(len, self.used._upper_paths.values()))  # noqa: SLF001 - what it is about


@pytest.fixture
def root() -> CA:
    return CA("prod.example.org")


def test_a_new_leaf_below_a_known_issuer_costs_one_signature(
    root: CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, issuing = Scene(root), root.intermediate().intermediate()
    scene.admits(issuing.issue(PATH))

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("meshid.verification.verifier.select", never)
    monkeypatch.setattr("meshid.certificates.chain._is_light", never)
    leaf = issuing.issue(PATH)
    peer = scene.used.verify(leaf.chain)
    assert peer.chain == (*leaf.chain, to_der(root.certificate))
    assert peer.fingerprint == fingerprint(leaf.chain[0])


def test_every_kind_of_chain_gets_the_same_answer_again(world: World) -> None:
    used: dict[int, tuple[BundleSet, ChainVerifier]] = {}
    for case in CASES:
        bundles = case.bundles(world)
        if id(bundles) not in used:
            used[id(bundles)] = bundles, ChainVerifier(bundles, revocations=world.revocations)
        chain = case.chain(world)
        fresh = outcome(ChainVerifier(bundles, revocations=world.revocations), chain, case.role)
        for _ in range(2):
            assert outcome(used[id(bundles)][1], chain, case.role) == fresh, case.name


class TestOneLeafIsNotTheOther:
    """Each leaf has come with the intermediates of one that was admitted."""

    def test_what_it_may_do_is_looked_at(self, root: CA) -> None:
        scene, issuing = Scene(root), root.intermediate()
        scene.admits(issuing.issue(PATH))
        scene.refuses(issuing.issue(PATH, purposes={"server"}), Reason.WRONG_KEY_PURPOSE)
        scene.refuses(issuing.issue(PATH, not_after=START - MINUTE), Reason.EXPIRED)
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"")
        scene.refuses(issuing.issue(PATH, extra=[(unknown, True)]), Reason.INVALID_PATH)

    def test_its_signature_is_checked(self, root: CA) -> None:
        scene, issuing = Scene(root), root.intermediate()
        scene.admits(issuing.issue(PATH, authority_key_id=False))
        forged = CA("prod.example.org", subject=called(issuing)).issue(PATH, authority_key_id=False)
        scene.refuses(sending(forged, issuing), Reason.INVALID_PATH)

    @pytest.mark.parametrize("depth", [0, 1], ids=["its issuer", "above its issuer"])
    def test_a_name_constraint_counts_for_each(self, root: CA, depth: int) -> None:
        constraints = x509.NameConstraints([x509.DNSName("good.example")], None)
        issuing = root.intermediate(extra=[(constraints, True)])
        for _ in range(depth):
            issuing = issuing.intermediate()
        scene = Scene(root)
        scene.admits(issuing.issue(PATH, dns=["good.example"]))
        scene.refuses(issuing.issue(PATH, dns=["bad.example"]), Reason.INVALID_PATH)
        assert not scene.remembered()

    def test_what_it_says_of_its_issuer_counts(self, root: CA) -> None:
        # It names the key of an authority of the same name.
        issuing = root.intermediate(extra=[key_id(b"one")])
        other = CA("prod.example.org", subject=called(issuing), extra=[key_id(b"two")])
        scene = Scene(root, other)
        for identifier, reason in ((b"one", None), (b"two", Reason.UNKNOWN_AUTHORITY)):
            says = x509.AuthorityKeyIdentifier(identifier, None, None), False
            leaf = issuing.issue(PATH, authority_key_id=False, extra=[says])
            scene.admits(leaf) if reason is None else scene.refuses(leaf, reason)

    def test_one_that_looks_self_signed_is_refused(self, root: CA) -> None:
        scene, issuing = Scene(root), root.intermediate()
        scene.admits(issuing.issue(PATH, authority_key_id=False))
        lookalike = issuing.issue(PATH, authority_key_id=False, subject=called(issuing))
        scene.refuses(lookalike, Reason.INVALID_PATH)

    def test_one_that_was_sent_as_an_intermediate_is_refused(self, root: CA) -> None:
        scene, issuing = Scene(root), root.intermediate()
        scene.admits(issuing.issue(PATH))
        as_leaf = Issued(issuing.certificate, issuing.key, (issuing.certificate,))
        assert isinstance(scene.judge(as_leaf), Decision)

    def test_the_claim_chooses_the_bundle(self, root: CA) -> None:
        dev, issuing = CA("dev.example.org"), root.intermediate()
        scene = Scene(root, dev)
        scene.admits(issuing.issue(PATH))
        scene.refuses(issuing.issue(f"spiffe://dev.example.org{PATH}"), Reason.FOREIGN_AUTHORITY)

    def test_each_role_has_its_own(self, root: CA) -> None:
        scene, issuing = Scene(root), root.intermediate(purposes={"client"})
        scene.admits(issuing.issue(PATH))
        scene.refuses(issuing.issue(PATH), Reason.INVALID_PATH, role="server")

    def test_revocation_is_looked_at(self, root: CA) -> None:
        issuing = root.intermediate()
        revoked = issuing.issue(PATH)
        crls = [root.crl(), issuing.crl(revoked, next_update=START + HOUR)]
        scene = Scene(
            root, revocations=Revocations(crls=crls, deny=["spiffe://prod.example.org/ns/denied/**"])
        )
        scene.admits(issuing.issue(PATH))
        scene.refuses(revoked, Reason.REVOKED)
        scene.refuses(issuing.issue("/ns/denied/sa/api"), Reason.DENY_LISTED)
        leaf = issuing.issue(PATH, not_after=START + DAY)
        scene.refuses(leaf, Reason.CRL_NOT_IN_DATE, after=2 * HOUR)


class TestTime:
    """A path is of use while all of it is in date."""

    def test_the_end_of_each_certificate_counts(self) -> None:
        for ends in ((1, 3), (3, 1)):
            root = CA("prod.example.org", not_after=START + ends[0] * HOUR)
            issuing = root.intermediate(not_after=START + ends[1] * HOUR)
            scene = Scene(root)
            leaf = issuing.issue(PATH, not_after=START + DAY)
            scene.admits(leaf)
            scene.admits(issuing.issue(PATH, not_after=START + HOUR), after=HOUR - MINUTE)
            scene.refuses(leaf, Reason.AUTHORITY_NOT_IN_DATE, after=HOUR + MINUTE)

    def test_the_beginning_counts(self) -> None:
        root = CA("prod.example.org", not_before=START + HOUR)
        issuing = root.intermediate()
        scene, leaf = Scene(root), issuing.issue(PATH, not_after=START + DAY)
        scene.admits(leaf, after=2 * HOUR)
        scene.refuses(leaf, Reason.AUTHORITY_NOT_IN_DATE)

    def test_the_grace_of_a_leaf_is_none_for_what_is_above(self, root: CA) -> None:
        issuing = root.intermediate(not_after=START + 2 * HOUR)
        scene, leaf = Scene(root, leaf_grace=3600.0), issuing.issue(PATH, not_after=START + 90 * MINUTE)
        scene.admits(leaf)
        scene.admits(leaf, after=100 * MINUTE)
        scene.refuses(leaf, Reason.AUTHORITY_NOT_IN_DATE, after=130 * MINUTE)

    def test_an_authority_that_begins_later_is_found(self, root: CA) -> None:
        # It has the name and the key of the issuer; the search comes to it first.
        issuing = root.intermediate()
        later = CA("prod.example.org", subject=called(issuing), key=issuing.key, not_before=START + HOUR)
        scene, leaf = Scene(root, later), issuing.issue(PATH, not_after=START + DAY)
        scene.admits(leaf)
        assert not scene.remembered()
        scene.admits(leaf, after=2 * HOUR)

    def test_an_intermediate_that_begins_later_is_found(self, root: CA) -> None:
        issuing = root.intermediate()
        later = root.intermediate(subject=called(issuing), key=issuing.key, not_before=START + HOUR)
        leaf = issuing.issue(PATH, not_after=START + DAY)
        sent = Issued(leaf.certificate, leaf.key, (later.certificate, issuing.certificate))
        scene = Scene(root)
        scene.admits(sent)
        assert not scene.remembered()
        scene.admits(sent, after=2 * HOUR)


class TestBounds:
    """What is remembered is bounded, and only what can be of use again."""

    def test_their_number(self, root: CA, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("meshid.verification.verifier.REMEMBERED_PATHS", 2)
        scene = Scene(root)
        for _ in range(3):
            scene.admits(root.intermediate().issue(PATH))
        assert scene.remembered() == 2
        assert REMEMBERED_PATHS <= 64

    def test_a_chain_with_anything_else_in_it_is_not_remembered(self, root: CA) -> None:
        scene, issuing = Scene(root), root.intermediate()
        scene.admits(sending(issuing.issue(PATH), root.intermediate()))
        scene.admits(root.issue(PATH))
        assert not scene.remembered()
        first, second, lost = (each.issue(PATH) for each in (issuing, issuing, CA("prod.example.org")))
        above = (issuing.certificate, first.certificate)
        scene.admits(Issued(first.certificate, first.key, above))
        scene.admits(Issued(second.certificate, second.key, above))
        scene.refuses(Issued(lost.certificate, lost.key, above), Reason.UNKNOWN_AUTHORITY)
        assert not scene.remembered()
        scene.admits(sending(issuing.issue(PATH), root))
        assert scene.remembered() == 1


def test_a_leaf_of_the_name_and_the_key_of_its_issuer_is_refused_for_the_same_reason(root: CA) -> None:
    scene = Scene(root)
    issuing = root.intermediate(subject=called(root), authority_key_id=False)
    scene.admits(issuing.issue(PATH, authority_key_id=False))
    assert scene.remembered() == 1
    scene.judge(issuing.issue(PATH, authority_key_id=False, subject=called(root), key=issuing.key))


# -- Any chains, one after the other ------------------------------------------


class Pool:
    """Authorities whose names, keys and dates make a search difficult; and leaves below each."""

    def __init__(self) -> None:
        root, dev = CA("prod.example.org"), CA("dev.example.org")
        soon = root.intermediate(not_before=START + HOUR)
        old, new = renewal(root, START + HOUR)
        rolled = renewed(root)
        twin = old.intermediate(subject=called(old), key=new.key)
        constrained = old.intermediate(
            extra=[(x509.NameConstraints(None, [x509.DNSName("bad.example")]), True)]
        )
        anchored = CA("prod.example.org", subject=called(new), not_after=START + 2 * HOUR)
        later = CA("prod.example.org", subject=called(old), key=old.key, not_before=START + HOUR)
        narrow = new.intermediate(purposes={"client"}, path_length=0)
        below = narrow.intermediate()
        issuers = [root, soon, old, new, rolled, twin, constrained, anchored, narrow, below, dev]
        self.sendable = [each.certificate for each in issuers]
        self.leaves = [
            each.issue(PATH, not_after=START + DAY, authority_key_id=said, dns=dns)
            for each in issuers
            for said, dns in ((True, ()), (False, ()), (False, ("bad.example",)))
        ]
        crl = root.crl(self.leaves[0], twin, last_update=START - HOUR, next_update=START + 3 * HOUR)
        revocations = Revocations(crls=[crl])
        self.scenes = [
            Scene(root, dev, revocations=revocations),
            Scene(root, anchored, later, dev, revocations=revocations),
        ]


POOL = Pool()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_came_before_the_answer_is_the_same(data: st.DataObject) -> None:
    scene = data.draw(st.sampled_from(POOL.scenes))
    scene.used = scene.new()
    sent = data.draw(st.lists(st.sampled_from(POOL.sendable), max_size=4, unique=True))
    leaves = data.draw(st.lists(st.sampled_from(POOL.leaves), min_size=2, max_size=4))
    for leaf in leaves:
        # What is its own, or the same for all.
        above = data.draw(st.sampled_from([tuple(sent), leaf.intermediates]))
        scene.judge(
            Issued(leaf.certificate, leaf.key, above),
            role=data.draw(st.sampled_from(["client", "server"])),
            after=data.draw(st.sampled_from([timedelta(0), HOUR + MINUTE, 2 * HOUR + MINUTE, 4 * HOUR])),
        )


def test_the_pool_is_of_use() -> None:
    for scene, remembered in zip(POOL.scenes, (5, 1), strict=True):
        scene.used = scene.new()
        known = [leaf for leaf in POOL.leaves if isinstance(scene.judge(leaf), Peer)]
        assert len(known) > len(POOL.leaves) // 3
        assert scene.remembered() >= remembered

"""Chain to peer: the claim chooses the bundle, and the bundle confirms the claim."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.certificates.leaf import Profile, Role
from meshid.certificates.reading import fingerprint, to_der
from meshid.decisions import Decision
from meshid.errors import PeerRejected, Refused
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.reasons import Reason
from meshid.testing import CA, Issued
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.revocations import Revocations
from meshid.verification.selection import MAX_DEPTH
from meshid.verification.verifier import ChainVerifier, Peer
from tests.helpers.chain_case import Case
from tests.helpers.chain_cases import CASES
from tests.helpers.forged import damaged
from tests.helpers.world import DAY, DEV, HOUR, LINKERD_HOST, PATH, PROD, Clock, World, namesake

SECOND = timedelta(seconds=1)


def verify(
    issued: Issued, *bundles: TrustBundle, clock: Callable[[], float] = time.time, role: str = "client"
) -> Peer:
    return ChainVerifier(BundleSet(bundles), clock=clock).verify(issued.chain, role=role)


def reason_of(issued: Issued, *bundles: TrustBundle, clock: Callable[[], float] = time.time) -> Reason | None:
    try:
        verify(issued, *bundles, clock=clock)
    except PeerRejected as refusal:
        return refusal.reason
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_kind_of_chain_gets_its_verdict(case: Case, world: World) -> None:
    verifier = ChainVerifier(case.bundles(world), revocations=world.revocations)
    chain = case.chain(world)
    if case.reason is Reason.ALLOWED:
        peer = verifier.verify(chain, role=case.role)
        assert str(peer.spiffe_id) == case.claims
        assert peer.chain[0] == chain[0]
    else:
        with pytest.raises(PeerRejected) as caught:
            verifier.verify(chain, role=case.role)
        assert (caught.value.reason, caught.value.decision.name) == (case.reason, case.claims)
        assert caught.value.detail.isprintable()
        assert len(caught.value.detail) < 10_000


def test_the_cases_have_names_of_their_own_and_meet_every_reason_of_verification() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    every = list(Reason)
    ours = every[every.index(Reason.NO_CERTIFICATE) : every.index(Reason.TOKEN_MALFORMED)]
    assert {case.reason for case in CASES} == {*ours, Reason.ALLOWED}


# -- Promise 2 ----------------------------------------------------------------


class TestX12:
    """Federation 7.3: a verifier "must use only the bundle for the trust domain the SPIFFE ID resides in"."""

    @pytest.mark.parametrize(
        "through", [lambda ca: ca, lambda ca: ca.intermediate()], ids=["root", "intermediate"]
    )
    @pytest.mark.parametrize("role", Role)
    def test_an_authority_speaks_for_its_own_trust_domain_only(
        self, world: World, through: Callable[[CA], CA], role: str
    ) -> None:
        verifier = ChainVerifier(world.bundles)
        for authority, own, other in ((world.dev, DEV, PROD), (world.prod, PROD, DEV)):
            issuer = through(authority)
            assert str(verifier.verify(issuer.issue(own).chain, role=role).spiffe_id) == own
            with pytest.raises(PeerRejected) as caught:
                verifier.verify(issuer.issue(other).chain, role=role)
            assert caught.value.reason is Reason.FOREIGN_AUTHORITY

    def test_an_authority_that_is_called_like_another_speaks_for_its_own_only(self, world: World) -> None:
        verifier = ChainVerifier(world.bundles)
        assert str(verifier.verify(world.namesake.issue(DEV).chain).spiffe_id) == DEV
        with pytest.raises(PeerRejected):
            verifier.verify(world.namesake.issue(PROD).chain)

    def test_a_foreign_intermediate_is_not_a_bridge(self, world: World) -> None:
        # Each signed for the other: prod for an authority of dev's, dev for the leaf.
        bridge = world.dev.intermediate()
        leaf = bridge.issue(PROD)
        chain = (*leaf.chain, to_der(world.issuing.certificate), to_der(world.prod.certificate))
        with pytest.raises(PeerRejected):
            ChainVerifier(world.bundles).verify(chain)

    def test_without_the_bundle_of_its_trust_domain_a_peer_is_untrusted(self, world: World) -> None:
        """Workload API 4.6: "If no matching bundle is present ... the peer is untrusted"."""
        assert reason_of(world.dev.issue(DEV), world.prod.bundle()) is Reason.UNKNOWN_TRUST_DOMAIN
        assert reason_of(world.dev.issue(DEV)) is Reason.UNKNOWN_TRUST_DOMAIN

    def test_a_trust_domain_is_not_its_subdomain_nor_its_parent(self, world: World) -> None:
        for name in (
            "spiffe://a.prod.example.org/a",
            "spiffe://example.org/a",
            "spiffe://prod.example.orga/a",
        ):
            assert reason_of(world.prod.issue(name), world.prod.bundle()) is Reason.UNKNOWN_TRUST_DOMAIN


class TestX9:
    """X509-SVID 4.1, 4.3: signing certificates MUST set cA and keyCertSign."""

    @pytest.mark.parametrize(
        "shape",
        [
            {"ca": False},
            {"ca": None},
            {"usages": {"crl_sign"}},
            {"usages": {"digital_signature"}},
            {"usages": None},
        ],
        ids=str,
    )
    def test_an_intermediate_that_may_not_sign_leads_nowhere(
        self, world: World, shape: dict[str, object]
    ) -> None:
        signer = world.prod.intermediate(**shape)  # type: ignore[arg-type]  # any shape
        assert reason_of(signer.issue(PATH), world.prod.bundle()) is Reason.INVALID_PATH

    def test_an_intermediate_may_carry_the_name_of_its_trust_domain(self, world: World) -> None:
        signer = world.prod.intermediate(uris=["spiffe://prod.example.org"])
        assert reason_of(signer.issue(PATH), world.prod.bundle()) is None


class TestX10:
    """X509-SVID 3.2: signing certificates "MUST NOT be used for authentication purposes"."""

    def test_an_authority_is_not_a_peer(self, world: World) -> None:
        signer = world.prod.intermediate(uris=[PROD], usages={"key_cert_sign", "digital_signature"})
        own = Issued(signer.certificate, signer.key, ())
        assert reason_of(own, world.prod.bundle()) is Reason.LEAF_IS_CA

    def test_an_anchor_is_not_a_peer(self) -> None:
        anchor = CA("prod.example.org", uris=[PROD])
        own = Issued(anchor.certificate, anchor.key, ())
        assert reason_of(own, anchor.bundle()) is Reason.LEAF_IS_CA


class TestX11:
    """X509-SVID 5.1: validation "MUST follow the X.509 path validation rules defined in RFC 5280"."""

    @pytest.mark.parametrize(("depth", "reason"), [(MAX_DEPTH, None), (MAX_DEPTH + 1, Reason.INVALID_PATH)])
    def test_a_path_has_at_most_four_intermediates(
        self, world: World, depth: int, reason: Reason | None
    ) -> None:
        authority = world.prod
        for _ in range(depth):
            authority = authority.intermediate()
        assert reason_of(authority.issue(PATH), world.prod.bundle()) is reason

    @pytest.mark.parametrize(("length", "reason"), [(0, Reason.INVALID_PATH), (1, None)])
    def test_a_path_length_constraint_is_kept(self, world: World, length: int, reason: Reason | None) -> None:
        below = world.prod.intermediate(path_length=length).intermediate()
        assert reason_of(below.issue(PATH), world.prod.bundle()) is reason

    def test_the_path_length_of_an_anchor_is_kept(self) -> None:
        anchor = CA("prod.example.org", path_length=0)
        assert reason_of(anchor.issue(PATH), anchor.bundle()) is None
        assert reason_of(anchor.intermediate().issue(PATH), anchor.bundle()) is Reason.INVALID_PATH

    def test_the_purpose_of_an_authority_is_kept(self, world: World) -> None:
        for role, other in permutations(Role):
            leaf = world.prod.intermediate(purposes={role}).issue(PATH)
            assert str(verify(leaf, world.prod.bundle(), role=role).spiffe_id) == PROD
            with pytest.raises(PeerRejected):
                verify(leaf, world.prod.bundle(), role=other)

    def test_the_order_of_the_intermediates_means_nothing(self, world: World) -> None:
        leaf = world.prod.intermediate().intermediate().intermediate().issue(PATH)
        verifier = ChainVerifier(world.bundles)
        for order in permutations(leaf.chain[1:]):
            assert verifier.verify((leaf.chain[0], *order)).chain[1:-1] == leaf.chain[1:]

    def test_the_leaf_comes_first(self, world: World) -> None:
        leaf = world.issuing.issue(PATH)
        with pytest.raises(PeerRejected):
            ChainVerifier(world.bundles).verify(leaf.chain[::-1])

    def test_a_path_may_end_at_an_intermediate_that_is_an_anchor(self, world: World) -> None:
        bundle = TrustBundle.from_pem("prod.example.org", world.issuing.pem)
        assert verify(world.issuing.issue(PATH), bundle).chain[1:] == (to_der(world.issuing.certificate),)
        assert reason_of(world.prod.issue(PATH), bundle) is Reason.UNKNOWN_AUTHORITY


# -- What real meshes issue ---------------------------------------------------

SHORT_LIVED_RSA = rsa.generate_private_key(65537, 2048)
CN_API = "CN=api,O=example"


def istio_root(**shape: object) -> CA:
    return CA(
        "cluster.local",
        **{"subject": "O=cluster.local", "usages": {"key_cert_sign"}, "key": SHORT_LIVED_RSA, **shape},  # type: ignore[arg-type]  # any shape
    )


def istio_leaf(authority: CA) -> Issued:
    return authority.issue(
        PATH, key=SHORT_LIVED_RSA, usages={"digital_signature", "key_encipherment"}, authority_key_id=False
    )


def istio_plugged_in() -> tuple[Issued, bytes, str]:
    root = istio_root(subject="CN=Root CA,O=Istio", usages=None, critical=False)
    intermediate = root.intermediate(
        subject="CN=Intermediate CA,O=Istio", critical=False, dns=["ca.istio.io"]
    )
    return istio_leaf(intermediate), root.pem, "spiffe"


def istio_operator_certificates() -> tuple[Issued, bytes, str]:
    root = istio_root(subject="CN=Root CA,O=Istio", usages=None)
    leaf = root.issue(
        PATH, subject=CN_API, critical=False, dns=["api.checkout.svc", "api"], ca=None, authority_key_id=False
    )
    return leaf, root.pem, "spiffe"


def istio_multi_root() -> tuple[Issued, bytes, str]:
    old, new = istio_root(), istio_root()
    intermediate = new.intermediate()
    return istio_leaf(new), intermediate.pem + old.pem + new.pem, "spiffe"


def istio_intermediate_as_anchor() -> tuple[Issued, bytes, str]:
    intermediate = istio_root().intermediate(critical=False)
    return istio_leaf(intermediate), intermediate.pem, "spiffe"


def linkerd() -> tuple[Issued, bytes, str]:
    root = CA("cluster.local", subject="CN=root.linkerd.cluster.local")
    identity = root.intermediate(subject="CN=identity.linkerd.cluster.local", path_length=0)
    return identity.issue(uris=[], dns=[LINKERD_HOST]), root.pem, "linkerd"


def spire() -> tuple[Issued, bytes, str]:
    own = ["spiffe://cluster.local"]
    root = CA("cluster.local", subject="C=US,O=SPIFFE", uris=own)
    server = root.intermediate(subject="C=US,O=SPIRE", uris=own)
    unique = "C=US,O=SPIRE,2.5.4.45=f1e2d3"
    return server.issue(PATH, subject=unique, dns=["api"]), root.pem, "spiffe"


def consul() -> tuple[Issued, bytes, str]:
    root = CA("cluster.local", subject="CN=pri-1.consul.ca", uris=["spiffe://cluster.local"])
    leaf = root.issue(
        PATH,
        dns=["api.svc.default.consul"],
        usages={"digital_signature", "key_encipherment", "data_encipherment"},
    )
    return leaf, root.pem, "spiffe"


REAL = [
    pytest.param(lambda: (istio_leaf(root := istio_root()), root.pem, "spiffe"), id="Istio, self-signed"),
    pytest.param(istio_plugged_in, id="Istio, plugged-in CA"),
    pytest.param(istio_operator_certificates, id="Istio, operator certificates"),
    pytest.param(istio_multi_root, id="Istio, several roots and intermediates"),
    pytest.param(istio_intermediate_as_anchor, id="Istio, an intermediate alone as anchor"),
    pytest.param(linkerd, id="Linkerd"),
    pytest.param(spire, id="SPIRE"),
    pytest.param(consul, id="Consul"),
]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("made", REAL)
def test_what_real_meshes_issue_verifies(made: Callable[[], tuple[Issued, bytes, str]], role: str) -> None:
    leaf, pem, profile = made()
    bundle = TrustBundle.from_pem("cluster.local", pem, profile=profile)
    assert bundle.skipped == ()
    peer = verify(leaf, bundle, role=role)
    assert str(peer.spiffe_id) == f"spiffe://cluster.local{PATH}"
    assert str(peer.profile) == profile


# -- Time ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        pytest.param(-SECOND, Reason.NOT_YET_VALID, id="before its first second"),
        pytest.param(0 * SECOND, None, id="its first second"),
        pytest.param(HOUR, None, id="its last second"),
        pytest.param(HOUR + SECOND, Reason.EXPIRED, id="after its last second"),
    ],
)
def test_a_leaf_is_valid_from_its_first_to_its_last_second(
    clock: Clock, at: timedelta, reason: Reason | None
) -> None:
    """RFC 5280 section 4.1.2.5: the period "from notBefore through notAfter, inclusive"."""
    start = clock.now
    authority = CA("prod.example.org", not_before=start - DAY, not_after=start + DAY)
    leaf = authority.issue(PATH, not_before=start, not_after=start + HOUR)
    clock.now = start + at
    assert reason_of(leaf, authority.bundle(), clock=clock) is reason


@pytest.mark.parametrize("which", ["intermediate", "anchor"])
@pytest.mark.parametrize(
    ("at", "reason"),
    [
        pytest.param(-SECOND, Reason.AUTHORITY_NOT_IN_DATE, id="before its first second"),
        pytest.param(0 * SECOND, None, id="its first second"),
        pytest.param(HOUR, None, id="its last second"),
        pytest.param(HOUR + SECOND, Reason.AUTHORITY_NOT_IN_DATE, id="after its last second"),
    ],
)
def test_an_authority_is_valid_from_its_first_to_its_last_second(
    clock: Clock, which: str, at: timedelta, reason: Reason | None
) -> None:
    start = clock.now
    wide, narrow = (start - DAY, start + DAY), (start, start + HOUR)
    of_anchor, of_intermediate = (narrow, wide) if which == "anchor" else (wide, narrow)
    anchor = CA("prod.example.org", not_before=of_anchor[0], not_after=of_anchor[1])
    signer = anchor.intermediate(not_before=of_intermediate[0], not_after=of_intermediate[1])
    leaf = signer.issue(PATH, not_before=wide[0], not_after=wide[1])
    clock.now = start + at
    assert reason_of(leaf, anchor.bundle(), clock=clock) is reason


def test_the_time_is_read_for_each_chain_and_never_kept(world: World, clock: Clock) -> None:
    verifier = ChainVerifier(world.bundles, clock=clock)
    leaf = world.prod.issue(PATH, not_after=clock.now + HOUR)
    early = world.prod.issue(PATH, not_before=clock.now + 2 * HOUR, not_after=clock.now + 3 * HOUR)
    verifier.verify(leaf.chain)
    clock.now += 2 * HOUR
    with pytest.raises(PeerRejected) as caught:
        verifier.verify(leaf.chain)
    assert caught.value.reason is Reason.EXPIRED
    verifier.verify(early.chain)
    clock.now -= 2 * HOUR
    verifier.verify(leaf.chain)


def test_an_authority_expires_between_two_calls(clock: Clock) -> None:
    anchor = CA("prod.example.org", not_after=clock.now + HOUR)
    verifier = ChainVerifier(BundleSet([anchor.bundle()]), clock=clock)
    leaf = anchor.issue(PATH, not_after=clock.now + DAY)
    verifier.verify(leaf.chain)
    clock.now += 2 * HOUR
    with pytest.raises(PeerRejected) as caught:
        verifier.verify(leaf.chain)
    assert caught.value.reason is Reason.AUTHORITY_NOT_IN_DATE


def test_the_details_of_dates_name_both_clocks(clock: Clock, world: World) -> None:
    leaf = world.prod.issue(PATH, not_after=clock.now - HOUR)
    with pytest.raises(PeerRejected) as caught:
        verify(leaf, world.prod.bundle(), clock=clock)
    assert f"{clock.now:%Y-%m-%d %H:%M:%S} here" in caught.value.detail
    assert f"valid until {clock.now - HOUR}" in caught.value.detail


def test_the_real_time_is_the_default(world: World) -> None:
    peer = ChainVerifier(world.bundles).verify(world.prod.issue(PATH).chain)
    assert peer.not_before < datetime.now(UTC) < peer.not_after


@pytest.mark.parametrize("first", ["leaf", "intermediate", "anchor", "revocation list"])
def test_a_verdict_ends_with_the_first_thing_that_it_rests_on(clock: Clock, first: str) -> None:
    start = clock.now

    def until(what: str) -> datetime:
        return start + (HOUR if what == first else 2 * HOUR)

    root = CA("prod.example.org", not_before=start - 3 * HOUR, not_after=until("anchor"))
    signer = root.intermediate(not_before=start - HOUR, not_after=until("intermediate"))
    issued = signer.issue(PATH, not_before=start - 2 * HOUR, not_after=until("leaf"))
    lists = Revocations(crls=[root.crl(last_update=start - HOUR, next_update=until("revocation list"))])
    peer = ChainVerifier(BundleSet([root.bundle()]), revocations=lists, clock=clock).verify(issued.chain)
    assert (peer.not_before, peer.not_after) == (start - HOUR, start + HOUR)


# -- The peer -----------------------------------------------------------------


@pytest.fixture
def peer(world: World) -> Peer:
    issued = world.issuing.issue(PATH, dns=["api.svc"])
    return ChainVerifier(world.bundles).verify(issued.chain, role="server")


def test_a_peer_is_the_verified_path_and_the_name_in_one_value(world: World, peer: Peer) -> None:
    assert peer.spiffe_id == SpiffeId.parse(PROD)
    assert peer.trust_domain == TrustDomain("prod.example.org")
    assert peer.names == (f"URI:{PROD}", "DNS:api.svc")
    assert peer.chain[1:] == (to_der(world.issuing.certificate), to_der(world.prod.certificate))
    assert peer.fingerprint == fingerprint(peer.chain[0])
    assert (peer.profile, peer.role) == (Profile.SPIFFE, Role.SERVER)
    assert "chain=<3>" in repr(peer)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda peer: attrs.evolve(peer, spiffe_id=SpiffeId.parse(DEV)), id="evolve"),
        pytest.param(lambda peer: Peer(**attrs.asdict(peer, recurse=False)), id="its own attributes"),
        pytest.param(lambda _: type("Mine", (Peer,), {})(), id="a subclass"),
    ],
)
def test_a_peer_is_made_by_verification_only(make: Callable[[Peer], Peer], peer: Peer) -> None:
    with pytest.raises(TypeError):
        make(peer)


def test_the_constructor_says_who_makes_peers() -> None:
    with pytest.raises(TypeError, match=r"made by verification only: call Mesh.admit\(\)"):
        Peer()


def test_a_peer_cannot_be_changed(peer: Peer) -> None:
    for name in (*attrs.fields_dict(Peer), "trust_domain", "other"):
        with pytest.raises(AttributeError):
            setattr(peer, name, None)


def pickled(peer: Peer) -> Peer:
    travelled = pickle.loads(pickle.dumps(peer))  # noqa: S301 - our own bytes
    assert isinstance(travelled, Peer)
    return travelled


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_a_peer_is_that_peer(copied: Callable[[Peer], Peer], peer: Peer) -> None:
    assert copied(peer) == peer
    assert hash(copied(peer)) == hash(peer)


def test_peers_of_two_chains_or_roles_are_two(world: World, peer: Peer) -> None:
    verifier = ChainVerifier(world.bundles)
    other_role = verifier.verify(peer.chain[:2], role="client")
    other_leaf = verifier.verify(world.issuing.issue(PATH).chain, role="server")
    assert len({peer, other_role, other_leaf}) == 3


@pytest.mark.parametrize("role", ["", "Client", "any", "CLIENT"])
def test_an_unknown_role_is_the_callers_mistake(world: World, role: str) -> None:
    with pytest.raises(ValueError, match="is not a valid Role"):
        ChainVerifier(world.bundles).verify(world.prod.issue(PATH).chain, role=role)


def test_a_message_about_an_unknown_trust_domain_lists_the_known_ones(world: World) -> None:
    with pytest.raises(PeerRejected) as caught:
        verify(world.stranger.issue(PATH), world.prod.bundle(), world.dev.bundle())
    assert f"claims spiffe://stranger.example{PATH}" in caught.value.detail
    assert "loaded for: dev.example.org, prod.example.org" in caught.value.detail
    with pytest.raises(PeerRejected) as caught:
        verify(world.stranger.issue(PATH))
    assert caught.value.detail.endswith("loaded for: none")


def test_a_refusal_shows_the_failure_of_the_backend_as_its_cause(world: World) -> None:
    with pytest.raises(PeerRejected) as caught:
        verify(namesake(world.prod).issue(PATH), world.prod.bundle())
    assert isinstance(caught.value.__cause__, x509.verification.VerificationError)


STEPS_BEFORE_THE_NAME = ["read_chain", "read_claim"]
STEPS_AFTER_IT = [
    "check_leaf",
    "check_purpose",
    "_check_dates",
    "select",
    "Revocations.check",
    "ChainVerifier._bundle_of",
]


@pytest.mark.parametrize("step", [*STEPS_BEFORE_THE_NAME, *STEPS_AFTER_IT])
def test_whatever_a_step_refuses_comes_out_as_a_rejection_of_the_claimed_name(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    why = ValueError("the cause")

    def refuse(*_: object) -> None:
        raise Refused(Reason.REVOKED, "the detail") from why

    monkeypatch.setattr(f"meshid.verification.verifier.{step}", refuse)
    with pytest.raises(PeerRejected) as caught:
        verify(world.prod.issue(PATH), world.prod.bundle())
    name = None if step in STEPS_BEFORE_THE_NAME else PROD
    assert caught.value.decision == Decision(
        allowed=False, reason=Reason.REVOKED, name=name, detail="the detail"
    )
    assert caught.value.__cause__ is why


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(x509.OtherName(ObjectIdentifier("1.2.3"), b"\5\0"), id="other name"),
        pytest.param(x509.DirectoryName(x509.Name.from_rfc4514_string("CN=x")), id="directory name"),
        pytest.param(x509.RegisteredID(ObjectIdentifier("1.2.3")), id="registered id"),
        pytest.param(x509.RFC822Name("a@b.example"), id="mail"),
    ],
)
def test_a_strange_name_beside_the_spiffe_id_is_a_verdict(world: World, name: x509.GeneralName) -> None:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(PROD), name])
    leaf = world.prod.issue(uris=[], extra=[(names, True)])
    assert reason_of(leaf, world.prod.bundle()) in {None, Reason.INVALID_PATH, Reason.MALFORMED}


# -- Anything at all ----------------------------------------------------------

HONEST = World()
WHOLE = HONEST.issuing.issue(PATH, dns=["api.svc"]).chain
VERIFIER = ChainVerifier(HONEST.bundles, revocations=HONEST.revocations)


def signed_content(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).tbs_certificate_bytes


LEAF, INTERMEDIATE = WHOLE


@pytest.mark.slow
@settings(max_examples=3000)
@given(
    st.tuples(damaged(LEAF), st.just(INTERMEDIATE))
    | st.tuples(st.just(LEAF), damaged(INTERMEDIATE))
    | st.tuples(damaged(LEAF), damaged(INTERMEDIATE), st.just(INTERMEDIATE)),
    st.sampled_from(Role),
)
def test_a_damaged_chain_is_refused_or_was_damaged_where_nothing_is_signed(
    chain: tuple[bytes, ...], role: str
) -> None:
    try:
        peer = VERIFIER.verify(chain, role=role)
    except PeerRejected as refusal:
        assert refusal.detail.isascii()
    else:
        assert str(peer.spiffe_id) == PROD
        assert list(map(signed_content, peer.chain[:2])) == list(map(signed_content, WHOLE))


@given(st.lists(st.binary() | st.sampled_from(WHOLE), max_size=8))
def test_any_bytes_are_a_peer_or_refused(chain: list[bytes]) -> None:
    try:
        peer = VERIFIER.verify(chain)
    except PeerRejected:
        return
    assert chain[0] == WHOLE[0] == peer.chain[0]

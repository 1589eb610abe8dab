"""A token adds to the certificate of its connection, and never stands in for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from meshid import (
    REQUEST_FOLLOWS,
    BundleSet,
    Call,
    DecisionKind,
    Mesh,
    MissingExtra,
    Peer,
    PeerRejected,
    Reason,
    Revocations,
)
from meshid.admission.bound_peers import MAX_AGE, BoundPeers
from meshid.certificates.leaf import Role
from meshid.policy.evidence import Binding, TokenEvidence
from meshid.testing import CA, TokenIssuer
from meshid.tokens.bearer_token import BearerToken
from meshid.tokens.compact_jws import MAX_TOKEN_BYTES
from meshid.tokens.key_set import KeySets
from meshid.tokens.token_signature import require_extra
from meshid.tokens.token_verifier import TokenVerifier
from tests.helpers.binding_scene import (
    DESK,
    DESK_CLIENT,
    ISSUERS,
    OTHER,
    PEERS,
    RULES,
    WEB,
    WEB_CLIENT,
    BindingScene,
    bound_to,
    token_policy,
)
from tests.helpers.lines import sweep
from tests.helpers.tls_peers import Heard, admission_of, credentials
from tests.helpers.world import Clock

OKTA_ONLY = ISSUERS.partition("[environments.prod.issuers.spire]")[0]


@pytest.fixture
def scene(prod_ca: CA, clock: Clock, heard: Heard) -> BindingScene:
    return BindingScene(prod_ca, clock, audit=heard)


@pytest.fixture
def peer(scene: BindingScene, heard: Heard) -> Peer:
    peer = scene.peer()
    assert heard.reason() is Reason.ALLOWED
    return peer


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were verified, one for each time."""
    tokens: list[str] = []
    verify = TokenVerifier.verify

    def counting(verifier: TokenVerifier, token: str, now: float) -> object:
        tokens.append(token)
        return verify(verifier, token, now)

    monkeypatch.setattr(TokenVerifier, "verify", counting)
    return tokens


def refusal(call: Callable[[], object]) -> PeerRejected:
    with pytest.raises(PeerRejected) as caught:
        call()
    return caught.value


class TestBind:
    def test_adds_what_the_token_says(self, scene: BindingScene, peer: Peer, heard: Heard) -> None:
        bound = scene.mesh.bind(peer, scene.okta_token(jti="AT.7"))
        assert bound.token is not None
        assert bound.token == TokenEvidence(
            issuer="okta",
            principal=WEB_CLIENT,
            binding=Binding.NONE,
            key=scene.keys()["okta"].keys[0].thumbprint,
            key_id="key-1",
            token_id="AT.7",  # noqa: S106 - its jti
            expires_at=scene.clock() + 300,
        )
        assert [sorted(each.evidence) for each in (peer, bound)] == [["x509"], ["token", "x509"]]
        assert (bound.spiffe_id, bound.chain, bound.role) == (peer.spiffe_id, peer.chain, peer.role)
        assert heard.is_quiet(), "only a refusal is on record"

    def test_lets_a_rule_demand_both(self, scene: BindingScene, peer: Peer, heard: Heard) -> None:
        without = scene.mesh.check(peer, target="refunds")
        decision = scene.mesh.check(scene.mesh.bind(peer, scene.okta_token()), target="refunds")
        assert (without.reason, decision.reason, decision.rule) == (Reason.NO_RULE, Reason.ALLOWED, "refunds")
        assert decision.peer_name == "web"
        assert heard.next().token is None
        event = heard.next()
        assert (event.call, event.token and event.token.principal) == ("check", WEB_CLIENT)

    @pytest.mark.parametrize("kind", ["opaque", "end user"])
    def test_leaves_the_tokens_of_others_to_the_application(
        self, kind: str, scene: BindingScene, peer: Peer, heard: Heard
    ) -> None:
        foreign = TokenIssuer("https://login.example", clock=scene.clock).mint({"sub": "jo", "aud": "shop"})
        assert scene.mesh.bind(peer, foreign if kind == "end user" else "mF_9.B5f-4.1JqM") is peer
        assert heard.is_quiet()

    def test_replaces_the_token_of_before(self, scene: BindingScene, peer: Peer) -> None:
        first = scene.mesh.bind(peer, scene.okta_token(jti="1"))
        second = scene.mesh.bind(first, scene.okta_token(jti="2"))
        assert [each.token and each.token.token_id for each in (first, second)] == ["1", "2"]

    def test_binds_by_the_certificate(self, scene: BindingScene, heard: Heard) -> None:
        """A workload whose certificate has no name may have one by a token that only it can show."""
        peer = scene.peer(OTHER)
        heard.next()
        bound = scene.mesh.bind(peer, scene.okta_token(**bound_to(peer)))
        assert bound.token is not None
        assert bound.token.binding is Binding.CERTIFICATE
        assert scene.mesh.check(bound, target="refunds").rule == "refunds"

    def test_takes_a_jwt_svid_of_the_same_name(self, scene: BindingScene, peer: Peer) -> None:
        bound = scene.mesh.bind(peer, scene.svid_token())
        assert bound.token is not None
        assert bound.token.principal == str(peer.spiffe_id)
        assert scene.mesh.check(bound, target="refunds")


REFUSED: dict[str, tuple[Callable[[BindingScene], str], Reason]] = {
    "not a token": (lambda _: "a b", Reason.TOKEN_MALFORMED),
    "far too long": (lambda _: "a" * 100_000, Reason.TOKEN_MALFORMED),
    "not even text": (lambda _: "\ud800.é.\n", Reason.TOKEN_MALFORMED),
    "forged": (lambda scene: _forged(scene.okta_token()), Reason.TOKEN_SIGNATURE),
    "expired": (lambda scene: scene.okta_token(exp=int(scene.clock()) - 3600), Reason.TOKEN_NOT_IN_DATE),
    "for somebody else": (lambda scene: scene.okta_token(aud="api://ledger"), Reason.TOKEN_AUDIENCE),
    "of another peer": (lambda scene: scene.okta_token(DESK_CLIENT), Reason.TOKEN_DISAGREES),
    "of nobody": (lambda scene: scene.okta_token("0oa1nobody"), Reason.TOKEN_DISAGREES),
    "a JWT-SVID of another workload": (lambda scene: scene.svid_token(OTHER), Reason.TOKEN_DISAGREES),
    "bound to another certificate": (
        lambda scene: scene.okta_token(cnf={"x5t#S256": "A" * 43}),
        Reason.TOKEN_BOUND_ELSEWHERE,
    ),
    "with an unknown key": (
        lambda scene: scene.okta.mint({"aud": "api://payments"}, kid="key-9"),
        Reason.TOKEN_KEY_UNKNOWN,
    ),
}


def _forged(token: str) -> str:
    head, payload, signature = token.split(".")
    return ".".join((head, payload, signature[:20] + ("B" if signature[20] == "A" else "A") + signature[21:]))


class TestARefusal:
    @pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
    def test_is_on_record(
        self,
        make: Callable[[BindingScene], str],
        reason: Reason,
        scene: BindingScene,
        peer: Peer,
        heard: Heard,
    ) -> None:
        raised = refusal(lambda: scene.mesh.bind(peer, make(scene)))
        assert raised.reason is reason
        decision = raised.decision
        assert (decision.name, decision.policy_hash) == (str(peer.spiffe_id), token_policy().hash)
        event = heard.next()
        assert (event.call, event.decision, event.fingerprint) == ("bind", decision, peer.fingerprint)
        # Whose token it is may be told once its issuer has signed it for us.
        is_verified = reason in {Reason.TOKEN_DISAGREES, Reason.TOKEN_BOUND_ELSEWHERE}
        assert (event.token is not None) is is_verified
        assert scene.mesh.counts()[DecisionKind(Call.BIND, Role.CLIENT, False, reason)] == 1
        assert heard.is_quiet()

    def test_is_of_the_peer_if_that_may_not_be_there(self, scene: BindingScene, peer: Peer) -> None:
        token = scene.okta_token()
        assert scene.mesh.bind(peer, token).token
        scene.mesh.publish(revocations=Revocations(deny=[peer.spiffe_id]))
        assert refusal(lambda: scene.mesh.bind(peer, token)).reason is Reason.DENY_LISTED
        scene.mesh.publish(revocations=Revocations(), bundles=BundleSet())
        assert refusal(lambda: scene.mesh.bind(peer, token)).reason is Reason.UNKNOWN_TRUST_DOMAIN

    def test_of_a_workload_that_is_denied_by_the_name_in_its_token(self, scene: BindingScene) -> None:
        """The deny list names a workload, however it proves itself."""
        peer = scene.peer(OTHER)
        token = scene.svid_token(DESK, **bound_to(peer))
        bound = scene.mesh.bind(peer, token)
        scene.mesh.publish(revocations=Revocations(deny=[f"spiffe://prod.example.org{DESK}"]))
        assert scene.mesh.check(peer)
        assert scene.mesh.check(bound).reason is Reason.DENY_LISTED
        assert refusal(lambda: scene.mesh.bind(peer, token)).reason is Reason.DENY_LISTED

    @pytest.mark.parametrize("where", ["the verifier", "the policy", "whoever fetches keys", "the clock"])
    def test_of_what_fails_inside_tells_nothing_of_the_token(
        self, where: str, prod_ca: CA, monkeypatch: pytest.MonkeyPatch, heard: Heard
    ) -> None:
        broken = False
        clock = Clock()

        def now() -> float:
            return clock() / (0 if broken and where == "the clock" else 1)

        def fail(*_: object, **__: object) -> None:
            raise RuntimeError(token)

        scene = BindingScene(prod_ca, clock, audit=heard)
        admission_of(scene.mesh).clock = now
        peer = scene.peer()
        token = scene.okta_token()
        heard.next()
        broken = True
        if where == "the verifier":
            monkeypatch.setattr(TokenVerifier, "verify", fail)
        elif where == "the policy":
            monkeypatch.setattr("meshid.admission.bound_peers.with_token", fail)
        elif where == "whoever fetches keys":
            token = scene.okta.mint({"aud": "api://payments"}, kid="key-9")
            admission_of(scene.mesh).wants_keys = lambda _: fail()
        raised = refusal(lambda: scene.mesh.bind(peer, token))
        assert raised.reason is Reason.INTERNAL_ERROR is heard.reason()
        if where != "whoever fetches keys":
            assert token not in raised.detail

    def test_is_what_a_sink_that_fails_makes_of_it(self, scene: BindingScene, peer: Peer) -> None:
        def fail(_: object) -> None:
            raise OSError

        admission_of(scene.mesh)._recorder._sink = fail  # noqa: SLF001 - from now on
        assert refusal(lambda: scene.mesh.bind(peer, "a b")).reason is Reason.INTERNAL_ERROR

    def test_wants_the_keys_that_are_missing(self, scene: BindingScene, peer: Peer) -> None:
        wanted: list[str] = []
        admission_of(scene.mesh).wants_keys = wanted.append
        scene.mesh.bind(peer, scene.okta_token())
        refusal(lambda: scene.mesh.bind(peer, _forged(scene.okta_token())))
        assert wanted == []
        scene.okta.new_key()
        refusal(lambda: scene.mesh.bind(peer, scene.okta_token()))
        assert wanted == ["okta"]

    def test_is_logged_at_a_limited_rate(
        self, scene: BindingScene, peer: Peer, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(50):
            refusal(lambda: scene.mesh.bind(peer, "a b"))
        assert 10 <= len(caplog.records) < 20


class TestMistakesOfTheCaller:
    def test_a_server_sends_no_token(self, scene: BindingScene) -> None:
        chain = scene.ca.issue("/ns/db/sa/main").chain
        server = scene.mesh.admit(chain, expect="/ns/db/**")
        for call in (
            lambda: scene.mesh.bind(server, "x"),
            lambda: scene.mesh.admit(chain, expect="/ns/db/**", token="x"),  # noqa: S106 - it is none
            lambda: scene.mesh.decide(chain, expect="/ns/db/**", token="x"),  # noqa: S106 - it is none
        ):
            with pytest.raises(ValueError, match="only clients send tokens"):
                call()

    def test_a_token_is_text_and_a_peer_is_a_peer(self, scene: BindingScene, peer: Peer) -> None:
        with pytest.raises(TypeError, match="token must be a str: the token alone, without 'Bearer '"):
            scene.mesh.bind(peer, b"x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="peer must be a Peer"):
            scene.mesh.bind("x", "x")  # type: ignore[arg-type]

    def test_tokens_that_are_required_need_what_verifies_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        require_extra.cache_clear()
        monkeypatch.setitem(sys.modules, "jwt", None)
        with pytest.raises(MissingExtra, match="the extra 'oidc' of meshid"):
            Mesh(tokens="required")
        Mesh(tokens="optional")

    def test_tokens_are_optional_or_required(self) -> None:
        with pytest.raises(ValueError, match="tokens must be 'optional' or 'required', not 'always'"):
            Mesh(tokens="always")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="tokens must be 'optional' or 'required', not bool"):
            Mesh(tokens=True)  # type: ignore[arg-type]


class TestWhatIsRemembered:
    def test_a_token_is_verified_once_a_minute(
        self, scene: BindingScene, peer: Peer, verified: list[str]
    ) -> None:
        token = scene.okta_token()
        first = scene.mesh.bind(peer, token)
        assert scene.mesh.bind(peer, token) is first
        assert len(verified) == 1
        scene.clock.now += timedelta(seconds=MAX_AGE + 1)
        assert scene.mesh.bind(peer, token) == first
        assert len(verified) == 2
        scene.clock.now -= timedelta(seconds=MAX_AGE + 5)
        scene.mesh.bind(peer, token)
        assert len(verified) == 3, "a clock that steps back is a miss"

    @pytest.mark.parametrize("ends", ["the token", "the keys"])
    def test_what_it_rests_on_may_end_within_the_minute(
        self, ends: str, scene: BindingScene, peer: Peer, verified: list[str]
    ) -> None:
        now = scene.clock()
        token = scene.okta_token(exp=int(now) + (5 if ends == "the token" else 300))
        scene.mesh.publish(keys=scene.keys(serve_until=now + (35 if ends == "the keys" else 300)))
        scene.mesh.bind(peer, token)
        scene.clock.now += timedelta(seconds=34)
        scene.mesh.bind(peer, token)
        scene.clock.now += timedelta(seconds=1)
        expected = Reason.TOKEN_NOT_IN_DATE if ends == "the token" else Reason.TOKEN_KEYS_UNAVAILABLE
        for each in (peer, scene.peer()):
            assert refusal(partial(scene.mesh.bind, each, token)).reason is expected
        assert len(verified) == 1

    def test_what_is_too_long_is_not_even_hashed(
        self, scene: BindingScene, peer: Peer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(BearerToken, "digest")
        too_long = refusal(lambda: scene.mesh.bind(peer, "a" * (MAX_TOKEN_BYTES + 1)))
        assert too_long.reason is Reason.TOKEN_MALFORMED
        assert refusal(lambda: scene.mesh.bind(peer, "a" * MAX_TOKEN_BYTES)).reason is Reason.INTERNAL_ERROR

    def test_a_token_is_bound_to_each_peer_anew(
        self, scene: BindingScene, peer: Peer, verified: list[str]
    ) -> None:
        token = scene.okta_token(**bound_to(peer))
        scene.mesh.bind(peer, token)
        renewed = scene.peer()
        assert refusal(lambda: scene.mesh.bind(renewed, token)).reason is Reason.TOKEN_BOUND_ELSEWHERE
        unbound = scene.okta_token()
        assert scene.mesh.bind(renewed, unbound).fingerprint == renewed.fingerprint
        assert scene.mesh.bind(peer, unbound).fingerprint == peer.fingerprint
        assert len(verified) == 2

    def test_what_counts_for_nothing_is_not_remembered(self, scene: BindingScene, peer: Peer) -> None:
        for make, reason in REFUSED.values():
            if reason not in {Reason.TOKEN_DISAGREES, Reason.TOKEN_BOUND_ELSEWHERE}:
                refusal(partial(scene.mesh.bind, peer, make(scene)))
        scene.mesh.bind(peer, "opaque")
        assert len(scene.mesh.snapshot.bound_peers._known) == 0  # noqa: SLF001 - nobody else is told

    def test_neither_the_token_nor_more_than_so_many(self, scene: BindingScene, peer: Peer) -> None:
        few = BoundPeers(scene.mesh.snapshot.tokens, capacity=3)
        for number in range(10):
            token = BearerToken(scene.okta_token(jti=str(number)))
            assert few.bind(peer, token, scene.mesh.snapshot, scene.clock())
        known = few._known.items()  # noqa: SLF001 - as above
        assert [len(key) for key, _ in known] == [32] * 3
        assert not any(scene.okta_token().split(".")[0] in repr(each) for each in known)

    @pytest.mark.parametrize(
        ("change", "forgets"),
        [
            pytest.param(lambda _: {}, False, id="nothing"),
            pytest.param(lambda it: {"credentials": credentials(it.ca)}, False, id="our certificate"),
            pytest.param(lambda _: {"revocations": Revocations(deny=["a" * 64])}, False, id="the deny list"),
            pytest.param(lambda _: {"policy": token_policy(rules=RULES + OTHER_RULE)}, False, id="a rule"),
            pytest.param(lambda it: {"bundles": _rotated(it)}, True, id="keys of JWT-SVIDs"),
            pytest.param(lambda it: {"keys": _rotated_keys(it)}, True, id="keys of an issuer"),
            pytest.param(lambda it: {"keys": it.keys(serve_until=1e10)}, True, id="the time of keys"),
            pytest.param(lambda _: {"policy": token_policy(issuers=OKTA_ONLY)}, True, id="an issuer"),
        ],
    )
    def test_changes_with_what_it_rests_on(
        self, change: Callable[[BindingScene], dict[str, object]], *, forgets: bool, scene: BindingScene
    ) -> None:
        before = scene.mesh.snapshot.tokens
        scene.mesh.publish(**change(scene))  # type: ignore[arg-type]
        assert (scene.mesh.snapshot.tokens is not before) is forgets

    def test_bundles_do_not_matter_without_jwt_svids(self, scene: BindingScene) -> None:
        before = scene.mesh.publish(policy=token_policy(issuers=OKTA_ONLY)).tokens
        assert scene.mesh.publish(bundles=_rotated(scene)).tokens is before

    def test_nothing_where_there_are_no_issuers(
        self, scene: BindingScene, peer: Peer, verified: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = scene.mesh.publish(policy=token_policy(issuers="", peers="", rules="")).tokens
        after = scene.mesh.publish(keys=_rotated_keys(scene), bundles=_rotated(scene), policy=None).tokens
        assert after is before
        monkeypatch.setattr("meshid.admission.admission.judge_token", None)
        assert scene.mesh.bind(peer, "\ud800") is peer
        assert verified == []


OTHER_RULE = '[[allow]]\nid = "other"\nfrom = ["/x"]\nto = ["y"]\n'


def _rotated(scene: BindingScene) -> BundleSet:
    scene.spire.new_key()
    return scene.bundles()


def _rotated_keys(scene: BindingScene) -> KeySets:
    scene.okta.new_key()
    return scene.keys()


# -- What is taken away -------------------------------------------------------


def _withdraw(scene: BindingScene) -> None:
    scene.okta.new_key()
    scene.okta.withdraw(scene.okta.keys[0])
    scene.mesh.publish(keys=scene.keys())


def _redeclare(scene: BindingScene) -> None:
    scene.mesh.publish(policy=token_policy(issuers=ISSUERS.replace('["api://payments"]', '["api://pay"]')))


def _pass(scene: BindingScene) -> None:
    scene.clock.now += timedelta(seconds=400)


def _wait_for_keys(scene: BindingScene) -> None:
    scene.mesh.publish(keys=scene.keys(serve_until=scene.clock() + 60))
    scene.clock.now += timedelta(seconds=61)


REMOVALS: dict[str, tuple[Callable[[BindingScene], object], Reason]] = {
    "its key": (_withdraw, Reason.TOKEN_KEY_UNKNOWN),
    "all keys": (lambda scene: scene.mesh.publish(keys=KeySets()), Reason.TOKEN_KEYS_UNAVAILABLE),
    "its keys' time": (_wait_for_keys, Reason.TOKEN_KEYS_UNAVAILABLE),
    "its time": (_pass, Reason.TOKEN_NOT_IN_DATE),
    "its audience": (_redeclare, Reason.TOKEN_ISSUER_UNKNOWN),
    "its issuer": (
        lambda scene: scene.mesh.publish(policy=token_policy(issuers=OKTA_ONLY.replace("okta]", "other]"))),
        Reason.TOKEN_ISSUER_UNKNOWN,
    ),
    "its name": (
        lambda scene: scene.mesh.publish(policy=token_policy(peers=PEERS.replace(WEB_CLIENT, "0oa1new"))),
        Reason.TOKEN_DISAGREES,
    ),
    "the name of its peer": (
        lambda scene: scene.mesh.publish(policy=token_policy(peers=PEERS.replace(WEB, "/ns/shop/sa/new"))),
        Reason.TOKEN_DISAGREES,
    ),
    "its peer": (
        lambda scene: scene.mesh.publish(revocations=Revocations(deny=[f"spiffe://prod.example.org{WEB}"])),
        Reason.DENY_LISTED,
    ),
}
EACH_REMOVAL = pytest.mark.parametrize(("remove", "reason"), REMOVALS.values(), ids=REMOVALS)


class TestWhatIsTakenAwayIsGone:
    """Promise 3: for the next call on a connection that is open, and for a stream on it."""

    @EACH_REMOVAL
    def test_for_a_peer_that_was_bound(
        self,
        remove: Callable[[BindingScene], object],
        reason: Reason,
        scene: BindingScene,
        peer: Peer,
        heard: Heard,
    ) -> None:
        token = scene.okta_token()
        bound = scene.mesh.bind(peer, token)
        remove(scene)
        decision = scene.mesh.check(bound, request="GET /x")
        event = heard.next()
        assert (decision.reason, event.decision) == (reason, decision)
        is_of_token = reason not in {Reason.DENY_LISTED, Reason.TOKEN_KEYS_UNAVAILABLE}
        assert event.token == (bound.token if is_of_token else None)
        assert not refusal(lambda: scene.mesh.bind(peer, token)).decision
        assert heard.next().call == "bind"

    @EACH_REMOVAL
    def test_while_the_token_is_bound(
        self,
        remove: Callable[[BindingScene], object],
        reason: Reason,
        scene: BindingScene,
        peer: Peer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """After publish() has returned, nothing is bound under the old state."""
        token = scene.okta_token()
        verify, removals = TokenVerifier.verify, iter([remove])

        def verify_slowly(verifier: TokenVerifier, text: str, now: float) -> object:
            verified = verify(verifier, text, now)
            for each in removals:
                each(scene)
            return verified

        monkeypatch.setattr(TokenVerifier, "verify", verify_slowly)
        if remove is _pass:
            # Time passes after each look at the clock.
            assert scene.mesh.check(scene.mesh.bind(peer, token)).reason is reason
        else:
            assert refusal(lambda: scene.mesh.bind(peer, token)).reason
        assert next(removals, None) is None

    @EACH_REMOVAL
    def test_for_a_stream(
        self,
        remove: Callable[[BindingScene], object],
        reason: Reason,
        scene: BindingScene,
        peer: Peer,
        heard: Heard,
    ) -> None:
        bound = scene.mesh.bind(peer, scene.okta_token())
        with (
            scene.mesh.watch(bound, lambda _: None, request="GET /stream") as stream,
            scene.mesh.watch(peer, lambda _: None) as without,
        ):
            remove(scene)
            sweep(scene.mesh)
            assert stream.rejection is not None
            assert stream.rejection.reason is reason
            event = heard.next()
            assert (event.call, event.decision.reason) == ("review", reason)
            assert (without.rejection is None) is (reason is not Reason.DENY_LISTED)

    def test_a_stream_keeps_its_token_while_nothing_is(self, scene: BindingScene, peer: Peer) -> None:
        bound = scene.mesh.bind(peer, scene.okta_token())
        with scene.mesh.watch(bound, lambda _: None, request="GET /stream", target="refunds") as stream:
            scene.mesh.publish(revocations=Revocations(deny=["a" * 64]))
            scene.clock.now += timedelta(seconds=200)
            sweep(scene.mesh)
            assert stream.peer == bound
            assert scene.mesh.check(stream.peer, target="refunds")

    def test_a_stream_ends_with_what_its_peer_rests_on_by_now(
        self, scene: BindingScene, peer: Peer, clock: Clock
    ) -> None:
        due = clock.now + timedelta(seconds=100)
        bound = scene.mesh.bind(peer, scene.okta_token())
        with scene.mesh.watch(bound, lambda _: None, request="GET /stream") as stream:
            scene.mesh.publish(revocations=Revocations(crls=[scene.ca.crl(next_update=due)]))
            assert stream.peer is not None
            assert (stream.peer.not_after, stream.peer.token) == (due, bound.token)
            scene.clock.now += timedelta(seconds=101)
            sweep(scene.mesh)
            assert stream.rejection is not None
            assert stream.rejection.reason is Reason.CRL_NOT_IN_DATE


class TestRequired:
    """With ``tokens="required"``, a request without evidence by a token is refused."""

    @pytest.fixture
    def scene(self, prod_ca: CA, clock: Clock, heard: Heard) -> BindingScene:
        return BindingScene(prod_ca, clock, audit=heard, tokens="required")

    def test_for_each_request_and_no_handshake(self, scene: BindingScene, peer: Peer) -> None:
        assert scene.mesh.check(peer, request=REQUEST_FOLLOWS)
        refused = scene.mesh.check(peer, request="GET /charges?secret=1")
        assert (refused.reason, refused.request, refused.target) == (
            Reason.NO_TOKEN,
            "GET /charges",
            "payments",
        )
        assert scene.mesh.check(peer, request="GET /%2e%2e/?secret").reason is Reason.NO_TOKEN
        assert refusal(lambda: scene.mesh.admit(peer.chain, request="GET /x")).reason is Reason.NO_TOKEN
        assert scene.mesh.check(scene.mesh.bind(peer, scene.okta_token()), request="GET /x")
        assert scene.mesh.admit(peer.chain, request="GET /x", token=scene.okta_token()).token
        server = scene.mesh.admit(scene.ca.issue("/ns/db/sa/main").chain, expect="/ns/db/**")
        assert scene.mesh.check(server, expect="/ns/db/**", request="GET /x")

    @pytest.mark.parametrize("issuers", [ISSUERS, ""], ids=["with issuers", "without"])
    def test_refuses_the_tokens_of_others(self, issuers: str, scene: BindingScene, peer: Peer) -> None:
        scene.mesh.publish(policy=token_policy(issuers=issuers, peers="", rules=""))
        assert refusal(lambda: scene.mesh.bind(peer, "opaque")).reason is Reason.TOKEN_ISSUER_UNKNOWN
        too_long = refusal(lambda: scene.mesh.bind(peer, "a" * 100_000)).reason
        assert too_long is (Reason.TOKEN_MALFORMED if issuers else Reason.TOKEN_ISSUER_UNKNOWN)
        decision = scene.mesh.decide(peer.chain, token="opaque")  # noqa: S106 - nobody's
        assert decision.reason is Reason.TOKEN_ISSUER_UNKNOWN


class TestAdmitWithAToken:
    """For whoever has both at once: one decision, and one event."""

    def test_lets_in_by_both(self, scene: BindingScene, heard: Heard) -> None:
        chain = scene.ca.issue(WEB).chain
        peer = scene.mesh.admit(chain, target="refunds", request="POST /x", token=scene.okta_token())
        assert peer.token is not None
        event = heard.next()
        assert (event.call, event.decision.rule, event.token) == ("admit", "refunds", peer.token)
        decision = scene.mesh.decide(chain, target="refunds", token=scene.okta_token())
        assert (decision.rule, heard.next().call, heard.is_quiet()) == ("refunds", "admit", True)

    def test_refuses_by_either(self, scene: BindingScene, heard: Heard) -> None:
        chain, bad = scene.ca.issue(WEB).chain, scene.okta_token(DESK_CLIENT)
        raised = refusal(lambda: scene.mesh.admit(chain, request="GET /x?y", token=bad))
        assert (raised.reason, raised.decision.request) == (Reason.TOKEN_DISAGREES, "GET /x")
        assert scene.mesh.decide(chain, request="GET /x", token=bad) == raised.decision
        foreign = CA("prod.example.org").issue(WEB).chain
        raised = refusal(lambda: scene.mesh.admit(foreign, token=scene.okta_token()))
        assert raised.reason is Reason.UNKNOWN_AUTHORITY
        assert [heard.next().call for _ in range(3)] == ["admit"] * 3

    def test_leaves_the_tokens_of_others(self, scene: BindingScene) -> None:
        peer = scene.mesh.admit(scene.ca.issue(WEB).chain, token="opaque")  # noqa: S106 - nobody's
        assert peer.token is None

    def test_a_token_without_a_policy(self, scene: BindingScene, peer: Peer) -> None:
        bound = scene.mesh.bind(peer, scene.okta_token())
        scene.mesh.publish(policy=None)
        assert scene.mesh.check(bound).reason is Reason.TOKEN_ISSUER_UNKNOWN
        assert scene.mesh.check(peer).reason is Reason.NO_POLICY

"""Whatever is published in whatever order: a token counts exactly as long as all that it rests on."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshid import BundleSet, Peer, PeerRejected, Revocations
from meshid.testing import CA
from tests.helpers.binding_scene import PEERS, WEB, WEB_CLIENT, BindingScene, token_policy
from tests.helpers.world import Clock

_CA = CA("prod.example.org")
_LEAF = _CA.issue(WEB, not_after=Clock().now + timedelta(days=1))
_POLICIES = {
    True: token_policy(),
    False: token_policy(peers=PEERS.replace(WEB_CLIENT, "0oa1another")),
}
_DENIED = Revocations(deny=[f"spiffe://prod.example.org{WEB}"])
_SECONDS = 300
_LEEWAY = 30


class Tokens(RuleBasedStateMachine):
    """A peer, its tokens, and everything that may be taken away from them and given back.

    Each bound peer is asked about with each step, and so is each token, whether it was bound before or not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.scene = BindingScene(_CA, self.clock)
        self.peer: Peer = self.scene.mesh.admit(_LEAF.chain)
        self.minted: list[tuple[str, str | None, float]] = []
        self.bound: list[tuple[Peer, str | None, float]] = []
        self.agrees = self.is_trusted = True
        self.is_denied = False
        self.in_force = {key.key_id for key in self.scene.okta.keys}
        self.serve_until = float("inf")
        self.mint()

    @rule()
    def mint(self) -> None:
        self.minted.append(
            (self.scene.okta_token(), self.scene.okta.keys[-1].key_id, self.clock() + _SECONDS)
        )

    @rule()
    def bind(self) -> None:
        token, key, end = self.minted[-1]
        if self.counts(key, end):
            self.bound.append((self.scene.mesh.bind(self.peer, token), key, end))

    @rule(withdraws=st.booleans())
    def rotate(self, *, withdraws: bool) -> None:
        self.scene.okta.new_key()
        if withdraws:
            self.scene.okta.withdraw(self.scene.okta.keys[0])

    @rule(fresh=st.sampled_from([10.0, 100.0, float("inf")]))
    def read_the_keys(self, fresh: float) -> None:
        self.serve_until = self.clock() + fresh
        self.in_force = {key.key_id for key in self.scene.okta.keys}
        self.scene.mesh.publish(keys=self.scene.keys(serve_until=self.serve_until))

    @rule(agrees=st.booleans())
    def change_the_policy(self, *, agrees: bool) -> None:
        self.agrees = agrees
        self.scene.mesh.publish(policy=_POLICIES[agrees])

    @rule(is_denied=st.booleans())
    def change_the_deny_list(self, *, is_denied: bool) -> None:
        self.is_denied = is_denied
        self.scene.mesh.publish(revocations=_DENIED if is_denied else Revocations())

    @rule(is_trusted=st.booleans())
    def change_the_bundles(self, *, is_trusted: bool) -> None:
        self.is_trusted = is_trusted
        self.scene.mesh.publish(bundles=self.scene.bundles() if is_trusted else BundleSet())

    @rule(seconds=st.sampled_from([1, 20, 61, 290]))
    def wait(self, seconds: int) -> None:
        self.clock.now += timedelta(seconds=seconds)

    def counts(self, key: str | None, end: float) -> bool:
        return (
            self.is_trusted
            and not self.is_denied
            and self.agrees
            and key in self.in_force
            and self.clock() < self.serve_until
            and self.clock() < end + _LEEWAY
        )

    @invariant()
    def a_bound_peer_is_let_in_as_long_as_its_token_counts(self) -> None:
        for bound, key, end in self.bound[-3:]:
            allowed = self.scene.mesh.check(bound, target="refunds").allowed
            assert allowed is self.counts(key, end), (self.clock(), end, self.serve_until)

    @invariant()
    def a_token_can_be_bound_as_long_as_it_counts(self) -> None:
        for token, key, end in self.minted[-3:]:
            try:
                bound = self.scene.mesh.bind(self.peer, token)
            except PeerRejected:
                assert not self.counts(key, end)
            else:
                assert bound.token
                assert self.counts(key, end)


TestTokens = Tokens.TestCase
TestTokens.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

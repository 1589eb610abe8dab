"""What the keys of a provider mean for its tokens, as it rotates, withdraws a key, or is down."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from meshid import Mesh, Peer, PeerRejected, Reason
from meshid.policy.issuers import Issuer
from meshid.sources import SourceUnavailable, State
from meshid.testing import CA, SigningKey
from tests.helpers.fake_sources import FakeSource
from tests.helpers.issuers import declaring, issuer_of
from tests.helpers.mounted import eventually
from tests.helpers.oidc_provider import KEYS, OidcProvider, oidc_provider, status
from tests.helpers.tls_peers import POLICY, admission_of, policy
from tests.helpers.world import HOUR, Clock

pytestmark = pytest.mark.usefixtures("hurried")

WEB = "/ns/shop/sa/web"
PEERS = f"""
[[peers]]
name = "web"
spiffe = ["{WEB}"]
tokens = [{{ issuer = "okta", principal = "web-client" }}]
"""


@pytest.fixture
def provider(clock: Clock) -> Iterator[OidcProvider]:
    with oidc_provider(clock=clock) as provider:
        yield provider


@pytest.fixture
def okta(provider: OidcProvider, tmp_path: Path) -> Issuer:
    return issuer_of(provider, tmp_path, jwks=provider.keys_url, max_stale=3600)


@pytest.fixture
def mesh(own: FakeSource, okta: Issuer, clock: Clock) -> Iterator[Mesh]:
    assert isinstance(own.now, State)
    own.now = attrs.evolve(own.now, policy=policy(declaring(okta, before=POLICY + PEERS)))
    with Mesh.from_sources([own], service="payments", clock=clock) as mesh:
        assert eventually(lambda: "okta" in mesh.snapshot.keys)
        yield mesh


@pytest.fixture
def peer(mesh: Mesh, prod_ca: CA, clock: Clock) -> Peer:
    return mesh.admit(prod_ca.issue(WEB, not_after=clock.now + 5 * HOUR).chain)


def token(provider: OidcProvider, key: SigningKey | None = None, **header: str) -> str:
    return provider.mint({"aud": "payments", "sub": "web-client"}, key=key, **header)


def refusal(mesh: Mesh, peer: Peer, shown: str) -> Reason:
    with pytest.raises(PeerRejected) as caught:
        mesh.bind(peer, shown)
    return caught.value.reason


def test_with_the_provider_down_for_an_hour_known_keys_count_until_the_limit(
    mesh: Mesh, provider: OidcProvider, peer: Peer, clock: Clock
) -> None:
    provider.is_down = True
    for _ in range(11):
        clock.now += timedelta(minutes=5)
        with pytest.raises(SourceUnavailable):
            mesh.refresh()
        assert mesh.check(mesh.bind(peer, token(provider))).allowed
    clock.now += timedelta(minutes=5, seconds=-1)
    bound = mesh.bind(peer, token(provider))
    assert mesh.check(bound).allowed
    clock.now += timedelta(seconds=1)
    assert refusal(mesh, peer, token(provider)) is Reason.TOKEN_KEYS_UNAVAILABLE
    assert mesh.check(bound).reason is Reason.TOKEN_KEYS_UNAVAILABLE
    # It is the token that no longer counts, and nothing else.
    assert mesh.check(peer).allowed
    provider.is_down = False
    mesh.refresh()
    assert mesh.check(mesh.bind(peer, token(provider))).allowed


def test_a_withdrawn_key_stops_at_the_next_refresh(mesh: Mesh, provider: OidcProvider, peer: Peer) -> None:
    (first,) = provider.tokens.keys
    bound = mesh.bind(peer, shown := token(provider))
    provider.rotate()
    provider.withdraw(first)
    assert mesh.check(bound).allowed
    mesh.refresh()
    assert mesh.check(bound).reason is Reason.TOKEN_KEY_UNKNOWN
    assert refusal(mesh, peer, shown) is Reason.TOKEN_KEY_UNKNOWN
    assert mesh.check(mesh.bind(peer, token(provider))).allowed


def test_a_rotation_with_overlap_refuses_nobody(mesh: Mesh, provider: OidcProvider, peer: Peer) -> None:
    before, (first,) = token(provider), provider.tokens.keys
    second = provider.rotate()
    for _ in range(2):
        assert mesh.check(mesh.bind(peer, token(provider, first))).allowed
        mesh.refresh()
        assert mesh.check(mesh.bind(peer, before)).allowed
        assert mesh.check(mesh.bind(peer, token(provider, second))).allowed


def test_a_token_with_a_new_key_has_it_read(mesh: Mesh, provider: OidcProvider, peer: Peer) -> None:
    provider.rotate()
    shown = token(provider)
    assert refusal(mesh, peer, shown) is Reason.TOKEN_KEY_UNKNOWN
    # Nobody else asks: the next regular read is minutes away.
    assert eventually(lambda: len(mesh.snapshot.keys["okta"].keys) == 2)
    assert mesh.check(mesh.bind(peer, shown)).allowed


@pytest.mark.parametrize("answer", [None, status("500 Internal Server Error")], ids=["right", "broken"])
def test_a_thousand_unknown_key_ids_cause_one_fetch(
    mesh: Mesh, provider: OidcProvider, peer: Peer, answer: None
) -> None:
    if answer is not None:
        provider.answers[KEYS] = answer
    for number in range(1000):
        assert refusal(mesh, peer, token(provider, kid=f"forged-{number}")) is Reason.TOKEN_KEY_UNKNOWN
    assert eventually(lambda: provider.fetches == 2)
    provider.answers.clear()
    # Whatever they had asked for, this one comes after it.
    mesh.refresh()
    assert provider.fetches == 3


def test_tokens_of_another_declaration_are_refused_at_once(
    mesh: Mesh, provider: OidcProvider, own: FakeSource, peer: Peer, tmp_path: Path
) -> None:
    """The old issuer signs what the new one, which has its name, would have to sign."""
    bound = mesh.bind(peer, token(provider))
    with oidc_provider("/other", clock=admission_of(mesh).clock) as other:
        other.is_down = True
        changed = policy(declaring(issuer_of(other, tmp_path, jwks=other.keys_url), before=POLICY + PEERS))
        assert isinstance(own.now, State)
        own.now = attrs.evolve(own.now, policy=changed)
        assert eventually(lambda: mesh.snapshot.policy == changed)
        forged = provider.tokens.mint({"iss": other.issuer, "aud": "payments", "sub": "web-client"})
        assert refusal(mesh, peer, forged) is Reason.TOKEN_KEYS_UNAVAILABLE
        assert mesh.bind(peer, token(provider)) is peer
        assert not mesh.check(bound).allowed
        other.is_down = False
        mesh.refresh()
        shown = other.tokens.mint({"aud": "payments", "sub": "web-client"})
        assert mesh.check(mesh.bind(peer, shown)).allowed
        assert refusal(mesh, peer, forged) is Reason.TOKEN_SIGNATURE

"""Tokens as the providers document them: each verifies, names its peer and is bound, and no forgery does."""

from __future__ import annotations

import pytest

from meshid import PeerRejected
from meshid.errors import Refused
from meshid.policy.evidence import Binding
from meshid.policy.issuers import IssuerProfile
from meshid.policy.named_peers import PeerNames
from meshid.reasons import Reason
from meshid.tokens.binding import certificate_thumbprint
from meshid.tokens.token_verifier import TokenVerifier
from tests.helpers.provider_table import COMMON, PROVIDERS
from tests.helpers.provider_tokens import (
    NOW,
    PATH,
    PEER,
    Forgery,
    Provider,
    Stranger,
    connected,
    leaf_of,
)

each_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda it: it.profile)
each_forgery = pytest.mark.parametrize(
    ("provider", "forgery"),
    [
        pytest.param(provider, forgery, id=f"{provider.profile}: {forgery.why}")
        for provider in PROVIDERS
        for forgery in (*COMMON, *provider.forgeries)
    ],
)
each_stranger = pytest.mark.parametrize(
    ("provider", "stranger"),
    [
        pytest.param(provider, stranger, id=f"{provider.profile}: {stranger.why}")
        for provider in PROVIDERS
        for stranger in provider.strangers
    ],
)


def verifier_of(provider: Provider) -> TokenVerifier:
    policy = provider.policy
    domains = policy.environment.trust_domains
    return TokenVerifier(policy.issuers, provider.key_sets, provider.bundles, trust_domains=domains)


def name_of(provider: Provider, principal: str) -> str | None:
    policy = provider.policy
    names = PeerNames(policy.peers, policy.environment.trust_domains, policy.issuers)
    peer = names.of_token("it", principal)
    return None if peer is None else peer.name


@each_provider
def test_a_token_of_each_provider_verifies_and_names_its_peer(provider: Provider) -> None:
    verified = verifier_of(provider).verify(provider.mint(), NOW)
    assert verified is not None
    assert (verified.principal, verified.issuer.name) == (provider.principal, "it")
    assert name_of(provider, verified.principal) == PEER


@each_provider
def test_with_the_certificate_of_the_same_peer_it_gives_access(provider: Provider) -> None:
    mesh = provider.mesh()
    peer = connected(mesh)
    assert mesh.check(peer, request="GET /").reason is Reason.NO_RULE
    bound = mesh.bind(peer, provider.mint())
    assert bound.token is not None
    assert (bound.token.principal, bound.token.binding) == (provider.principal, Binding.NONE)
    decision = mesh.check(bound, request="GET /")
    assert (decision.allowed, decision.peer_name) == (True, PEER)


@each_provider
def test_with_the_certificate_of_another_peer_it_is_stolen(provider: Provider) -> None:
    mesh = provider.mesh()
    peer = connected(mesh, "/ns/dev/sa/api")
    with pytest.raises(PeerRejected) as caught:
        mesh.bind(peer, provider.mint())
    assert caught.value.reason is Reason.TOKEN_DISAGREES


@each_provider
def test_it_is_bound_to_the_certificate_that_it_names(provider: Provider) -> None:
    mesh = provider.mesh()
    peer = connected(mesh)
    token = provider.mint(cnf={"x5t#S256": certificate_thumbprint(peer.chain[0])})
    bound = mesh.bind(peer, token)
    assert bound.token is not None
    assert bound.token.binding is Binding.CERTIFICATE
    other = provider.mint(cnf={"x5t#S256": certificate_thumbprint(leaf_of("/ns/dev/sa/api").chain[0])})
    with pytest.raises(PeerRejected) as caught:
        mesh.bind(peer, other)
    assert caught.value.reason is Reason.TOKEN_BOUND_ELSEWHERE


@each_forgery
def test_a_forgery_is_refused(provider: Provider, forgery: Forgery) -> None:
    verifier, token = verifier_of(provider), provider.forge(forgery)
    if forgery.expected is None:
        assert verifier.verify(token, NOW) is None
    else:
        with pytest.raises(Refused) as caught:
            verifier.verify(token, NOW)
        assert caught.value.reason is forgery.expected, caught.value.detail
    with pytest.raises(PeerRejected) as rejected:
        provider.mesh(tokens="required").admit(leaf_of(PATH).chain, request="GET /", token=token)
    assert rejected.value.reason is (forgery.expected or Reason.TOKEN_ISSUER_UNKNOWN)


@each_stranger
def test_a_stranger_is_not_our_peer(provider: Provider, stranger: Stranger) -> None:
    verified = verifier_of(provider).verify(provider.mint(**stranger.claims), NOW)
    assert verified is not None
    assert verified.principal == stranger.principal
    assert name_of(provider, verified.principal) is None
    mesh = provider.mesh()
    peer = connected(mesh)
    with pytest.raises(PeerRejected) as caught:
        mesh.bind(peer, provider.mint(**stranger.claims))
    assert caught.value.reason is Reason.TOKEN_DISAGREES


def test_each_profile_is_here_and_cites_its_documentation() -> None:
    assert {provider.profile for provider in PROVIDERS} == set(IssuerProfile)
    assert all(provider.source.startswith("https://") for provider in PROVIDERS)

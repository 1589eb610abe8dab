"""Which peer a SPIFFE ID or a principal means."""

from __future__ import annotations

import pytest

from meshid import PeerPattern, SpiffeId, TrustDomain
from meshid.names.pattern import Pattern
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.policy.named_peers import NamedPeer, PeerNames, TokenAlias

API = NamedPeer(
    name="api",
    spiffe=(PeerPattern.parse("/ns/pay/sa/api"), PeerPattern.parse("spiffe://partner.example/api-*")),
    tokens=(TokenAlias("other", Pattern("payments/*")),),
)
WEB = NamedPeer(
    name="web",
    spiffe=(PeerPattern.parse("/ns/web/**"), PeerPattern.parse("spiffe://prod.example.org/web")),
    tokens=(TokenAlias("other", Pattern("web")), TokenAlias("spire", Pattern("**"))),
)
OWN = (TrustDomain("prod.example.org"), TrustDomain("old.example.org"))
SPIRE = Issuer(name="spire", profile=IssuerProfile.JWT_SVID, issuer=None, audience=("a",), principal="sub")
NAMES = PeerNames([API, WEB], OWN, [SPIRE])


@pytest.mark.parametrize(
    ("spiffe_id", "peer"),
    [
        ("spiffe://prod.example.org/ns/pay/sa/api", API),
        ("spiffe://old.example.org/ns/pay/sa/api", API),
        ("spiffe://partner.example/api-1", API),
        ("spiffe://prod.example.org/ns/web/sa/x", WEB),
        ("spiffe://prod.example.org/web", WEB),
        ("spiffe://old.example.org/web", None),
        ("spiffe://dev.example.org/ns/pay/sa/api", None),
        ("spiffe://partner.example/ns/pay/sa/api", None),
        ("spiffe://prod.example.org/api-1", None),
    ],
)
def test_a_path_alone_means_the_own_trust_domains(spiffe_id: str, peer: NamedPeer | None) -> None:
    assert NAMES.of(SpiffeId.parse(spiffe_id)) is peer


@pytest.mark.parametrize(
    ("issuer", "principal", "peer"),
    [
        ("other", "payments/api", API),
        ("other", "web", WEB),
        ("other", "payments/api/x", None),
        ("other", "", None),
        ("else", "web", None),
        # A pattern drops a leading "/", and an issuer does not: this is somebody else.
        ("other", "/web", None),
        ("other", "//web", None),
        ("other", "web/", None),
        ("other", "/payments/api", None),
    ],
)
def test_a_principal_means_a_peer_exactly(issuer: str, principal: str, peer: NamedPeer | None) -> None:
    assert NAMES.of_token(issuer, principal) is peer


@pytest.mark.parametrize(
    ("principal", "peer"),
    [
        ("spiffe://prod.example.org/ns/pay/sa/api", API),
        ("spiffe://old.example.org/ns/web", WEB),
        # Named by its certificate, and not by a JWT-SVID: its keys are another trust domain's.
        ("spiffe://partner.example/api-1", None),
        ("spiffe://dev.example.org/ns/pay/sa/api", None),
        ("/ns/pay/sa/api", None),
        ("web", None),
    ],
)
def test_a_jwt_svid_names_a_spiffe_id_of_an_own_trust_domain(principal: str, peer: NamedPeer | None) -> None:
    assert NAMES.of_token("spire", principal) is peer


def test_without_peers_nobody_has_a_name() -> None:
    names = PeerNames([], OWN)
    assert names.of(SpiffeId.parse("spiffe://prod.example.org/a")) is None
    assert names.of_token("other", "web") is None

"""A mesh of ``payments`` that takes tokens, the issuers that it believes, and what they mint."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import attrs

from meshid import BundleSet, Mesh, Peer, Policy
from meshid.audit.event import Sink
from meshid.testing import CA, TokenIssuer
from meshid.testing.token_issuer import base64url
from meshid.tokens.key_set import KeySet, KeySets
from tests.helpers.tls_peers import credentials
from tests.helpers.world import Clock

WEB, DESK, OTHER = "/ns/shop/sa/web", "/ns/support/sa/desk", "/ns/shop/sa/other"
WEB_CLIENT, DESK_CLIENT = "0oa1web", "0oa1desk"
OKTA, AUDIENCE = "https://acme.okta.com/oauth2/default", "api://payments"

ISSUERS = f"""
[environments.prod.issuers.okta]
profile = "okta"
issuer = "{OKTA}"
audience = ["{AUDIENCE}"]
[environments.prod.issuers.spire]
profile = "jwt-svid"
audience = ["payments"]
"""
PEERS = f"""
[[peers]]
name = "web"
spiffe = ["{WEB}"]
okta = ["{WEB_CLIENT}"]
[[peers]]
name = "desk"
spiffe = ["{DESK}"]
okta = ["{DESK_CLIENT}"]
"""
RULES = """
[[allow]]
id = "shop"
from = ["/ns/shop/**", "@desk"]
to = ["payments"]
[[allow]]
id = "refunds"
from = ["@web"]
to = ["refunds"]
evidence = ["x509", "token"]
"""


def token_policy(*, issuers: str = ISSUERS, peers: str = PEERS, rules: str = RULES) -> Policy:
    """Return the policy; parts of it may be others."""
    head = 'version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]\n'
    return Policy.from_toml(head + issuers + peers + rules, environment="prod")


class BindingScene:
    """The parts.

    Attributes:
        ca: The authority of the peers' certificates.
        clock: The clock of everything, which a test sets.
        okta: The issuer ``okta``.
        spire: The issuer of the JWT-SVIDs of prod.example.org.
        mesh: The mesh.
    """

    def __init__(
        self,
        ca: CA,
        clock: Clock,
        *,
        audit: Sink | None = None,
        tokens: Literal["optional", "required"] = "optional",
    ) -> None:
        self.ca = ca
        self.clock = clock
        self.okta = TokenIssuer(OKTA, clock=clock)
        self.spire = TokenIssuer(None, use="jwt-svid", clock=clock)
        self.mesh = Mesh(
            credentials=credentials(ca),
            bundles=self.bundles(),
            policy=token_policy(),
            keys=self.keys(),
            service="payments",
            audit=audit,
            clock=clock,
            tokens=tokens,
        )

    def keys(self, *, serve_until: float = float("inf")) -> KeySets:
        """Return the keys of ``okta`` as they are published now."""
        return KeySets([KeySet.from_json("okta", self.okta.jwks(), serve_until=serve_until)])

    def bundles(self) -> BundleSet:
        """Return the bundle of prod.example.org, with the keys of ``spire`` as they are published now."""
        keys = KeySet.from_json("spire", self.spire.jwks(), use="jwt-svid").keys
        return BundleSet([attrs.evolve(self.ca.bundle(), jwt_keys=keys)])

    def peer(self, path: str = WEB) -> Peer:
        """Return a peer that has connected; the rules let it in without a token."""
        return self.mesh.admit(self.ca.issue(path).chain)

    def okta_token(self, client: str = WEB_CLIENT, /, **claims: object) -> str:
        """Return a token of ``okta`` for a client."""
        usual = {"aud": AUDIENCE, "sub": client, "cid": client, "ver": 1, "jti": "AT.1", "scp": ["pay"]}
        return self.okta.mint({**usual, **claims})

    def svid_token(self, path: str = WEB, /, **claims: object) -> str:
        """Return a JWT-SVID."""
        usual = {"aud": ["payments"], "sub": f"spiffe://{self.ca.trust_domain}{path}"}
        return self.spire.mint({**usual, **claims})


def bound_to(peer: Peer) -> dict[str, Any]:
    """Return the claim that binds a token to the certificate of a peer (RFC 8705 section 3.1)."""
    digest = base64url(hashlib.sha256(peer.chain[0]).digest())
    return {"cnf": {"x5t#S256": digest.decode()}}

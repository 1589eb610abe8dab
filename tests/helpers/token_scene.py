"""An issuer, its keys and a verifier that believes it; good tokens, and what is changed in them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import attrs

from meshid.names.spiffe_id import TrustDomain
from meshid.policy.issuers import Issuer, IssuerProfile, Pin
from meshid.testing.token_issuer import SigningKey, TokenIssuer
from meshid.tokens.key_set import KeySet, KeySets
from meshid.tokens.token_verifier import TokenVerifier
from meshid.trust.bundles import BundleSet

NOW = 1_800_000_000
ISS = "https://issuer.example/tenant"
AUDIENCE = "api://payments"
OWN = TrustDomain("prod.example.org")


DECLARED = Issuer(
    name="acme",
    profile=IssuerProfile.OIDC,
    issuer=ISS,
    audience=(AUDIENCE, "payments"),
    principal="sub",
    pins=(Pin("tenant", "t-1"),),
)
"""An issuer as a policy declares it."""


@attrs.frozen
class TokenScene:
    """What a hostile token is made from.

    Attributes:
        issuer: Makes tokens; it has an RSA key, a P-256 key, which signs, and no others.
        rsa: The RSA key.
        stranger: Another issuer, which claims to be this one and has a key with the same name.
        withdrawn: A key that was published once.
        verifier: Believes the issuer.
    """

    issuer: TokenIssuer
    rsa: SigningKey
    stranger: TokenIssuer
    withdrawn: SigningKey
    verifier: TokenVerifier

    def claims(self, **changes: object) -> dict[str, object]:
        """Return claims that are right, with changes; None leaves one out."""
        usual = {"sub": "api", "aud": AUDIENCE, "tenant": "t-1"}
        return {**usual, **changes}

    def token(self, header: dict[str, Any] | None = None, /, **claims: object) -> str:
        """Return a token that is right but for these changes."""
        return self.issuer.mint(self.claims(**claims), **(header or {}))

    def text(self, payload: str | bytes) -> str:
        """Return a signed token with this text as its payload; ``$`` stands for claims that are right."""
        usual = {"iss": ISS, "exp": NOW + 300, "iat": NOW, **self.claims()}
        data = payload.encode() if isinstance(payload, str) else payload
        return self.issuer.mint(data.replace(b"$", json.dumps(usual)[1:-1].encode()))


@cache
def token_scene() -> TokenScene:
    """Return the scene; it is made once, since an RSA key takes its time."""
    issuer = TokenIssuer(ISS, "RS256", clock=lambda: NOW)
    (rsa,) = issuer.keys
    withdrawn = issuer.new_key("ES256")
    issuer.withdraw(withdrawn)
    signing = issuer.new_key("ES256")
    stranger = TokenIssuer(ISS, "ES256", clock=lambda: NOW)
    stranger.new_key("ES256", key_id=signing.key_id)
    key_sets = KeySets([KeySet.from_json("acme", issuer.jwks())])
    verifier = TokenVerifier([DECLARED], key_sets, BundleSet(), trust_domains=[OWN])
    return TokenScene(issuer, rsa, stranger, withdrawn, verifier)

"""For each profile: a token as its provider documents it, how a policy declares the issuer, and forgeries.

The claims are those of the cited page, each of them, with values of the same form; the forgeries are
what strangers can really get from the same provider.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

import attrs
from cryptography.hazmat.primitives.asymmetric import rsa

from meshid import REQUEST_FOLLOWS, Mesh, Peer
from meshid.policy import Policy
from meshid.reasons import Reason
from meshid.testing import CA, Issued, TokenIssuer
from meshid.tokens.key_set import KeySet, KeySets
from meshid.trust.bundles import BundleSet, TrustBundle

PROD = "prod.example.org"
NOW = 1_800_000_000
PEER = "payments-api"
PATH = "/ns/payments/sa/api"


@attrs.frozen(kw_only=True)
class Forgery:
    """What a stranger can get or make, and why it is worth nothing.

    Attributes:
        why: What it is.
        expected: The reason that it is refused for; None for a token that is nobody's of this policy.
        claims: Claims in place of the right ones; None leaves one out.
        header: Members of the header in place of the right ones.
        issuer: Its ``iss``; the right one if None.
        by_others: Whether somebody else has signed it, who claims to be the issuer and gives the key
            the same name.
    """

    why: str
    expected: Reason | None
    claims: Mapping[str, object] = attrs.field(factory=dict)
    header: Mapping[str, Any] = attrs.field(factory=dict)
    issuer: str | None = None
    by_others: bool = False


@attrs.frozen(kw_only=True)
class Stranger:
    """A good token of somebody else, who is not our peer.

    Attributes:
        why: Who it is.
        claims: Its claims in place of ours.
        principal: Whom it names.
    """

    why: str
    claims: Mapping[str, object]
    principal: str


@attrs.frozen(kw_only=True)
class Provider:
    """One profile.

    Attributes:
        profile: The profile.
        source: The page that documents the claims.
        section: The issuer in a policy file, without its heading and its profile.
        alias: The line of the peer in ``[[peers]]``.
        issuer: The ``iss``; None for tokens without one.
        claims: The claims of a good token, besides iss, iat and exp.
        header: Members of the header of a good token, besides alg and kid.
        algorithm: The algorithm of its keys.
        principal: Whom the good token names.
        forgeries: What is refused.
        strangers: Whose good tokens are not our peer's.
    """

    profile: str
    source: str
    section: str
    alias: str
    issuer: str | None
    claims: Mapping[str, object]
    header: Mapping[str, Any] = attrs.field(factory=dict)
    algorithm: str = "RS256"
    principal: str
    forgeries: tuple[Forgery, ...]
    strangers: tuple[Stranger, ...] = ()

    @property
    def file(self) -> str:
        """The policy file: with this issuer, and one peer that may prove itself by it."""
        return f"""
            version = 1

            [environments.prod]
            trust_domains = ["{PROD}"]

            [environments.prod.issuers.it]
            profile = "{self.profile}"
            {self.section}

            [[peers]]
            name = "{PEER}"
            spiffe = ["{PATH}"]
            {self.alias}

            [[allow]]
            id = "peers"
            why = "Each peer that has a name"
            from = ["@{PEER}"]
            to = ["payments"]
            evidence = ["x509", "token"]
            """

    @property
    def policy(self) -> Policy:
        """The same, loaded."""
        return Policy.from_toml(self.file, "prod")

    @property
    def tokens(self) -> TokenIssuer:
        """Who makes its tokens."""
        return _issuer(self.algorithm, self.issuer, self._use, is_right=True)

    @property
    def key_sets(self) -> KeySets:
        """Its keys; none for JWT-SVIDs."""
        return KeySets([] if self._use else [KeySet.from_json("it", self.tokens.jwks())])

    @property
    def bundles(self) -> BundleSet:
        """The bundle of our trust domain, with the keys for JWT-SVIDs."""
        return BundleSet([_bundle(self.tokens.jwks() if self._use else b'{"keys": []}')])

    def mint(self, **claims: object) -> str:
        """Return a good token, with these claims in place of its own; None leaves one out."""
        return self.tokens.mint({**self.claims, **claims}, **self.header)

    def forge(self, forgery: Forgery) -> str:
        """Return a forgery."""
        issuer = _issuer(self.algorithm, self.issuer, self._use, is_right=not forgery.by_others)
        claims = {**self.claims, **forgery.claims}
        if forgery.issuer is not None:
            claims["iss"] = forgery.issuer
        return issuer.mint(claims, **{**self.header, **forgery.header})

    @property
    def _use(self) -> str | None:
        return "jwt-svid" if self.profile == "jwt-svid" else None

    def mesh(self, *, tokens: Literal["optional", "required"] = "optional") -> Mesh:
        """Return a mesh of the service ``payments`` that takes its tokens, at the instant `NOW`."""
        return Mesh(
            credentials=leaf_of("/ns/payments/sa/server").svid,
            bundles=self.bundles,
            policy=self.policy,
            keys=self.key_sets,
            service="payments",
            clock=lambda: NOW,
            tokens=tokens,
        )


_LONG = {"not_before": datetime(2020, 1, 1, tzinfo=UTC), "not_after": datetime(2050, 1, 1, tzinfo=UTC)}


@cache
def authority() -> CA:
    """Return the authority of our trust domain; whatever day it is, it is valid at the instant `NOW`."""
    return CA(PROD, not_before=_LONG["not_before"], not_after=_LONG["not_after"])


@cache
def leaf_of(path: str) -> Issued:
    """Return a certificate of a workload, as long valid."""
    return authority().issue(path, not_before=_LONG["not_before"], not_after=_LONG["not_after"])


def connected(mesh: Mesh, path: str = PATH) -> Peer:
    """Return a peer of this path that has connected, and has shown no token yet."""
    return mesh.admit(leaf_of(path).chain, request=REQUEST_FOLLOWS)


@cache
def _bundle(jwks: bytes) -> TrustBundle:
    document = authority().bundle().to_spiffe_document()
    keys = document["keys"]
    assert isinstance(keys, list)
    return TrustBundle.from_spiffe_document(PROD, {"keys": [*keys, *json.loads(jwks)["keys"]]})


@cache
def _rsa_keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """Return two keys for all rows; to make one takes its time."""
    return rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)


@cache
def _issuer(algorithm: str, issuer: str | None, use: str | None, *, is_right: bool) -> TokenIssuer:
    """Return the issuer, or somebody else who claims to be it."""
    key = _rsa_keys()[is_right] if algorithm == "RS256" else None
    return TokenIssuer(issuer, algorithm, private_key=key, use=use or "sig", clock=lambda: NOW)

"""Two workloads with certificates, an issuer that both have tokens of, and what they may send as a token."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from typing import Unpack

import attrs

from meshid import Mesh, Policy, Reason
from meshid.testing import CA, Issued, TokenIssuer
from meshid.tokens.key_set import KeySet, KeySets
from tests.helpers.tls_peers import Parts, mesh_of

WEB, DESK = "/ns/shop/sa/web", "/ns/shop/sa/desk"

POLICY = """
version = 1

[environments.prod]
trust_domains = ["prod.example.org"]

[environments.prod.issuers.idp]
profile  = "oidc"
issuer   = "https://idp.example"
audience = ["payments"]

[[peers]]
name   = "web"
spiffe = ["/ns/shop/sa/web"]
tokens = [{ issuer = "idp", principal = "web" }]

[[peers]]
name   = "desk"
spiffe = ["/ns/shop/sa/desk"]
tokens = [{ issuer = "idp", principal = "desk" }]

[[allow]]
id   = "shop"
from = ["/ns/shop/**"]
to   = ["payments"]
http = ["GET /charges/*", "POST /charges/*", "GET /ws"]

[[allow]]
id       = "refunds"
from     = ["@web"]
to       = ["payments"]
http     = ["* /refunds"]
evidence = ["x509", "token"]

[[allow]]
id       = "office"
from     = ["@web"]
to       = ["office"]
evidence = ["x509", "token"]
"""


def policy_with_tokens(text: str = POLICY) -> Policy:
    return Policy.from_toml(text, environment="prod")


class BearerScene:
    """Workloads and tokens.

    Attributes:
        ca: Issues the certificates of prod.
        idp: Issues tokens that the policy knows.
        users: Issues tokens that are none of ours.
        web: One workload.
        desk: Another one.
    """

    def __init__(self, ca: CA | None = None) -> None:
        self.ca = CA("prod.example.org") if ca is None else ca
        self.idp = TokenIssuer("https://idp.example")
        self.users = TokenIssuer("https://users.example")
        self.web, self.desk = self.ca.issue(WEB), self.ca.issue(DESK)

    def keys(self) -> KeySets:
        """Return the keys of the issuer, as the policy names it."""
        return KeySets([KeySet.from_json("idp", self.idp.jwks())])

    def mesh(self, **parts: Unpack[Parts]) -> Mesh:
        """Return a mesh that knows the issuer; *parts* replace its parts."""
        own: Parts = {"policy": policy_with_tokens(), "keys": self.keys()}
        own.update(parts)
        return mesh_of(self.ca, **own)

    def token(self, principal: str = "web", **claims: object) -> str:
        return self.idp.mint({"sub": principal, "aud": "payments", **claims})


def bound_to(issued: Issued) -> dict[str, str]:
    """Return what names a certificate in a token (RFC 8705 section 3.1)."""
    digest = hashlib.sha256(issued.chain[0]).digest()
    return {"x5t#S256": base64.urlsafe_b64encode(digest).rstrip(b"=").decode()}


@attrs.frozen
class Sent:
    """What a client sends as its credentials.

    Attributes:
        make: Makes the values of ``Authorization``, for the workload ``web``.
        reason: Why they are refused; None if they are not.
        counts: Whether they prove anything.
    """

    make: Callable[[BearerScene], list[str]]
    reason: Reason | None = None
    counts: bool = False

    def values(self, scene: BearerScene) -> list[str]:
        return self.make(scene)


def _past() -> float:
    return time.time() - 3600


SENT: dict[str, Sent] = {
    "nothing": Sent(lambda _: []),
    "agreeing": Sent(lambda it: [f"Bearer {it.token()}"], counts=True),
    "agreeing, in lower case": Sent(lambda it: [f"bearer  {it.token()}"], counts=True),
    "bound to this certificate": Sent(lambda it: [f"Bearer {it.token(cnf=bound_to(it.web))}"], counts=True),
    "another scheme": Sent(lambda _: ["Basic Ym9iOnNlY3JldA=="]),
    "of a user": Sent(lambda it: [f"Bearer {it.users.mint({'sub': 'bob', 'aud': 'payments'})}"]),
    "no JWT": Sent(lambda _: ["Bearer gho_16C7e42F292c6912E7710c838347Ae178B4a"]),
    "disagreeing": Sent(lambda it: [f"Bearer {it.token('desk')}"], Reason.TOKEN_DISAGREES),
    "of nobody": Sent(lambda it: [f"Bearer {it.token('nobody')}"], Reason.TOKEN_DISAGREES),
    "bound to another certificate": Sent(
        lambda it: [f"Bearer {it.token(cnf=bound_to(it.desk))}"], Reason.TOKEN_BOUND_ELSEWHERE
    ),
    "expired": Sent(
        lambda it: [f"Bearer {it.token(iat=_past() - 60, exp=_past())}"], Reason.TOKEN_NOT_IN_DATE
    ),
    "for another audience": Sent(lambda it: [f"Bearer {it.token(aud='reports')}"], Reason.TOKEN_AUDIENCE),
    "forged": Sent(
        lambda it: [f"Bearer {it.idp.mint({'sub': 'web', 'aud': 'payments'}, sign=lambda _: bytes(64))}"],
        Reason.TOKEN_SIGNATURE,
    ),
    "not one word": Sent(lambda it: [f"Bearer {it.token()} x"], Reason.TOKEN_MALFORMED),
    "nothing behind Bearer": Sent(lambda _: ["Bearer"], Reason.TOKEN_MALFORMED),
    "two tokens": Sent(lambda it: [f"Bearer {it.token()}"] * 2, Reason.TOKEN_MALFORMED),
    "a token behind another scheme": Sent(
        lambda it: ["Basic Ym9iOnNlY3JldA==", f"Bearer {it.token()}"], Reason.TOKEN_MALFORMED
    ),
}
"""What ``web`` may send: all of it with a request that its certificate alone may make."""

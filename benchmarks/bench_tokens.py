"""What a token costs: a remembered one, beside `Mesh.check`; and a new one, beside PyJWT's `jwt.decode`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jwt
from ratios import Call, measure, show

from meshid import BundleSet, Mesh, Peer, Policy, Request
from meshid.admission.question import Question
from meshid.testing import CA, TokenIssuer
from meshid.tokens import KeySet, KeySets
from meshid.tokens.bearer_token import BearerToken

ISSUER, AUDIENCE, CLIENT = "https://acme.okta.com/oauth2/default", "api://payments", "0oa1b2c3d4e5"
POLICY = Policy.from_toml(
    f"""
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[environments.prod.issuers.okta]
profile = "okta"
issuer = "{ISSUER}"
audience = ["{AUDIENCE}"]
[[peers]]
name = "checkout"
spiffe = ["/ns/checkout/sa/api"]
okta = ["{CLIENT}"]
[[allow]]
id = "checkout-charges-cards"
from = ["@checkout"]
to = ["payments"]
[[allow]]
id = "checkout-refunds"
from = ["@checkout"]
to = ["refunds"]
evidence = ["x509", "token"]
""",
    environment="prod",
)
REMEMBERED_REPEAT, FRESH_REPEAT = 2000, 200


def main() -> None:
    """Measure with the two algorithms that issuers sign with."""
    for algorithm in ("RS256", "ES256"):
        okta = TokenIssuer(ISSUER, algorithm)
        ca = CA("prod.example.org")
        mesh = Mesh(
            bundles=BundleSet([ca.bundle()]),
            policy=POLICY,
            keys=KeySets([KeySet.from_json("okta", okta.jwks())]),
            service="payments",
        )
        peer = mesh.admit(ca.issue("/ns/checkout/sa/api").chain)
        compare_remembered(mesh, peer, okta)
        compare_fresh(mesh, okta, algorithm)


def minted(okta: TokenIssuer, number: int = 0) -> str:
    """Return a token shaped as Okta's are."""
    claims = {
        "aud": AUDIENCE,
        "sub": CLIENT,
        "cid": CLIENT,
        "ver": 1,
        "scp": ["pay"],
        "jti": f"AT.{number:030}",
    }
    return okta.mint(claims)


def compare_remembered(mesh: Mesh, peer: Peer, okta: TokenIssuer) -> None:
    """Compare a request of a known peer with and without a token that is remembered."""
    token = minted(okta)
    request = Request("GET", "/charges/1")
    admission, question = mesh._admission, Question(target="payments", request=request)  # noqa: SLF001 - as the edges do
    bound = mesh.bind(peer, token)
    assert bound.token
    assert mesh.check(bound, target="refunds")

    def copied() -> str:
        # A framework makes each header anew, so that nothing is saved by a hash that a `str` remembers.
        return "".join([token[:1], token[1:]])

    calls: dict[str, Call] = {
        "Mesh.check": lambda: mesh.check(peer, request=request),
        "Mesh.bind": lambda: mesh.bind(peer, copied()),
        "Mesh.check of a bound peer": lambda: mesh.check(bound, request=request),
        "Mesh.bind, then Mesh.check": lambda: mesh.check(mesh.bind(peer, copied()), request=request),
    }
    as_middleware: dict[str, Call] = {
        "a request without a token": lambda: admission.check(peer, question),
        "a request with one": lambda: admission.check(
            admission.bind(peer, BearerToken(copied()), question), question
        ),
    }
    every = {name: _making(call) for name, call in {**calls, **as_middleware}.items()}
    seconds = measure(every, REMEMBERED_REPEAT)
    title = f"{okta.keys[0].algorithm}, remembered, {len(token)} characters"
    show(title, {name: seconds[name] for name in calls}, "Mesh.check")
    show(
        f"{title}, in middleware",
        {name: seconds[name] for name in as_middleware},
        "a request without a token",
    )


def _making(call: Call) -> Callable[[], Call]:
    return lambda: call


def compare_fresh(mesh: Mesh, okta: TokenIssuer, algorithm: str) -> None:
    """Compare the verification of a new token with that of PyJWT, which checks less."""
    tokens = [minted(okta, number) for number in range(FRESH_REPEAT)]
    verifier, now = mesh.snapshot.tokens, mesh._admission.clock()  # noqa: SLF001 - the time is an argument here
    key = jwt.PyJWKSet.from_json(okta.jwks().decode())["key-1"]

    def by_meshid() -> Call:
        rest: Iterator[str] = iter(tokens)
        return lambda: verifier.verify(next(rest), now)

    def by_pyjwt() -> Call:
        rest: Iterator[str] = iter(tokens)
        return lambda: jwt.decode(
            next(rest), key, algorithms=[algorithm], audience=AUDIENCE, issuer=ISSUER, leeway=30
        )

    seconds = measure({"jwt.decode": by_pyjwt, "TokenVerifier.verify": by_meshid}, FRESH_REPEAT)
    show(f"{algorithm}, new", seconds, "jwt.decode")


if __name__ == "__main__":
    main()

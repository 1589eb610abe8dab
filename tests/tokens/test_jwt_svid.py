"""The clauses of JWT-SVID, and those of other standards that are about JWT-SVIDs, one row each.

A row has a token, the bundles with the keys, and what becomes of it. The keys are real, and so is
the policy: its environment is ``prod.example.org`` and federates with ``partner.example``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest

from meshid import REQUEST_FOLLOWS, Mesh, PeerRejected
from meshid.errors import Refused
from meshid.policy import Policy
from meshid.reasons import Reason
from meshid.testing import TokenIssuer
from meshid.tokens.key_set import KeySets
from meshid.tokens.token_verifier import TokenVerifier
from meshid.trust.bundles import BundleSet, TrustBundle
from tests.helpers.provider_tokens import NOW, PROD, authority, leaf_of

PARTNER = "partner.example"
PATH = "/ns/pay/sa/api"
NAME = f"spiffe://{PROD}{PATH}"

POLICY = Policy.from_toml(
    f"""
    version = 1

    [environments.prod]
    trust_domains = ["{PROD}"]
    federates_with = ["{PARTNER}"]

    [environments.prod.issuers.spire]
    profile = "jwt-svid"
    audience = ["payments"]

    [[allow]]
    id = "all"
    why = "Each workload of ours, with its token"
    from = ["/**"]
    to = ["payments"]
    evidence = ["x509", "token"]
    """,
    "prod",
)

SPIRE, OTHERS = (TokenIssuer(None, use="jwt-svid", clock=lambda: NOW) for _ in (PROD, PARTNER))
"""Who signs JWT-SVIDs of the two trust domains; each calls its first key ``key-1``."""
RSA = TokenIssuer(None, "RS256", use="jwt-svid", clock=lambda: NOW)
ROTATED = TokenIssuer(None, use="jwt-svid", clock=lambda: NOW)
ROTATED.new_key("ES384")
ED25519 = TokenIssuer(None, "EdDSA", use="jwt-svid", clock=lambda: NOW)

(OWN_KEY,), (PARTNER_KEY,) = (each.keys for each in (SPIRE, OTHERS))


def good(**changes: object) -> str:
    """Return a JWT-SVID that is right but for these claims; None leaves one out."""
    return SPIRE.mint({"sub": NAME, "aud": "payments", **changes})


def headed(issuer: TokenIssuer = SPIRE, /, **header: Any) -> str:  # noqa: ANN401 - any members
    """Return a JWT-SVID that is right but for its header."""
    return issuer.mint({"sub": NAME, "aud": ["payments"]}, **header)


def keys(*issuers: TokenIssuer) -> list[dict[str, Any]]:
    return [dict(key.jwk()) for issuer in issuers for key in issuer.keys]


def changed(**members: object) -> list[dict[str, Any]]:
    """Return the key of our trust domain with other members; None leaves one out."""
    jwk = {**OWN_KEY.jwk(), **members}
    return [{name: value for name, value in jwk.items() if value is not None}]


@attrs.frozen
class Row:
    """One clause.

    Attributes:
        clause: The document and the section, and what it says.
        token: Makes the token.
        expected: Why it is refused; None if it is right.
        own: The keys in the bundle of our trust domain; None for no bundle.
        partner: Those in the bundle of the partner.
    """

    clause: str
    token: Callable[[], str]
    expected: Reason | None
    own: list[dict[str, Any]] | None = attrs.field(factory=lambda: keys(SPIRE))
    partner: list[dict[str, Any]] = attrs.field(factory=lambda: keys(OTHERS))


MALFORMED, TYPE, ALGORITHM = Reason.TOKEN_MALFORMED, Reason.TOKEN_TYPE, Reason.TOKEN_ALGORITHM
UNKNOWN, UNAVAILABLE, SIGNATURE = (
    Reason.TOKEN_KEY_UNKNOWN,
    Reason.TOKEN_KEYS_UNAVAILABLE,
    Reason.TOKEN_SIGNATURE,
)
AUDIENCE, DATE, CLAIMS = Reason.TOKEN_AUDIENCE, Reason.TOKEN_NOT_IN_DATE, Reason.TOKEN_CLAIMS

J1 = "JWT-SVID 5.1: tokens MUST use the JWS Compact Serialization"
J2 = "JWT-SVID 2.1: an `alg` that is not in the table MUST be rejected, before anything else is processed"
J3 = "JWT-SVID 2: no header but alg, kid and typ MAY be included"
J4 = "JWT-SVID 2.2: the `kid` header is optional"
J5 = "JWT-SVID 2.3: `typ`, if set, MUST be JWT or JOSE"
J6 = "JWT-SVID 3.1: `sub` MUST be the SPIFFE ID of the workload"
J7 = "JWT-SVID 3.2: without `aud`, or without our own value in it, a token MUST be rejected"
J8 = "JWT-SVID 3.3: without `exp`, or after it, a token MUST be rejected; a small leeway is acceptable"
J9 = "RFC 7519 4.1.5 and 4.1.6: nbf and iat"
J10 = "JWT-SVID 6.2: consumers MUST extract the keys for JWT-SVIDs from a bundle"
J11 = "Workload API 6.4: the bundle of the trust domain of the subject MUST be used"
J12 = "JWT-SVID 7.1: validators need not track `jti`"
W1 = "WIT-SVID 2 and 6: a WIT-SVID is no bearer token, and MUST NOT be in an Authorization header"
W6 = "RFC 7800 3.1: a token that is bound to a key is for whoever has proven it"
B2 = "Trust Domain and Bundle 4.2.1: of an unknown `kty`, the JWK MUST be ignored, and only it"
B3 = "Trust Domain and Bundle 4.2.2: a JWK with another `use`, or none, MUST be ignored; case counts"
B4 = "Trust Domain and Bundle 4.1.3: without a usable key, all SVIDs of the trust domain are invalid"
B10 = "Trust Domain and Bundle 3: the bundle of the trust domain is the one to use"
B11 = "RFC 7517 4.1 and 9.2: no symmetric and no private key is published"
B12 = "JWT-SVID 6.1: the `kid` of a JWK MUST be set, and be unique"


def by_the_partner(**header: Any) -> str:  # noqa: ANN401 - any members
    """Return a token that names a workload of ours and is signed by the partner."""
    return OTHERS.mint({"sub": NAME, "aud": "payments"}, **header)


def without_dots() -> str:
    """Return a JWS in the JSON serialization, in base64url so that it may be in a header at all."""
    header, payload, signature = good().split(".")
    text = json.dumps({"protected": header, "payload": payload, "signature": signature})
    return f"{header}.{payload}.{text.encode().hex()}"


ROWS = {
    # -- JWT-SVID -------------------------------------------------------------
    "J1 compact": Row(J1, good, None),
    "J1 JSON in the signature": Row(J1, without_dots, SIGNATURE),
    "J1 five parts": Row(J1, lambda: f"{good()}..", MALFORMED),
    **{
        f"J2 {algorithm}": Row(
            J2,
            partial(headed, RSA, alg=algorithm),
            None,
            own=[{**RSA.keys[0].jwk(), "alg": algorithm}],
        )
        for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
    },
    **{
        f"J2 {algorithm}": Row(J2, partial(headed, issuer), None, own=[dict(issuer.keys[0].jwk())])
        for algorithm, issuer in (
            (name, TokenIssuer(None, name, use="jwt-svid", clock=lambda: NOW))
            for name in ("ES256", "ES384", "ES512")
        )
    },
    "J2 EdDSA": Row(J2, lambda: headed(ED25519), ALGORITHM, own=keys(ED25519)),
    "J2 HS256": Row(J2, lambda: headed(alg="HS256"), ALGORITHM),
    "J2 none": Row(J2, lambda: headed(alg="none", sign=lambda _: b""), ALGORITHM),
    "J2 before the key is looked for": Row(J2, lambda: headed(alg="HS256", kid="nobody's"), ALGORITHM),
    "J2 without alg": Row(J2, lambda: headed(alg=None), ALGORITHM),
    "J3 jku": Row(J3, lambda: headed(jku="https://evil.example/keys"), MALFORMED),
    "J3 jwk": Row(J3, lambda: headed(jwk=dict(PARTNER_KEY.jwk())), MALFORMED),
    "J3 x5c": Row(J3, lambda: headed(x5c=["AAAA"]), MALFORMED),
    "J3 private": Row(J3, lambda: headed(acme=1), MALFORMED),
    "J3 crit": Row(J3, lambda: headed(crit=["exp"], exp=1), ALGORITHM),
    "J4 without kid": Row(J4, lambda: headed(kid=None), None),
    # Which of the two it is would have to be tried, at a stranger's bidding.
    "J4 without kid, two keys": Row(J4, lambda: headed(ROTATED, kid=None), UNKNOWN, own=keys(ROTATED)),
    "J4 kid": Row(J4, lambda: headed(ROTATED, kid="key-2"), None, own=keys(ROTATED)),
    "J4 another kid": Row(J4, lambda: headed(kid="key-9"), UNKNOWN),
    "J4 the kid of another key": Row(
        J4, lambda: headed(ROTATED, key=ROTATED.keys[0], kid="key-2"), ALGORITHM, own=keys(ROTATED)
    ),
    "J5 JWT": Row(J5, lambda: headed(typ="JWT"), None),
    "J5 JOSE": Row(J5, lambda: headed(typ="JOSE"), None),
    "J5 in lower case": Row(J5, lambda: headed(typ="jwt"), TYPE),
    "J5 empty": Row(J5, lambda: headed(typ=""), TYPE),
    "J5 at+jwt": Row(J5, lambda: headed(typ="at+jwt"), TYPE),
    "J5 null": Row(J5, lambda: headed(raw_header=b'{"alg":"ES256","kid":"key-1","typ":null}'), MALFORMED),
    "J6 no path": Row(J6, lambda: good(sub=f"spiffe://{PROD}"), CLAIMS),
    "J6 a slash at the end": Row(J6, lambda: good(sub=f"{NAME}/"), CLAIMS),
    "J6 an empty segment": Row(J6, lambda: good(sub=f"spiffe://{PROD}//api"), CLAIMS),
    "J6 dots": Row(J6, lambda: good(sub=f"{NAME}/../admin"), CLAIMS),
    "J6 percent-encoding": Row(J6, lambda: good(sub=f"{NAME}%2fadmin"), CLAIMS),
    "J6 a query": Row(J6, lambda: good(sub=f"{NAME}?x"), CLAIMS),
    "J6 a line feed": Row(J6, lambda: good(sub=f"{NAME}\n"), CLAIMS),
    "J6 too long": Row(J6, lambda: good(sub=f"spiffe://{PROD}/{'a' * 2048}"), CLAIMS),
    "J7 a text": Row(J7, lambda: good(aud="payments"), None),
    "J7 one of several": Row(J7, lambda: good(aud=["reports", "payments"]), None),
    "J7 none": Row(J7, lambda: good(aud=None), AUDIENCE),
    "J7 an empty array": Row(J7, lambda: good(aud=[]), AUDIENCE),
    "J7 others": Row(J7, lambda: good(aud=["reports", "Payments", "payments "]), AUDIENCE),
    "J7 a prefix": Row(J7, lambda: good(aud="payments/refunds"), AUDIENCE),
    "J7 an array in the array": Row(J7, lambda: good(aud=[["payments"]]), CLAIMS),
    "J7 an object": Row(J7, lambda: good(aud={"payments": True}), CLAIMS),
    "J8 none": Row(J8, lambda: good(exp=None), CLAIMS),
    "J8 past": Row(J8, lambda: good(iat=NOW - 300, exp=NOW - 31), DATE),
    "J8 within the leeway": Row(J8, lambda: good(iat=NOW - 300, exp=NOW - 29), None),
    "J8 a text": Row(J8, lambda: good(exp=str(NOW + 60)), CLAIMS),
    "J8 true": Row(J8, lambda: good(exp=True), CLAIMS),
    "J8 a real number": Row(J8, lambda: good(exp=NOW + 60.5), None),
    "J8 without iat": Row(J8, lambda: good(iat=None), None),
    "J8 without iat, for years": Row(J8, lambda: good(iat=None, exp=NOW + 10**8), DATE),
    "J9 nbf in the future": Row(J9, lambda: good(nbf=NOW + 31), DATE),
    "J9 nbf within the leeway": Row(J9, lambda: good(nbf=NOW + 29), None),
    "J9 iat in the future": Row(J9, lambda: good(iat=NOW + 31), DATE),
    "J9 nbf is a text": Row(J9, lambda: good(nbf=str(NOW)), CLAIMS),
    "J12 the same jti": Row(J12, lambda: good(jti="1"), None),
    "J12 other claims": Row(J12, lambda: good(iss="https://elsewhere.example", groups=["x"]), None),
    "J12 jti is a number": Row(J12, lambda: good(jti=1), CLAIMS),
    # -- Keys of the trust domain of the subject only -------------------------
    "J11 the partner's key": Row(J11, by_the_partner, SIGNATURE),
    "J11 the partner's key, by its name": Row(
        J11,
        partial(by_the_partner, kid="partner"),
        UNKNOWN,
        partner=[{**PARTNER_KEY.jwk(), "kid": "partner"}],
    ),
    "J11 the partner's key, ours has none": Row(J11, by_the_partner, UNKNOWN, own=[]),
    "J11 the partner's key, without kid": Row(J11, partial(by_the_partner, kid=None), SIGNATURE),
    "B10 no bundle of ours": Row(B10, by_the_partner, UNAVAILABLE, own=None),
    "B10 the partner has our key, too": Row(B10, good, None, partner=keys(SPIRE)),
    "B10 only the partner has our key": Row(B10, good, UNKNOWN, own=[], partner=keys(SPIRE)),
    # -- Bundles --------------------------------------------------------------
    **{f"J10 the key is for {use}": Row(J10, good, UNKNOWN, own=changed(use=use)) for use in ("wit-svid",)},
    "B3 sig": Row(B3, good, UNKNOWN, own=changed(use="sig")),
    "B3 in upper case": Row(B3, good, UNKNOWN, own=changed(use="JWT-SVID")),
    "B3 none": Row(B3, good, UNKNOWN, own=changed(use=None)),
    "B2 ML-DSA beside": Row(B2, good, None, own=[{"kty": "AKP", "use": "jwt-svid", "kid": "pq"}, *changed()]),
    "B2 ours is unknown": Row(B2, good, UNKNOWN, own=changed(kty="ec")),
    "B4 no key": Row(B4, good, UNKNOWN, own=[]),
    "B4 a withdrawn key": Row(
        B4, partial(headed, ROTATED, key=ROTATED.keys[0]), UNKNOWN, own=keys(ROTATED)[1:]
    ),
    "B11 symmetric": Row(
        B11,
        lambda: headed(alg="HS256", kid="s"),
        ALGORITHM,
        own=[{"kty": "oct", "k": "c2VjcmV0", "use": "jwt-svid", "kid": "s"}],
    ),
    "B11 private": Row(B11, good, UNKNOWN, own=changed(d="AAAA")),
    "B12 no kid": Row(B12, lambda: headed(kid=None), UNKNOWN, own=changed(kid=None)),
    "B12 the same kid twice": Row(B12, good, UNKNOWN, own=[*keys(SPIRE), *keys(OTHERS)]),
    "B12 the same key twice": Row(B12, good, None, own=[*keys(SPIRE), *keys(SPIRE)]),
    "B12 the alg of the key": Row(B12, good, UNKNOWN, own=changed(alg="ES384")),
    # -- WIT-SVIDs ------------------------------------------------------------
    "W1 wit+jwt": Row(W1, lambda: headed(typ="wit+jwt"), TYPE),
    "W1 a WIT-SVID": Row(
        W1,
        lambda: SPIRE.mint({"sub": NAME, "cnf": {"jwk": dict(PARTNER_KEY.jwk())}}, typ="wit+jwt"),
        TYPE,
        own=[*keys(SPIRE), *changed(use="wit-svid", kid="wit")],
    ),
    "W6 an unknown confirmation": Row(W6, lambda: good(cnf={"kid": "1"}), Reason.TOKEN_UNBOUND),
}


def bundles_of(row: Row) -> BundleSet:
    partner = TrustBundle.from_spiffe_document(PARTNER, {"keys": row.partner})
    if row.own is None:
        return BundleSet([partner])
    (x509,) = json.loads(authority().bundle().to_spiffe_json())["keys"]
    return BundleSet([partner, TrustBundle.from_spiffe_document(PROD, {"keys": [x509, *row.own]})])


def verifier_of(row: Row) -> TokenVerifier:
    domains = POLICY.environment.trust_domains
    return TokenVerifier(POLICY.issuers, KeySets(), bundles_of(row), trust_domains=domains)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_clause(row: Row) -> None:
    verifier = verifier_of(row)
    if row.expected is None:
        verified = verifier.verify(row.token(), NOW)
        assert verified is not None
        assert (verified.principal, verified.issuer.name) == (NAME, "spire")
        return
    with pytest.raises(Refused) as caught:
        verifier.verify(row.token(), NOW)
    assert caught.value.reason is row.expected, caught.value.detail


def mesh_of(row: Row) -> Mesh:
    return Mesh(
        credentials=leaf_of("/ns/pay/sa/payments").svid,
        bundles=bundles_of(row),
        policy=POLICY,
        service="payments",
        clock=lambda: NOW,
    )


# Without a bundle of ours, nobody connects.
@pytest.mark.parametrize(
    "row", [pytest.param(row, id=name) for name, row in ROWS.items() if row.own is not None]
)
def test_the_clause_for_a_peer_that_has_connected(row: Row) -> None:
    mesh = mesh_of(row)
    peer = mesh.admit(leaf_of(PATH).chain, request=REQUEST_FOLLOWS)
    if row.expected is None:
        bound = mesh.bind(peer, row.token())
        assert bound.token is not None
        assert bound.token.principal == NAME
        assert mesh.check(bound, request="GET /").allowed
        return
    with pytest.raises(PeerRejected) as caught:
        mesh.bind(peer, row.token())
    assert caught.value.reason is row.expected, caught.value.detail


def test_a_jwt_svid_of_another_workload_is_not_the_peers() -> None:
    mesh = mesh_of(Row("", good, None))
    peer = mesh.admit(leaf_of(PATH).chain, request=REQUEST_FOLLOWS)
    with pytest.raises(PeerRejected) as caught:
        mesh.bind(peer, good(sub=f"spiffe://{PROD}/ns/dev/sa/api"))
    assert caught.value.reason is Reason.TOKEN_DISAGREES


def test_a_key_that_leaves_the_bundle_takes_its_tokens_along() -> None:
    mesh = mesh_of(Row("", good, None))
    bound = mesh.bind(mesh.admit(leaf_of(PATH).chain, request=REQUEST_FOLLOWS), good())
    mesh.publish(bundles=bundles_of(Row("", good, None, own=keys(ROTATED))))
    assert mesh.check(bound, request="GET /").reason is Reason.TOKEN_KEY_UNKNOWN


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param(f"spiffe://{PARTNER}/ns/pay/sa/api", id="a federated trust domain"),
        pytest.param("spiffe://evil.example/ns/pay/sa/api", id="another trust domain"),
        pytest.param(f"SPIFFE://{PROD}/ns/pay/sa/api", id="the scheme in upper case"),
        pytest.param(f"spiffe://{PROD.upper()}/ns/pay/sa/api", id="the trust domain in upper case"),
        pytest.param(f"spiffe://{PROD}:443/ns/pay/sa/api", id="a port"),
        pytest.param(f"spiffe://user@{PROD}/ns/pay/sa/api", id="a user"),
        pytest.param("spiffe://ban\u212a.example/api", id="a Kelvin sign"),
        pytest.param("api", id="no SPIFFE ID"),
        pytest.param(None, id="nobody"),
        pytest.param([NAME], id="an array"),
    ],
)
def test_a_token_that_names_nobody_of_our_trust_domain_says_nothing_here(subject: object) -> None:
    """Whoever signed it: it is left to the application, and is no evidence about any peer."""
    row = Row("", good, None)
    for issuer in (SPIRE, OTHERS):
        assert verifier_of(row).verify(issuer.mint({"sub": subject, "aud": "payments"}), NOW) is None


def test_each_clause_about_jwt_svids_has_rows() -> None:
    named = " ".join(dict.fromkeys(name.split()[0] for name in ROWS))
    assert named == "J1 J2 J3 J4 J5 J6 J7 J8 J9 J12 J11 B10 J10 B3 B2 B4 B11 B12 W1 W6"

"""The keys for JWT-SVIDs in a bundle: beside the authorities, and neither says anything about the other."""

from __future__ import annotations

import json

import attrs
import pytest

from meshid.errors import InvalidBundle
from meshid.testing import CA, TokenIssuer
from meshid.tokens.bundle_keys import key_set_of
from meshid.trust.authorities import MAX_SKIPPED
from meshid.trust.bundles import TrustBundle

DOMAIN = "prod.example.org"
ROOT = CA(DOMAIN)
SPIRE = TokenIssuer(None, use="jwt-svid")
SPIRE.new_key("ES384")
FIRST, SECOND = (key.jwk() for key in SPIRE.keys)
X509 = ROOT.bundle().to_spiffe_document()["keys"]


def read(*jwt_keys: object, x509: object = X509) -> TrustBundle:
    assert isinstance(x509, list)
    return TrustBundle.from_spiffe_json(DOMAIN, json.dumps({"keys": [*x509, *jwt_keys]}).encode())


def key_ids(bundle: TrustBundle) -> list[str | None]:
    return [key.key_id for key in bundle.jwt_keys]


def test_a_bundle_has_both() -> None:
    bundle = read(FIRST, SECOND)
    assert (bundle.authorities, bundle.skipped) == ((ROOT.certificate,), ())
    assert [(key.key_id, key.algorithm) for key in bundle.jwt_keys] == [
        ("key-1", "ES256"),
        ("key-2", "ES384"),
    ]


def test_it_may_have_one_kind_only() -> None:
    assert read() == ROOT.bundle()
    alone = read(FIRST, x509=[])
    assert (alone.authorities, key_ids(alone)) == ((), ["key-1"])


def test_the_order_of_the_keys_is_no_difference_and_a_key_is_one() -> None:
    assert read(FIRST, SECOND) == read(SECOND, FIRST, FIRST)
    assert hash(read(FIRST, SECOND)) == hash(read(SECOND, FIRST))
    assert len({read(), read(FIRST), read(SECOND), read({**FIRST, "kid": "other"})}) == 4


def test_what_is_written_is_read_again() -> None:
    rsa = TokenIssuer(algorithm="PS256", use="jwt-svid").keys[0].jwk()
    plain = {name: value for name, value in FIRST.items() if name != "alg"}
    bundle = read({**plain, "x5t": "not kept"}, {**rsa, "kid": "rsa"})
    again = TrustBundle.from_spiffe_json(DOMAIN, bundle.to_spiffe_json())
    assert again == bundle
    assert again.jwt_keys == bundle.jwt_keys
    # Nobody said ES256 of the first; that the second is not for RS256 must be said.
    assert json.loads(bundle.to_spiffe_json())["keys"][1:] == [plain, {**rsa, "kid": "rsa"}]


# -- What cannot be used (JWT-SVID 6.1, Trust Domain and Bundle 4.2) ----------


@pytest.mark.parametrize(
    ("jwk", "problem"),
    [
        pytest.param(
            {name: value for name, value in SECOND.items() if name != "kid"},
            "keys[1]: it has no kid, and must have one",
            id="without a kid",
        ),
        pytest.param({**SECOND, "kid": ""}, "keys[1]: kid must be a text", id="an empty kid"),
        pytest.param({**SECOND, "kty": "AKP"}, "keys[1]: kty is 'AKP'", id="an unknown kty"),
        pytest.param({**SECOND, "kty": "oct"}, "keys[1]: it is symmetric", id="symmetric"),
        pytest.param({**SECOND, "d": "AAAA"}, "keys[1]: it is a private key", id="private"),
        pytest.param({**SECOND, "alg": "ES256"}, "keys[1]: alg is 'ES256', which is not", id="another alg"),
        pytest.param({**SECOND, "x": "AAAA"}, "keys[1]: x has 3 bytes", id="no point"),
    ],
)
def test_a_bad_key_costs_that_key(jwk: dict[str, object], problem: str) -> None:
    bundle = read(jwk, FIRST)
    assert (bundle.authorities, key_ids(bundle)) == ((ROOT.certificate,), ["key-1"])
    (skipped,) = bundle.skipped
    assert problem in str(skipped)


def test_of_different_keys_with_one_kid_none_counts() -> None:
    bundle = read({**SECOND, "kid": "same"}, FIRST, {**FIRST, "kid": "same"})
    assert (bundle.authorities, key_ids(bundle)) == ((ROOT.certificate,), ["key-1"])
    assert list(map(str, bundle.skipped)) == ["keys: different keys have the kid 'same'; none of them counts"]


def test_bad_keys_do_not_make_a_bundle_without_authorities_valid() -> None:
    (authority,) = json.loads(ROOT.bundle().to_spiffe_json())["keys"]
    with pytest.raises(InvalidBundle, match="none of its entries can be used"):
        read(FIRST, x509=[{**authority, "use": "x509_svid"}])


def test_bad_keys_alone_leave_a_bundle_that_says_so() -> None:
    bundle = read({**FIRST, "kid": 1}, x509=[])
    assert (bundle.authorities, bundle.jwt_keys, len(bundle.skipped)) == ((), (), 1)


def test_findings_of_each_use_are_bounded() -> None:
    bundle = read(*[{"use": "jwt-svid"}] * 50, *[{"use": "?"}] * 50)
    assert len(bundle.skipped) == 2 * (MAX_SKIPPED + 1)


def test_another_thing_for_a_key_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="each of the jwt_keys must be a TokenKey, not dict"):
        attrs.evolve(ROOT.bundle(), jwt_keys=(FIRST,))  # type: ignore[arg-type]  # the mistake


# -- As a key set -------------------------------------------------------------


def test_the_key_set_of_a_bundle_is_that_of_its_trust_domain() -> None:
    bundle = read(FIRST, SECOND)
    key_set = key_set_of(bundle)
    assert (key_set.issuer, key_set.keys) == (DOMAIN, bundle.jwt_keys)
    assert key_set_of(ROOT.bundle()).keys == ()

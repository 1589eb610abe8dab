"""Key sets: a bad key costs that key, an ambiguous set is refused, and nothing else happens."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.errors import InvalidKeySet
from meshid.testing import SigningKey, TokenIssuer
from meshid.tokens.key_set import MAX_KEY_SET_BYTES, MAX_KEYS, KeySet, KeySets, TokenKey
from meshid.trust.token_key import MAX_KEY_ID
from tests.helpers.forged import damaged

ISSUER = TokenIssuer()
ISSUER.new_key("EdDSA")
FIRST, SECOND = ISSUER.keys
EC, OKP = FIRST.jwk(), SECOND.jwk()
RSA = TokenIssuer(algorithm="RS256").keys[0].jwk()


def document(*keys: object, **members: object) -> bytes:
    return json.dumps({"keys": keys, **members}).encode()


def read(*keys: object, **options: Any) -> KeySet:  # noqa: ANN401 - those of from_json
    return KeySet.from_json("okta", document(*keys), **options)


def without(jwk: dict[str, str], *members: str) -> dict[str, str]:
    return {name: value for name, value in jwk.items() if name not in members}


def texts(key_set: KeySet) -> list[str]:
    return [str(each) for each in key_set.skipped]


def test_what_an_issuer_publishes_is_read() -> None:
    key_set = KeySet.from_json("okta", ISSUER.jwks(), serve_until=7.0)
    assert [(key.key_id, key.algorithm) for key in key_set.keys] == [("key-1", "ES256"), ("key-2", "EdDSA")]
    assert [key.public_key for key in key_set.keys] == [key.private_key.public_key() for key in ISSUER.keys]
    assert (key_set.issuer, key_set.serve_until, key_set.skipped) == ("okta", 7.0, ())


# -- One algorithm a key ------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "meant"),
    [("ES256", "ES256"), ("ES384", "ES384"), ("ES512", "ES512"), ("EdDSA", "EdDSA"), ("PS384", "RS256")],
)
def test_without_alg_the_algorithm_is_that_of_the_kind(algorithm: str, meant: str) -> None:
    jwk = RSA if algorithm == "PS384" else TokenIssuer(algorithm=algorithm).keys[0].jwk()
    (key,) = read(without(jwk, "alg", "use")).keys
    assert key.algorithm == meant


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_an_rsa_key_has_the_algorithm_that_it_says(algorithm: str) -> None:
    assert [key.algorithm for key in read({**RSA, "alg": algorithm}).keys] == [algorithm]


@pytest.mark.parametrize(
    ("kty", "algorithm"),
    [
        ("EC", "ES384"),
        ("EC", "RS256"),
        ("EC", "HS256"),
        ("EC", "none"),
        ("RSA", "ES256"),
        ("RSA", "RSA-OAEP"),
        ("RSA", "RS1"),
        ("OKP", "ES256"),
        ("OKP", ""),
        ("EC", None),
        ("EC", ["ES256"]),
    ],
    ids=ascii,
)
def test_an_algorithm_that_is_not_for_the_key_costs_the_key(kty: str, algorithm: object) -> None:
    (jwk,) = (each for each in (EC, OKP, RSA) if each["kty"] == kty)
    key_set = read({**jwk, "alg": algorithm}, {**EC, "kid": "good"})
    assert [key.key_id for key in key_set.keys] == ["good"]
    assert "keys[0]: alg is" in texts(key_set)[0]


# -- One bad key costs that key -----------------------------------------------


@pytest.mark.parametrize(
    ("jwk", "problem"),
    [
        pytest.param({**OKP, "use": "enc"}, "use is 'enc', and 'sig' is meant", id="for encryption"),
        pytest.param({**OKP, "use": "jwt-svid"}, "use is 'jwt-svid', and 'sig'", id="for JWT-SVIDs"),
        pytest.param({**OKP, "use": "SIG"}, "use is 'SIG'", id="use in upper case"),
        pytest.param({**OKP, "use": None}, "use is a NoneType", id="no use"),
        pytest.param({**OKP, "key_ops": ["encrypt"]}, 'with "verify" in it', id="key_ops without verify"),
        pytest.param({**OKP, "key_ops": "verify"}, "key_ops must be a list", id="key_ops that is no list"),
        pytest.param({**OKP, "kid": ""}, "kid must be a text of 1 to 512", id="an empty kid"),
        pytest.param({**OKP, "kid": 7}, "not a int", id="a number for a kid"),
        pytest.param({**OKP, "kid": None}, "not a NoneType", id="null for a kid"),
        pytest.param({**OKP, "kid": "k" * (MAX_KEY_ID + 1)}, "kid must be a text", id="a long kid"),
        pytest.param({"kty": "oct", "k": "c2VjcmV0", "kid": "s"}, "it is symmetric", id="symmetric"),
        pytest.param({**OKP, "d": OKP["x"]}, "whoever reads it can sign; replace it", id="private"),
        pytest.param({**OKP, "kty": "AKP"}, "kty is 'AKP'", id="another kind"),
        pytest.param({}, "kty is a NoneType", id="nothing"),
    ],
)
def test_a_key_that_cannot_be_used_is_skipped_and_the_set_stands(
    jwk: dict[str, object], problem: str
) -> None:
    key_set = read(jwk, EC)
    assert [key.key_id for key in key_set.keys] == ["key-1"]
    assert [(each.where, problem in each.what) for each in key_set.skipped] == [("keys[0]", True)]


def test_the_text_about_a_private_key_does_not_have_it() -> None:
    assert "c2VjcmV0" not in str(read({**EC, "d": "c2VjcmV0"}, {"kty": "oct", "k": "c2VjcmV0"}))


def test_findings_are_bounded() -> None:
    key_set = read(EC, *({"kty": str(number)} for number in range(50)))
    assert (len(key_set.skipped), texts(key_set)[-1]) == (21, "30 more entries")


@pytest.mark.parametrize("keys", [(), ({"kty": "oct"},)], ids=["no key", "no key that counts"])
def test_a_set_without_a_key_verifies_nothing_and_says_so(keys: tuple[object, ...]) -> None:
    key_set = read(*keys)
    assert key_set.keys == ()
    assert texts(key_set)[0] == "no key in the set can be used, so it verifies no token"


# -- Ambiguity ----------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param((EC, {**OKP, "kid": "key-1"}), id="another key"),
        pytest.param((RSA, {**RSA, "alg": "PS256"}), id="another algorithm"),
    ],
)
def test_two_keys_with_one_name_make_the_set_invalid(keys: tuple[object, ...]) -> None:
    with pytest.raises(InvalidKeySet, match="issuer 'okta': different keys have the same kid: 'key-1'"):
        read(*keys)


def test_the_same_key_twice_is_one() -> None:
    assert len(read(EC, EC, without(OKP, "kid"), {**without(OKP, "kid"), "x5t": "?"}).keys) == 2


def test_a_key_that_does_not_count_has_no_name() -> None:
    assert [key.key_id for key in read(EC, {**RSA, "use": "enc"}).keys] == ["key-1"]


# -- Pinned keys --------------------------------------------------------------


def thumbprint_of(key: SigningKey) -> str:
    (read_key,) = read(key.jwk()).keys
    return read_key.thumbprint


def test_only_pinned_keys_count() -> None:
    key_set = KeySet.from_json("okta", ISSUER.jwks(), pinned=[thumbprint_of(FIRST)])
    assert [key.key_id for key in key_set.keys] == ["key-1"]
    assert texts(key_set) == ["key 'key-2': it is not one of the pinned keys"]


def test_a_pinned_key_that_is_gone_is_said() -> None:
    gone = thumbprint_of(FIRST)
    key_set = read(without(OKP, "kid"), pinned={gone})
    assert key_set.keys == ()
    assert texts(key_set) == [
        "no key in the set can be used, so it verifies no token",
        f"key '{thumbprint_of(SECOND)}': it is not one of the pinned keys",
        f"the pinned key '{gone}' is not in the set",
    ]


def test_the_name_of_a_pinned_key_does_not_make_it_one() -> None:
    assert read({**OKP, "kid": "key-1"}, pinned=[thumbprint_of(FIRST)]).keys == ()


# -- Documents ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"", "it is not JSON", id="nothing"),
        pytest.param(b"<html>", "it is not JSON", id="HTML"),
        pytest.param(b"[]", "a JSON object with an array", id="a list"),
        pytest.param(b"{}", "a JSON object with an array", id="no keys"),
        pytest.param(b'{"keys": {}}', "a JSON object with an array", id="an object for the keys"),
        pytest.param(document("key"), 'an array "keys" of objects', id="a text for a key"),
        pytest.param(b'{"keys": [], "keys": []}', "a member occurs twice", id="keys twice"),
        pytest.param(document(*[{}] * (MAX_KEYS + 1)), "it has 101 keys, and at most 100", id="too many"),
        pytest.param(b" " * (MAX_KEY_SET_BYTES + 1), "at most 1048576 are read", id="too large"),
    ],
)
def test_a_document_that_is_no_key_set_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidKeySet, match=f"^keys of issuer 'okta': .*{problem}"):
        KeySet.from_json("okta", data)


def test_a_document_that_is_not_bytes_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="data must be a JWK Set as bytes"):
        KeySet.from_json("okta", "{}")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="issuer must be the name"):
        KeySet.from_json(None, b"{}")  # type: ignore[arg-type]  # the mistake


ODD = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.just("sig")
MEMBERS = st.dictionaries(
    st.sampled_from(["kty", "kid", "use", "alg", "key_ops", "crv", "x", "y", "n", "e", "d"]), ODD
)


@given(
    st.binary()
    | damaged(document(EC, OKP, RSA))
    | st.lists(st.builds(lambda jwk, odd: {**jwk, **odd}, st.sampled_from([EC, OKP, RSA, {}]), MEMBERS)).map(
        lambda keys: document(*keys)
    )
)
def test_any_bytes_are_a_key_set_or_invalid(data: bytes) -> None:
    try:
        key_set = KeySet.from_json("okta", data)
    except InvalidKeySet as error:
        assert str(error).isascii()
        assert len(str(error)) < 2000
        return
    names = [key.key_id for key in key_set.keys if key.key_id is not None]
    assert len(names) == len(set(names))
    assert all(str(each).isascii() and len(each.what) < 1000 for each in key_set.skipped)
    hash(KeySets([key_set]))


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        pytest.param({"issuer": 1}, "issuer must be the name", id="issuer"),
        pytest.param({"keys": (EC,)}, "each of the keys must be a TokenKey, not dict", id="keys"),
        pytest.param(
            {"serve_until": "1"}, "serve_until must be a POSIX time in seconds, not str", id="a text"
        ),
        pytest.param({"serve_until": True}, "serve_until must be .* not bool", id="true"),
    ],
)
def test_a_part_of_another_type_is_a_mistake(parts: dict[str, Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        KeySet(**{"issuer": "okta", **parts})


@pytest.mark.parametrize("instant", [math.nan, -1, -math.inf], ids=ascii)
def test_keys_that_would_count_for_ever_or_never_did_are_a_mistake(instant: float) -> None:
    with pytest.raises(ValueError, match="serve_until must be a POSIX time in seconds, not"):
        KeySet(issuer="okta", serve_until=instant)


def test_keys_are_read_without_the_library_that_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    assert len(read(EC, OKP, {**RSA, "kid": "rsa"}).keys) == 3


# -- The key sets of all issuers ----------------------------------------------


def test_key_sets_are_a_mapping_by_the_name_of_the_issuer() -> None:
    okta = read(EC)
    aws = KeySet(issuer="aws")
    sets = KeySets([okta, aws])
    assert dict(sets) == {"okta": okta, "aws": aws}
    assert (len(sets), sets["okta"], list(sets)) == (2, okta, ["okta", "aws"])
    assert sets == KeySets([aws, okta])
    assert hash(sets) == hash(KeySets([aws, okta]))
    assert sets != KeySets([okta])
    assert repr(KeySets([aws])).startswith("KeySets([KeySet(issuer='aws', keys=(),")


def test_two_key_sets_of_one_issuer_are_never_merged() -> None:
    with pytest.raises(InvalidKeySet, match="two key sets for issuer 'okta'; they are never merged"):
        KeySets([read(EC), read(OKP)])


@pytest.mark.parametrize("wrong", [7, [7]], ids=["no list", "no key set in it"])
def test_other_key_sets_are_a_mistake(wrong: Any) -> None:  # noqa: ANN401 - the mistake
    with pytest.raises(TypeError, match="must be"):
        KeySets(wrong)


def test_two_keys_are_equal_by_what_they_verify() -> None:
    (one,), (other,) = read(EC).keys, read({**EC, "x5c": ["?"]}).keys
    assert one == other
    assert isinstance(one, TokenKey)
    assert "public_key" not in repr(one)


def test_who_declares_a_key_set_is_an_issuer() -> None:
    with pytest.raises(TypeError, match=r"^declared must be an Issuer or None, not str$"):
        KeySet(issuer="ci", declared="ci")  # type: ignore[arg-type]

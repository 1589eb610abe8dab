from __future__ import annotations

import json

import attrs
import pytest

from meshid.errors import Refused
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.evidence import Binding
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.reasons import Reason
from meshid.testing import CA, TokenIssuer
from meshid.tokens.binding import bind
from meshid.tokens.key_set import KeySet, KeySets
from meshid.tokens.keys_in_force import KeysWanted
from meshid.tokens.token_verifier import TokenVerifier
from meshid.trust.bundles import BundleSet, TrustBundle
from tests.helpers.token_scene import DECLARED, ISS, NOW, OWN, TokenScene, token_scene


@pytest.fixture(name="scene")
def _scene() -> TokenScene:
    return token_scene()


def _refusal(verifier: TokenVerifier, token: str, now: float = NOW) -> Refused:
    with pytest.raises(Refused) as caught:
        verifier.verify(token, now)
    return caught.value


def test_a_good_token_says_who_its_issuer_means(scene: TokenScene) -> None:
    verified = scene.verifier.verify(scene.token(jti="j-1"), NOW)
    assert verified is not None
    assert (verified.issuer, verified.principal) == (DECLARED, "api")
    assert (verified.key_id, verified.token_id) == (scene.issuer.keys[-1].key_id, "j-1")
    assert (verified.expires_at, verified.confirmation) == (NOW + 300, None)


def test_what_is_bound_is_evidence_that_still_counts_until_it_ends(scene: TokenScene) -> None:
    verified = scene.verifier.verify(scene.token(), NOW)
    assert verified is not None
    evidence = bind(verified, b"any leaf")
    assert (evidence.issuer, evidence.principal, evidence.binding) == ("acme", "api", Binding.NONE)
    scene.verifier.check_current(evidence, NOW + 329)
    with pytest.raises(Refused) as caught:
        scene.verifier.check_current(evidence, NOW + 330)
    assert caught.value.reason is Reason.TOKEN_NOT_IN_DATE


def _verifier(scene: TokenScene, jwks: bytes | None = None, **changes: object) -> TokenVerifier:
    issuer = attrs.evolve(DECLARED, **changes)  # type: ignore[arg-type]
    key_set = KeySet.from_json("acme", jwks or scene.issuer.jwks())
    return TokenVerifier([issuer], KeySets([key_set]), BundleSet(), trust_domains=[OWN])


def test_a_withdrawn_key_stops_its_tokens(scene: TokenScene) -> None:
    verified = scene.verifier.verify(scene.token(), NOW)
    assert verified is not None
    evidence = bind(verified, b"any leaf")
    rotated = _verifier(scene, scene.stranger.jwks())
    with pytest.raises(Refused) as caught:
        rotated.check_current(evidence, NOW)
    assert caught.value.reason is Reason.TOKEN_KEY_UNKNOWN
    assert not isinstance(caught.value, KeysWanted)


def test_an_issuer_that_is_declared_otherwise_has_its_tokens_verified_again(scene: TokenScene) -> None:
    verified = scene.verifier.verify(scene.token(), NOW)
    assert verified is not None
    evidence = bind(verified, b"any leaf")
    _verifier(scene, place="elsewhere in the file").check_current(evidence, NOW)
    for verifier in (
        _verifier(scene, audience=("others",)),
        _verifier(scene, name="renamed"),
        TokenVerifier([], KeySets(), BundleSet()),
    ):
        with pytest.raises(Refused) as caught:
            verifier.check_current(evidence, NOW)
        assert caught.value.reason is Reason.TOKEN_ISSUER_UNKNOWN
    with pytest.raises(Refused):
        scene.verifier.check_current(attrs.evolve(evidence, declared=None), NOW)


def test_without_issuers_nothing_is_judged() -> None:
    assert TokenVerifier([], KeySets(), BundleSet()).verify("not even a token", NOW) is None


def test_keys_that_were_never_read_or_are_stale_are_wanted(scene: TokenScene) -> None:
    never = TokenVerifier([DECLARED], KeySets(), BundleSet())
    key_set = KeySet.from_json("acme", scene.issuer.jwks(), serve_until=NOW + 10)
    stale = TokenVerifier([DECLARED], KeySets([key_set]), BundleSet())
    assert stale.verify(scene.token(), NOW + 9) is not None
    for verifier in (never, stale):
        refusal = _refusal(verifier, scene.token(), NOW + 10)
        assert isinstance(refusal, KeysWanted)
        assert (refusal.reason, refusal.issuer) == (Reason.TOKEN_KEYS_UNAVAILABLE, "acme")


def test_an_unknown_key_is_wanted(scene: TokenScene) -> None:
    refusal = _refusal(scene.verifier, scene.token({"kid": "new"}))
    assert isinstance(refusal, KeysWanted)
    assert (refusal.reason, refusal.issuer) == (Reason.TOKEN_KEY_UNKNOWN, "acme")


def test_only_pinned_keys_count_whoever_published_the_set(scene: TokenScene) -> None:
    first, second = KeySet.from_json("acme", scene.issuer.jwks()).keys
    assert _verifier(scene, pinned_keys=(second.thumbprint,)).verify(scene.token(), NOW) is not None
    refusal = _refusal(_verifier(scene, pinned_keys=(first.thumbprint,)), scene.token())
    assert refusal.reason is Reason.TOKEN_KEY_UNKNOWN


def test_issuers_that_a_token_does_not_tell_apart_are_a_mistake() -> None:
    twin = attrs.evolve(DECLARED, name="twin")
    with pytest.raises(ValueError, match="two issuers have the same 'issuer'"):
        TokenVerifier([DECLARED, twin], KeySets(), BundleSet())


def test_a_token_is_a_text(scene: TokenScene) -> None:
    with pytest.raises(TypeError, match="a token must be a str, not bytes"):
        scene.verifier.verify(b"...", NOW)  # type: ignore[arg-type]


def test_the_issuer_is_compared_octet_by_octet(scene: TokenScene) -> None:
    for other in (ISS + "/", ISS.upper(), ISS.replace("https", "http"), "https://else.example"):
        assert scene.verifier.verify(scene.token(iss=other), NOW) is None


def _bundle(domain: TrustDomain, issuer: TokenIssuer) -> TrustBundle:
    document = json.loads(CA(domain).bundle().to_spiffe_json())
    document["keys"] += [issuer.keys[-1].jwk()]
    return TrustBundle.from_spiffe_json(domain, json.dumps(document).encode())


def test_a_jwt_svid_counts_while_its_trust_domain_is_ours_and_has_its_key() -> None:
    spire = Issuer(
        name="spire", profile=IssuerProfile.JWT_SVID, issuer=None, audience=("payments",), principal="sub"
    )
    signer, successor = (TokenIssuer(None, use="jwt-svid", clock=lambda: NOW) for _ in range(2))
    bundles = BundleSet([_bundle(OWN, signer)])

    def verifier(bundles: BundleSet, *domains: TrustDomain) -> TokenVerifier:
        return TokenVerifier([DECLARED, spire], KeySets(), bundles, trust_domains=domains)

    verified = verifier(bundles, OWN).verify(
        signer.mint({"sub": f"spiffe://{OWN}/api", "aud": "payments"}), NOW
    )
    assert verified is not None
    evidence = bind(verified, b"any leaf")
    verifier(bundles, TrustDomain("new.example"), OWN).check_current(evidence, NOW)
    for other, reason in (
        (verifier(bundles, TrustDomain("new.example")), Reason.TOKEN_ISSUER_UNKNOWN),
        (verifier(BundleSet(), OWN), Reason.TOKEN_KEYS_UNAVAILABLE),
        (verifier(BundleSet([_bundle(OWN, successor)]), OWN), Reason.TOKEN_KEY_UNKNOWN),
    ):
        with pytest.raises(Refused) as caught:
            other.check_current(evidence, NOW)
        assert caught.value.reason is reason


def test_the_name_of_a_claimed_issuer_decides_before_a_spiffe_id_does(scene: TokenScene) -> None:
    spire = Issuer(
        name="spire", profile=IssuerProfile.JWT_SVID, issuer=None, audience=("payments",), principal="sub"
    )
    key_set = KeySet.from_json("acme", scene.issuer.jwks())
    verifier = TokenVerifier([spire, DECLARED], KeySets([key_set]), BundleSet(), trust_domains=[OWN])
    verified = verifier.verify(scene.token(sub=f"spiffe://{OWN}/api"), NOW)
    assert verified is not None
    assert verified.issuer == DECLARED
    assert _refusal(verifier, scene.token(iss="else", sub=f"spiffe://{OWN}/api")).reason is not None
    assert verifier.verify(scene.token(iss="else", sub="spiffe://else.example/api"), NOW) is None

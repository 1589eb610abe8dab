from __future__ import annotations

import sys
from collections.abc import Iterator

import attrs
import jwt
import pytest
from jwt.algorithms import HMACAlgorithm

from meshid.errors import MissingExtra, Refused
from meshid.reasons import Reason
from meshid.tokens.key_set import KeySet, KeySets
from meshid.tokens.token_signature import require_extra
from meshid.tokens.token_verifier import TokenVerifier
from meshid.trust.bundles import BundleSet
from tests.helpers.token_scene import DECLARED, NOW, token_scene

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@pytest.fixture
def _without_pyjwt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    require_extra.cache_clear()
    monkeypatch.setitem(sys.modules, "jwt", None)
    yield
    require_extra.cache_clear()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_asymmetric_algorithm_verifies(algorithm: str) -> None:
    scene = token_scene()
    rsa = scene.rsa.private_key if algorithm[1] == "S" and algorithm[0] in "RP" else None
    issuer = type(scene.issuer)(DECLARED.issuer, algorithm, private_key=rsa, clock=lambda: NOW)
    verifier = TokenVerifier([DECLARED], KeySets([KeySet.from_json("acme", issuer.jwks())]), BundleSet())
    token = issuer.mint(scene.claims())
    assert verifier.verify(token, NOW) is not None
    assert verifier.verify(issuer.mint(scene.claims(), kid=None), NOW) is not None
    with pytest.raises(Refused) as caught:
        verifier.verify(token[:-8] + ("A" * 8 if token[-8:] != "A" * 8 else "E" * 8), NOW)
    assert caught.value.reason is Reason.TOKEN_SIGNATURE


def test_a_key_that_is_not_for_its_algorithm_verifies_nothing() -> None:
    """No key set has such a key; whoever makes one by hand is not trusted to have looked."""
    scene = token_scene()
    (rsa, ec) = KeySet.from_json("acme", scene.issuer.jwks()).keys
    mixed = KeySet(issuer="acme", keys=(attrs.evolve(ec, public_key=rsa.public_key),))
    with pytest.raises(Refused) as caught:
        TokenVerifier([DECLARED], KeySets([mixed]), BundleSet()).verify(scene.token(), NOW)
    assert caught.value.reason is Reason.TOKEN_ALGORITHM


def test_what_another_library_registers_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = jwt.api_jws._jws_global_obj  # noqa: SLF001 - what `jwt.register_algorithm` changes
    monkeypatch.setitem(shared._algorithms, "ES256", HMACAlgorithm(HMACAlgorithm.SHA256))  # noqa: SLF001
    assert token_scene().verifier.verify(token_scene().token(), NOW) is not None
    assert set(require_extra().get_algorithms()) == set(ALGORITHMS)


@pytest.mark.usefixtures("_without_pyjwt")
def test_without_pyjwt_a_token_is_refused_and_the_remedy_said() -> None:
    with pytest.raises(MissingExtra, match="oidc"):
        require_extra()
    with pytest.raises(Refused) as caught:
        token_scene().verifier.verify(token_scene().token(), NOW)
    assert caught.value.reason is Reason.TOKEN_KEYS_UNAVAILABLE
    assert "pip install 'pyjwt[crypto]" in caught.value.detail
    assert token_scene().verifier.verify("opaque", NOW) is None


def test_a_backend_that_raises_is_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        msg = "out of memory"
        raise MemoryError(msg)

    algorithm = require_extra().get_algorithm_by_name("ES256")
    monkeypatch.setattr(algorithm, "verify", broken)
    with pytest.raises(Refused) as caught:
        token_scene().verifier.verify(token_scene().token(), NOW)
    assert caught.value.reason is Reason.TOKEN_SIGNATURE

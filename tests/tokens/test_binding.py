"""A token that is bound to something counts only on the connection that it is bound to."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from meshid.certificates.jwk import members_of, thumbprint
from meshid.certificates.reading import public_key_of, read_leaf
from meshid.errors import Refused
from meshid.policy.evidence import Binding, TokenEvidence
from meshid.reasons import Reason
from meshid.testing import CA
from meshid.tokens.binding import bind, certificate_thumbprint
from meshid.tokens.token_verifier import VerifiedToken
from tests.helpers.token_scene import DECLARED, NOW, token_scene

AUTHORITY = CA("prod.example.org")
KEY = ec.generate_private_key(ec.SECP256R1())
LEAF, RENEWED = (AUTHORITY.issue("/api", key=KEY).chain[0] for _ in range(2))
(OTHER, *_) = AUTHORITY.issue("/api").chain
THUMBPRINT = thumbprint(KEY.public_key())


def _verified(cnf: dict[str, Any] | None, **declared: Any) -> VerifiedToken:  # noqa: ANN401 - any fields
    verified = token_scene().verifier.verify(token_scene().token(None, cnf=cnf, jti="j-1"), NOW)
    assert verified is not None
    return attrs.evolve(verified, issuer=attrs.evolve(DECLARED, **declared))


def _refusal(verified: VerifiedToken, leaf: bytes) -> tuple[Reason, str]:
    with pytest.raises(Refused) as caught:
        bind(verified, leaf)
    return caught.value.reason, caught.value.detail


def test_the_evidence_has_what_the_record_needs() -> None:
    verified = _verified({"x5t#S256": certificate_thumbprint(LEAF)})
    assert bind(verified, LEAF) == TokenEvidence(
        issuer="acme",
        principal="api",
        binding=Binding.CERTIFICATE,
        key=verified.key,
        key_id=verified.key_id,
        token_id=verified.token_id,
        expires_at=NOW + 300,
    )
    assert bind(verified, LEAF).declared == DECLARED


def test_the_thumbprint_of_a_certificate_is_that_of_the_standard() -> None:
    """RFC 8705 section 3.1: "the base64url-encoded SHA-256 hash [...] of the DER encoding"."""
    digest = hashlib.sha256(LEAF).digest()
    assert certificate_thumbprint(LEAF) == base64.urlsafe_b64encode(digest).decode().removesuffix("=")


def test_a_token_that_is_bound_to_another_certificate_was_stolen() -> None:
    verified = _verified({"x5t#S256": certificate_thumbprint(LEAF)})
    for leaf in (OTHER, RENEWED, LEAF[:-1]):
        reason, detail = _refusal(verified, leaf)
        assert reason is Reason.TOKEN_BOUND_ELSEWHERE
        assert "another certificate" in detail


def test_a_token_that_is_bound_to_a_key_outlives_a_renewal_with_that_key() -> None:
    for cnf in ({"jkt": THUMBPRINT}, {"jwk": members_of(KEY.public_key())}):
        verified = _verified(cnf, confirms_by_tls_key=True)
        assert bind(verified, LEAF).binding is Binding.KEY
        assert bind(verified, RENEWED).binding is Binding.KEY
        for leaf in (OTHER, b"no certificate"):
            reason, detail = _refusal(verified, leaf)
            assert reason is Reason.TOKEN_BOUND_ELSEWHERE
            assert "another key" in detail


def test_only_an_issuer_that_says_so_is_bound_by_the_key_of_the_certificate() -> None:
    """RFC 9449 section 7.1: otherwise there is a DPoP proof to be checked, which nobody checks here."""
    for cnf in ({"jkt": THUMBPRINT}, {"jkt": THUMBPRINT, "x5t#S256": certificate_thumbprint(LEAF)}):
        reason, detail = _refusal(_verified(cnf), LEAF)
        assert reason is Reason.TOKEN_UNBOUND
        assert "confirm_by_tls_key" in detail


def test_all_that_a_token_is_bound_to_must_be_there() -> None:
    both = {"jkt": THUMBPRINT, "x5t#S256": certificate_thumbprint(LEAF)}
    verified = _verified(both, confirms_by_tls_key=True)
    assert bind(verified, LEAF).binding is Binding.CERTIFICATE
    assert _refusal(verified, RENEWED)[0] is Reason.TOKEN_BOUND_ELSEWHERE
    verified = _verified({**both, "jkt": THUMBPRINT[::-1][1:] + "A"}, confirms_by_tls_key=True)
    assert _refusal(verified, LEAF)[0] is Reason.TOKEN_BOUND_ELSEWHERE


def test_binding_can_be_required() -> None:
    assert bind(_verified(None), LEAF).binding is Binding.NONE
    reason, detail = _refusal(_verified(None, binding_required=True), LEAF)
    assert reason is Reason.TOKEN_UNBOUND
    assert 'binding = "required"' in detail
    bound = _verified({"x5t#S256": certificate_thumbprint(LEAF)}, binding_required=True)
    assert bind(bound, LEAF).is_bound


@pytest.mark.parametrize("cnf", [{}, {"jkt": "x"}, {"x5t#S256": 1}, {"x": 1}], ids=str)
def test_what_cannot_be_checked_is_never_passed_over(cnf: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        _verified(cnf)
    assert caught.value.reason is Reason.TOKEN_UNBOUND


WRITTEN = {
    "hex": (hashlib.sha256(LEAF).hexdigest(), "hex"),
    "HEX": (hashlib.sha256(LEAF).hexdigest().upper(), "hex"),
    "colons": (hashlib.sha256(LEAF).digest().hex(":"), "hex with colons"),
    "padded": (certificate_thumbprint(LEAF) + "=", "base64url with padding"),
    "base64": ("+/" * 21 + "A", "base64 with '+' and '/'"),
    "SHA-1": (certificate_thumbprint(LEAF)[:27], "SHA-1, not SHA-256"),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_thumbprint_that_is_written_in_another_way_is_told_by_its_looks(name: str) -> None:
    text, looks = WRITTEN[name]
    with pytest.raises(Refused) as caught:
        _verified({"x5t#S256": text})
    assert caught.value.detail.endswith(f"it looks like {looks}")


def test_each_digest_has_one_spelling_only() -> None:
    """Four texts of 43 characters are the same octets to a careless reader."""
    text = certificate_thumbprint(LEAF)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twins = [text[:-1] + alphabet[alphabet.index(text[-1]) + spare] for spare in (1, 2, 3)]
    assert len({base64.urlsafe_b64decode(twin + "=") for twin in [text, *twins]}) == 1
    for twin in twins:
        with pytest.raises(Refused):
            _verified({"x5t#S256": twin})


def test_the_leaf_of_a_real_handshake_has_the_key_that_is_compared() -> None:
    assert thumbprint(public_key_of(read_leaf(LEAF))) == THUMBPRINT

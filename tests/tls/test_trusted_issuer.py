"""OpenSSL lets in whom the verifier lets in: it is told of an issuer only what it needs for that."""

from __future__ import annotations

import ssl
from functools import cache

import pytest
from cryptography import x509
from hypothesis import given

from meshid import BundleSet, ChainVerifier, PeerRejected, Reason
from meshid.certificates.reading import to_der
from meshid.testing import CA, Issued
from meshid.tls.trusted_issuer import stub_of, trust_issuer
from tests.helpers.chain_case import Case
from tests.helpers.chain_cases import CASES
from tests.helpers.forged import children, damaged, signed
from tests.helpers.tls_peers import Memory
from tests.helpers.world import PATH, World, key_id, padding

ROOT = CA("prod.example.org")
ISSUING = ROOT.intermediate(extra=[key_id(b"the key of issuing"), padding(1)])
LEAF = ISSUING.issue(PATH, subject="CN=api", dns=["api.example"])
TBS, ALGORITHM, _ = children(LEAF.chain[0])
VERIFIER = ChainVerifier(BundleSet([ROOT.bundle()]))


def judging(issuer: bytes) -> ssl.SSLContext:
    """Return the context of a server that trusts one issuer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own().load_into(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trust_issuer(context, issuer)
    return context


@cache
def own() -> Issued:
    return ROOT.issue("/ns/pay/sa/payments")


def shake_hands(client: Issued, issuer: bytes) -> None:
    Memory(judging(issuer), client.client_context()).shake_hands()


ADMITTED = [case for case in CASES if case.wire and case.role == "client" and case.reason is Reason.ALLOWED]


@pytest.mark.parametrize("case", ADMITTED, ids=lambda case: case.name)
def test_openssl_lets_in_each_peer_that_the_verifier_lets_in(case: Case, world: World) -> None:
    made = case.make(world)
    assert isinstance(made, Issued)
    peer = ChainVerifier(case.bundles(world), revocations=world.revocations).verify(made.chain)
    shake_hands(made, peer.chain[1])


@given(damaged(TBS))
def test_openssl_lets_in_any_leaf_that_the_verifier_lets_in(tbs: bytes) -> None:
    """What is wrong with a leaf that an authority has signed, the verifier finds, and can say what it is."""
    odd = signed(tbs, ALGORITHM, ISSUING.key)
    try:
        peer = VERIFIER.verify([odd, *LEAF.chain[1:]])
    except PeerRejected:
        return
    leaf = x509.load_der_x509_certificate(odd)
    shake_hands(Issued(leaf, LEAF.key, LEAF.intermediates), peer.chain[1])


def test_openssl_lets_in_nobody_whom_another_key_has_signed() -> None:
    namesake = CA("prod.example.org", subject=ISSUING.certificate.subject.rfc4514_string())
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(namesake.issue(PATH), to_der(ISSUING.certificate))


def test_a_stub_has_the_names_the_key_and_the_dates_of_its_issuer_and_nothing_to_judge_it_by() -> None:
    stub, issuer = x509.load_der_x509_certificate(stub_of(to_der(ISSUING.certificate))), ISSUING.certificate
    same = ("version", "serial_number", "issuer", "subject", "not_valid_before_utc", "not_valid_after_utc")
    assert [getattr(stub, each) for each in same] == [getattr(issuer, each) for each in same]
    assert stub.public_key() == issuer.public_key()
    (extension,) = stub.extensions
    assert extension.critical
    assert extension.value == x509.BasicConstraints(ca=True, path_length=None)

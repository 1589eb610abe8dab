"""Why no path was found: the reason fits the case, and its search is bounded."""

from __future__ import annotations

from typing import NoReturn

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import VerificationError

from meshid.errors import PeerRejected
from meshid.names.spiffe_id import TrustDomain
from meshid.reasons import Reason
from meshid.testing import CA, Issued
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.verification.diagnosis import MAX_SIGNATURE_CHECKS, _Budget
from meshid.verification.verifier import ChainVerifier, _plain
from tests.helpers.forged import with_digest
from tests.helpers.world import DEV, PATH, PROD, World, alone, called, key_id, namesake, sending


def refusal_of(issued: Issued, bundles: BundleSet) -> PeerRejected:
    with pytest.raises(PeerRejected) as caught:
        ChainVerifier(bundles).verify(issued.chain)
    return caught.value


def all_of(*authorities: CA) -> BundleSet:
    domains = {authority.trust_domain for authority in authorities}
    pems = {
        domain: b"".join(each.pem for each in authorities if each.trust_domain == domain)
        for domain in domains
    }
    return BundleSet([TrustBundle.from_pem(domain, pem) for domain, pem in pems.items()])


def test_a_foreign_authority_is_named(world: World) -> None:
    refusal = refusal_of(world.dev.issue(PROD), world.bundles)
    assert refusal.reason is Reason.FOREIGN_AUTHORITY
    assert refusal.detail == "the leaf claims prod.example.org, and an authority of dev.example.org signed it"
    assert refusal.decision.name == PROD


def test_a_foreign_authority_is_found_above_several_intermediates() -> None:
    prod, dev = CA("prod.example.org"), CA("dev.example.org")
    forged = dev.intermediate().intermediate().issue(PROD)
    assert refusal_of(forged, all_of(prod, dev)).reason is Reason.FOREIGN_AUTHORITY


def test_an_authority_of_two_trust_domains_is_not_foreign_to_either() -> None:
    shared = CA("prod.example.org")
    bundles = BundleSet(
        [TrustBundle.from_pem(domain, shared.pem) for domain in ("prod.example.org", "dev.example.org")]
    )
    broken = shared.intermediate(usages={"crl_sign"}).issue(PATH)
    assert refusal_of(broken, bundles).reason is Reason.INVALID_PATH
    assert str(ChainVerifier(bundles).verify(shared.issue(DEV).chain).spiffe_id) == DEV


def test_a_foreign_authority_is_not_blamed_for_its_name_alone(world: World) -> None:
    stranger = CA("prod.example.org", subject=called(world.dev))
    refusal = refusal_of(stranger.issue(PATH), world.bundles)
    assert refusal.reason is Reason.UNKNOWN_AUTHORITY


def test_a_missing_link_is_named(world: World) -> None:
    refusal = refusal_of(alone(world.issuing.issue(PATH)), world.bundles)
    assert refusal.reason is Reason.UNKNOWN_AUTHORITY
    assert f"has no authority called {called(world.issuing)!r}" in refusal.detail
    assert "sent beside the leaf: 0" in refusal.detail


def test_the_missing_link_is_named_above_what_was_sent(world: World) -> None:
    top = CA("prod.example.org", subject="CN=nowhere").intermediate(subject="CN=half way")
    refusal = refusal_of(top.issue(PATH), world.bundles)
    assert "has no authority called 'CN=nowhere'" in refusal.detail
    assert "sent beside the leaf: 1" in refusal.detail


def test_a_key_that_was_renewed_under_the_same_name_is_mentioned(world: World) -> None:
    renewed = CA("prod.example.org", subject=called(world.prod))
    refusal = refusal_of(renewed.issue(PATH), world.bundles)
    assert refusal.reason is Reason.UNKNOWN_AUTHORITY
    assert (
        f"has an authority called {called(world.prod)!r}, and its key has not signed this" in refusal.detail
    )


def test_another_kind_of_key_under_the_same_name_makes_no_difference(world: World) -> None:
    subject = called(world.prod)
    renewed = CA("prod.example.org", subject=subject, key=rsa.generate_private_key(65537, 2048))
    assert refusal_of(renewed.issue(PATH), world.bundles).reason is Reason.UNKNOWN_AUTHORITY


def test_an_empty_bundle_has_no_authority(world: World) -> None:
    bundles = BundleSet([TrustBundle(TrustDomain("prod.example.org"), ())])
    refusal = refusal_of(world.prod.issue(PATH), bundles)
    assert refusal.reason is Reason.UNKNOWN_AUTHORITY
    assert "prod.example.org has no authority called" in refusal.detail


def test_a_leaf_signed_by_its_own_key_is_self_signed_even_with_a_chain_beside_it(world: World) -> None:
    own = CA("prod.example.org", ca=False, usages={"digital_signature"}, uris=[PROD])
    refusal = refusal_of(sending(Issued(own.certificate, own.key, ()), world.issuing), world.bundles)
    assert refusal.reason is Reason.SELF_SIGNED


def test_a_leaf_with_the_name_of_its_issuer_is_not_self_signed_for_that(world: World) -> None:
    leaf = world.prod.issue(PATH, subject=called(world.prod), extra=[key_id(b"the leaf's")])
    assert ChainVerifier(world.bundles).verify(leaf.chain).spiffe_id.path == PATH
    broken = CA("prod.example.org", subject=called(world.prod)).issue(PATH, subject=called(world.prod))
    assert refusal_of(broken, world.bundles).reason is Reason.UNKNOWN_AUTHORITY


def test_an_expired_authority_is_not_blamed_if_another_one_could_have_been_used(world: World) -> None:
    fresh = CA("prod.example.org")
    old = CA("prod.example.org", subject=called(fresh), key=fresh.key, not_after=world.past)
    broken = fresh.intermediate(usages={"crl_sign"}).issue(PATH)
    assert refusal_of(broken, all_of(old, fresh)).reason is Reason.INVALID_PATH
    assert refusal_of(broken, all_of(old)).reason is Reason.AUTHORITY_NOT_IN_DATE


def test_the_backends_words_are_quoted(world: World) -> None:
    refusal = refusal_of(world.prod.intermediate(usages=None).issue(PATH), world.bundles)
    assert refusal.detail.startswith("the X.509 backend says: ")
    assert "keyCertSign" in refusal.detail
    assert refusal.detail.isascii()


def test_the_signatures_that_are_checked_to_explain_a_failure_are_bounded(world: World) -> None:
    # As many authorities of dev as there are checks, all called like the one that signed.
    namesakes = [CA("dev.example.org", subject="CN=dev") for _ in range(MAX_SIGNATURE_CHECKS)]
    signer = CA("dev.example.org", subject="CN=dev")
    forged = signer.issue(PROD)
    found = refusal_of(forged, all_of(world.prod, *namesakes[1:], signer))
    exhausted = refusal_of(forged, all_of(world.prod, *namesakes, signer))
    assert found.reason is Reason.FOREIGN_AUTHORITY
    assert exhausted.reason is Reason.UNKNOWN_AUTHORITY


def test_intermediates_that_sign_each_other_in_a_ring_come_to_an_end(world: World) -> None:
    first = CA("prod.example.org", subject="CN=first")
    second = CA("prod.example.org", subject="CN=second")
    ring = [
        _signed_by(first, second),
        _signed_by(second, first),
    ]
    leaf = first.issue(PATH)
    refusal = refusal_of(
        Issued(leaf.certificate, leaf.key, tuple(each.certificate for each in ring)), world.bundles
    )
    assert refusal.reason is Reason.UNKNOWN_AUTHORITY


def _signed_by(issuer: CA, subject: CA) -> CA:
    return issuer.intermediate(subject=called(subject), key=subject.key)


def test_a_refusal_keeps_what_caused_it(world: World) -> None:
    refusal = refusal_of(namesake(world.prod).issue(PROD), world.bundles)
    assert isinstance(refusal.__cause__, VerificationError)


def test_where_no_name_leads_to_an_authority_no_path_is_searched_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshid.verification.verifier.search", never)
    refusal = refusal_of(world.stranger.intermediate().issue(PROD), world.bundles)
    assert refusal.reason is Reason.UNKNOWN_AUTHORITY
    assert refusal.__cause__ is None


def never(*_: object) -> NoReturn:
    pytest.fail("a path was searched for")


def test_several_authorities_of_one_name_are_mentioned(world: World) -> None:
    renewed_twice = [CA("prod.example.org", subject=called(world.prod)) for _ in range(2)]
    refusal = refusal_of(namesake(world.prod).issue(PATH), all_of(*renewed_twice))
    assert refusal.reason is Reason.UNKNOWN_AUTHORITY
    assert f"has several authorities called {called(world.prod)!r}" in refusal.detail


def test_a_foreign_authority_is_not_blamed_for_an_intermediate_that_did_not_sign(world: World) -> None:
    # Dev's intermediate is no secret, so anybody can send it beside a leaf that names it.
    innocent = world.dev.intermediate()
    forged = sending(namesake(innocent).issue(PROD, authority_key_id=False), innocent)
    assert refusal_of(forged, world.bundles).reason is Reason.UNKNOWN_AUTHORITY


def test_signatures_of_strangers_are_not_checked_to_find_a_foreign_owner(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[x509.Certificate] = []
    issued = _Budget.issued

    def noting(budget: _Budget, issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
        checked.append(issuer)
        return issued(budget, issuer, certificate)

    monkeypatch.setattr(_Budget, "issued", noting)
    leaf = world.stranger.intermediate().intermediate().issue(PROD)
    assert refusal_of(leaf, world.bundles).reason is Reason.UNKNOWN_AUTHORITY
    assert checked == [leaf.certificate]


# -- Algorithms ---------------------------------------------------------------


def test_an_intermediate_that_is_signed_in_a_way_that_is_not_accepted_is_named(world: World) -> None:
    leaf = world.issuing.issue(PATH)
    sha1 = x509.load_der_x509_certificate(with_digest(world.issuing.certificate, world.prod, 1))
    refusal = refusal_of(Issued(leaf.certificate, leaf.key, (sha1,)), world.bundles)
    assert refusal.reason is Reason.INVALID_PATH
    assert refusal.detail.startswith(
        f"the intermediate {called(world.issuing)!r} is signed with ECDSA-WITH-SHA1"
    )


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        (ec.generate_private_key(ec.SECP256K1()), "the curve secp256k1 is not accepted"),
        (rsa.generate_private_key(65537, 1024), "an RSA key needs at least 2048 bits"),  # noqa: S505 - weak on purpose
    ],
    ids=["secp256k1", "RSA-1024"],
)
def test_an_intermediate_with_a_key_that_is_not_accepted_is_named(
    world: World, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, fault: str
) -> None:
    weak = world.prod.intermediate(key=key)
    refusal = refusal_of(weak.issue(PATH), world.bundles)
    assert refusal.reason is Reason.INVALID_PATH
    assert refusal.detail.startswith(f"the intermediate {called(weak)!r} cannot have signed: {fault}")


def test_no_detail_shows_the_data_structures_of_the_backend() -> None:
    # The other algorithms are found before; this message is what is left of the backend's.
    error = ValueError("Forbidden public key algorithm: AlgorithmIdentifier { oid: DefinedByMarker(...) }")
    assert _plain(error) == "Forbidden public key algorithm"

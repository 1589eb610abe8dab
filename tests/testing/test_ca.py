"""The CA for tests: what it makes is what was asked for, and a TLS peer can present it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from meshid.certificates.leaf import Profile
from meshid.certificates.reading import extension, to_der
from meshid.errors import InvalidCredentials
from meshid.names.spiffe_id import TrustDomain
from meshid.testing import CA, Issued, Shape
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.credentials import X509Svid
from meshid.verification.verifier import ChainVerifier
from tests.helpers.chain_case import Case
from tests.helpers.chain_cases import CASES
from tests.helpers.world import DAY, HOUR, PATH, PROD, World

NOW = datetime.now(UTC).replace(microsecond=0)
SAN, BASIC, USAGE, PURPOSES = (
    x509.SubjectAlternativeName,
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
)


# -- A leaf -------------------------------------------------------------------


def test_four_lines_make_a_peer() -> None:
    prod = CA("prod.example.org")
    api = prod.issue(PATH)
    peer = ChainVerifier(BundleSet([prod.bundle()])).verify(api.chain)
    assert str(peer.spiffe_id) == PROD


def test_a_leaf_is_like_one_of_istio_or_spire(prod_ca: CA) -> None:
    leaf = prod_ca.issue(PATH).certificate
    assert not list(leaf.subject)
    assert leaf.issuer == prod_ca.certificate.subject
    assert extension(leaf, BASIC) == x509.BasicConstraints(ca=False, path_length=None)
    assert leaf.extensions.get_extension_for_class(USAGE).critical
    assert leaf.extensions.get_extension_for_class(SAN).critical
    assert timedelta(minutes=59) < leaf.not_valid_after_utc - datetime.now(UTC) <= HOUR
    assert leaf.not_valid_before_utc < datetime.now(UTC)


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        pytest.param(PATH, PROD, id="a path"),
        pytest.param("spiffe://dev.example.org/a", "spiffe://dev.example.org/a", id="a whole SPIFFE ID"),
        pytest.param("", "spiffe://prod.example.org", id="nothing"),
        pytest.param("urn:a:b", "urn:a:b", id="any URI"),
    ],
)
def test_a_name_becomes_the_uri_san(prod_ca: CA, name: str, uri: str) -> None:
    names = extension(prod_ca.issue(name).certificate, SAN)
    assert names is not None
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [uri]


def test_a_leaf_has_a_name_unless_one_is_given(prod_ca: CA) -> None:
    assert prod_ca.issue().svid.claim.path == "/workload"


@pytest.mark.parametrize(
    ("shape", "kind", "value"),
    [
        pytest.param({"ca": True}, BASIC, x509.BasicConstraints(ca=True, path_length=None), id="ca"),
        pytest.param(
            {"ca": True, "path_length": 1},
            BASIC,
            x509.BasicConstraints(ca=True, path_length=1),
            id="path length",
        ),
        pytest.param({"ca": None}, BASIC, None, id="no basic constraints"),
        pytest.param({"usages": None}, USAGE, None, id="no key usage"),
        pytest.param({"purposes": None}, PURPOSES, None, id="no purposes"),
        pytest.param(
            {"purposes": {"server"}},
            PURPOSES,
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            id="server",
        ),
        pytest.param({"uris": []}, SAN, None, id="no SAN"),
        pytest.param(
            {"uris": [], "dns": ["a", "b"]},
            SAN,
            x509.SubjectAlternativeName([x509.DNSName("a"), x509.DNSName("b")]),
            id="DNS SANs",
        ),
        pytest.param({"authority_key_id": False}, x509.AuthorityKeyIdentifier, None, id="no AKI"),
    ],
)
def test_a_shape_makes_a_certificate_wrong_in_one_way(
    prod_ca: CA, shape: Shape, kind: type[x509.ExtensionType], value: x509.ExtensionType | None
) -> None:
    right, wrong = prod_ca.issue(PATH).certificate, prod_ca.issue(PATH, **shape).certificate
    assert extension(wrong, kind) == value
    assert {each.oid for each in right.extensions} ^ {each.oid for each in wrong.extensions} <= {kind.oid}


@pytest.mark.parametrize(
    "usage", ["digital_signature", "key_agreement", "key_cert_sign", "crl_sign", "key_encipherment"]
)
def test_a_shape_names_the_key_usages(prod_ca: CA, usage: str) -> None:
    found = extension(prod_ca.issue(PATH, usages={usage}).certificate, USAGE)
    assert found is not None
    others = {"digital_signature", "key_agreement", "key_cert_sign", "crl_sign", "key_encipherment"} - {usage}
    assert getattr(found, usage)
    assert not any(getattr(found, other) for other in others)


def test_a_shape_can_ask_for_everything_else(prod_ca: CA) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    note = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0")
    leaf = prod_ca.issue(
        not_before=NOW - DAY,
        not_after=NOW + DAY,
        critical=False,
        subject="CN=api,O=mesh",
        key=key,
        serial=4711,
        extra=[(note, False)],
    )
    made = leaf.certificate
    assert (made.not_valid_before_utc, made.not_valid_after_utc) == (NOW - DAY, NOW + DAY)
    assert not any(each.critical for each in made.extensions)
    assert made.subject.rfc4514_string() == "CN=api,O=mesh"
    assert made.public_key() == key.public_key()
    assert leaf.key is key
    assert made.serial_number == 4711
    assert note in [each.value for each in made.extensions]


def test_what_ended_long_ago_began_before(prod_ca: CA) -> None:
    ended = prod_ca.issue(not_after=NOW - 10 * DAY).certificate
    assert ended.not_valid_before_utc < ended.not_valid_after_utc == NOW - 10 * DAY


# -- An authority -------------------------------------------------------------


def test_an_authority_is_a_root_of_its_trust_domain(prod_ca: CA) -> None:
    root = prod_ca.certificate
    assert prod_ca.trust_domain == TrustDomain("prod.example.org")
    assert root.subject == root.issuer
    assert prod_ca.intermediates == ()
    assert extension(root, x509.AuthorityKeyIdentifier) is None
    root.verify_directly_issued_by(root)


@pytest.mark.parametrize(
    "name",
    ["prod.example.org", "a" * 255, TrustDomain("prod.example.org")],
    ids=["plain", "longest", "a value"],
)
def test_an_authority_of_any_trust_domain_verifies(name: str | TrustDomain) -> None:
    authority = CA(name)
    peer = ChainVerifier(BundleSet([authority.bundle()])).verify(authority.intermediate().issue("/a").chain)
    assert str(peer.trust_domain) == str(name)


def test_what_an_intermediate_issues_carries_the_chain_up_to_the_root(prod_ca: CA) -> None:
    upper = prod_ca.intermediate()
    lower = upper.intermediate()
    leaf = lower.issue(PATH)
    assert leaf.chain == tuple(to_der(it) for it in (leaf.certificate, lower.certificate, upper.certificate))
    assert lower.trust_domain == prod_ca.trust_domain
    assert len({it.certificate.subject for it in (prod_ca, upper, lower)}) == 3
    lower.certificate.verify_directly_issued_by(upper.certificate)
    upper.certificate.verify_directly_issued_by(prod_ca.certificate)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(rsa.generate_private_key(65537, 2048), id="RSA"),
        pytest.param(ec.generate_private_key(ec.SECP521R1()), id="P-521"),
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="Ed25519"),
        pytest.param(mldsa.MLDSA44PrivateKey.generate(), id="ML-DSA"),
    ],
)
def test_an_authority_signs_with_any_kind_of_key(key: CertificateIssuerPrivateKeyTypes) -> None:
    authority = CA("prod.example.org", key=key)
    authority.issue(PATH).certificate.verify_directly_issued_by(authority.certificate)
    crl = x509.load_pem_x509_crl(authority.crl())
    assert crl.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]  # one of them


def test_two_authorities_of_one_name_have_two_keys() -> None:
    one, two = CA("prod.example.org"), CA("prod.example.org")
    assert one.certificate.subject == two.certificate.subject
    assert one.key.public_key() != two.key.public_key()


def test_an_authority_is_a_bundle(prod_ca: CA) -> None:
    assert prod_ca.bundle() == TrustBundle.from_pem("prod.example.org", prod_ca.pem)
    assert prod_ca.bundle().authorities == (prod_ca.certificate,)
    assert prod_ca.bundle(profile="linkerd").profile is Profile.LINKERD


def test_a_revocation_list_names_leaves_and_authorities(prod_ca: CA) -> None:
    leaf, below = prod_ca.issue(PATH), prod_ca.intermediate()
    crl = x509.load_pem_x509_crl(
        prod_ca.crl(leaf, below, last_update=NOW, next_update=NOW + HOUR, extra=[(x509.CRLNumber(3), False)])
    )
    assert {each.serial_number for each in crl} == {it.certificate.serial_number for it in (leaf, below)}
    assert crl.issuer == prod_ca.certificate.subject
    assert (crl.last_update_utc, crl.next_update_utc) == (NOW, NOW + HOUR)
    assert x509.CRLNumber(3) in [each.value for each in crl.extensions]


def test_a_revocation_list_is_current_for_a_day(prod_ca: CA) -> None:
    crl = x509.load_pem_x509_crl(prod_ca.crl())
    assert crl.next_update_utc is not None
    assert crl.last_update_utc < datetime.now(UTC) < crl.next_update_utc
    assert crl.next_update_utc - datetime.now(UTC) <= DAY


# -- What is issued -----------------------------------------------------------


def test_what_is_issued_goes_into_files_and_credentials(prod_ca: CA) -> None:
    issued = prod_ca.intermediate().issue(PATH)
    assert issued.svid == X509Svid.from_pem(issued.chain_pem, issued.key_pem)
    assert issued.chain_pem.count(b"BEGIN CERTIFICATE") == 2
    assert issued.chain is issued.chain


def test_what_cannot_be_a_leaf_cannot_be_credentials(prod_ca: CA) -> None:
    issued = prod_ca.issue(PATH, ca=True)
    with pytest.raises(InvalidCredentials):
        _ = issued.svid


@pytest.mark.parametrize(
    ("shape", "kind", "said"),
    [
        ({"not_aftr": NOW}, TypeError, "a certificate has no 'not_aftr'; did you mean 'not_after'?"),
        ({"zzz": 1}, TypeError, "a certificate has no 'zzz'; write one of: uris, dns, not_before, "),
        (
            {"usages": ["digital_signatur"]},
            ValueError,
            "a certificate has no 'digital_signatur'; did you mean 'digital_signature'?",
        ),
    ],
)
def test_a_misspelt_shape_is_not_passed_over(shape: dict[str, Any], kind: type[Exception], said: str) -> None:
    ca = CA("prod.example.org")
    makers: list[Callable[..., object]] = [partial(CA, "prod.example.org"), ca.intermediate, ca.issue]
    for make in makers:
        with pytest.raises(kind) as caught:
            make(**shape)
        assert str(caught.value).startswith(said)


def test_each_test_gets_its_own_authorities(prod_ca: CA, dev_ca: CA) -> None:
    assert (str(prod_ca.trust_domain), str(dev_ca.trust_domain)) == ("prod.example.org", "dev.example.org")
    assert prod_ca.key.public_key() != dev_ca.key.public_key()


def presented_to(world: World, client: ssl.SSLContext) -> str:
    """Return why a server that trusts no authority refuses *client*."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    world.prod.issue("/server").load_into(server)
    server.verify_mode = ssl.CERT_REQUIRED
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    accepting = server.wrap_bio(to_server, to_client, server_side=True)
    connecting = client.wrap_bio(to_client, to_server)
    with pytest.raises(ssl.SSLWantReadError):
        connecting.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        accepting.do_handshake()
    connecting.do_handshake()
    with pytest.raises(ssl.SSLError) as caught:
        accepting.do_handshake()
    return caught.value.reason


@pytest.mark.parametrize("case", [case for case in CASES if case.wire], ids=lambda case: case.name)
def test_a_tls_client_can_present_each_case_that_says_so(case: Case, world: World) -> None:
    issued = case.make(world)
    assert isinstance(issued, Issued)
    assert presented_to(world, issued.client_context()) != "PEER_DID_NOT_RETURN_A_CERTIFICATE"


def test_a_client_without_a_certificate_presents_none(world: World) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert presented_to(world, context) == "PEER_DID_NOT_RETURN_A_CERTIFICATE"

"""Why an authority could never verify a peer is said when it is loaded, and nothing else is.

Each fault is shown twice: `authority_fault` says it, and the X.509 backend, given that
anchor all the same, indeed never verifies a leaf under it. The neighbours of each fault
are no fault, and verify.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from meshid.certificates.authority import authority_fault
from meshid.certificates.leaf import Profile, Role
from meshid.certificates.reading import to_der
from meshid.errors import InvalidBundle, PeerRejected
from meshid.names.spiffe_id import TrustDomain
from meshid.testing import CA, Issued
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.verification.verifier import ChainVerifier
from tests.helpers.forged import (
    INTEGER,
    SEQUENCE,
    Field,
    der,
    edited,
    explicit_curve,
    huge_exponent,
    pem,
    pss_key,
    rsa_public_key,
    with_key,
    with_unknown_key,
)
from tests.helpers.world import HOST, LINKERD_HOST, PATH, hosts

DOMAIN = "cluster.local"
SPIFFE, LINKERD, DNS = Profile
NAMED = x509.DirectoryName(x509.Name.from_rfc4514_string("O=mesh"))
RSA = rsa.generate_private_key(65537, 2048)
WEB = x509.UniformResourceIdentifier("cluster.local")


@attrs.frozen
class Anchor:
    """An anchor, and the authority that has its key.

    Attributes:
        name: What is special about it.
        make: Makes the authority.
        fault: A part of what is said of it; empty if nothing is.
        profile: The profile of its bundle.
        roles: The roles in which it verifies a leaf, if there is no fault.
    """

    name: str
    make: Callable[[], CA]
    fault: str = ""
    profile: Profile = SPIFFE
    roles: frozenset[Role] = frozenset(Role)


def forged(fields: dict[Field, bytes]) -> CA:
    authority = CA(DOMAIN)
    return remade(authority, edited(authority.certificate, authority, fields))


def remade(authority: CA, certificate: bytes) -> CA:
    authority.certificate = x509.load_der_x509_certificate(certificate)
    return authority


def unknown_key() -> CA:
    authority = CA(DOMAIN)
    return remade(authority, with_unknown_key(authority.certificate, authority))


def reshaped(authority: CA, change: Callable[[CA], x509.Certificate]) -> CA:
    return remade(authority, to_der(change(authority)))


def numbered(octets: bytes) -> CA:
    return forged({Field.SERIAL: der(INTEGER, octets)})


def for_purpose(purpose: ObjectIdentifier, *, critical: bool = False) -> CA:
    return CA(DOMAIN, extra=[(x509.ExtendedKeyUsage([purpose]), critical)])


def unknown_extension(*, critical: bool) -> CA:
    extension = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\5\0")
    return CA(DOMAIN, extra=[(extension, critical)])


def permitting(*names: x509.GeneralName, critical: bool = True) -> CA:
    return CA(DOMAIN, extra=[(x509.NameConstraints(names, None), critical)])


def excluding(name: x509.GeneralName, *, critical: bool = True) -> CA:
    return CA(DOMAIN, extra=[(x509.NameConstraints(None, [name]), critical)])


def badly_signed() -> CA:
    authority = CA(DOMAIN)
    written = to_der(authority.certificate)
    return remade(authority, written[:-1] + bytes([written[-1] ^ 1]))


def critical(value: x509.ExtensionType) -> CA:
    return CA(DOMAIN, extra=[(value, True)])


def with_extension(value: x509.ExtensionType) -> CA:
    return CA(DOMAIN, extra=[(value, False)])


POLICY = x509.PolicyInformation(ObjectIdentifier("1.2.3.4"), None)
UNPROCESSED: dict[str, x509.ExtensionType] = {
    "certificate policy": x509.CertificatePolicies([POLICY]),
    "policy constraint": x509.PolicyConstraints(0, None),
    "inhibit any policy": x509.InhibitAnyPolicy(0),
    "subject key id": x509.SubjectKeyIdentifier(b"k"),
    "authority key id": x509.AuthorityKeyIdentifier(b"k", None, None),
    "issuer name": x509.IssuerAlternativeName([x509.DNSName("a.example")]),
}

FAULTS = [
    Anchor("version 1", lambda: forged({Field.VERSION: b"", Field.EXTENSIONS: b""}), "X.509 version 3"),
    Anchor("a negative serial", lambda: numbered(b"\xff"), "serial number is not positive"),
    Anchor("a serial of 22 octets", lambda: numbered(b"\1" * 22), "longer than 20 octets"),
    Anchor("no subject", lambda: CA(DOMAIN, subject=""), "no subject"),
    Anchor("Ed25519", lambda: CA(DOMAIN, key=ed25519.Ed25519PrivateKey.generate()), "Ed25519"),
    Anchor("Ed448", lambda: CA(DOMAIN, key=ed448.Ed448PrivateKey.generate()), "the kind of key"),
    Anchor("secp256k1", lambda: CA(DOMAIN, key=ec.generate_private_key(ec.SECP256K1())), "secp256k1"),
    Anchor("P-192", lambda: CA(DOMAIN, key=ec.generate_private_key(ec.SECP192R1())), "secp192r1"),
    Anchor("RSA-1024", lambda: CA(DOMAIN, key=rsa.generate_private_key(65537, 1024)), "at least 2048 bits"),  # noqa: S505 - weak on purpose
    Anchor("an unknown key", unknown_key, "the kind of key"),
    Anchor("a curve without a name", lambda: reshaped(CA(DOMAIN), explicit_curve), "parameters of its curve"),
    Anchor("RSASSA-PSS", lambda: reshaped(CA(DOMAIN, key=RSA), pss_key), "for RSASSA-PSS only"),
    Anchor("no basic constraints", lambda: CA(DOMAIN, ca=None), "not a certificate authority"),
    Anchor("cA = false", lambda: CA(DOMAIN, ca=False), "not a certificate authority"),
    Anchor("no keyCertSign", lambda: CA(DOMAIN, usages={"crl_sign"}), "lacks keyCertSign"),
    Anchor(
        "another purpose", lambda: for_purpose(ExtendedKeyUsageOID.CODE_SIGNING), "neither clientAuth nor"
    ),
    Anchor("a critical unknown", lambda: unknown_extension(critical=True), "1.3.6.1.4.1.55555.1"),
    *(
        Anchor(f"a critical {name}", partial(critical, value), "that is not processed")
        for name, value in UNPROCESSED.items()
    ),
    Anchor(
        "an authority key id without a key",
        lambda: with_extension(x509.AuthorityKeyIdentifier(None, None, None)),
        "no key identifier",
    ),
    Anchor("no issuer", lambda: forged({Field.ISSUER: der(SEQUENCE)}), "no issuer"),
    Anchor("a permitted URI", lambda: permitting(WEB), "URI name constraint"),
    Anchor("an excluded URI", lambda: excluding(WEB), "URI name constraint"),
    Anchor("an uncritical URI constraint", lambda: permitting(WEB, critical=False), "URI name constraint"),
    Anchor("a permitted directory", lambda: permitting(NAMED), "directory name constraint"),
    Anchor("an excluded directory", lambda: excluding(NAMED), "directory name constraint"),
    Anchor("a directory, dns", lambda: permitting(NAMED), "directory name constraint", DNS),
]

# What the backend would let pass, and RFC 5280 or the cost of a check would not.
OURS = [
    Anchor("a serial of zero", lambda: numbered(b"\0"), "serial number is not positive"),
    Anchor("a serial of 161 bits", lambda: numbered(b"\1" + bytes(20)), "longer than 20 octets"),
    Anchor("RSA-2047", lambda: CA(DOMAIN, key=rsa.generate_private_key(65537, 2047)), "at least 2048 bits"),  # noqa: S505 - weak on purpose
    Anchor("a huge exponent", lambda: CA(DOMAIN, key=huge_exponent()), "an exponent above 2^32"),
    Anchor("an uncritical directory", lambda: permitting(NAMED, critical=False), "directory name constraint"),
    Anchor(
        "65 name constraints",
        lambda: permitting(*map(x509.DNSName, hosts(65))),
        "it has 65 name constraints, and each handshake reads them all; at most 64 are accepted",
    ),
]

NEIGHBOURS = [
    Anchor("plain", lambda: CA(DOMAIN)),
    Anchor("a serial of 1", lambda: numbered(b"\1")),
    Anchor("a serial of 160 bits", lambda: numbered(b"\0\xff" + bytes(19))),
    Anchor("a badly signed root", badly_signed),
    Anchor("an intermediate", lambda: alone(CA(DOMAIN).intermediate())),
    Anchor("P-384", lambda: CA(DOMAIN, key=ec.generate_private_key(ec.SECP384R1()))),
    Anchor("P-521", lambda: CA(DOMAIN, key=ec.generate_private_key(ec.SECP521R1()))),
    Anchor("RSA-2048", lambda: CA(DOMAIN, key=rsa.generate_private_key(65537, 2048))),
    Anchor("ML-DSA-44", lambda: CA(DOMAIN, key=mldsa.MLDSA44PrivateKey.generate())),
    Anchor("ML-DSA-65", lambda: CA(DOMAIN, key=mldsa.MLDSA65PrivateKey.generate())),
    Anchor("ML-DSA-87", lambda: CA(DOMAIN, key=mldsa.MLDSA87PrivateKey.generate())),
    Anchor("no key usage", lambda: CA(DOMAIN, usages=None)),
    Anchor("keyCertSign only", lambda: CA(DOMAIN, usages={"key_cert_sign"})),
    Anchor("nothing critical", lambda: CA(DOMAIN, critical=False)),
    Anchor("for clients", lambda: CA(DOMAIN, purposes={"client"}), roles=frozenset({Role.CLIENT})),
    Anchor("for servers", lambda: CA(DOMAIN, purposes={"server"}), roles=frozenset({Role.SERVER})),
    Anchor("for any purpose", lambda: for_purpose(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)),
    Anchor(
        "a critical purpose",
        lambda: for_purpose(ExtendedKeyUsageOID.CLIENT_AUTH, critical=True),
        roles=frozenset({Role.CLIENT}),
    ),
    *(Anchor(f"an uncritical {name}", partial(with_extension, value)) for name, value in UNPROCESSED.items()),
    Anchor("a critical SAN", lambda: CA(DOMAIN, uris=[f"spiffe://{DOMAIN}"], critical=True)),
    Anchor("an uncritical unknown", lambda: unknown_extension(critical=False)),
    Anchor("a SPIFFE ID of its own", lambda: CA(DOMAIN, uris=[f"spiffe://{DOMAIN}"])),
    Anchor("a DNS constraint", lambda: permitting(x509.DNSName("corp.example"))),
    Anchor("a DNS constraint, dns", lambda: permitting(x509.DNSName("corp.example")), profile=DNS),
    Anchor("an excluded host, linkerd", lambda: excluding(x509.DNSName("corp.example")), profile=LINKERD),
    Anchor("a permitted URI, dns", lambda: permitting(WEB), profile=DNS),
    Anchor("an excluded URI, linkerd", lambda: excluding(WEB), profile=LINKERD),
    Anchor("64 name constraints", lambda: permitting(*map(x509.DNSName, hosts(64)))),
    Anchor("a mail constraint", lambda: permitting(x509.RFC822Name("example.org"))),
]


def alone(authority: CA) -> CA:
    authority.intermediates = ()
    return authority


def leaf_under(authority: CA, profile: Profile) -> Issued:
    if profile is SPIFFE:
        return authority.issue(PATH)
    return authority.issue(uris=[], dns=[LINKERD_HOST if profile is LINKERD else HOST])


def roles_under(bundle: TrustBundle, leaf: Issued) -> set[Role]:
    """Return the roles in which *leaf* verifies."""
    verifier = ChainVerifier(BundleSet([bundle]))
    return {role for role in Role if verifies(verifier, leaf, role)}


def verifies(verifier: ChainVerifier, leaf: Issued, role: Role) -> bool:
    try:
        verifier.verify(leaf.chain, role=role)
    except PeerRejected:
        return False
    return True


def each(anchors: list[Anchor]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("anchor", anchors, ids=lambda anchor: anchor.name)


# Each access to such a serial number makes the backend warn.
lenient = pytest.mark.filterwarnings("ignore:Parsed a serial number")


@lenient
@each(FAULTS)
def test_an_anchor_with_a_fault_never_verifies_a_leaf(anchor: Anchor) -> None:
    authority = anchor.make()
    assert anchor.fault in (authority_fault(authority.certificate, anchor.profile) or "no fault")
    given = TrustBundle(TrustDomain(DOMAIN), (authority.certificate,), anchor.profile)
    assert roles_under(given, leaf_under(authority, anchor.profile)) == set()


@lenient
@each(OURS)
def test_an_anchor_can_break_our_rules_only(anchor: Anchor) -> None:
    authority = anchor.make()
    assert anchor.fault in (authority_fault(authority.certificate, anchor.profile) or "no fault")
    given = TrustBundle(TrustDomain(DOMAIN), (authority.certificate,), anchor.profile)
    assert roles_under(given, leaf_under(authority, anchor.profile)) == anchor.roles


@each(NEIGHBOURS)
def test_an_anchor_without_a_fault_verifies(anchor: Anchor) -> None:
    authority = anchor.make()
    assert authority_fault(authority.certificate, anchor.profile) is None
    loaded = TrustBundle.from_pem(DOMAIN, authority.pem, profile=anchor.profile)
    assert roles_under(loaded, leaf_under(authority, anchor.profile)) == anchor.roles


@lenient
@each([*FAULTS, *OURS])
def test_a_bad_anchor_beside_a_good_one_leaves_the_bundle_standing(anchor: Anchor) -> None:
    bad, good = anchor.make(), CA(DOMAIN)
    bundle = TrustBundle.from_pem(DOMAIN, bad.pem + good.pem, profile=anchor.profile)
    assert bundle.authorities == (good.certificate,)
    (skipped,) = bundle.skipped
    assert skipped.where == "certificate 1"
    assert anchor.fault in skipped.what
    assert roles_under(bundle, leaf_under(good, anchor.profile)) == set(Role)
    assert roles_under(bundle, leaf_under(bad, anchor.profile)) == set()


@lenient
@each([*FAULTS, *OURS])
def test_a_bad_anchor_alone_makes_no_bundle(anchor: Anchor) -> None:
    with pytest.raises(InvalidBundle) as caught:
        TrustBundle.from_pem(DOMAIN, anchor.make().pem, profile=anchor.profile)
    assert anchor.fault in str(caught.value)


def test_an_rsa_key_of_more_than_8192_bits_is_a_fault() -> None:
    authority = CA(DOMAIN)
    heavy = with_key(authority.certificate, authority, rsa_public_key(8193))
    assert "more than 8192 bits" in (authority_fault(heavy, SPIFFE) or "")


def test_dates_are_judged_at_each_verification_and_not_here() -> None:
    past = CA(DOMAIN).certificate.not_valid_before_utc
    assert authority_fault(CA(DOMAIN, not_after=past).certificate, SPIFFE) is None


@pytest.mark.parametrize("octets", [b"\xff", b"\0"], ids=["negative", "zero"])
def test_an_odd_serial_number_is_a_wrong_bundle_even_where_warnings_are_errors(octets: bytes) -> None:
    authority = CA(DOMAIN)
    odd = edited(authority.certificate, authority, {Field.SERIAL: der(INTEGER, octets)})
    with pytest.raises(InvalidBundle):
        TrustBundle.from_pem(DOMAIN, pem("CERTIFICATE", odd))

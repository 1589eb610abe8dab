"""Which name a leaf claims, and whether it may be a leaf: one rule for our own and a peer's."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from meshid.certificates.leaf import (
    MAX_HOST_LENGTH,
    MAX_NAMES,
    Claim,
    Profile,
    Role,
    check_leaf,
    check_purpose,
    names_of,
    read_claim,
)
from meshid.certificates.reading import extension
from meshid.errors import Refused
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.reasons import Reason
from meshid.testing import CA
from tests.helpers.world import HOST, LINKERD_HOST, PATH, PROD, hosts

AUTHORITY = CA("prod.example.org")
SPIFFE, LINKERD, DNS = Profile
ALL = frozenset(Profile)


def claim_of(
    uris: Sequence[str] = (), dns: Sequence[str] = (), declared: Collection[Profile] = ALL, subject: str = ""
) -> Claim:
    return read_claim(AUTHORITY.issue(uris=uris, dns=dns, subject=subject).certificate, declared)


def refusal_of(
    uris: Sequence[str] = (), dns: Sequence[str] = (), declared: Collection[Profile] = ALL, subject: str = ""
) -> Refused:
    with pytest.raises(Refused) as caught:
        claim_of(uris, dns, declared, subject)
    return caught.value


class TestX1:
    """X509-SVID 2: an SVID "MUST contain exactly one URI SAN", and validators "MUST reject" more."""

    def test_one_is_the_name(self) -> None:
        assert claim_of([PROD]) == Claim(SPIFFE, SpiffeId.parse(PROD), PATH)

    @pytest.mark.parametrize("declared", [{SPIFFE}, {LINKERD}, ALL], ids=["spiffe", "linkerd", "all"])
    def test_a_uri_san_is_read_as_spiffe_whatever_is_declared(self, declared: set[Profile]) -> None:
        assert claim_of([PROD], [LINKERD_HOST], declared).profile is SPIFFE

    @pytest.mark.parametrize(
        "uris",
        [[PROD, f"{PROD}2"], [PROD, PROD], [PROD, "https://a.example"], ["urn:a:b", PROD], [PROD, ""]],
        ids=len,
    )
    def test_two_are_refused_of_whatever_kind(self, uris: list[str]) -> None:
        refusal = refusal_of(uris)
        assert refusal.reason is Reason.MANY_NAMES
        assert "2 URI SANs" in refusal.detail

    def test_none_is_refused(self) -> None:
        assert refusal_of().reason is Reason.NO_NAME

    def test_an_empty_one_is_invalid(self) -> None:
        assert refusal_of([""]).reason is Reason.INVALID_NAME


class TestX2:
    """X509-SVID 2: an SVID "MAY contain any number of other SAN field types, including DNS SANs"."""

    def test_dns_names_next_to_the_uri_are_not_the_name(self) -> None:
        claim = claim_of([PROD], ["*.svc", "UPPER.case", LINKERD_HOST])
        assert str(claim.spiffe_id) == PROD

    def test_other_names_next_to_the_uri_are_not_the_name(self) -> None:
        names = x509.SubjectAlternativeName(
            [x509.RFC822Name("a@b.example"), x509.UniformResourceIdentifier(PROD)]
        )
        leaf = AUTHORITY.issue(uris=[], extra=[(names, True)]).certificate
        assert str(read_claim(leaf, ALL).spiffe_id) == PROD
        assert names_of(leaf) == (f"URI:{PROD}",)


class TestX3:
    """X509-SVID 5.2: a validator "MUST ensure that the SPIFFE ID has a non-root path component"."""

    def test_a_trust_domain_is_not_a_workload(self) -> None:
        assert refusal_of(["spiffe://prod.example.org"]).reason is Reason.NAME_WITHOUT_PATH

    def test_a_root_path_is_invalid(self) -> None:
        assert refusal_of(["spiffe://prod.example.org/"]).reason is Reason.INVALID_NAME


class TestX4:
    """X509-SVID 4.1 and 5.2: the `cA` field of a leaf MUST be false."""

    def test_a_ca_is_not_a_leaf(self) -> None:
        assert reason_of_leaf(ca=True) is Reason.LEAF_IS_CA

    @pytest.mark.parametrize("ca", [False, None])
    def test_a_leaf_may_lack_the_extension(self, *, ca: bool | None) -> None:
        assert reason_of_leaf(ca=ca) is None

    def test_it_is_said_before_the_key_usage_is(self) -> None:
        assert reason_of_leaf(ca=True, usages={"key_cert_sign"}) is Reason.LEAF_IS_CA


class TestX5:
    """X509-SVID 5.2: `keyCertSign` and `cRLSign` MUST NOT be set."""

    @pytest.mark.parametrize("usage", ["key_cert_sign", "crl_sign"])
    def test_a_leaf_signs_nothing_else(self, usage: str) -> None:
        assert reason_of_leaf(usages={"digital_signature", usage}) is Reason.LEAF_MAY_SIGN
        assert reason_of_leaf(usages={usage}) is Reason.LEAF_MAY_SIGN


class TestX6:
    """X509-SVID 4.3: leaf SVIDs "MUST set `digitalSignature`"."""

    @pytest.mark.parametrize(
        "usages",
        [set(), {"key_agreement"}, {"key_encipherment", "content_commitment"}],
        ids=["none", "one", "two"],
    )
    def test_without_it_a_leaf_is_refused(self, usages: set[str]) -> None:
        assert reason_of_leaf(usages=usages) is Reason.NO_DIGITAL_SIGNATURE

    @pytest.mark.parametrize(
        "usages", [{"digital_signature"}, {"digital_signature", "key_encipherment"}], ids=len
    )
    def test_with_it_others_do_no_harm(self, usages: set[str]) -> None:
        assert reason_of_leaf(usages=usages) is None


class TestX7:
    """X509-SVID 4.3: the key usage extension "MUST be set on all SVIDs"."""

    def test_without_it_a_leaf_is_refused(self) -> None:
        assert reason_of_leaf(usages=None) is Reason.NO_DIGITAL_SIGNATURE

    @pytest.mark.parametrize("critical", [True, False])
    def test_its_criticality_is_not_judged(self, *, critical: bool) -> None:
        check_leaf(AUTHORITY.issue(PATH, critical=critical).certificate)


class TestX8:
    """X509-SVID 4.4: extended key usage SHOULD be there; RFC 5280 4.2.1.12: then only for what it names."""

    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize("purposes", [None, {"client", "server"}], ids=["none", "both"])
    def test_none_or_both_is_good_for_either_role(self, purposes: set[str] | None, role: Role) -> None:
        check_purpose(AUTHORITY.issue(PATH, purposes=purposes).certificate, role)

    @pytest.mark.parametrize("role", Role)
    def test_one_is_good_for_its_role_only(self, role: Role) -> None:
        leaf = AUTHORITY.issue(PATH, purposes={role}).certificate
        check_purpose(leaf, role)
        (other,) = set(Role) - {role}
        with pytest.raises(Refused) as caught:
            check_purpose(leaf, other)
        assert caught.value.reason is Reason.WRONG_KEY_PURPOSE
        assert f"{other}Auth" in caught.value.detail

    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize(
        "purpose",
        [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, ExtendedKeyUsageOID.CODE_SIGNING],
        ids=["any", "code"],
    )
    def test_any_purpose_is_not_this_one(self, purpose: x509.ObjectIdentifier, role: Role) -> None:
        leaf = AUTHORITY.issue(purposes=None, extra=[(x509.ExtendedKeyUsage([purpose]), False)]).certificate
        with pytest.raises(Refused):
            check_purpose(leaf, role)


def with_netscape_type(content: str) -> x509.Certificate:
    kind = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.16.840.1.113730.1.1"), bytes.fromhex(content))
    return AUTHORITY.issue(PATH, extra=[(kind, False)]).certificate


def roles_of(leaf: x509.Certificate) -> set[Role]:
    """Return the roles that *leaf* is good for."""
    good = set()
    for role in Role:
        with contextlib.suppress(Refused):
            check_purpose(leaf, role)
            good.add(role)
    return good


@pytest.mark.parametrize(
    ("content", "roles"),
    [
        pytest.param("03020780", {Role.CLIENT}, id="client"),
        pytest.param("03020640", {Role.SERVER}, id="server"),
        pytest.param("030206c0", {Role.CLIENT, Role.SERVER}, id="both"),
        pytest.param("030200ff", {Role.CLIENT, Role.SERVER}, id="all"),
        pytest.param("030207c0", {Role.CLIENT}, id="a bit that does not count"),
        pytest.param("030208ff", set(), id="more bits that do not count than there are"),
        pytest.param("0302ffff", set(), id="far more bits that do not count"),
        pytest.param("03020007", set(), id="authorities"),
        pytest.param("030100", set(), id="no bits"),
        pytest.param("030300c000", set(), id="sixteen bits"),
        pytest.param("030206c000", set(), id="a bit string and then some"),
        pytest.param("040206c0", set(), id="no bit string"),
        pytest.param("", set(), id="nothing"),
    ],
)
def test_a_netscape_certificate_type_is_good_for_the_roles_that_it_names(
    content: str, roles: set[Role]
) -> None:
    assert roles_of(with_netscape_type(content)) == roles


@given(st.binary(max_size=6))
def test_any_netscape_certificate_type_is_good_for_some_roles_or_none(content: bytes) -> None:
    assert roles_of(with_netscape_type(content.hex())) <= set(Role)


def test_a_netscape_certificate_type_that_lacks_the_role_is_named() -> None:
    with pytest.raises(Refused) as caught:
        check_purpose(with_netscape_type("03020640"), Role.CLIENT)
    assert caught.value.reason is Reason.WRONG_KEY_PURPOSE
    assert "its Netscape certificate type (nsCertType) lacks SSL client" in caught.value.detail


def reason_of_leaf(**shape: object) -> Reason | None:
    leaf = AUTHORITY.issue(PATH, **shape).certificate  # type: ignore[arg-type]  # any shape
    try:
        check_leaf(leaf)
    except Refused as refusal:
        return refusal.reason
    return None


# -- Linkerd and DNS names ----------------------------------------------------


@pytest.mark.parametrize(
    ("host", "path", "trust_domain"),
    [
        pytest.param(LINKERD_HOST, PATH, "cluster.local", id="plain"),
        pytest.param(
            f"v1.2.{LINKERD_HOST}", "/ns/checkout/sa/v1.2.api", "cluster.local", id="dots in the account"
        ),
        pytest.param("a.b.serviceaccount.identity.c.d", "/ns/b/sa/a", "d", id="shortest"),
        pytest.param(
            "a_b-c.d.serviceaccount.identity.l.e.f.g", "/ns/d/sa/a_b-c", "e.f.g", id="long trust domain"
        ),
    ],
)
def test_a_linkerd_name_is_a_workload_of_its_trust_domain(host: str, path: str, trust_domain: str) -> None:
    for declared in ({LINKERD}, {DNS}, ALL):
        spiffe_id = SpiffeId(TrustDomain(trust_domain), path)
        assert claim_of(dns=[host], declared=declared) == Claim(LINKERD, spiffe_id, path)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("ns.serviceaccount.identity.linkerd.cluster.local", id="no account"),
        pytest.param("sa..serviceaccount.identity.linkerd.cluster.local", id="no namespace"),
        pytest.param("sa.ns.serviceaccount.identity.linkerd", id="no trust domain"),
        pytest.param("sa.ns.serviceaccount.identity..cluster.local", id="no control plane"),
        pytest.param("sa.ns.serviceaccount.identity.linkerd..", id="a dot for a trust domain"),
        pytest.param(f"sa.ns.serviceaccount.identity.{LINKERD_HOST}", id="marker in the account"),
        pytest.param("sa.ns.serviceaccount.identity.serviceaccount.identity.l.d", id="marker twice over"),
        pytest.param(LINKERD_HOST.upper(), id="upper case"),
        pytest.param(f"*.{LINKERD_HOST}", id="wildcard"),
        pytest.param(f"-{LINKERD_HOST}", id="hyphen in front"),
        pytest.param(f"{LINKERD_HOST}\n", id="newline"),
    ],
)
def test_a_name_that_is_almost_a_linkerd_name_is_refused(host: str) -> None:
    assert refusal_of(dns=[host]).reason is Reason.INVALID_NAME


def test_a_service_account_cannot_choose_its_namespace() -> None:
    # The account is "admin.kube-system.serviceaccount.identity.x", in namespace "dev".
    host = "admin.kube-system.serviceaccount.identity.x.dev.serviceaccount.identity.linkerd.cluster.local"
    assert refusal_of(dns=[host]).reason is Reason.INVALID_NAME


@pytest.mark.parametrize(
    "host", [HOST, "a", "a.b.c", "_x", "a_b", "10.0.0.1", "x" * MAX_HOST_LENGTH], ids=ascii
)
def test_a_dns_name_is_a_workload_under_dns(host: str) -> None:
    claim = claim_of(dns=[host])
    assert claim == Claim(DNS, None, f"/dns/{host}")
    assert claim.spiffe_id is None


@pytest.mark.parametrize(
    "host",
    [
        *("*.corp.example", "a.*.b", "API.corp.example", "a.", ".a", "-a", "a-"),
        *("a b", "a/b", "a\n", "a\0b", "a:1", "a@b", "", "x" * (MAX_HOST_LENGTH + 1)),
    ],
    ids=ascii,
)
def test_a_dns_name_that_is_not_one_exact_host_is_refused(host: str) -> None:
    assert refusal_of(dns=[host]).reason is Reason.INVALID_NAME


def test_two_dns_names_are_refused() -> None:
    refusal = refusal_of(dns=[HOST, "b.example"])
    assert refusal.reason is Reason.MANY_NAMES
    assert "2 DNS names" in refusal.detail


@pytest.mark.parametrize(
    ("dns", "declared"),
    [
        pytest.param([], ALL, id="no name at all"),
        pytest.param([HOST], {SPIFFE}, id="a host, and neither linkerd nor dns is declared"),
        pytest.param([LINKERD_HOST], {SPIFFE}, id="a Linkerd name, and neither is declared"),
        pytest.param([HOST, HOST], {SPIFFE}, id="two hosts, and neither is declared"),
        pytest.param([HOST], {LINKERD}, id="a host, and dns is not declared"),
        pytest.param([HOST], set(), id="nothing is declared"),
    ],
)
def test_a_name_is_never_guessed(dns: list[str], declared: set[Profile]) -> None:
    assert refusal_of(dns=dns, declared=declared).reason is Reason.NO_NAME


def test_a_common_name_is_never_an_identity() -> None:
    assert refusal_of(subject=f"CN={HOST}").reason is Reason.NO_NAME
    assert refusal_of(subject=f"CN={PROD}").reason is Reason.NO_NAME


# -- The rest -----------------------------------------------------------------


@pytest.mark.parametrize(("count", "ok"), [(MAX_NAMES, True), (MAX_NAMES + 1, False)])
def test_so_many_names_are_read(count: int, *, ok: bool) -> None:
    leaf = AUTHORITY.issue(uris=[PROD], dns=hosts(count - 1)).certificate
    assert len(names_of(leaf)) == count
    if ok:
        assert read_claim(leaf, ALL).path == PATH
    else:
        with pytest.raises(Refused) as caught:
            read_claim(leaf, ALL)
        assert caught.value.reason is Reason.CHAIN_TOO_LARGE


def test_hostile_names_do_not_fill_the_log() -> None:
    detail = refusal_of(dns=["a\n" * 200] * 60, declared={SPIFFE}).detail
    assert len(detail) < 10_000
    assert "\n" not in detail


def test_the_names_are_returned_with_their_kind() -> None:
    leaf = AUTHORITY.issue(uris=[PROD], dns=[HOST, "b.example"]).certificate
    assert names_of(leaf) == (f"URI:{PROD}", f"DNS:{HOST}", "DNS:b.example")
    assert names_of(AUTHORITY.issue(uris=[]).certificate) == ()


def test_an_extension_that_is_missing_is_none() -> None:
    leaf = AUTHORITY.issue(ca=None).certificate
    assert extension(leaf, x509.KeyUsage) == leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert extension(leaf, x509.BasicConstraints) is None


def test_a_claim_with_a_trust_domain_is_a_spiffe_id() -> None:
    assert str(claim_of([PROD]).spiffe_id) == PROD

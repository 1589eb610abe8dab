"""What is revoked: a list counts for its signer only; the deny list is the operator's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.certificates.reading import fingerprint, to_der
from meshid.errors import InvalidRevocations, PeerRejected, Refused
from meshid.mesh import Mesh
from meshid.names.spiffe_id import SpiffeId
from meshid.reasons import Reason
from meshid.testing import CA
from meshid.trust.bundles import BundleSet
from meshid.trust.revocations import Revocations
from meshid.verification.verifier import ChainVerifier
from tests.helpers.forged import (
    SEQUENCE,
    children,
    damaged,
    der,
    edited_list,
    issuing_point,
    pem,
    signed,
    twin,
)
from tests.helpers.world import DAY, HOUR, PATH, PROD, called

NOW = datetime.now(UTC).replace(microsecond=0)
"""When this file is collected, which may be minutes before its tests run."""
ROOT = CA("prod.example.org", usages={"key_cert_sign", "crl_sign"})
ISSUING = ROOT.intermediate()
LEAF = ISSUING.issue(PATH)
OTHER = ISSUING.issue(PATH)
NAME = SpiffeId.parse(PROD)
INTERMEDIATE_SERIAL = ISSUING.certificate.serial_number
PATH_TO_ROOT = (LEAF.certificate, ISSUING.certificate, ROOT.certificate)


def check(
    revocations: Revocations, path: tuple[x509.Certificate, ...] = PATH_TO_ROOT, now: datetime | None = None
) -> datetime | None:
    return revocations.check(NAME, path, now or datetime.now(UTC))


def reason_of(
    revocations: Revocations, path: tuple[x509.Certificate, ...] = PATH_TO_ROOT, now: datetime | None = None
) -> Reason | None:
    try:
        check(revocations, path, now)
    except Refused as refusal:
        return refusal.reason
    return None


def as_der(crl: bytes) -> bytes:
    return x509.load_pem_x509_crl(crl).public_bytes(serialization.Encoding.DER)


# -- Lists --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crl", "reason"),
    [
        pytest.param(ISSUING.crl(LEAF), Reason.REVOKED, id="the leaf, by its issuer"),
        pytest.param(ROOT.crl(ISSUING), Reason.REVOKED, id="the intermediate, by its issuer"),
        pytest.param(ISSUING.crl(OTHER, LEAF), Reason.REVOKED, id="the leaf among others"),
        pytest.param(ISSUING.crl(OTHER), None, id="another leaf"),
        pytest.param(ISSUING.crl(), None, id="nobody"),
        pytest.param(ROOT.crl(LEAF), None, id="the leaf, by one who did not issue it"),
        pytest.param(ROOT.crl(ROOT), None, id="the anchor, by itself"),
        pytest.param(CA("dev.example.org").crl(LEAF), None, id="the leaf, by a stranger"),
    ],
)
def test_a_list_speaks_for_its_issuer_only(crl: bytes, reason: Reason | None) -> None:
    assert reason_of(Revocations(crls=[crl])) is reason


def test_a_list_that_nobody_of_its_name_signed_leaves_its_issuer_undetermined() -> None:
    namesake = CA("prod.example.org", subject=called(ISSUING))
    assert namesake.certificate.subject == ISSUING.certificate.subject
    revocations = Revocations(crls=[namesake.crl(LEAF)])
    with pytest.raises(Refused) as caught:
        check(revocations)
    assert caught.value.reason is Reason.REVOCATION_UNDETERMINED
    assert (
        caught.value.detail == f"{revocations.crls[0]} is signed by no authority of that name that is known"
    )


@pytest.mark.parametrize(
    "key",
    [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)],
    ids=["Ed25519", "RSA"],
)
def test_a_list_signed_with_another_kind_of_key_is_not_the_issuers(
    key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey,
) -> None:
    namesake = CA("prod.example.org", subject=called(ISSUING), key=key)
    assert reason_of(Revocations(crls=[namesake.crl(LEAF)])) is Reason.REVOCATION_UNDETERMINED


@pytest.mark.parametrize(
    ("usages", "reason"),
    [
        pytest.param({"key_cert_sign", "crl_sign"}, Reason.REVOKED, id="both"),
        pytest.param({"crl_sign"}, Reason.REVOKED, id="cRLSign"),
        pytest.param({"key_cert_sign"}, Reason.REVOCATION_UNDETERMINED, id="keyCertSign only"),
        pytest.param(None, Reason.REVOKED, id="no key usage"),
    ],
)
def test_an_issuer_may_sign_lists_if_its_key_usage_says_so_or_is_missing(
    usages: set[str] | None, reason: Reason | None
) -> None:
    """RFC 5280 section 6.3.3 (f): "verify that the cRLSign bit is set" if there is a key usage."""
    root = CA("prod.example.org", usages=usages)
    leaf = root.issue(PATH)
    path = (leaf.certificate, root.certificate)
    assert reason_of(Revocations(crls=[root.crl(leaf)]), path) is reason


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        pytest.param(-3601, Reason.CRL_NOT_IN_DATE, id="before its first instant"),
        pytest.param(-3600, None, id="its first instant"),
        pytest.param(3600, None, id="its last instant"),
        pytest.param(3601, Reason.CRL_NOT_IN_DATE, id="after its last instant"),
    ],
)
def test_a_list_counts_between_its_dates_and_refuses_outside_of_them(
    seconds: int, reason: Reason | None
) -> None:
    crl = ISSUING.crl(last_update=NOW - HOUR, next_update=NOW + HOUR)
    assert reason_of(Revocations(crls=[crl]), now=NOW + timedelta(seconds=seconds)) is reason


def test_a_list_of_somebody_else_may_be_out_of_date() -> None:
    crl = CA("dev.example.org").crl(last_update=NOW - DAY, next_update=NOW - HOUR)
    assert reason_of(Revocations(crls=[crl])) is None


def test_the_first_list_that_is_due_bounds_the_verdict() -> None:
    lists = [
        ISSUING.crl(next_update=NOW + 3 * HOUR),
        ROOT.crl(next_update=NOW + 2 * HOUR),
        CA("dev.example.org").crl(next_update=NOW + HOUR),
    ]
    assert check(Revocations(crls=lists)) == NOW + 2 * HOUR
    assert check(Revocations()) is None


def test_a_list_without_next_update_does_not_bound_the_verdict() -> None:
    # RFC 5280 demands the date (section 5.1.2.5), X.509 does not.
    endless = edited_list(ISSUING.crl(LEAF), ISSUING, {4: b""})
    assert x509.load_der_x509_crl(endless).next_update_utc is None
    assert reason_of(Revocations(crls=[endless])) is Reason.REVOKED
    assert check(Revocations(crls=[edited_list(ISSUING.crl(OTHER), ISSUING, {4: b""})])) is None


def test_two_lists_of_one_issuer_both_count() -> None:
    for lists in ([ISSUING.crl(), ISSUING.crl(LEAF)], [ISSUING.crl(LEAF), ISSUING.crl()]):
        assert reason_of(Revocations(crls=lists)) is Reason.REVOKED


def test_a_list_says_nothing_about_a_namesake_of_its_issuer_in_another_trust_domain() -> None:
    # Who signed a list is remembered for each issuer, so they alternate.
    namesake = CA("dev.example.org", subject=called(ROOT))
    foreign = namesake.issue(PATH, serial=INTERMEDIATE_SERIAL)
    revocations = Revocations(crls=[ROOT.crl(ISSUING)])
    revocations.find_signers([ROOT.bundle(), namesake.bundle()])
    dev = SpiffeId.parse(f"spiffe://dev.example.org{PATH}")
    for _ in range(3):
        assert revocations.check(dev, (foreign.certificate, namesake.certificate), NOW) is None
        assert reason_of(revocations) is Reason.REVOKED


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ISSUING.crl(LEAF), id="PEM"),
        pytest.param(as_der(ISSUING.crl(LEAF)), id="DER"),
        pytest.param(ROOT.crl() + b"a comment\n" + ISSUING.crl(LEAF), id="two in one PEM"),
    ],
)
def test_a_list_is_read_as_pem_and_as_der(data: bytes) -> None:
    assert reason_of(Revocations(crls=[data])) is Reason.REVOKED


# -- What cannot be a list ----------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", "revocation list 2: ", id="nothing"),
        pytest.param(b"junk", "revocation list 2: ", id="junk"),
        pytest.param(as_der(ROOT.crl())[:-1], "revocation list 2: ", id="DER cut off"),
        pytest.param(ROOT.crl()[:-9], "the text was cut off or mixed up", id="PEM cut off"),
        pytest.param(
            ROOT.crl() + ROOT.pem, "a PEM block 'CERTIFICATE' does not belong here", id="a certificate"
        ),
        pytest.param(pem("X509 CRL", b"junk"), "revocation list 2: ", id="junk in PEM"),
        pytest.param("text", "revocation list 2: ", id="no bytes"),
        pytest.param(edited_list(ROOT.crl(), ROOT, {0: b"\2\1\5"}), "revocation list 2: ", id="version 6"),
        pytest.param(
            edited_list(ROOT.crl(), ROOT, {2: b"\x30\2\x31\0"}),
            "revocation list 2: ",
            id="broken issuer",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(data: bytes, expected: str) -> None:
    with pytest.raises(InvalidRevocations) as caught:
        Revocations(crls=[ROOT.crl(), data])
    assert expected in str(caught.value)


ONLY_KEY_COMPROMISE = frozenset([x509.ReasonFlags.key_compromise])


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    ("extension", "why"),
    [
        pytest.param(x509.DeltaCRLIndicator(1), "has only what changed", id="delta"),
        pytest.param(
            issuing_point(indirect_crl=True), "is about certificates of other issuers", id="indirect"
        ),
        pytest.param(issuing_point(only_some_reasons=ONLY_KEY_COMPROMISE), "for some reasons", id="reasons"),
        pytest.param(
            issuing_point(only_contains_attribute_certs=True), "about attribute certificates", id="attributes"
        ),
        pytest.param(
            issuing_point(
                relative_name=x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "1")])
            ),
            "is for a relative distribution point",
            id="relative name",
        ),
    ],
)
def test_a_list_of_a_part_only_is_refused(extension: x509.ExtensionType, why: str, *, critical: bool) -> None:
    """RFC 5280 sections 5.2.4 and 5.2.5: critical; but one that is not must not be taken for complete."""
    with pytest.raises(InvalidRevocations, match=f"revocation list 1: the list of '.*' .*{why}"):
        Revocations(crls=[ROOT.crl(extra=[(extension, critical)])])


def test_a_list_with_an_unknown_critical_extension_is_refused() -> None:
    """RFC 5280 section 5.2: a list with a critical extension that cannot be processed must not be used."""
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0")
    with pytest.raises(
        InvalidRevocations, match=r"the list has the extension 1\.2\.3\.4, which is not processed"
    ):
        Revocations(crls=[ROOT.crl(extra=[(unknown, True)])])
    assert Revocations(crls=[ROOT.crl(extra=[(unknown, False)])]).crls


def test_extensions_that_are_not_critical_do_no_harm() -> None:
    crl = ISSUING.crl(LEAF, extra=[(x509.CRLNumber(7), False)])
    assert reason_of(Revocations(crls=[crl])) is Reason.REVOKED


def test_a_list_with_a_broken_extension_is_refused() -> None:
    broken = x509.UnrecognizedExtension(x509.CRLNumber.oid, b"\xff")
    with pytest.raises(InvalidRevocations, match="revocation list 1: "):
        Revocations(crls=[ROOT.crl(extra=[(broken, False)])])


def test_a_list_with_one_extension_twice_is_refused() -> None:
    whole = as_der(ROOT.crl(extra=[(x509.CRLNumber(7), False)]))
    tbs, algorithm, _ = children(whole)
    *fields, extensions = children(tbs)
    (number,) = children(children(extensions)[0])
    twice = der(SEQUENCE, *fields, der(0xA0, der(SEQUENCE, number, number)))
    with pytest.raises(InvalidRevocations, match="revocation list 1: "):
        Revocations(crls=[signed(twice, algorithm, ROOT.key)])


DAMAGED = ISSUING.crl(LEAF, extra=[(x509.CRLNumber(7), False)])


@settings(max_examples=1000)
@given(damaged(DAMAGED) | damaged(as_der(DAMAGED)) | st.binary())
def test_any_bytes_are_revocations_or_invalid(data: bytes) -> None:
    try:
        revocations = Revocations(crls=[data])
    except InvalidRevocations as error:
        assert str(error).isascii()
    else:
        assert reason_of(revocations) in {
            None,
            Reason.REVOKED,
            Reason.CRL_NOT_IN_DATE,
            Reason.REVOCATION_UNDETERMINED,
        }


# -- The deny list ------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(PROD, id="the name"),
        pytest.param(SpiffeId.parse(PROD), id="the name, as a value"),
        pytest.param("spiffe://prod.example.org/ns/checkout/**", id="a pattern"),
        pytest.param("spiffe://prod.example.org/**", id="the whole trust domain"),
        pytest.param(fingerprint(LEAF.chain[0]), id="the leaf"),
        pytest.param(fingerprint(to_der(ISSUING.certificate)), id="the intermediate"),
        pytest.param(fingerprint(to_der(ROOT.certificate)), id="the anchor"),
    ],
)
def test_the_deny_list_refuses_a_name_and_everything_below_a_certificate(entry: str | SpiffeId) -> None:
    others = ["spiffe://dev.example.org/**", "0" * 64]
    with pytest.raises(Refused) as caught:
        check(Revocations(deny=[*others, entry]))
    assert caught.value.reason is Reason.DENY_LISTED
    assert caught.value.detail.startswith("the deny list has ")
    assert str(entry) in caught.value.detail


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param("spiffe://dev.example.org/**", id="another trust domain"),
        pytest.param("spiffe://prod.example.org/ns/checkout", id="a parent"),
        pytest.param("spiffe://prod.example.org/ns/checkout/sa/API", id="another case"),
        pytest.param(fingerprint(OTHER.chain[0]), id="another leaf of the same name"),
    ],
)
def test_the_deny_list_refuses_nobody_else(entry: str) -> None:
    assert reason_of(Revocations(deny=[entry])) is None


def test_the_deny_list_is_not_deceived_by_the_other_signature_of_a_certificate() -> None:
    # A thief can make it without the authority's key; it is not the bytes that were denied.
    for denied, path in (
        (LEAF, (twin(LEAF.certificate), *LEAF.chain[1:])),
        (ISSUING, (LEAF.chain[0], twin(ISSUING.certificate))),
    ):
        revocations = Revocations(deny=[fingerprint(to_der(denied.certificate))])
        with pytest.raises(PeerRejected) as caught:
            ChainVerifier(BundleSet([ROOT.bundle()]), revocations=revocations).verify(path)
        assert caught.value.reason is Reason.DENY_LISTED


def test_the_deny_list_comes_before_the_revocation_lists() -> None:
    assert reason_of(Revocations(crls=[ISSUING.crl(LEAF)], deny=[PROD])) is Reason.DENY_LISTED


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param("", "is neither spiffe://trust-domain/pattern nor a lower-case SHA-256", id="nothing"),
        pytest.param("/ns/ci/**", "is neither", id="no trust domain"),
        pytest.param("spiffe://prod.example.org", "names no workload", id="no path"),
        pytest.param("prod.example.org/ns/ci", "is neither", id="no scheme"),
        pytest.param("A" * 64, "is neither", id="upper-case hex"),
        pytest.param("a" * 63, "is neither", id="short hex"),
        pytest.param("a" * 65, "is neither", id="long hex"),
        pytest.param("a" * 64 + "\n", "is neither", id="hex and a newline"),
        pytest.param("aa:" * 31 + "aa", "is neither", id="hex with colons"),
        pytest.param("spiffe://Prod/ns/ci", "may hold only a-z", id="invalid trust domain"),
        pytest.param("spiffe://*/ns/ci", "may hold only a-z", id="any trust domain"),
        pytest.param("spiffe:///ns/ci", "a trust domain name is missing", id="no trust domain in it"),
        pytest.param("spiffe://prod/", "names no workload", id="no pattern"),
        pytest.param("spiffe://prod/a**", "'**' is part of a longer segment", id="invalid pattern"),
    ],
)
def test_a_deny_entry_that_means_nothing_is_refused(entry: str, expected: str) -> None:
    with pytest.raises(InvalidRevocations) as caught:
        Revocations(deny=[entry])
    assert str(caught.value).startswith("deny list: ")
    assert expected in str(caught.value)


# -- Values -------------------------------------------------------------------


def test_revocations_with_the_same_content_are_equal() -> None:
    crl = ISSUING.crl(LEAF)
    one = Revocations(crls=[crl], deny=[PROD, "0" * 64])
    two = Revocations(crls=[as_der(crl)], deny=["0" * 64, SpiffeId.parse(PROD), PROD])
    assert one == two
    assert hash(one) == hash(two)
    assert one != Revocations(crls=[crl])
    assert one != Revocations(crls=[ROOT.crl()], deny=[PROD, "0" * 64])


def test_nothing_is_revoked_by_default() -> None:
    assert Revocations() == Revocations(crls=(), deny=())
    assert reason_of(Revocations()) is None


def test_the_serials_are_not_shown() -> None:
    assert "serials=<2>" in repr(Revocations(crls=[ISSUING.crl(LEAF, OTHER)]))


class TestGrace:
    LATE = NOW + 2 * DAY

    def test_without_it_an_overdue_list_refuses(self) -> None:
        assert reason_of(Revocations(crls=[ISSUING.crl()]), now=self.LATE) is Reason.CRL_NOT_IN_DATE

    def test_with_it_the_list_counts_so_much_longer(self) -> None:
        crl = ISSUING.crl(OTHER, next_update=NOW + DAY)
        grace = Revocations(crls=[crl], grace=(DAY + HOUR).total_seconds())
        assert check(grace, now=self.LATE) == NOW + 2 * DAY + HOUR
        assert reason_of(grace, now=self.LATE + 2 * HOUR) is Reason.CRL_NOT_IN_DATE

    def test_what_an_overdue_list_revokes_stays_revoked(self) -> None:
        grace = Revocations(crls=[ISSUING.crl(LEAF)], grace=10 * DAY.total_seconds())
        assert reason_of(grace, now=self.LATE) is Reason.REVOKED

    @pytest.mark.parametrize("seconds", [float("inf"), 1e30])
    def test_it_can_be_for_ever(self, seconds: float) -> None:
        assert check(Revocations(crls=[ISSUING.crl()], grace=seconds), now=NOW + 4000 * DAY) is None

    @pytest.mark.parametrize("seconds", [-1.0, float("nan")])
    def test_it_is_a_number_of_seconds(self, seconds: float) -> None:
        with pytest.raises(InvalidRevocations, match="write a number of seconds, 0 or more"):
            Revocations(grace=seconds)


def numbered(number: int, issuer: CA = ISSUING) -> bytes:
    return issuer.crl(extra=[(x509.CRLNumber(number), False)])


class TestRollback:
    """A list that is older than the one in force would undo a revocation."""

    def test_a_smaller_number_is_one(self) -> None:
        before, after = Revocations(crls=[numbered(7)]), Revocations(crls=[numbered(6)])
        with pytest.raises(
            InvalidRevocations, match=r"number 6 of .*, is older than the one in force, number 7 of "
        ):
            after.check_follows(before)
        before.check_follows(after)
        before.check_follows(before)

    def test_without_numbers_the_dates_count(self) -> None:
        before, after = (Revocations(crls=[ISSUING.crl(last_update=NOW - age)]) for age in (HOUR, DAY))
        with pytest.raises(InvalidRevocations, match="older than the one in force"):
            after.check_follows(before)
        before.check_follows(after)

    def test_a_list_of_another_issuer_is_not_older(self) -> None:
        Revocations(crls=[numbered(1, ROOT)]).check_follows(Revocations(crls=[numbered(7)]))

    def test_a_list_of_another_key_of_the_same_name_is_not_older(self) -> None:
        renewed = CA("prod.example.org", subject=called(ROOT))
        lists = [
            issuer.crl(
                extra=[
                    (x509.CRLNumber(number), False),
                    (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False),
                ]
            )
            for issuer, number in ((ROOT, 7), (renewed, 1))
        ]
        Revocations(crls=lists[1:]).check_follows(Revocations(crls=lists[:1]))

    def test_a_mesh_refuses_it_and_stays_as_it_was(self) -> None:
        mesh = Mesh(bundles=BundleSet([ROOT.bundle()]), revocations=Revocations(crls=[numbered(7)]))
        with pytest.raises(InvalidRevocations):
            mesh.publish(revocations=Revocations(crls=[numbered(6)]))
        assert mesh.snapshot.generation == 1


def test_who_signed_a_list_is_known_before_a_handshake_has_to_wait_for_it() -> None:
    prod = ROOT.trust_domain
    mesh = Mesh(bundles=BundleSet([ROOT.bundle()]), revocations=Revocations(crls=[ROOT.crl(), ISSUING.crl()]))
    of_root, of_issuing = mesh.snapshot.revocations.crls
    assert of_root.signers() == ((prod, ROOT.certificate),)
    assert of_issuing.signers() == ()
    mesh.snapshot.verifier.verify(LEAF.chain)
    assert of_issuing.signers() == ((prod, ISSUING.certificate),)
    # Of a new list, whoever signed the one before is asked first.
    mesh.publish(revocations=Revocations(crls=[ISSUING.crl(last_update=datetime.now(UTC))]))
    assert mesh.snapshot.revocations.crls[0].signers() == ((prod, ISSUING.certificate),)


def test_lists_that_were_read_before_are_taken_as_they_are() -> None:
    one, two = Revocations(crls=[ROOT.crl()]), Revocations(crls=[ISSUING.crl()])
    assert Revocations(crls=[*one.crls, *two.crls]).crls == (*one.crls, *two.crls)

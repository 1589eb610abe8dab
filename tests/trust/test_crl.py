"""Which revocation list counts for whom: by RFC 5280, and compared with OpenSSL."""

from __future__ import annotations

import timeit
from datetime import datetime

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.certificates.pem import MAX_BLOCKS
from meshid.errors import PeerRejected
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.reasons import Reason
from meshid.testing import CA, Issued
from meshid.trust import crl as crl_module
from meshid.trust import crl_signature
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.crl import MAX_SHOWN, Undetermined, read_list_file
from meshid.trust.revocations import Revocations
from meshid.verification.verifier import ChainVerifier
from tests.helpers.forged import (
    GENERALIZED_TIME,
    OID,
    SEQUENCE,
    children,
    damaged,
    der,
    edited_list,
    issuing_point,
    pem,
    signed,
)
from tests.helpers.lists import (
    ANOTHER,
    CN,
    NOW,
    ORG,
    PRINTABLE,
    URL,
    UTF8,
    at,
    built,
    long_list,
    renamed,
    with_point,
)
from tests.helpers.world import HOUR, PATH, PROD, called

ROOT = CA("prod.example.org", subject="CN=Mesh Root,O=Example")
LEAF = ROOT.issue(PATH)
OTHER = ROOT.issue(PATH)
NAME = SpiffeId.parse(PROD)


def reason_of(
    *crls: bytes,
    authorities: tuple[CA, ...] = (ROOT,),
    leaf: Issued = LEAF,
    undetermined: tuple[Undetermined, ...] = (),
) -> Reason | None:
    """Return why a chain is refused under these lists and authorities of its trust domain."""
    bundle = TrustBundle.from_pem("prod.example.org", b"".join(each.pem for each in authorities))
    revocations = Revocations(crls=crls, undetermined=undetermined)
    try:
        ChainVerifier(BundleSet([bundle]), revocations=revocations).verify(leaf.chain)
    except PeerRejected as refusal:
        return refusal.reason
    return None


def text_of(data: bytes) -> str:
    lists, (undetermined,) = read_list_file("'a.crl'", data)
    assert lists == ()
    return undetermined.text


class TestNames:
    """RFC 5280 section 7.1: case, white space and the type of strings do not count."""

    @pytest.mark.parametrize(
        "name",
        [
            renamed((NameOID.ORGANIZATION_NAME, "EXAMPLE", UTF8), (NameOID.COMMON_NAME, "mesh root", UTF8)),
            renamed(
                (NameOID.ORGANIZATION_NAME, " Example", UTF8), (NameOID.COMMON_NAME, "Mesh   Root ", UTF8)
            ),
            renamed(
                (NameOID.ORGANIZATION_NAME, "Example", PRINTABLE),
                (NameOID.COMMON_NAME, "Mesh Root", PRINTABLE),
            ),
        ],
        ids=["case", "white space", "type"],
    )
    def test_a_list_with_the_name_written_otherwise_counts(self, name: x509.Name) -> None:
        assert reason_of(built(ROOT, LEAF, name=name)) is Reason.REVOKED

    def test_a_list_with_another_name_does_not(self) -> None:
        name = renamed((CN, "Mesh Root", UTF8), (ORG, "Example", UTF8))
        assert reason_of(built(ROOT, LEAF, name=name)) is None


class TestRenewedKeys:
    """RFC 5280 section 6.3.3 (f): the same name and trust anchor, not the same key."""

    RENEWED = CA("prod.example.org", subject=called(ROOT))

    def test_a_list_of_the_new_key_counts_for_certificates_of_the_old_one(self) -> None:
        for signer in (self.RENEWED, ROOT):
            crl = built(ROOT, LEAF, self.RENEWED.issue(PATH), key=signer.key)
            assert reason_of(crl, authorities=(ROOT, self.RENEWED)) is Reason.REVOKED
            assert reason_of(crl, authorities=(ROOT, self.RENEWED), leaf=OTHER) is None

    def test_not_while_the_new_key_is_not_known(self) -> None:
        crl = built(ROOT, key=self.RENEWED.key)
        assert reason_of(crl) is Reason.REVOCATION_UNDETERMINED

    def test_not_if_it_may_not_sign_lists(self) -> None:
        unable = CA("prod.example.org", subject=called(ROOT), usages={"key_cert_sign"})
        crl = built(ROOT, key=unable.key)
        assert reason_of(crl, authorities=(ROOT, unable)) is Reason.REVOCATION_UNDETERMINED

    def test_an_intermediate_that_was_verified_is_known(self) -> None:
        old, new = (ROOT.intermediate(subject="CN=issuing") for _ in range(2))
        stolen = old.issue(PATH)
        verifier = ChainVerifier(
            BundleSet([ROOT.bundle()]), revocations=Revocations(crls=[built(new, stolen)])
        )
        for _ in range(2):
            with pytest.raises(PeerRejected) as caught:
                verifier.verify(old.issue(PATH).chain)
            assert caught.value.reason is Reason.REVOCATION_UNDETERMINED
        verifier.verify(new.issue(PATH).chain)
        verifier.verify(old.issue(PATH).chain)
        with pytest.raises(PeerRejected) as caught:
            verifier.verify(stolen.chain)
        assert caught.value.reason is Reason.REVOKED

    def test_of_its_own_trust_domain_only(self) -> None:
        namesake = CA("dev.example.org", subject=called(ROOT))
        revocations = Revocations(crls=[built(namesake, LEAF)])
        bundles = BundleSet([ROOT.bundle(), namesake.bundle()])
        verifier = ChainVerifier(bundles, revocations=revocations)
        verifier.verify(LEAF.chain)
        verifier.verify(namesake.issue(PATH).chain)

    def test_so_many_are_remembered_for_each_trust_domain(self) -> None:
        # A partner can issue any number of certificates for our authority's name and key.
        ((crl,), _), dev = read_list_file("a list", built(ROOT, LEAF)), TrustDomain("dev.example.org")
        for _ in range(70):
            assert crl.counts_for(dev, CA("dev.example.org", subject=called(ROOT), key=ROOT.key).certificate)
        assert crl.counts_for(ROOT.trust_domain, ROOT.certificate)
        assert len(crl.signers()) == 64 + 1
        assert crl.domains() == {ROOT.trust_domain, dev}


class TestSeveralListsOfOneIssuer:
    def test_one_that_is_in_date_is_enough(self) -> None:
        lists = [built(ROOT, until=until) for until in (NOW - HOUR / 2, NOW + HOUR, NOW + 2 * HOUR)]
        for order in (lists, lists[::-1]):
            revocations = Revocations(crls=order)
            assert revocations.check(NAME, (LEAF.certificate, ROOT.certificate), NOW) == NOW + 2 * HOUR
        assert reason_of(lists[0]) is Reason.CRL_NOT_IN_DATE
        assert reason_of(lists[0], lists[0]) is Reason.CRL_NOT_IN_DATE

    def test_a_certificate_is_revoked_by_any_even_one_that_is_overdue(self) -> None:
        assert reason_of(built(ROOT, LEAF, until=NOW - HOUR / 2), built(ROOT)) is Reason.REVOKED

    def test_one_without_a_next_update_does_not_end(self) -> None:
        lists = [built(ROOT, until=NOW + HOUR), edited_list(built(ROOT), ROOT, {4: b""})]
        check = Revocations(crls=lists).check(NAME, (LEAF.certificate, ROOT.certificate), NOW)
        assert check is None

    def test_one_that_nobody_signed_does_not_hide_one_that_its_issuer_signed(self) -> None:
        forged = built(ROOT, OTHER, key=CA("x").key)
        assert reason_of(forged, built(ROOT, LEAF)) is Reason.REVOKED
        assert reason_of(forged, built(ROOT, LEAF), leaf=OTHER) is None
        assert reason_of(forged, built(ROOT, until=NOW - HOUR / 2)) is Reason.REVOCATION_UNDETERMINED


class TestDistributionPoints:
    """RFC 5280 section 6.3.3 (b) (2): what a list with an issuing distribution point covers."""

    def test_one_that_only_has_a_name_covers_what_names_no_other(self) -> None:
        for leaf in (LEAF, with_point(ROOT, URL), with_point(ROOT, ANOTHER, URL)):
            assert reason_of(built(ROOT, leaf, extra=at(URL)), leaf=leaf) is Reason.REVOKED
            assert reason_of(built(ROOT, extra=at(URL)), leaf=leaf) is None

    def test_a_certificate_of_another_one_is_undetermined_without_its_list(self) -> None:
        leaf = with_point(ROOT, ANOTHER)
        assert reason_of(built(ROOT, extra=at(URL)), leaf=leaf) is Reason.REVOCATION_UNDETERMINED
        assert reason_of(built(ROOT, extra=at(URL)), built(ROOT, extra=at(ANOTHER)), leaf=leaf) is None
        assert reason_of(built(ROOT, extra=at(URL)), built(ROOT), leaf=leaf) is None
        assert reason_of(built(ROOT, leaf, extra=at(URL)), leaf=leaf) is Reason.REVOKED

    @pytest.mark.parametrize("critical", [True, False])
    def test_one_for_leafs_covers_leafs(self, *, critical: bool) -> None:
        only = ((issuing_point(only_contains_user_certs=True), critical),)
        issuing = ROOT.intermediate()
        assert reason_of(built(ROOT, LEAF, extra=only)) is Reason.REVOKED
        assert reason_of(built(ROOT, extra=only, until=NOW - HOUR / 2)) is Reason.CRL_NOT_IN_DATE
        overdue = built(ROOT, extra=only, until=NOW - HOUR / 2)
        assert reason_of(overdue, leaf=issuing.issue(PATH)) is None
        forged = built(ROOT, extra=only, key=CA("x").key)
        assert reason_of(forged, leaf=issuing.issue(PATH)) is None
        assert reason_of(forged) is Reason.REVOCATION_UNDETERMINED

    def test_one_for_authorities_covers_authorities(self) -> None:
        only = ((issuing_point(only_contains_ca_certs=True), True),)
        issuing = ROOT.intermediate()
        crl = built(ROOT, issuing, extra=only, until=NOW - HOUR / 2)
        assert reason_of(crl, leaf=issuing.issue(PATH)) is Reason.REVOKED
        assert reason_of(crl) is None
        crl = built(ROOT, extra=only, until=NOW - HOUR / 2)
        assert reason_of(crl, leaf=issuing.issue(PATH)) is Reason.CRL_NOT_IN_DATE


class TestUndetermined:
    OF_ROOT = Undetermined("'a.crl': broken", ROOT.certificate.subject)
    OF_NOBODY = Undetermined("'README': junk", None)
    PART = Undetermined("'a.crl': a delta", ROOT.certificate.subject, is_part=True)

    @pytest.mark.parametrize("crls", [(), (built(ROOT),)], ids=["no list", "a good list"])
    @pytest.mark.parametrize("what", [OF_ROOT, OF_NOBODY], ids=["its issuer's", "anybody's"])
    def test_every_certificate_of_its_issuer_is_refused(
        self, what: Undetermined, crls: tuple[bytes, ...]
    ) -> None:
        assert reason_of(*crls, undetermined=(what,)) is Reason.REVOCATION_UNDETERMINED

    def test_no_other_is(self) -> None:
        of_another = attrs.evolve(self.OF_ROOT, issuer=CA("x").certificate.subject)
        assert reason_of(undetermined=(of_another,)) is None
        assert reason_of(built(ROOT), undetermined=(of_another,)) is None

    def test_what_is_revoked_is_told_as_revoked(self) -> None:
        assert reason_of(built(ROOT, LEAF), undetermined=(self.OF_ROOT,)) is Reason.REVOKED

    def test_a_part_is_not_missed_beside_a_complete_list_in_date(self) -> None:
        assert reason_of(built(ROOT), undetermined=(self.PART,)) is None
        assert reason_of(undetermined=(self.PART,)) is Reason.REVOCATION_UNDETERMINED
        overdue = built(ROOT, until=NOW - HOUR / 2)
        assert reason_of(overdue, undetermined=(self.PART,)) is Reason.REVOCATION_UNDETERMINED
        for more in (self.OF_ROOT, self.OF_NOBODY):
            for order in ((self.PART, more), (more, self.PART)):
                assert reason_of(built(ROOT), undetermined=order) is Reason.REVOCATION_UNDETERMINED


def time(text: str) -> bytes:
    return der(GENERALIZED_TIME, text.encode())


class TestReading:
    @pytest.mark.parametrize("field", [3, 4], ids=["this update", "next update"])
    @pytest.mark.parametrize("date", ["00000101000000Z", "00001231235959Z"])
    def test_a_date_in_year_0_cannot_be_used(self, field: int, date: str) -> None:
        lists, (undetermined,) = read_list_file(
            "'a.crl'", edited_list(built(ROOT), ROOT, {field: time(date)})
        )
        assert lists == ()
        assert undetermined.issuer == ROOT.certificate.subject
        assert undetermined.text.startswith("'a.crl': the list of 'CN=Mesh Root,O=Example' cannot be used: ")

    def test_the_last_year_can(self) -> None:
        crl = edited_list(built(ROOT, LEAF), ROOT, {4: time("99991231235959Z")})
        assert reason_of(crl) is Reason.REVOKED
        assert (
            Revocations(crls=[crl], grace=1e9).check(NAME, (OTHER.certificate, ROOT.certificate), NOW) is None
        )

    @pytest.mark.parametrize(
        ("entry", "text"),
        [
            ((x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), True), "1.2.3.4"),
            ((x509.CertificateIssuer([x509.DNSName("x")]), True), "2.5.29.29"),
            ((x509.CertificateIssuer([x509.DNSName("x")]), False), "2.5.29.29"),
        ],
        ids=["unknown", "of another issuer", "of another issuer, not critical"],
    )
    def test_an_entry_with_an_extension_that_changes_its_meaning_cannot_be_used(
        self, entry: tuple[x509.ExtensionType, bool], text: str
    ) -> None:
        """RFC 5280 section 5.3: a critical extension that cannot be processed."""
        crl = built(ROOT, LEAF, entry=entry)
        assert f"an entry has the extension {text}, which is not processed" in text_of(crl)

    @pytest.mark.parametrize(
        "entry",
        [
            (x509.CRLReason(x509.ReasonFlags.key_compromise), False),
            (x509.CRLReason(x509.ReasonFlags.certificate_hold), True),
            (x509.CRLReason(x509.ReasonFlags.remove_from_crl), False),
            (x509.InvalidityDate(datetime(2020, 1, 1)), True),  # noqa: DTZ001 - the backend's, UTC
            (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), False),
        ],
    )
    def test_an_entry_is_revoked_whatever_the_reason(self, entry: tuple[x509.ExtensionType, bool]) -> None:
        assert reason_of(built(ROOT, LEAF, entry=entry)) is Reason.REVOKED

    def test_one_that_cannot_be_used_leaves_the_others_of_its_file(self) -> None:
        good, delta = built(ROOT, LEAF), built(ROOT, extra=((x509.DeltaCRLIndicator(1), True),))
        blocks = [good, b"junk", delta]
        file = b"".join(pem("X509 CRL", each) for each in blocks) + pem("CERTIFICATE", b"junk")
        lists, undetermined = read_list_file("'a.pem'", file)
        assert [each.crl.public_bytes(serialization.Encoding.DER) for each in lists] == [good]
        assert [(each.issuer, each.is_part) for each in undetermined] == [
            (None, False),
            (ROOT.certificate.subject, True),
            (None, False),
        ]
        assert [each.text.partition(": ")[2].partition(": ")[0] for each in undetermined] == [
            "block 2",
            "block 3",
            "block 4",
        ]

    def test_it_has_a_bound_in_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        crl = built(ROOT)
        monkeypatch.setattr(crl_module, "MAX_LIST_BYTES", len(crl) - 1)
        assert text_of(crl) == f"'a.crl': it has {len(crl)} bytes, and at most {len(crl) - 1} are read"
        monkeypatch.setattr(crl_module, "MAX_LIST_BYTES", len(crl))
        assert read_list_file("'a.crl'", crl)[0]

    def test_it_has_a_bound_in_entries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(crl_module, "MAX_ENTRIES", 2)
        assert read_list_file("'a.crl'", built(ROOT, LEAF, OTHER))[0]
        assert "it has more than 2 entries" in text_of(built(ROOT, LEAF, OTHER, ROOT))

    def test_it_has_a_bound_in_lists(self) -> None:
        block = pem("X509 CRL", b"junk")
        lists, undetermined = read_list_file("'a.pem'", block * MAX_BLOCKS)
        assert lists == ()
        assert len(undetermined) == MAX_SHOWN + 1
        text = f"'a.pem': {MAX_BLOCKS - MAX_SHOWN} more revocation lists cannot be used"
        assert undetermined[-1] == Undetermined(text, None)
        assert text_of(block * (MAX_BLOCKS + 1)) == f"'a.crl': it has more than {MAX_BLOCKS} PEM blocks"

    @pytest.mark.parametrize("data", [b"", b"Put the lists here.\n", b"\0\1", pem("X509 CRL", b"x")[20:]])
    def test_what_is_no_list_may_be_anybodys(self, data: bytes) -> None:
        _, (undetermined,) = read_list_file("'README'", data)
        assert undetermined.issuer is None
        assert undetermined.text.startswith("'README': ")

    @settings(max_examples=500)
    @given(damaged(built(ROOT, LEAF)) | damaged(pem("X509 CRL", built(ROOT, LEAF))) | st.binary())
    def test_any_bytes_are_lists_or_undetermined(self, data: bytes) -> None:
        lists, undetermined = read_list_file("a list", data)
        assert bool(lists) is not bool(undetermined) or b"-----BEGIN" in data
        assert all(each.text.isascii() and len(each.text) < 1000 for each in undetermined)
        for each in lists:
            each.dates(0)
            hash(each)
            each.is_from(ROOT.certificate)


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)


class TestSignatures:
    @pytest.mark.parametrize(
        ("key", "rsa_padding"),
        [
            (ec.generate_private_key(ec.SECP256R1()), None),
            (ec.generate_private_key(ec.SECP384R1()), None),
            (rsa_key(), None),
            (rsa_key(), PSS),
        ],
        ids=["P-256", "P-384", "RSA", "RSA-PSS"],
    )
    def test_every_kind_that_paths_have_is_checked(
        self, key: CertificateIssuerPrivateKeyTypes, rsa_padding: padding.PSS | None
    ) -> None:
        issuer = CA("prod.example.org", key=key)
        leaf = issuer.issue(PATH)
        crl = built(issuer, leaf, rsa_padding=rsa_padding)
        assert reason_of(crl, authorities=(issuer,), leaf=leaf) is Reason.REVOKED
        # The serial number of the entry is changed, and the signature is the old one.
        serial = leaf.certificate.serial_number
        size = (serial.bit_length() + 7) // 8
        forged = crl.replace(serial.to_bytes(size, "big"), (serial ^ 1).to_bytes(size, "big"))
        assert reason_of(forged, authorities=(issuer,), leaf=leaf) is Reason.REVOCATION_UNDETERMINED

    @pytest.mark.parametrize("key", [rsa_key(), ed25519.Ed25519PrivateKey.generate()], ids=["RSA", "Ed25519"])
    def test_one_of_another_kind_than_the_issuers_key_is_not_its_own(
        self, key: CertificateIssuerPrivateKeyTypes
    ) -> None:
        assert reason_of(built(ROOT, key=key)) is Reason.REVOCATION_UNDETERMINED

    def test_one_over_the_list_itself_is_checked(self) -> None:
        issuer = CA("prod.example.org", key=ed25519.Ed25519PrivateKey.generate())
        (crl,), _ = read_list_file("a list", built(issuer))
        assert crl.is_from(issuer.certificate)
        (crl,), _ = read_list_file("a list", built(issuer, key=ed25519.Ed25519PrivateKey.generate()))
        assert not crl.is_from(issuer.certificate)

    def test_one_over_the_list_itself_has_a_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        crl = built(CA("prod.example.org", key=ed25519.Ed25519PrivateKey.generate()))
        monkeypatch.setattr(crl_signature, "_MAX_UNHASHED_BYTES", 10)
        assert "bytes; without a digest at most 10 are read" in text_of(crl)

    def test_one_with_an_unknown_algorithm_cannot_be_used(self) -> None:
        unknown = der(SEQUENCE, der(OID, bytes([0x2A, 3, 4])))
        tbs, _, _ = children(edited_list(built(ROOT), ROOT, {1: unknown}))
        lists, (undetermined,) = read_list_file("'a.crl'", signed(tbs, unknown, ROOT.key))
        assert lists == ()
        assert undetermined.issuer == ROOT.certificate.subject
        assert "cannot be used" in undetermined.text

    def test_one_with_another_algorithm_outside_than_inside_cannot_be_used(self) -> None:
        """RFC 5280 section 5.1.1.2: both MUST be the same."""
        tbs, _, signature = children(built(ROOT))
        sha384 = der(SEQUENCE, bytes.fromhex("06082a8648ce3d040303"))
        assert "signature algorithms do not match" in text_of(der(SEQUENCE, tbs, sha384, signature))

    def test_one_that_is_cut_off_is_told_in_words(self) -> None:
        said = "'a.crl': it is cut off, or no revocation list (RFC 5280 section 5.1)"
        assert text_of(built(ROOT)[:100]) == said

    def test_its_cost_does_not_grow_with_the_list(self) -> None:
        # A partner can have any number of intermediates of one name; each has to be asked.
        few = built(ROOT)
        many = long_list(ROOT, 20_000)
        impostors = [CA("partner.example", subject=called(ROOT)).certificate for _ in range(20)]

        def seconds(data: bytes) -> float:
            (crl,), _ = read_list_file("a list", data)
            asked = iter(impostors)
            return min(timeit.repeat(lambda: crl.is_from(next(asked)), number=1, repeat=len(impostors)))

        assert seconds(many) < 5 * seconds(few)

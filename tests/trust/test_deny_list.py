"""The deny list: each entry denies what it names, for as long as it says."""

from __future__ import annotations

import hashlib
import timeit
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshid import BundleSet, ChainVerifier, Denial, InvalidRevocations, Reason, Revocations, SpiffeId
from meshid.certificates.reading import fingerprint, to_der
from meshid.errors import Refused
from meshid.testing import CA
from meshid.trust.deny_list import MAX_SHOWN
from tests.helpers.world import HOUR, PATH, PROD

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = CA("prod.example.org")
ISSUING = ROOT.intermediate()
LEAF = ISSUING.issue(PATH)
OTHER = ISSUING.issue(PATH)
NAME = SpiffeId.parse(PROD)


def key_hash(certificate: x509.Certificate) -> str:
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


def refusal(denial: Denial, leaf: x509.Certificate = LEAF.certificate, now: datetime = NOW) -> str | None:
    return refusal_of(Revocations(deny=[denial]), leaf, now)


def refusal_of(
    revocations: Revocations, leaf: x509.Certificate = LEAF.certificate, now: datetime = NOW
) -> str | None:
    try:
        revocations.check(NAME, (leaf, ISSUING.certificate, ROOT.certificate), now)
    except Refused as rejection:
        assert rejection.reason is Reason.DENY_LISTED
        return rejection.detail
    return None


ISSUER = ISSUING.certificate.subject.rfc4514_string()

ENTRIES = {
    "a certificate": Denial(certificate=fingerprint(LEAF.chain[0])),
    "a key": Denial(key=key_hash(LEAF.certificate)),
    "a serial number": Denial(issuer=ISSUER, serial=LEAF.certificate.serial_number),
}
OF_AN_AUTHORITY = {
    "a certificate": Denial(certificate=fingerprint(to_der(ROOT.certificate))),
    "a key": Denial(key=key_hash(ISSUING.certificate)),
    "a serial number": Denial(
        issuer=ROOT.certificate.subject, serial=ISSUING.certificate.serial_number, reason="INC-4711"
    ),
}


@pytest.mark.parametrize("denial", ENTRIES.values(), ids=ENTRIES)
def test_it_denies_one_certificate_and_no_other(denial: Denial) -> None:
    assert refusal(denial) == f"the deny list has {denial}"
    assert refusal(denial, OTHER.certificate) is None


@pytest.mark.parametrize("denial", OF_AN_AUTHORITY.values(), ids=OF_AN_AUTHORITY)
def test_an_authority_is_denied_with_everything_below_it(denial: Denial) -> None:
    assert refusal(denial)
    assert refusal(denial, OTHER.certificate)


@pytest.mark.parametrize(
    ("pattern", "denied"),
    [(PROD, True), ("spiffe://prod.example.org/ns/**", True), ("spiffe://dev.example.org/**", False)],
)
def test_it_denies_a_peer(pattern: str, denied: bool) -> None:  # noqa: FBT001
    assert bool(refusal(Denial(peer=pattern))) is denied


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param("CN=root,O=Example,C=US", id="RFC 4514"),
        pytest.param("C=US,O=Example,CN=root", id="the order of the certificate"),
        pytest.param("issuer=C = US, O = Example, CN = root", id="openssl 3"),
        pytest.param("/C=US/O=Example/CN=root", id="openssl 1"),
        pytest.param("cn=ROOT, o=example, c=us", id="another case"),
        pytest.param("CN=root,  O= Example ,C=US", id="more white space"),
    ],
)
def test_an_issuer_is_denied_however_its_name_is_written(issuer: str) -> None:
    root = CA("prod.example.org", subject="CN=root,O=Example,C=US")
    leaf = root.issue(PATH)
    path = (leaf.certificate, root.certificate)
    denied = Revocations(deny=[Denial(issuer=issuer, serial=leaf.certificate.serial_number)])
    with pytest.raises(Refused) as caught:
        denied.check(NAME, path, NOW)
    assert caught.value.reason is Reason.DENY_LISTED
    assert denied.check(NAME, (root.issue(PATH).certificate, root.certificate), NOW) is None


def test_a_serial_number_is_its_issuers_own() -> None:
    assert refusal(Denial(issuer="CN=another", serial=LEAF.certificate.serial_number)) is None


def test_it_holds_until_its_end_and_no_longer() -> None:
    denial = Denial(peer=PROD, until=NOW + HOUR)
    assert refusal(denial)
    assert refusal(denial, now=NOW + HOUR - timedelta(seconds=1))
    assert refusal(denial, now=NOW + HOUR) is None


def test_one_that_has_ended_does_not_hide_one_that_has_not() -> None:
    ended = Denial(peer=PROD, until=NOW - HOUR)
    with pytest.raises(Refused):
        Revocations(deny=[ended, PROD]).check(NAME, (LEAF.certificate, ROOT.certificate), NOW)


def test_the_refusal_says_why_in_one_safe_line() -> None:
    expected = refusal(Denial(peer=PROD, reason="INC-4711\nadmitted"))
    assert expected == f"the deny list has {PROD} ('INC-4711\\nadmitted')"
    expected = refusal(OF_AN_AUTHORITY["a serial number"])
    assert expected is not None
    assert expected.endswith("('INC-4711')")


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        pytest.param({}, "exactly one of", id="nothing"),
        pytest.param({"peer": PROD, "key": "0" * 64}, "exactly one of", id="two"),
        pytest.param({"serial": 3}, "go together", id="a serial number alone"),
        pytest.param({"issuer": "CN=a"}, "go together", id="an issuer alone"),
        pytest.param({"issuer": "no name", "serial": 3}, "is not a distinguished name", id="no name"),
        pytest.param({"issuer": "XX=a", "serial": 3}, "type 'XX' is unknown; write its object", id="no type"),
        pytest.param({"certificate": "AB" * 32}, "64 lower-case hex digits", id="upper case"),
        pytest.param({"key": "ab"}, "key 'ab' is not a SHA-256", id="a short hash"),
        pytest.param({"peer": "spiffe://prod.example.org/a**"}, "'**' is part of", id="no pattern"),
        pytest.param({"peer": "/ns/a"}, "write spiffe://trust-domain/ns/a", id="no trust domain"),
        pytest.param(
            {"peer": PROD, "until": NOW.replace(tzinfo=None)}, "offset from UTC", id="a time of nowhere"
        ),
    ],
)
def test_an_invalid_entry_is_refused(wrong: dict[str, object], expected: str) -> None:
    with pytest.raises(InvalidRevocations, match=r"^deny list: ") as caught:
        Denial(**wrong)  # type: ignore[arg-type]
    assert expected in str(caught.value)


def test_a_denial_is_taken_as_it_is_and_a_spiffe_id_means_a_peer() -> None:
    denial = Denial(peer=NAME)
    assert Revocations(deny=[denial, NAME]).deny == {denial}


class TestEntriesThatDenyNobody:
    BUNDLES = BundleSet([ROOT.bundle()])

    @pytest.mark.parametrize(
        ("denial", "text"),
        [
            (
                Denial(issuer="CN=rot,O=prod.example.org", serial=1),
                "no issuer of that name is known; known are 'CN=root,O=prod.example.org'",
            ),
            (
                Denial(peer="spiffe://prod.exmaple.org/**"),
                "no bundle of prod.exmaple.org is loaded; loaded are prod.example.org",
            ),
        ],
    )
    def test_are_told_by_name(self, denial: Denial, text: str) -> None:
        (told,) = Revocations(deny=[denial]).unmatched(self.BUNDLES)
        assert told == f"{denial} denies nobody: {text}"

    def test_without_a_bundle_that_is_every_one(self) -> None:
        denials = [Denial(issuer=ISSUER, serial=1), Denial(peer=PROD)]
        assert {each.partition("; ")[2] for each in Revocations(deny=denials).unmatched(BundleSet())} == {
            "known are none",
            "loaded are none",
        }

    @pytest.mark.parametrize(
        "denial", [*OF_AN_AUTHORITY.values(), Denial(peer=PROD), Denial(certificate="0" * 64)]
    )
    def test_are_none_of_those_that_may_deny_somebody(self, denial: Denial) -> None:
        assert Revocations(deny=[denial]).unmatched(self.BUNDLES) == ()

    def test_are_told_until_a_certificate_of_that_issuer_comes(self) -> None:
        # The name of an intermediate is in no bundle.
        revocations = Revocations(deny=[Denial(issuer=ISSUER, serial=1)])
        assert len(revocations.unmatched(self.BUNDLES)) == 1
        ChainVerifier(self.BUNDLES, revocations=revocations).verify(LEAF.chain)
        assert revocations.unmatched(self.BUNDLES) == ()

    def test_are_told_under_the_bundles_that_are_in_force(self) -> None:
        revocations = Revocations(deny=[PROD])
        assert revocations.unmatched(self.BUNDLES) == ()
        assert len(revocations.unmatched(BundleSet([CA("dev.example.org").bundle()]))) == 1

    def test_are_counted_when_they_are_many(self) -> None:
        denials = [Denial(issuer="CN=x", serial=number) for number in range(1, MAX_SHOWN + 3)]
        texts = Revocations(deny=denials).unmatched(self.BUNDLES)
        assert len(texts) == MAX_SHOWN + 1
        assert texts[-1] == "and 2 more entries"


def test_the_cost_of_a_handshake_does_not_grow_with_the_list() -> None:
    paths = ["/ns/n{}/sa/x", "/ns/n{}*/sa/x*", "/ns/n{}/**"]
    some, many = (
        Revocations(
            deny=[f"spiffe://prod.example.org{path.format(n)}" for path in paths for n in range(count)]
        )
        for count in (10, 2000)
    )
    path = (LEAF.certificate, ISSUING.certificate, ROOT.certificate)

    def seconds(revocations: Revocations) -> float:
        return min(timeit.repeat(lambda: revocations.check(NAME, path, NOW), number=20, repeat=5))

    assert seconds(many) < 5 * seconds(some)


def test_one_of_many_entries_about_a_peer_is_told() -> None:
    denials = [Denial(peer=PROD, reason=f"INC-{number}") for number in range(3)]
    for order in (denials, denials[::-1]):
        assert refusal_of(Revocations(deny=order)) == f"the deny list has {PROD} ('INC-0')"

"""The deny list: each entry denies what it names, for as long as it says."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshid import Denial, InvalidRevocations, Reason, Revocations, SpiffeId
from meshid.certificates.reading import fingerprint, to_der
from meshid.errors import Refused
from meshid.testing import CA
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
    try:
        Revocations(deny=[denial]).check(NAME, (leaf, ISSUING.certificate, ROOT.certificate), now)
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

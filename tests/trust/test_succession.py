"""What stays in force when new revocation lists come: nothing that goes bad gives a certificate back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from meshid.errors import Refused
from meshid.names.spiffe_id import SpiffeId
from meshid.reasons import Reason
from meshid.testing import CA, Issued
from meshid.trust.crl import RevocationList, Undetermined, read_list_file
from meshid.trust.revocations import Revocations
from meshid.trust.succession import ended_after
from tests.helpers.forged import edited_list
from tests.helpers.world import DAY, HOUR, PATH, PROD, called

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = CA("prod.example.org")
OTHER = CA("prod.example.org", subject="CN=other")
LEAF = ROOT.issue(PATH)
NAME = SpiffeId.parse(PROD)


def listed(
    issuer: CA, number: int, *revoked: Issued, until: datetime = NOW + DAY, key_id: bool = True
) -> RevocationList:
    extra: list[tuple[x509.ExtensionType, bool]] = [(x509.CRLNumber(number), False)]
    if key_id:
        extra.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False))
    crl = issuer.crl(*revoked, last_update=NOW - HOUR, next_update=until, extra=extra)
    return read_list_file("a list", crl)[0][0]


def revocations(*crls: RevocationList, bad: tuple[Undetermined, ...] = ()) -> Revocations:
    found = Revocations(crls=crls, undetermined=bad)
    found.find_signers([ROOT.bundle(), OTHER.bundle()])
    return found


def bad(issuer: CA | None) -> Undetermined:
    return Undetermined("'a.crl': broken", None if issuer is None else issuer.certificate.subject)


def after(
    new: Revocations, before: Revocations | None, now: datetime = NOW
) -> tuple[tuple[RevocationList, ...], tuple[str, ...]]:
    merged, texts = new.following(before, now)
    return merged.crls, texts


def copied(each: RevocationList) -> RevocationList:
    """Return the list as it is when it is read again: it does not know who signed it."""
    return read_list_file("a list", each.crl.public_bytes(serialization.Encoding.DER))[0][0]


def without_next_update(each: RevocationList) -> RevocationList:
    der_of_it = edited_list(each.crl.public_bytes(serialization.Encoding.DER), ROOT, {4: b""})
    return read_list_file("a list", der_of_it)[0][0]


FIRST = listed(ROOT, 7, LEAF)
LATER = listed(ROOT, 8)
OF_OTHER = listed(OTHER, 1)
CALLED = "the revocation list of 'CN=root,O=prod.example.org', number"


class TestLists:
    def test_at_the_start_everything_is_taken_as_it_is(self) -> None:
        new = revocations(FIRST, bad=(bad(OTHER), bad(None)))
        assert new.following(None, NOW) == (new, ())

    def test_where_nothing_is_new_the_value_stays_the_same(self) -> None:
        # The cache of verdicts hangs on it.
        before = revocations(FIRST, OF_OTHER, bad=(bad(OTHER),))
        again = Revocations(crls=[copied(FIRST), copied(OF_OTHER)], undetermined=[bad(OTHER)])
        merged, texts = again.following(before, NOW)
        assert merged is before
        assert texts == ()

    def test_a_later_one_takes_its_place(self) -> None:
        assert after(revocations(LATER, OF_OTHER), revocations(FIRST)) == ((LATER, OF_OTHER), ())

    def test_an_older_one_does_not(self) -> None:
        crls, texts = after(revocations(FIRST), revocations(LATER))
        assert crls == (LATER,)
        date = NOW - HOUR
        assert texts == (
            f"{CALLED} 7 of {date}, is older than the one in force, number 8 of {date}",
            f"{CALLED} 8 of {date}, stays in force",
        )

    def test_one_that_is_gone_stays_until_its_next_update(self) -> None:
        crls, texts = after(revocations(OF_OTHER), revocations(FIRST, OF_OTHER))
        assert crls == (OF_OTHER, FIRST)
        assert texts == (f"{CALLED} 7 of {NOW - HOUR}, is gone, and stays in force until {NOW + DAY}",)
        assert after(Revocations(), revocations(FIRST), NOW + DAY)[0] == (FIRST,)
        assert after(Revocations(), revocations(FIRST), NOW + DAY + HOUR) == ((), ())

    def test_one_that_is_gone_and_has_no_next_update_stays(self) -> None:
        endless = without_next_update(FIRST)
        crls, texts = after(Revocations(), revocations(endless), NOW + 1000 * DAY)
        assert crls == (endless,)
        assert texts[0].endswith("is gone, and stays in force")

    @pytest.mark.parametrize("what", [bad(ROOT), bad(None)], ids=["its issuer's", "somebody's"])
    def test_one_that_cannot_be_used_does_not_replace_it_even_after_its_end(self, what: Undetermined) -> None:
        # Otherwise a broken file would give back what was revoked, as soon as the last good list ends.
        crls, texts = after(revocations(bad=(what,)), revocations(FIRST), NOW + 2 * DAY)
        assert crls == (FIRST,)
        assert texts[0].endswith("stays in force, because a list that may replace it cannot be used")

    def test_one_that_its_signer_did_not_sign_stands_beside_it(self) -> None:
        forged = listed(CA("prod.example.org", subject=called(ROOT)), 9, key_id=False)
        signed = listed(ROOT, 7, LEAF, key_id=False)
        crls, texts = after(revocations(forged), revocations(signed), NOW + 2 * DAY)
        assert crls == (forged, signed)
        why = f"because its signer did not sign the one number 9 of {NOW - HOUR}"
        assert texts == (f"{CALLED} 7 of {NOW - HOUR}, stays in force, {why}",)

    def test_one_that_a_renewed_key_signed_replaces_it_when_that_is_known(self) -> None:
        renewed = CA("prod.example.org", subject=called(ROOT))
        old, new = listed(ROOT, 7, LEAF, key_id=False), listed(renewed, 8, key_id=False)
        both, texts = Revocations(crls=[new]).following(revocations(old), NOW)
        assert both.crls == (new, old)
        assert len(texts) == 1
        both.find_signers([renewed.bundle()])
        assert after(Revocations(crls=[new]), both) == ((new,), ())

    def test_one_of_a_namesake_in_another_trust_domain_does_not_replace_it(self) -> None:
        namesake = CA("dev.example.org", subject=called(ROOT))
        ours, theirs = listed(ROOT, 7, LEAF, key_id=False), listed(namesake, 8, key_id=False)
        before = Revocations(crls=[ours, theirs])
        before.find_signers([ROOT.bundle(), namesake.bundle()])
        crls, (text,) = after(Revocations(crls=[theirs]), before)
        assert crls == (theirs, ours)
        assert f"is gone, and stays in force until {NOW + DAY}" in text

    def test_who_signed_it_stays_known(self) -> None:
        before = revocations(FIRST)
        merged, _ = Revocations(crls=[copied(FIRST), OF_OTHER]).following(before, NOW)
        assert merged.crls[0].signers() == FIRST.signers() != ()

    def test_two_of_one_issuer_in_force_together_undo_neither(self) -> None:
        both = revocations(FIRST, LATER)
        assert after(both, both) == ((FIRST, LATER), ())
        attached = revocations(FIRST, LATER, OF_OTHER)
        attached.check_follows(both)
        assert after(attached, both) == ((FIRST, LATER, OF_OTHER), ())
        assert after(revocations(FIRST), both)[0] == (FIRST, LATER)

    def test_one_that_ended_is_told_from_one_that_was_replaced(self) -> None:
        late = NOW + DAY + HOUR
        assert ended_after((OF_OTHER,), (FIRST, OF_OTHER), late) == (FIRST,)
        assert ended_after((LATER,), (FIRST, LATER), late) == ()
        assert ended_after((), (without_next_update(FIRST),), late) == ()


class TestUndetermined:
    def test_one_that_goes_bad_later_is_an_alarm_only(self) -> None:
        for what in (bad(ROOT), bad(None)):
            merged, texts = revocations(bad=(what,)).following(revocations(FIRST), NOW)
            assert merged.undetermined == ()
            assert texts[-1] == "'a.crl': broken; what was in force stays"

    @pytest.mark.parametrize(
        ("before", "new", "then"),
        [
            pytest.param([bad(ROOT)], [bad(ROOT)], [bad(ROOT)], id="still bad"),
            pytest.param([bad(ROOT)], [], [], id="healed"),
            pytest.param([bad(None)], [bad(ROOT)], [bad(ROOT)], id="now it is known whose it is"),
            pytest.param([bad(ROOT)], [bad(None)], [bad(ROOT)], id="not known any more whose it is"),
            pytest.param([bad(ROOT)], [bad(ROOT), bad(OTHER)], [bad(ROOT)], id="another one"),
            pytest.param(
                [bad(None)], [bad(None), bad(OTHER)], [bad(None), bad(OTHER)], id="another, of anybody"
            ),
        ],
    )
    def test_one_that_was_bad_from_the_start_counts_until_it_is_good(
        self, before: list[Undetermined], new: list[Undetermined], then: list[Undetermined]
    ) -> None:
        in_force, _ = Revocations(undetermined=new).following(Revocations(undetermined=before), NOW)
        assert in_force == Revocations(undetermined=then)

    def test_a_list_that_heals_it_counts(self) -> None:
        merged, texts = revocations(FIRST).following(revocations(bad=(bad(ROOT),)), NOW)
        assert merged == revocations(FIRST)
        assert texts == ()
        with pytest.raises(Refused) as caught:
            merged.check(NAME, (LEAF.certificate, ROOT.certificate), NOW)
        assert caught.value.reason is Reason.REVOKED


# -- Whatever comes after whatever ---------------------------------------------

POOL = [
    listed(issuer, number, *(issuer.issue(PATH, serial=serial) for serial in serials), until=until)
    for issuer in (ROOT, OTHER)
    for number, serials in ((1, [1, 2]), (2, [2, 3]), (3, []))
    for until in (NOW - HOUR / 2, NOW + HOUR)
]
STATES = st.builds(
    lambda crls, bad: revocations(*crls, bad=tuple(bad)),
    st.lists(st.sampled_from(POOL), max_size=4),
    st.lists(st.sampled_from([bad(ROOT), bad(OTHER), bad(None)]), max_size=2),
)


@given(st.lists(STATES, min_size=1, max_size=4))
def test_nothing_is_given_back_while_its_list_is_in_date(states: list[Revocations]) -> None:
    before: Revocations | None = None
    for new in states:
        merged, _ = new.following(before, NOW)
        for old in before.crls if before else ():
            in_date = old.crl.next_update_utc is not None and old.crl.next_update_utc >= NOW
            replaced = any(old.is_named_like(each) and not each.is_older_than(old) for each in new.crls)
            if in_date and not replaced:
                assert old in merged.crls
        if before is not None:
            merged.check_follows(before)
            in_force = {each.issuer_key for each in before.undetermined}
            assert in_force >= {each.issuer_key for each in merged.undetermined} or None in in_force
        before = merged


@given(STATES, STATES)
def test_the_same_again_changes_nothing(before: Revocations, new: Revocations) -> None:
    merged, _ = new.following(before, NOW)
    again, _ = new.following(merged, NOW)
    assert again is merged

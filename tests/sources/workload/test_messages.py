"""Messages of the Workload API: what is good in one counts, whatever else is wrong in it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_crl
from hypothesis import given
from hypothesis import strategies as st
from spiffe._proto import workload_pb2

from meshid import Revocations, TrustDomain
from meshid.errors import InvalidInput
from meshid.sources import Fault, State
from meshid.sources.workload.choice import Choice
from meshid.sources.workload.messages import (
    MAX_BUNDLES,
    MAX_CERTIFICATES,
    MAX_LISTS,
    MAX_SVIDS,
    MAX_WARNINGS,
    state_of,
)
from meshid.testing import CA
from meshid.trust.crl import Undetermined
from tests.helpers.mounted import OWN
from tests.helpers.workload_agent import authorities, pkcs8, response, svid

CA_OF_KEY = CA("prod.example.org")
KEY = pkcs8(CA_OF_KEY.issue())
PROD, PARTNER = TrustDomain("prod.example.org"), TrustDomain("partner.example")


def read(data: bytes, before: State | None = None, choice: Choice | None = None) -> State:
    return state_of(workload_pb2.X509SVIDResponse.FromString(data), choice or Choice(), before)


def crl(ca: CA) -> bytes:
    return load_pem_x509_crl(ca.crl()).public_bytes(serialization.Encoding.DER)


@pytest.fixture
def partner() -> CA:
    return CA("partner.example")


class TestABadPart:
    """Each is alone in being at fault: beside it, an authority of ours and a partner are removed."""

    @pytest.mark.parametrize("wrong", ["key", "chain", "name", "choice", "bundle", "federated"])
    def test_does_not_hold_up_the_others(self, wrong: str, prod_ca: CA, partner: CA) -> None:
        other, stolen = CA("other.example"), CA("prod.example.org")
        issued, crls = prod_ca.issue(OWN), [crl(prod_ca)]
        both = authorities(prod_ca.bundle()) + authorities(stolen.bundle())
        federated = {"partner.example": authorities(partner.bundle())}
        before = read(
            response(
                svid(prod_ca, issued, bundle=both),
                federated={**federated, "other.example": authorities(other.bundle())},
                crls=crls,
            )
        )
        assert len(before.bundles) == 3
        renewed = prod_ca.issue(OWN)
        each: Any = {
            "key": {"key": KEY},
            "chain": {"chain": b"junk"},
            "name": {"name": "spiffe://prod.example.org/else"},
            "bundle": {"bundle": b"junk"},
        }.get(wrong, {})
        choice = Choice(hint="ours") if wrong == "choice" else Choice()
        if wrong == "federated":
            federated["partner.example"] = b"junk"
        state = read(
            response(
                svid(prod_ca, renewed, **each),
                federated=federated,
                crls=crls,
            ),
            before,
            choice,
        )
        (fault,) = state.faults
        assert fault.trust_domain == {"bundle": PROD, "federated": PARTNER}.get(wrong)
        is_ours_good = wrong in {"bundle", "federated"}
        assert state.credentials == (renewed.svid if is_ours_good else issued.svid)
        assert state.revocations == Revocations(crls=crls)
        bundles = {
            "bundle": (partner.bundle(),),
            "federated": (prod_ca.bundle(),),
        }.get(wrong, (prod_ca.bundle(), partner.bundle()))
        assert state.bundles == bundles
        assert state.warnings == ()

    @pytest.mark.parametrize("wrong", ["key", "choice", "bundle"])
    def test_of_ours_holds_up_the_first_message(self, wrong: str, prod_ca: CA) -> None:
        each: Any = {"key": {"key": KEY}, "bundle": {"bundle": b"junk"}}.get(wrong, {})
        data = response(svid(prod_ca, prod_ca.issue(OWN), **each), crls=[b"junk"] if wrong == "crls" else [])
        with pytest.raises(InvalidInput):
            read(data, choice=Choice(hint="ours") if wrong == "choice" else None)

    def test_of_a_partner_does_not_hold_up_the_first_message(self, prod_ca: CA) -> None:
        state = read(response(svid(prod_ca, prod_ca.issue(OWN)), federated={"partner.example": b"junk"}))
        assert state.bundles == (prod_ca.bundle(),)
        text = "bundle of partner.example: it is not DER certificates, one after the other"
        assert state.faults == (Fault(text, PARTNER),)

    def test_of_the_revocation_lists_is_one_of_which_nobody_knows_what_it_revokes(self, prod_ca: CA) -> None:
        state = read(response(svid(prod_ca, prod_ca.issue(OWN)), crls=[b"junk", crl(prod_ca)]))
        (undetermined,) = state.revocations.undetermined
        assert undetermined.text.startswith("revocation list 1: ")
        assert len(state.revocations.crls) == 1
        assert state.faults == ()


class TestBundles:
    def test_one_that_is_empty_is_removed(self, prod_ca: CA, partner: CA) -> None:
        own = svid(prod_ca, prod_ca.issue(OWN))
        before = read(response(own, federated={"partner.example": authorities(partner.bundle())}))
        state = read(response(own, federated={"partner.example": b""}), before)
        assert (state.bundles, state.faults) == ((prod_ca.bundle(),), ())
        assert state.warnings == ("bundle of 'partner.example' is left out: it is empty",)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("Partner", "trust domain 'Partner' may hold only a-z, 0-9, '.', '-' and '_'"),
            ("prod.example.org", "its trust domain has another bundle here"),
            ("spiffe://partner.example", "its trust domain has another bundle here"),
        ],
    )
    def test_one_under_a_wrong_name_is_left_out(
        self, name: str, expected: str, prod_ca: CA, partner: CA
    ) -> None:
        good = authorities(partner.bundle())
        federated = {"partner.example": good, name: authorities(CA("partner.example").bundle())}
        state = read(response(svid(prod_ca, prod_ca.issue(OWN)), federated=federated))
        assert state.bundles == (prod_ca.bundle(), partner.bundle())
        assert state.warnings == (f"bundle of {name!r} is left out: {expected}",)

    def test_that_of_each_trust_domain_that_we_have_a_name_in_counts(self, prod_ca: CA) -> None:
        dev, old = CA("dev.example.org"), CA("prod.example.org")
        offered = [
            svid(dev, dev.issue(OWN), hint="dev"),
            svid(old, old.issue(OWN), hint="old"),
            svid(prod_ca, prod_ca.issue(OWN), hint="new"),
        ]
        state = read(response(*offered), choice=Choice(hint="new"))
        assert set(state.bundles) == {dev.bundle(), prod_ca.bundle()}


class TestBounds:
    def test_a_whole_message_of_empty_certificates_is_refused_at_once(self, prod_ca: CA) -> None:
        before = read(response(svid(prod_ca, prod_ca.issue(OWN))))
        many = b"\x30\x00" * 2_000_000
        data = response(svid(prod_ca, prod_ca.issue(OWN), bundle=many))
        start = time.perf_counter()
        (fault,) = read(data, before).faults
        assert time.perf_counter() - start < 0.5
        said = f"bundle of prod.example.org: it has more than {MAX_CERTIFICATES} certificates"
        assert fault == Fault(said, PROD)

    def test_of_svids_bundles_and_lists(self, prod_ca: CA) -> None:
        own, lists = svid(prod_ca, prod_ca.issue(OWN)), [crl(prod_ca)] * (MAX_LISTS + 1)
        before = read(response(own))
        nameless = svid(prod_ca, prod_ca.issue(OWN), name="x")
        federated = dict.fromkeys(map("{}.example".format, range(MAX_BUNDLES + 1)), b"")
        state = read(response(own, *[nameless] * MAX_SVIDS, federated=federated, crls=lists), before)
        said = f"there are {MAX_LISTS + 1} revocation lists; meshid reads up to {MAX_LISTS}"
        assert state.revocations.undetermined == (Undetermined(said, None),)
        assert len(state.warnings) == MAX_WARNINGS + 1
        more = MAX_SVIDS - 1 + MAX_BUNDLES + 2 - MAX_WARNINGS
        assert state.warnings[-1] == f"and {more} more of this kind"
        assert state.warnings[0] == "SVID 2 is left out: 'x' does not begin with 'spiffe://'"


@given(data=st.binary(max_size=300))
def test_whatever_is_in_its_fields_it_is_read_or_refused(data: bytes) -> None:
    only = workload_pb2.X509SVID(
        spiffe_id="spiffe://prod.example.org/x", x509_svid=data, x509_svid_key=KEY, bundle=data
    )
    message = workload_pb2.X509SVIDResponse(svids=[only])
    with pytest.raises(InvalidInput):
        state_of(message, Choice())


BEFORE = read(response(svid(CA_OF_KEY, CA_OF_KEY.issue(OWN))))


@given(data=st.binary(max_size=300), name=st.text(max_size=40))
def test_later_each_is_a_fault_and_what_we_have_stays(data: bytes, name: str) -> None:
    only = workload_pb2.X509SVID(
        spiffe_id="spiffe://prod.example.org/x", x509_svid=data, x509_svid_key=KEY, bundle=data
    )
    state = read(response(only, federated={name: data}, crls=[data]), BEFORE)
    assert state.credentials == BEFORE.credentials
    assert (state.bundles, state.revocations.crls) == ((), ())
    assert len(state.revocations.undetermined) == 1
    assert all(each.text.isprintable() for each in state.faults)

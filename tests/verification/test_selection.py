"""What of a chain reaches the X.509 backend: all that an honest path can need, and little of the rest."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from meshid import BundleSet, ChainVerifier, PeerRejected, Reason
from meshid.certificates.chain import MAX_INTERMEDIATES, read_chain
from meshid.certificates.namesakes import MAX_NAMESAKES
from meshid.certificates.reading import to_der
from meshid.testing import CA, Issued
from meshid.verification.selection import (
    MAX_DEPTH,
    MAX_TWINS,
    Authorities,
    Selection,
    select,
)
from tests.helpers.world import PATH, World, called, namesake, renewed, sending

ROOT = CA("prod.example.org")
KEY = ec.generate_private_key(ec.SECP256R1())


def selected(issued: Issued, *authorities: CA) -> Selection | None:
    anchors = [each.certificate for each in authorities or [ROOT]]
    return select(Authorities(anchors), read_chain(issued.chain))


def kept(issued: Issued, *authorities: CA) -> set[x509.Certificate]:
    found = selected(issued, *authorities)
    assert found is not None
    return set(found.intermediates)


def below(issuer: CA, subject: str, key: CertificateIssuerPrivateKeyTypes = KEY) -> CA:
    """Return an intermediate without the chain above it."""
    made = issuer.intermediate(subject=subject, key=key)
    made.intermediates = ()
    return made


def identified(authority: CA | None = None, **shape: object) -> CA:
    """Return an authority whose certificate says which key it has: a root, or one below *authority*."""
    key = ec.generate_private_key(ec.SECP256R1())
    mine = (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    make = CA("prod.example.org").intermediate if authority is None else authority.intermediate
    if authority is None:
        return CA("prod.example.org", key=key, extra=[mine], **shape)  # type: ignore[arg-type]  # any shape
    return make(key=key, extra=[mine], **shape)  # type: ignore[arg-type]  # any shape


class TestWhatAPathCanNeed:
    def test_a_straight_chain_of_the_greatest_depth(self) -> None:
        authority = ROOT
        for _ in range(MAX_DEPTH):
            authority = authority.intermediate()
        assert kept(authority.issue(PATH)) == set(authority.intermediates)

    def test_two_levels_that_are_signed_by_two_each(self) -> None:
        tops = [below(ROOT, "CN=top") for _ in range(2)]
        lows = [below(tops[0], "CN=low") for _ in range(2)]
        assert len(kept(sending(lows[0].issue(PATH), *tops, *lows))) == 4

    def test_an_old_and_a_new_key_of_one_name(self) -> None:
        new = renewed(ROOT.intermediate())
        assert len(kept(new.issue(PATH))) == 2

    def test_both_ways_between_two_keys_of_a_root(self) -> None:
        """RFC 4210 section 4.4: the old key signs the new one, and the new key the old one."""
        old = identified(subject="CN=root")
        new = identified(subject="CN=root")
        new_with_old = identified(old, subject="CN=root")
        back = new.intermediate(subject="CN=root", key=old.key)
        leaf = sending(new_with_old.issue(PATH), back)
        for order in permutations(leaf.intermediates):
            assert new_with_old.certificate in kept(Issued(leaf.certificate, leaf.key, order), old)

    def test_a_name_that_is_every_authoritys_name(self) -> None:
        # As nested SPIRE servers without names of their own have it: key identifiers tell them apart.
        roots = [identified(subject="C=US,O=SPIFFE") for _ in range(5)]
        upper = identified(roots[3], subject="C=US,O=SPIFFE")
        lower = identified(upper, subject="C=US,O=SPIFFE")
        found = selected(lower.issue(PATH), *roots)
        assert found == Selection((roots[3].certificate,), found.intermediates if found else ())
        assert kept(lower.issue(PATH), *roots) == {upper.certificate, lower.certificate}

    def test_a_wrong_key_identifier_is_no_reason_to_keep_out_the_only_authority_of_that_name(self) -> None:
        root, other = identified(subject="CN=root"), identified(subject="CN=root")
        leaf = root.issue(PATH)
        found = selected(leaf, other)
        assert found == Selection((other.certificate,), ())

    def test_an_authority_without_key_identifier_beside_one_with_the_right_one(self) -> None:
        exact = identified(subject="CN=root")
        unsaid, wrong = CA("prod.example.org", subject="CN=root"), identified(subject="CN=root")
        found = selected(exact.issue(PATH), wrong, unsaid, exact)
        assert found == Selection((exact.certificate, unsaid.certificate), ())

    def test_the_certificate_of_an_authority_that_is_named_by_its_number(self) -> None:
        old = CA("prod.example.org", subject="CN=root", key=KEY)
        new = CA("prod.example.org", subject="CN=root", key=KEY)
        named = x509.AuthorityKeyIdentifier(
            None, [x509.DirectoryName(old.certificate.issuer)], old.certificate.serial_number
        )
        leaf = old.issue(PATH, authority_key_id=False, extra=[(named, False)])
        for order in permutations([old, new]):
            assert selected(leaf, *order) == Selection((old.certificate,), ())
        assert selected(leaf, new) == Selection((new.certificate,), ())

    def test_the_newest_of_more_than_two_twins(self, world: World) -> None:
        ends = [world.future + timedelta(hours=number) for number in range(4)]
        twins = [ROOT.intermediate(subject="CN=twin", key=KEY, not_after=end) for end in ends]
        leaf = sending(Issued(twins[0].issue(PATH).certificate, KEY, ()), *twins)
        assert kept(leaf) == {each.certificate for each in twins[-MAX_TWINS:]}


class TestWhatNoPathNeeds:
    def test_a_chain_that_leads_elsewhere(self, world: World) -> None:
        assert selected(world.stranger.intermediate().issue(PATH)) is None

    def test_a_chain_that_leads_in_circles(self) -> None:
        first, second = (
            CA("prod.example.org", subject="CN=first"),
            CA("prod.example.org", subject="CN=second"),
        )
        ring = [below(first, "CN=second", second.key), below(second, "CN=first", first.key)]
        assert selected(sending(Issued(first.issue(PATH).certificate, KEY, ()), *ring)) is None

    def test_what_is_beside_the_way(self, world: World) -> None:
        issuing = ROOT.intermediate()
        strays = [world.dev.intermediate(), ROOT.intermediate(), world.stranger]
        assert kept(sending(issuing.issue(PATH), *strays)) == {issuing.certificate}

    def test_an_authority_itself(self) -> None:
        issuing = ROOT.intermediate()
        assert kept(issuing.issue(PATH), ROOT, issuing) == set()
        assert kept(sending(issuing.issue(PATH), ROOT)) == {issuing.certificate}


class TestBounds:
    """However the certificates are put together, the backend gets a search that ends soon."""

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_certificates_of_one_key_that_sign_each_other(self, count: int) -> None:
        a, b = below(ROOT, "CN=a"), below(ROOT, "CN=b")
        ring = [*(below(b, "CN=a") for _ in range(count)), *(below(a, "CN=b") for _ in range(count - 1))]
        # One of them leads to the root, if its word is taken.
        assert len(kept(sending(Issued(a.issue(PATH).certificate, KEY, ()), *ring, a))) <= 3

    def test_certificates_of_one_name_and_any_keys(self) -> None:
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(MAX_INTERMEDIATES)]
        all_alike = [below(ROOT, called(ROOT), key) for key in keys]
        leaf = all_alike[0].issue(PATH)
        assert len(kept(sending(Issued(leaf.certificate, leaf.key, ()), *all_alike))) == 3

    def test_authorities_of_one_name(self) -> None:
        count = 2 * MAX_NAMESAKES
        authorities = [below(ROOT, "CN=root", ec.generate_private_key(ec.SECP256R1())) for _ in range(count)]
        found = selected(authorities[0].issue(PATH, authority_key_id=False), *authorities)
        assert found is not None
        assert found.anchors == tuple(each.certificate for each in authorities[:MAX_NAMESAKES])

    @pytest.mark.parametrize(
        "key",
        [ec.generate_private_key(ec.SECP521R1()), rsa.generate_private_key(65537, 4104)],
        ids=["P-521", "RSA-4104"],
    )
    def test_authorities_of_one_name_with_heavy_keys(self, key: CertificateIssuerPrivateKeyTypes) -> None:
        authorities = [below(ROOT, "CN=root", key) for _ in range(MAX_NAMESAKES)]
        found = selected(authorities[0].issue(PATH), *authorities)
        assert found is not None
        assert len(found.anchors) == MAX_NAMESAKES // 4

    def test_authorities_of_one_name_below_intermediates_of_that_name(self) -> None:
        authorities = [CA("prod.example.org", subject=called(ROOT)) for _ in range(MAX_NAMESAKES)]
        loop = [below(ROOT, called(ROOT)) for _ in range(2)]
        leaf = sending(Issued(loop[0].issue(PATH).certificate, KEY, ()), *loop)
        assert kept(leaf, *authorities) == set()

    def test_without_a_selection_the_backend_searches_until_it_gives_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a, b = below(ROOT, "CN=a"), below(ROOT, "CN=b")
        ring = [*(below(b, "CN=a") for _ in range(2)), *(below(a, "CN=b") for _ in range(3)), b]
        leaf = sending(Issued(a.issue(PATH).certificate, KEY, ()), *ring)
        bundles = BundleSet([namesake(ROOT).bundle()])

        def cause() -> str:
            with pytest.raises(PeerRejected) as caught:
                ChainVerifier(bundles).verify(leaf.chain)
            assert caught.value.reason is Reason.UNKNOWN_AUTHORITY
            return str(caught.value.__cause__)

        assert "Exceeded maximum signature" not in cause()
        everything = [each.certificate for each in ring]
        monkeypatch.setattr(
            "meshid.verification.verifier.select",
            lambda authorities, _: Selection(tuple(authorities.every), tuple(everything)),
        )
        assert "Exceeded maximum signature" in cause()


class TestSelfIssued:
    """RFC 5280 section 6.1: a self-issued certificate is not a self-signed one."""

    def test_what_is_signed_by_another_key_of_its_name_is_an_intermediate(self, world: World) -> None:
        for authority in (world.prod, world.issuing):
            new = renewed(authority)
            peer = ChainVerifier(world.bundles).verify(new.issue(PATH).chain)
            assert peer.chain[1] == to_der(new.certificate)

    def test_what_is_signed_by_its_own_key_leads_nowhere(self, world: World) -> None:
        stranger = namesake(world.prod)
        with pytest.raises(PeerRejected) as caught:
            ChainVerifier(world.bundles).verify(sending(stranger.issue(PATH), stranger).chain)
        assert caught.value.reason is Reason.UNKNOWN_AUTHORITY

    def test_three_renewals_of_one_name_can_be_between_the_leaf_and_its_anchor(self, world: World) -> None:
        authority = renewed(renewed(renewed(world.prod)))
        ChainVerifier(world.bundles).verify(authority.issue(PATH).chain)
        with pytest.raises(PeerRejected):
            ChainVerifier(world.bundles).verify(renewed(authority).issue(PATH).chain)

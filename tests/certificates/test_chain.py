"""Bytes to chain: bounded before it costs anything, on either side of each limit."""

from __future__ import annotations

import pytest
from cryptography import x509

from meshid.certificates.chain import (
    MAX_CHAIN_BYTES,
    MAX_INTERMEDIATES,
    MAX_LEAF_BYTES,
    MAX_NAME_CONSTRAINTS,
    read_chain,
)
from meshid.certificates.reading import MAX_RSA_BITS, MAX_RSA_EXPONENT, to_der
from meshid.errors import Refused
from meshid.reasons import Reason
from meshid.testing import CA
from tests.helpers.forged import (
    TELETEX_STRING,
    UTF8_STRING,
    VISIBLE_STRING,
    Field,
    children,
    der,
    edited,
    name,
    rsa_public_key,
    with_key,
)
from tests.helpers.world import PATH, hosts, padding

ROOT = CA("prod.example.org")
ISSUING = ROOT.intermediate()
LEAF = ISSUING.issue(PATH)


def refusal_of(*ders: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        read_chain(ders)
    return caught.value


def of_size(authority: CA, size: int) -> bytes:
    """Return an intermediate of exactly so many bytes."""
    known = len(to_der(authority.intermediate(extra=[padding(10_000)]).certificate)) - 10_000
    # A signature and a serial number vary by a few bytes.
    found = (authority.intermediate(extra=[padding(size - known)]) for _ in range(1000))
    return next(made for each in found if len(made := to_der(each.certificate)) == size)


def leaf_of_size(size: int) -> bytes:
    known = len(ROOT.issue(PATH, extra=[padding(10_000)]).chain[0]) - 10_000
    made = (ROOT.issue(PATH, extra=[padding(size - known)]).chain[0] for _ in range(1000))
    return next(each for each in made if len(each) == size)


def constrained(permitted: int, excluded: int) -> bytes:
    trees = [x509.DNSName(host) for host in hosts(permitted + excluded)]
    constraints = x509.NameConstraints(trees[:permitted] or None, trees[permitted:] or None)
    return to_der(ROOT.intermediate(extra=[(constraints, True)]).certificate)


def keyed(bits: int, exponent: int = 65537) -> bytes:
    return to_der(with_key(ISSUING.certificate, ROOT, rsa_public_key(bits, exponent)))


def test_a_chain_is_its_leaf_and_its_intermediates() -> None:
    chain = read_chain(LEAF.chain)
    assert chain.leaf == LEAF.certificate
    assert chain.intermediates == (ISSUING.certificate,)


def test_intermediates_that_are_known_are_not_read_again() -> None:
    leaf = ISSUING.certificate
    chain = read_chain([to_der(leaf), b"not read"], (leaf, ROOT.certificate))
    assert chain.intermediates == (ROOT.certificate,)
    assert chain.sent == (b"not read",)


def test_no_chain_is_no_certificate() -> None:
    assert refusal_of().reason is Reason.NO_CERTIFICATE


def test_what_is_there_twice_counts_once() -> None:
    below = ISSUING.intermediate()
    sent = (
        below.issue(PATH).chain[0],
        to_der(ROOT.certificate),
        to_der(ISSUING.certificate),
        to_der(below.certificate),
        to_der(ISSUING.certificate),
        LEAF.chain[0],
    )
    chain = read_chain((*sent, sent[0]))
    assert chain.intermediates == (
        ROOT.certificate,
        ISSUING.certificate,
        below.certificate,
        LEAF.certificate,
    )


@pytest.mark.parametrize(
    ("chain", "where"),
    [
        pytest.param((b"0", LEAF.chain[1]), "the leaf", id="the leaf"),
        pytest.param((LEAF.chain[0], b"0"), "intermediate 1", id="the first intermediate"),
        pytest.param((*LEAF.chain, b""), "intermediate 2", id="an empty intermediate"),
    ],
)
def test_a_certificate_that_cannot_be_read_is_named(chain: tuple[bytes, ...], where: str) -> None:
    refusal = refusal_of(*chain)
    assert refusal.reason is Reason.MALFORMED
    assert refusal.detail.startswith(f"{where} is not a certificate that can be read")


def subject_of_kind(kind: int, value: bytes) -> dict[Field, bytes]:
    return {Field.SUBJECT: name(kind, value)}


@pytest.mark.parametrize(
    ("kind", "value"),
    [(VISIBLE_STRING, b"api"), (UTF8_STRING, b"\xff"), (0x1E, b"abc"), (0x80, b"api")],
    ids=["VisibleString", "no UTF-8", "half a character", "no string"],
)
@pytest.mark.parametrize("number", [0, 1], ids=["leaf", "intermediate"])
def test_a_name_that_openssl_cannot_load_is_told(number: int, kind: int, value: bytes) -> None:
    chain = [LEAF.certificate, ISSUING.certificate]
    written = edited(chain[number], ROOT, subject_of_kind(kind, value))
    refusal = refusal_of(*(written if at == number else to_der(each) for at, each in enumerate(chain)))
    assert refusal.reason is Reason.MALFORMED
    assert "its subject has the" in refusal.detail or "its subject is not a name" in refusal.detail


@pytest.mark.parametrize("value", [b"Soci\xe9t\xe9", b"\xff\xfe"], ids=ascii)
def test_a_name_that_only_openssl_can_read_is_read(value: bytes) -> None:
    written = edited(LEAF.certificate, ROOT, subject_of_kind(TELETEX_STRING, value))
    assert to_der(read_chain([written]).leaf) == written


def test_pem_in_place_of_der_is_refused_with_what_to_do() -> None:
    refusal = refusal_of(LEAF.chain_pem)
    assert refusal.reason is Reason.MALFORMED
    assert refusal.detail == "the leaf is PEM text, not DER: convert it with ssl.PEM_cert_to_DER_cert()"


class TestLimits:
    def test_the_number_of_certificates(self) -> None:
        most = (LEAF.chain[0], *[LEAF.chain[1]] * MAX_INTERMEDIATES)
        assert read_chain(most).intermediates == (ISSUING.certificate,)
        assert refusal_of(*most, LEAF.chain[1]).reason is Reason.CHAIN_TOO_LARGE
        assert "more than 7 certificates" in refusal_of(*most, LEAF.chain[1]).detail

    def test_the_size_of_a_leaf(self) -> None:
        read_chain([leaf_of_size(MAX_LEAF_BYTES)])
        assert refusal_of(leaf_of_size(MAX_LEAF_BYTES + 1)).reason is Reason.CHAIN_TOO_LARGE

    def test_the_size_of_a_chain(self) -> None:
        leaf = LEAF.chain[0]
        read_chain([leaf, of_size(ROOT, MAX_CHAIN_BYTES - len(leaf))])
        refusal = refusal_of(leaf, of_size(ROOT, MAX_CHAIN_BYTES - len(leaf) + 1))
        assert refusal.reason is Reason.CHAIN_TOO_LARGE
        assert f"the chain {MAX_CHAIN_BYTES + 1}" in refusal.detail

    def test_what_is_too_large_is_not_even_read(self) -> None:
        assert refusal_of(*[b"junk"] * (2 + MAX_INTERMEDIATES)).reason is Reason.CHAIN_TOO_LARGE
        assert refusal_of(bytes(MAX_LEAF_BYTES + 1)).reason is Reason.CHAIN_TOO_LARGE
        assert refusal_of(b"junk", bytes(MAX_CHAIN_BYTES)).reason is Reason.CHAIN_TOO_LARGE

    @pytest.mark.parametrize(
        ("permitted", "excluded"),
        [(MAX_NAME_CONSTRAINTS, 0), (0, MAX_NAME_CONSTRAINTS), (30, MAX_NAME_CONSTRAINTS - 30)],
    )
    def test_the_name_constraints_of_an_intermediate(self, permitted: int, excluded: int) -> None:
        assert len(read_chain([LEAF.chain[0], constrained(permitted, excluded)]).intermediates) == 1
        for more in (constrained(permitted + 1, excluded), constrained(permitted, excluded + 1)):
            refusal = refusal_of(LEAF.chain[0], more)
            assert refusal.reason is Reason.CHAIN_TOO_LARGE
            assert "65 name constraints" in refusal.detail

    @pytest.mark.parametrize(("bits", "exponent"), [(MAX_RSA_BITS, 65537), (2048, MAX_RSA_EXPONENT - 1)])
    def test_an_rsa_key_of_an_intermediate_can_be_this_heavy(self, bits: int, exponent: int) -> None:
        assert len(read_chain([LEAF.chain[0], keyed(bits, exponent)]).intermediates) == 1

    @pytest.mark.parametrize(("bits", "exponent"), [(MAX_RSA_BITS + 1, 65537), (2048, MAX_RSA_EXPONENT + 1)])
    def test_an_rsa_key_of_an_intermediate_cannot_be_heavier(self, bits: int, exponent: int) -> None:
        refusal = refusal_of(LEAF.chain[0], keyed(bits, exponent))
        assert refusal.reason is Reason.CHAIN_TOO_LARGE
        assert f"an RSA key of {bits} bits, or with a huge exponent" in refusal.detail

    def test_a_heavy_root_is_left_out(self) -> None:
        many = x509.NameConstraints(list(map(x509.DNSName, hosts(MAX_NAME_CONSTRAINTS + 1))), None)
        for heavy in (
            with_key(ROOT.certificate, ROOT, rsa_public_key(MAX_RSA_BITS + 1)),
            CA("prod.example.org", extra=[(many, True)]).certificate,
        ):
            assert read_chain([*LEAF.chain, to_der(heavy)]).intermediates == (ISSUING.certificate,)

    def test_an_intermediate_without_a_readable_key_is_light(self) -> None:
        algorithm, _ = children(children(children(LEAF.chain[1])[0])[Field.KEY])
        broken = edited(ISSUING.certificate, ROOT, {Field.KEY: der(0x30, algorithm, b"\3\2\0\4")})
        assert len(read_chain([LEAF.chain[0], broken]).intermediates) == 1

"""Names and keys as they are written, of every certificate that can be read."""

from __future__ import annotations

from typing import Unpack

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given

from meshid.certificates.links import links_of, looks_self_signed, may_have_issued
from meshid.certificates.reading import read_certificate, read_leaf
from meshid.testing import CA, Shape
from tests.helpers.forged import TELETEX_STRING, Field, children, damaged, edited, name
from tests.helpers.world import PATH, called, hosts, key_id, padding

ROOT = CA("prod.example.org")
LEAF = ROOT.issue(PATH).chain[0]


def key_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param(ROOT.certificate, id="a root"),
        pytest.param(ROOT.issue(PATH).certificate, id="a leaf without subject"),
        pytest.param(ROOT.issue(PATH, dns=hosts(60), extra=[padding(9000)]).certificate, id="a large leaf"),
        pytest.param(
            x509.load_der_x509_certificate(
                edited(ROOT.issue(PATH).certificate, ROOT, {Field.VERSION: b"", Field.EXTENSIONS: b""})
            ),
            id="version 1",
        ),
    ],
)
def test_the_links_are_the_names_and_the_key(certificate: x509.Certificate) -> None:
    links = links_of(certificate)
    whole = (certificate.issuer.public_bytes(), certificate.subject.public_bytes(), key_of(certificate))
    assert (links.issuer, links.subject, links.key) == tuple(b"".join(children(each)) for each in whole)


@given(damaged(LEAF))
def test_what_can_be_read_has_links(data: bytes) -> None:
    try:
        certificate = read_certificate(data)
    except ValueError:
        return
    links = links_of(certificate)
    assert links.issuer == b"".join(children(certificate.issuer.public_bytes()))
    assert all(each in data for each in (links.issuer, links.subject, links.key))
    assert may_have_issued(ROOT.certificate, certificate)
    assert not looks_self_signed(certificate)


def number(issuer: x509.Name, serial: int, key: bytes | None = None) -> tuple[x509.ExtensionType, bool]:
    """Return what a certificate says of that of its issuer: by whom it was issued, and with which number."""
    return x509.AuthorityKeyIdentifier(key, [x509.DirectoryName(issuer)], serial), False


def naming(issuer: x509.Name, serial: int, key: bytes | None = None) -> x509.Certificate:
    return ROOT.issue(PATH, authority_key_id=False, extra=[number(issuer, serial, key)]).certificate


NAME, SERIAL = ROOT.certificate.issuer, ROOT.certificate.serial_number
OTHER = x509.Name.from_rfc4514_string("CN=other")


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        pytest.param(ROOT.issue(PATH).certificate, True, id="no number"),
        pytest.param(ROOT.issue(PATH, authority_key_id=False).certificate, True, id="no identifier"),
        pytest.param(naming(NAME, SERIAL), True, id="the right one"),
        pytest.param(naming(NAME, SERIAL, b"key"), True, id="and a key"),
        pytest.param(naming(NAME, SERIAL + 1), False, id="another number"),
        pytest.param(naming(OTHER, SERIAL), False, id="another issuer"),
    ],
)
def test_a_certificate_may_name_the_certificate_of_its_issuer_by_number(
    leaf: x509.Certificate, *, expected: bool
) -> None:
    """RFC 5280 section 4.2.1.1."""
    assert may_have_issued(ROOT.certificate, leaf) is expected


def test_a_number_counts_even_if_the_issuer_is_not_named_by_a_directory_name() -> None:
    for serial, expected in ((SERIAL, True), (SERIAL + 1, False)):
        identifier = x509.AuthorityKeyIdentifier(None, [x509.DNSName("a.example")], serial)
        leaf = ROOT.issue(PATH, authority_key_id=False, extra=[(identifier, False)]).certificate
        assert may_have_issued(ROOT.certificate, leaf) is expected


def like_its_issuer(**shape: Unpack[Shape]) -> x509.Certificate:
    return ROOT.issue(PATH, **{"subject": called(ROOT), **shape}).certificate  # type: ignore[arg-type]  # a Shape


ROOT_KEY = x509.AuthorityKeyIdentifier.from_issuer_public_key(ROOT.key.public_key()).key_identifier or b""


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        pytest.param(ROOT.issue(PATH).certificate, False, id="no subject"),
        pytest.param(ROOT.issue(PATH, subject="CN=api").certificate, False, id="another subject"),
        pytest.param(ROOT.certificate, True, id="a root"),
        pytest.param(like_its_issuer(), True, id="no key identifier of its own"),
        pytest.param(like_its_issuer(subject=called(ROOT).upper()), True, id="in upper case"),
        pytest.param(
            like_its_issuer(authority_key_id=False, extra=[key_id(b"k")]), True, id="none of its issuer"
        ),
        pytest.param(like_its_issuer(extra=[key_id(b"k")]), False, id="two key identifiers"),
        pytest.param(like_its_issuer(extra=[key_id(ROOT_KEY)]), True, id="one key identifier twice"),
        pytest.param(
            like_its_issuer(
                authority_key_id=False,
                extra=[(x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(NAME)], 7), False)],
            ),
            False,
            id="the number of another certificate",
        ),
    ],
)
def test_a_certificate_with_the_name_of_its_issuer_looks_self_signed_unless_it_says_which_key_is_whose(
    leaf: x509.Certificate, *, expected: bool
) -> None:
    assert looks_self_signed(leaf) is expected


def test_a_subject_that_cannot_be_read_is_not_the_issuers() -> None:
    odd = edited(ROOT.issue(PATH).certificate, ROOT, {Field.SUBJECT: name(TELETEX_STRING, b"\xff")})
    assert not looks_self_signed(read_leaf(odd))

"""Names and keys as they are written, of every certificate that can be read."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given

from meshid.certificates.links import links_of
from meshid.certificates.reading import read_certificate
from meshid.testing import CA
from tests.helpers.forged import Field, children, damaged, edited
from tests.helpers.world import PATH, hosts, padding

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

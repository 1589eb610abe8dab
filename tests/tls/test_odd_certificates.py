"""Certificates that one library reads and another does not: each is told, and none is in anybody's way."""

from __future__ import annotations

import pytest
from cryptography import x509

from meshid import BundleSet, PeerRejected, Reason, TrustBundle
from meshid.testing import CA, Issued
from tests.helpers.bad_authorities import BAD
from tests.helpers.forged import (
    PRINTABLE_STRING,
    TELETEX_STRING,
    Field,
    edited,
    name,
    pem,
)
from tests.helpers.tls_peers import PATH, Heard, blocking_server, knock, mesh_of

PROD = CA("prod.example.org")
WEB = PROD.issue(PATH)
ANSWER = f"spiffe://prod.example.org{PATH}\n".encode()


@pytest.mark.parametrize("written", [der for der, _ in BAD.values()], ids=BAD.keys())
def test_an_authority_that_cannot_be_used_fails_no_handshake(written: bytes) -> None:
    own = TrustBundle.from_pem("prod.example.org", PROD.pem + pem("CERTIFICATE", written))
    partner = TrustBundle.from_pem("partner.example", CA("partner.example").pem + pem("CERTIFICATE", written))
    mesh = mesh_of(PROD, bundles=BundleSet([own, partner]))
    with blocking_server(mesh.server_context()) as service:
        assert knock(service.port, WEB.client_context()).answer == ANSWER


def with_subject(leaf: Issued, subject: bytes) -> Issued:
    written = edited(leaf.certificate, PROD, {Field.SUBJECT: subject})
    return Issued(x509.load_der_x509_certificate(written), leaf.key, ())


@pytest.mark.parametrize("value", [b"Soci\xe9t\xe9", b"\xff\xfe"], ids=ascii)
def test_a_peer_whose_subject_cannot_be_read_is_admitted_by_its_spiffe_id(value: bytes) -> None:
    """X509-SVID section 2: the name is the URI SAN, and the subject says nothing."""
    odd, heard = with_subject(WEB, name(TELETEX_STRING, value)), Heard()
    mesh = mesh_of(PROD, audit=heard)
    with blocking_server(mesh.server_context()) as service:
        assert knock(service.port, odd.client_context()).answer == ANSWER
    event = heard.next()
    assert event.decision.reason is Reason.ALLOWED
    assert "tls.client.subject" not in event.as_dict()
    assert event.as_dict()["tls.client.issuer"] == PROD.certificate.subject.rfc4514_string()


def test_a_stranger_whose_subject_cannot_be_read_is_refused_as_any_other() -> None:
    stranger = CA("prod.example.org", subject="CN=stranger")
    leaf = stranger.issue(PATH)
    odd = edited(leaf.certificate, stranger, {Field.SUBJECT: name(TELETEX_STRING, b"\xff")})
    with pytest.raises(PeerRejected) as caught:
        mesh_of(PROD).admit([odd])
    assert caught.value.reason is Reason.UNKNOWN_AUTHORITY


def test_a_subject_that_hides_the_whole_leaf_is_named_in_the_refusal() -> None:
    odd = edited(WEB.certificate, PROD, {Field.SUBJECT: name(PRINTABLE_STRING, b"Fargo & Company")})
    with pytest.raises(PeerRejected) as caught:
        mesh_of(PROD).admit([odd])
    assert caught.value.reason is Reason.MALFORMED
    assert caught.value.detail == (
        "the leaf is not a certificate that can be read:"
        " its subject has the PrintableString 'Fargo & Company', with a character that a PrintableString may"
        " not have (X.680 section 41); issue it with a UTF8String"
    )

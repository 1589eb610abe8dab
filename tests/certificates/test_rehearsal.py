"""Whether OpenSSL can load an authority: found out before a handshake does."""

from __future__ import annotations

import ssl

import pytest

from meshid.certificates.name_fault import MAX_STRINGS
from meshid.certificates.reading import read_certificate, to_der
from meshid.certificates.rehearsal import Rehearsal
from meshid.testing import CA
from tests.helpers.forged import SEQUENCE, UTF8_STRING, VISIBLE_STRING, Field, children, der, edited, name

DOMAIN = "prod.example.org"


def called(subject: bytes) -> bytes:
    authority = CA(DOMAIN)
    return edited(authority.certificate, authority, {Field.SUBJECT: subject, Field.ISSUER: subject})


VISIBLE = called(name(VISIBLE_STRING, b"abcd"))
MANY = name(UTF8_STRING, b"a")[2:] * MAX_STRINGS
DEEP = called(der(SEQUENCE, MANY, *children(name(VISIBLE_STRING, b"abcd"))))


@pytest.mark.parametrize("written", [VISIBLE, DEEP], ids=["the first string", "a string far behind"])
def test_openssl_fails_all_of_a_context_for_one_authority_that_it_cannot_load(written: bytes) -> None:
    """The X.509 backend reads such an authority, and finds no fault; so each is rehearsed alone."""
    read_certificate(written)
    for together in (to_der(CA(DOMAIN).certificate) + written, written + to_der(CA(DOMAIN).certificate)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with pytest.raises(ssl.SSLError):
            context.load_verify_locations(cadata=together)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            VISIBLE,
            "OpenSSL cannot load it: its issuer has the VisibleString 'abcd', which a name",
        ),
        (DEEP, "OpenSSL cannot load it: it is in a form that OpenSSL does not read"),
    ],
    ids=["the first string", "a string far behind"],
)
def test_what_openssl_cannot_load_is_a_fault(written: bytes, expected: str) -> None:
    rehearsal = Rehearsal()
    assert rehearsal.fault(CA(DOMAIN).certificate) is None
    assert (rehearsal.fault(read_certificate(written)) or "").startswith(expected)
    assert rehearsal.fault(CA(DOMAIN).certificate) is None


def test_the_same_authority_can_be_rehearsed_twice() -> None:
    rehearsal, authority = Rehearsal(), CA(DOMAIN).certificate
    assert (rehearsal.fault(authority), rehearsal.fault(authority)) == (None, None)

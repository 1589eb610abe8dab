"""Names that cannot be read: which string it is, and what is wrong with it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.certificates.name_fault import MAX_STRINGS, name_fault
from meshid.testing import CA
from tests.helpers.forged import (
    OID,
    PRINTABLE_STRING,
    SEQUENCE,
    TELETEX_STRING,
    UTF8_STRING,
    VISIBLE_STRING,
    Field,
    damaged,
    der,
    edited,
    name,
)

AUTHORITY = CA("prod.example.org")
LEAF = AUTHORITY.issue("/ns/pay/sa/api", subject="CN=api,O=Example")


def with_name(field: Field, value: bytes) -> bytes:
    return edited(LEAF.certificate, AUTHORITY, {field: value})


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param(PRINTABLE_STRING, b"Fargo & Company", "PrintableString 'Fargo & Company'", id="&"),
        pytest.param(PRINTABLE_STRING, b"eui48_68", "PrintableString 'eui48_68'", id="_"),
        pytest.param(PRINTABLE_STRING, b"a\xff", r"PrintableString 'a\\xff'", id="no ASCII"),
        pytest.param(TELETEX_STRING, b"Soci\xe9t\xe9", r"TeletexString 'Soci\\xe9t\\xe9'", id="Latin-1"),
        pytest.param(UTF8_STRING, b"\xff", r"UTF8String '\\xff'", id="no UTF-8"),
        pytest.param(0x16, b"\xff", r"IA5String '\\xff'", id="IA5"),
        pytest.param(0x1E, b"abc", "BMPString 'abc'", id="half a character"),
        pytest.param(0x1C, b"abcd", "UniversalString 'abcd'", id="no character"),
    ],
)
@pytest.mark.parametrize("field", [Field.SUBJECT, Field.ISSUER], ids=["subject", "issuer"])
def test_a_string_that_breaks_its_own_rules_is_named(
    field: Field, kind: int, value: bytes, expected: str
) -> None:
    fault = name_fault(with_name(field, name(kind, value))) or ""
    assert fault.startswith(f"its {field.name.lower()} has the ")
    assert expected.replace("\\\\", "\\") in fault
    assert fault.endswith("issue it with a UTF8String")


@pytest.mark.parametrize(
    ("kind", "called"),
    [(VISIBLE_STRING, "VisibleString"), (0x1B, "GeneralString"), (0x04, "value of the ASN.1 type 4")],
)
def test_a_kind_of_string_that_no_name_may_have_is_named(kind: int, called: str) -> None:
    fault = name_fault(with_name(Field.SUBJECT, name(kind, b"abcd")))
    assert fault == (
        f"its subject has the {called} 'abcd', which a name may not have (RFC 5280 section 4.1.2.4);"
        " issue it with a UTF8String"
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param(PRINTABLE_STRING, b"AZaz09 '()+,-./:=?", id="printable"),
        pytest.param(TELETEX_STRING, b"plain", id="Teletex in ASCII"),
        pytest.param(UTF8_STRING, "Société & Söhne".encode(), id="UTF-8"),
        pytest.param(0x1E, "Bär".encode("utf-16-be"), id="BMP"),
        pytest.param(0x03, b"\0abc", id="a unique identifier, as SPIRE writes it"),
    ],
)
def test_a_name_as_it_should_be_has_no_fault(kind: int, value: bytes) -> None:
    assert name_fault(with_name(Field.SUBJECT, name(kind, value))) is None


def test_a_certificate_without_a_version_has_its_names_in_other_places() -> None:
    assert name_fault(edited(LEAF.certificate, AUTHORITY, {Field.VERSION: b""})) is None
    fields = {Field.VERSION: b"", Field.SUBJECT: name(VISIBLE_STRING, b"abcd")}
    assert "its subject has the VisibleString" in (
        name_fault(edited(LEAF.certificate, AUTHORITY, fields)) or ""
    )


def test_what_is_shown_of_a_string_is_bounded() -> None:
    fault = name_fault(with_name(Field.SUBJECT, name(PRINTABLE_STRING, b"_" * 5000))) or ""
    assert "(5000 characters)" in fault
    assert len(fault) < 300


@pytest.mark.parametrize("part", [der(0x31), der(0x31, der(SEQUENCE, der(OID), der(PRINTABLE_STRING)))])
def test_the_time_for_a_name_does_not_depend_on_the_strings_in_it(part: bytes) -> None:
    data = with_name(Field.SUBJECT, der(SEQUENCE, part * 400_000, name(VISIBLE_STRING, b"abcd")[2:]))
    start = time.perf_counter()
    assert name_fault(data) is None
    assert time.perf_counter() - start < 0.2
    assert MAX_STRINGS < 400_000


@given(damaged(LEAF.chain[0]) | st.binary())
def test_any_bytes_have_a_fault_or_none(data: bytes) -> None:
    fault = name_fault(data)
    assert fault is None or (fault.isascii() and len(fault) < 400)

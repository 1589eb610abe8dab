"""Distinguished names: read as tools print them, and compared as RFC 5280 section 7.1 says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from meshid.certificates.distinguished_name import MAX_NAME_LENGTH, name_key, read_name
from meshid.testing import CA

OPTIONS = [
    "",
    "compat",
    "RFC2253",
    "oneline",
    "multiline",
    "oneline,utf8,-esc_msb",
    "sep_comma_plus",
    "sep_comma_plus_space,utf8",
    "sep_semi_plus_space,lname",
    "sep_multiline,oid",
    "dn_rev,sep_comma_plus",
    "esc_msb,utf8,sep_comma_plus",
    "esc_msb,sep_comma_plus",
]

NAMES = [
    "CN=root,O=Example,C=US",
    "CN=a+OU=b,O=Example",
    "UID=u,DC=example,DC=org,1.2.840.113549.1.9.1=root@example.org",
    "CN=Wurzel,O=Gr\u00fc\u00dfe GmbH,L=K\u00f6ln",
    "CN=\u6839",
    "CN=root,O=Example\\, Inc.",
    "CN=a / b\\+c \\<d\\>=e,O=Example\\; Co",
    "CN=one  two",
]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """What `openssl` prints as the issuer of each certificate, with each of its options."""
    found = {}
    path = tmp_path_factory.mktemp("names") / "root.pem"
    for name in NAMES:
        path.write_bytes(CA("prod.example.org", subject=name).pem)
        found.update({(name, option): issuer_of(path, option) for option in OPTIONS})
    return found


def issuer_of(path: Path, option: str) -> str:
    command = ["openssl", "x509", "-in", str(path), "-noout", "-issuer"]
    options = ["-nameopt", option] if option else []
    out = subprocess.run([*command, *options], check=True, capture_output=True).stdout
    # Without its option utf8, OpenSSL prints code points up to U+00FF as bytes.
    return out.decode() if _is_utf8(out) else out.decode("latin-1")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_same(one: x509.Name, other: x509.Name) -> bool:
    return name_key(one) in {name_key(other), name_key(other)[::-1]}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_what_openssl_prints_is_the_name(printed: dict[tuple[str, str], str], name: str, option: str) -> None:
    assert is_same(read_name(printed[name, option]), x509.Name.from_rfc4514_string(name))


@pytest.mark.parametrize("name", NAMES)
def test_rfc_4514_is_read_in_its_own_order(name: str) -> None:
    expected = x509.Name.from_rfc4514_string(name)
    assert name_key(read_name(name)) == name_key(expected)
    assert name_key(read_name(expected.rfc4514_string())) == name_key(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "'' is not a type, '=' and a value"),
        ("root", "'root' is not a type"),
        ("CN=a,XX=b", "the type 'XX' is unknown; write its object identifier"),
        ("C=USA", "length must be"),
        ("CN=a+CN=a", "duplicate"),
        (r"CN=\UD800", "surrogates"),
        (r"CN=\W0000D800", "surrogates"),
        ("9.9.9=a", "Invalid"),
        ("CN=" + "a" * MAX_NAME_LENGTH, f"a name at most {MAX_NAME_LENGTH}"),
    ],
)
def test_what_is_no_name_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_name(text)


@given(st.text() | st.lists(st.sampled_from(list('CN=O/,;+"\\ ab\n1.x')), max_size=40).map("".join))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        name = read_name(text)
    except ValueError:
        return
    assert name.rdns
    hash(name_key(name))


def name(value: str, kind: _ASN1Type = _ASN1Type.UTF8String) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value, kind)])


class TestComparison:
    """RFC 5280 section 7.1: "Comparison ... case-insensitive ... white space ... different encoding"."""

    @pytest.mark.parametrize(
        "other",
        [
            name("MESH ca"),
            name("  Mesh   CA "),
            name("Mesh\tCA"),
            name("Mesh CA", _ASN1Type.PrintableString),
            name("\uff2desh CA"),
        ],
    )
    def test_these_are_one(self, other: x509.Name) -> None:
        assert name_key(other) == name_key(name("Mesh CA"))

    def test_characters_are_folded_and_composed(self) -> None:
        assert name_key(name("STRASSE \u00e9")) == name_key(name("stra\u00dfe e\u0301"))

    @pytest.mark.parametrize("other", [name("MeshCA"), name("Mesh CA 2"), x509.Name([])])
    def test_these_are_not(self, other: x509.Name) -> None:
        assert name_key(other) != name_key(name("Mesh CA"))

    def test_the_order_of_relative_names_counts_and_that_in_one_does_not(self) -> None:
        one, two = (x509.Name.from_rfc4514_string(each) for each in ("CN=a,O=b", "O=b,CN=a"))
        assert name_key(one) != name_key(two)
        one, two = (x509.Name.from_rfc4514_string(each) for each in ("CN=a+O=b", "O=b+CN=a"))
        assert name_key(one) == name_key(two)

    def test_bits_are_compared_as_they_are(self) -> None:
        bits = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"A", _ASN1Type.BitString)
        lower = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"a", _ASN1Type.BitString)
        assert name_key(x509.Name([bits])) != name_key(x509.Name([lower]))

    @given(st.text(min_size=1, max_size=20))
    def test_it_is_blind_to_case_and_white_space(self, text: str) -> None:
        value = f"x {text} y"
        assert name_key(name(value)) == name_key(name(f"  {value.casefold()} "))

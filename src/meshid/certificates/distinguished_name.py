"""Distinguished names: read as tools print them, and compared (RFC 5280 section 7.1).

An authority may write its name in a revocation list otherwise than in its certificates: in
another case, with other white space, or as another type of string. Path validation compares
names byte by byte, as the backend does; here nothing is trusted because two names are one.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TypeAlias

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from meshid.support.quoting import quote

MAX_NAME_LENGTH = 2048
"""Characters; the names of real authorities have fewer than 200."""

NameKey: TypeAlias = tuple[frozenset[tuple[str, str | bytes]], ...]
"""Equal for two names that are one, and hashable."""


def name_key(name: x509.Name) -> NameKey:
    """Return a value that is equal for two names that are one (RFC 5280 section 7.1).

    Case, white space around and between words, compatibility forms of characters and the type of
    the strings do not count (RFC 4518 section 2); the order of the relative names does.
    """
    return tuple(
        frozenset((each.oid.dotted_string, _prepared(each.value)) for each in relative)
        for relative in name.rdns
    )


def read_name(text: str) -> x509.Name:
    """Read a distinguished name as RFC 4514 writes it, or as `openssl` prints it with any of its options.

    Text in which commas, semicolons or lines stand between the parts is taken to begin with the
    part that is last in the certificate, as in RFC 4514; `openssl` prints it in either order, and
    nothing in it tells which. Text with slashes has the order of the certificate.

    Args:
        text: ``CN=root,O=Example``, ``O = Example, CN = root``, ``/O=Example/CN=root`` and so
            on, at most `MAX_NAME_LENGTH` characters; ``issuer=`` may precede it.

    Raises:
        ValueError: If it is none of these.
    """
    if len(text) > MAX_NAME_LENGTH:
        msg = f"it has {len(text)} characters, and a name at most {MAX_NAME_LENGTH}"
        raise ValueError(msg)
    text = _HEADING.sub("", text).strip()
    is_slashed = text.startswith("/")
    parts: list[list[x509.NameAttribute[str]]] = []
    is_new = True
    for part, separator in _split(text.removeprefix("/"), _SLASHED if is_slashed else _SEPARATED):
        attribute = _attribute(part)
        if is_new:
            parts.append([])
        parts[-1].append(attribute)
        is_new = separator != "+"
    names = [x509.RelativeDistinguishedName(each) for each in parts]
    return x509.Name(names if is_slashed else reversed(names))


_TYPES = {
    NameOID.COMMON_NAME: "CN commonName",
    NameOID.SURNAME: "SN surname",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.COUNTRY_NAME: "C countryName",
    NameOID.LOCALITY_NAME: "L localityName",
    NameOID.STATE_OR_PROVINCE_NAME: "ST S stateOrProvinceName",
    NameOID.STREET_ADDRESS: "street streetAddress",
    NameOID.ORGANIZATION_NAME: "O organizationName",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU organizationalUnitName",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    NameOID.TITLE: "title",
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.GIVEN_NAME: "GN givenName",
    NameOID.INITIALS: "initials",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.EMAIL_ADDRESS: "emailAddress E",
    NameOID.DOMAIN_COMPONENT: "DC domainComponent",
    NameOID.USER_ID: "UID userId",
    NameOID.JURISDICTION_COUNTRY_NAME: "jurisdictionC jurisdictionCountryName",
    NameOID.JURISDICTION_LOCALITY_NAME: "jurisdictionL jurisdictionLocalityName",
    NameOID.JURISDICTION_STATE_OR_PROVINCE_NAME: "jurisdictionST jurisdictionStateOrProvinceName",
}
_OIDS = {name.casefold(): oid for oid, names in _TYPES.items() for name in names.split()}
"""Short and long names, as OpenSSL and RFC 4519 have them; neither distinguishes case."""

_HEADING = re.compile(r"\s*(?:issuer|subject)\s*[:=]\s*(?=\S)", re.IGNORECASE)
_TYPE = r"(?:[A-Za-z][A-Za-z0-9-]*+|[0-9]++(?:\.[0-9]++)++)"
_ATTRIBUTE = re.compile(rf"\s*({_TYPE})\s*=(.*)", re.DOTALL)
# What separates is followed by a type: some options of OpenSSL leave commas in a value as they are.
_SEPARATED = re.compile(rf'"(?:[^"\\]|\\.)*+"|\\.|([,;\n+])\s*+(?={_TYPE}\s*+=)|.', re.DOTALL)
_SLASHED = re.compile(rf"\\.|([/+])(?={_TYPE}=)|.", re.DOTALL)
_ESCAPED = re.compile(
    r"\\(?:x?([0-9A-Fa-f]{2})|U([0-9A-Fa-f]{4})|W(00(?:0[0-9A-Fa-f]|10)[0-9A-Fa-f]{4})|(.))", re.DOTALL
)


def _split(text: str, tokens: re.Pattern[str]) -> list[tuple[str, str]]:
    """Return the parts of a name, each with what separates it from the next one."""
    parts, start = [], 0
    for token in tokens.finditer(text):
        if token[1]:
            parts.append((text[start : token.start()], token[1]))
            start = token.end()
    return [*parts, (text[start:], "")]


def _attribute(part: str) -> x509.NameAttribute[str]:
    match = _ATTRIBUTE.fullmatch(part)
    if match is None:
        msg = f"{quote(part)} is not a type, '=' and a value"
        raise ValueError(msg)
    name, value = match[1], match[2].strip()
    oid = _OIDS.get(name.casefold())
    if oid is None and "." not in name:
        msg = f"the type {quote(name)} is unknown; write its object identifier"
        raise ValueError(msg)
    return x509.NameAttribute(oid or ObjectIdentifier(name), _unescaped(value))


def _unescaped(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    raw, end = b"", 0
    for match in _ESCAPED.finditer(value):
        octet, short, long, character = match.groups()
        number = short or long
        meant = bytes.fromhex(octet) if octet else (chr(int(number, 16)) if number else character).encode()
        raw += value[end : match.start()].encode() + meant
        end = match.end()
    raw += value[end:].encode()
    try:
        return raw.decode()
    except UnicodeDecodeError:
        # Without its option utf8, OpenSSL escapes code points up to U+00FF as they are.
        return raw.decode("latin-1")


def _prepared(value: str | bytes) -> str | bytes:
    if isinstance(value, bytes):
        return value
    # Folding the case can make a text that is not normal any more, so it is done between two normal forms.
    folded = unicodedata.normalize("NFKC", value).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())

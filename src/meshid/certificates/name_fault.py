"""Why a name in a certificate cannot be read, for people.

Real authorities write ``&`` and ``_`` into a PrintableString, and Latin-1 into a TeletexString.
One library reads them, the next one does not, and neither says which string it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from meshid.certificates.der import elements
from meshid.support.quoting import quote

MAX_STRINGS = 64
"""Strings of one name that are looked at: a stranger may have written them, and real names have a handful."""

_VERSION = 0xA0
_UNIQUE_IDENTIFIER = 0x03
"""A bit string (X.520 section 6.2.7): the one kind of value here that is no string."""

_PRINTABLE = re.compile(rb"[A-Za-z0-9 '()+,./:=?-]*")

_STRINGS = {
    0x0C: ("UTF8String", "utf-8"),
    0x12: ("NumericString", "ascii"),
    0x13: ("PrintableString", "ascii"),
    0x14: ("TeletexString", "utf-8"),
    0x16: ("IA5String", "ascii"),
    0x1C: ("UniversalString", "utf-32-be"),
    0x1E: ("BMPString", "utf-16-be"),
}
"""Strings that a name may have (RFC 5280 appendix A.1), in the encodings that the X.509 backend expects."""

_OTHER_STRINGS = {0x15: "VideotexString", 0x19: "GraphicString", 0x1A: "VisibleString", 0x1B: "GeneralString"}


def name_fault(certificate: bytes) -> str | None:
    """Say which string in the issuer or the subject of a certificate is at fault.

    Args:
        certificate: A certificate in DER, or any bytes.

    Returns:
        The string and what is wrong with it; None if every string is as it should be, or if this
        is not a certificate.
    """
    try:
        return _fault_in(certificate)
    # It is not DER, or ends in the middle.
    except (IndexError, ValueError):
        return None


def _fault_in(certificate: bytes) -> str | None:
    _, whole = next(elements(certificate), (0, b""))
    _, tbs = next(elements(whole), (0, b""))
    fields = list(islice(elements(tbs), 6))
    at = 1 if fields[0][0] == _VERSION else 0
    for which, (_, name) in (("issuer", fields[at + 2]), ("subject", fields[at + 4])):
        for kind, value in islice(_strings(name), MAX_STRINGS):
            if fault := _string_fault(kind, value):
                return f"its {which} has {fault}; issue it with a UTF8String"
    return None


def _string_fault(kind: int, value: bytes) -> str | None:
    if kind == _UNIQUE_IDENTIFIER:
        return None
    if kind not in _STRINGS:
        called = _OTHER_STRINGS.get(kind, f"value of the ASN.1 type {kind}")
        return f"the {called} {_shown(value)}, which a name may not have (RFC 5280 section 4.1.2.4)"
    called, encoding = _STRINGS[kind]
    if _is_text(value, encoding) and (called != "PrintableString" or _PRINTABLE.fullmatch(value)):
        return None
    return f"the {called} {_shown(value)}, with a character that a {called} may not have (X.680 section 41)"


def _shown(value: bytes) -> str:
    return quote(value.decode("latin-1"), 64)


def _is_text(value: bytes, encoding: str) -> bool:
    try:
        value.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _strings(name: bytes) -> Iterator[tuple[int, bytes]]:
    """Return the kind and the content of each value in a name (RFC 5280 section 4.1.2.4)."""
    for _, attributes in islice(elements(name), MAX_STRINGS):
        for _, attribute in islice(elements(attributes), MAX_STRINGS):
            _, value = islice(elements(attribute), 2)
            yield value

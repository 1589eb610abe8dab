"""Who says to have been issued by whom, in the bytes as they are written.

The X.509 backend compares names by their bytes, and so must whatever predicts what it will
find. Bytes also compare in no time, where the parsed name of a hostile certificate has
thousands of parts.
"""

from __future__ import annotations

import attrs
from cryptography import x509

_VERSION = 0xA0
_LONG_FORM = 0x80


@attrs.frozen
class Links:
    """What links a certificate to those above and below it (RFC 5280 section 4.1.2), as DER.

    Attributes:
        issuer: The name of its issuer.
        subject: Its own name.
        key: Its public key, with the algorithm.
    """

    issuer: bytes
    subject: bytes
    key: bytes


def links_of(certificate: x509.Certificate) -> Links:
    """Return the names and the key of *certificate*, which `read_certificate` has read."""
    content = certificate.tbs_certificate_bytes
    at, _ = _content(content, 0)
    # Version 1 does not say its version.
    if content[at] == _VERSION:
        _, at = _content(content, at)
    parts = []
    for _ in range(6):  # The serial number, the algorithm, the issuer, the dates, the subject, the key.
        _, end = _content(content, at)
        parts.append(content[at:end])
        at = end
    return Links(issuer=parts[2], subject=parts[4], key=parts[5])


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at *at* starts and ends (X.690 section 8.1.3)."""
    length, start = data[at + 1], at + 2
    if length & _LONG_FORM:
        size = length & ~_LONG_FORM
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    return start, start + length

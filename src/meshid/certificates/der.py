"""The elements of DER, read and written, for what the X.509 backend does not give."""

from __future__ import annotations

from collections.abc import Iterator

_LONG_FORM = 0x80
"""From this many octets on, a length is preceded by its own length (X.690 section 8.1.3.5)."""


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each DER element in *data* (X.690 section 8.1).

    Of bytes that are not DER, what comes is undefined.

    Raises:
        IndexError: If *data* ends in the middle of a tag or a length.
    """
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length >= _LONG_FORM:
            octets = length - _LONG_FORM
            length, at = int.from_bytes(data[at : at + octets], "big"), at + octets
        yield tag, data[at : at + length]
        at += length


def element(tag: int, *parts: bytes) -> bytes:
    """Return one DER element with this *tag*, whose content is the *parts* one after the other."""
    content = b"".join(parts)
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    length = size if len(content) < _LONG_FORM else bytes([_LONG_FORM | len(size)]) + size
    return bytes([tag]) + (length or b"\0") + content

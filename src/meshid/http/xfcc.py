"""Envoy's header ``x-forwarded-client-cert`` (XFCC), as Envoy writes it.

Envoy puts URIs and DNS names of the certificate into it as they are, whatever they hold
(envoyproxy/envoy#32945). So a certificate can write pairs and elements of its own, and whoever
believes the last element, or the last ``Cert``, admits somebody else. Here everything has to be
exactly where Envoy puts it, names are never read from the header, and ``Hash`` ties the rest
together: no name of a certificate can stand before it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator

from meshid.http.certificate_headers import escaped_pem, escaped_pem_leaf
from meshid.support.quoting import plural, quote

MAX_ELEMENTS = 8
"""Envoys in a row."""

MAX_PAIRS = 256
"""Pairs in one element: Envoy writes one for each URI and each DNS name of the certificate."""

_PAIR = re.compile(
    rb"(?:(By|Hash|URI|DNS)=([^\",;]*+)"
    rb"|(Cert|Chain)=\"([^\"]*+)\""
    # A backslash takes the next character with it, whichever it is (RFC 4514 section 2.4).
    rb"|(Subject)=\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)\")(?=[,;]|\Z)"
)
_ORDER = {
    key: place for place, key in enumerate((b"By", b"Hash", b"Cert", b"Chain", b"Subject", b"URI", b"DNS"))
}
_REPEATED = {b"By", b"URI", b"DNS"}
_SHOWN = 40


def read_xfcc(value: bytes, count: int = 1) -> tuple[bytes, ...]:
    """Return the certificates in the first of exactly *count* elements.

    Raises:
        ValueError: If the text is not what Envoy writes, if it has another number of elements, or
            if the first one has no certificate or not the one that its ``Hash`` names.
    """
    found: list[dict[bytes, bytes]] = []
    for pairs in _elements(value):
        if len(found) == count:
            msg = f"it has more than {plural(count, 'element')}; elements= says how many Envoys there are"
            raise ValueError(msg)
        found.append(pairs)
    if len(found) != count:
        msg = f"it has {plural(len(found), 'element')}, not {count}; elements= says how many Envoys there are"
        raise ValueError(msg)
    return _chain(found[0])


def _elements(value: bytes) -> Iterator[dict[bytes, bytes]]:
    """Yield the pairs of each element; of those with a key that may be repeated, the last one."""
    element: dict[bytes, bytes] = {}
    at = count = last = 0
    while at <= len(value):
        pair = _PAIR.match(value, at)
        if pair is None:
            shown = quote(value[at : at + _SHOWN].decode("ascii", "replace"))
            msg = f"what begins with {shown}, at byte {at}, is no KEY=VALUE as Envoy writes them"
            raise ValueError(msg)
        key, text = (part for part in pair.groups() if part is not None)
        count += 1
        if count > MAX_PAIRS:
            msg = f"an element has more than {MAX_PAIRS} pairs"
            raise ValueError(msg)
        if _ORDER[key] < last or (key in element and key not in _REPEATED):
            msg = f"{key.decode()} at byte {at} is there twice, or not where Envoy writes it"
            raise ValueError(msg)
        element[key], last = text, _ORDER[key]
        at = pair.end() + 1
        if value[pair.end() : at] != b";":
            yield _with_hash(element)
            element, count, last = {}, 0, 0


def _with_hash(element: dict[bytes, bytes]) -> dict[bytes, bytes]:
    if b"Hash" not in element:
        msg = "an element has no Hash, which Envoy always writes"
        raise ValueError(msg)
    return element


def _chain(element: dict[bytes, bytes]) -> tuple[bytes, ...]:
    cert = _certificates(element, b"Cert", escaped_pem_leaf)
    chain = _certificates(element, b"Chain", escaped_pem) or cert
    if not chain:
        msg = "it has no certificate: set cert and chain in Envoy's set_current_client_cert_details"
        raise ValueError(msg)
    if cert and cert[0] != chain[0]:
        msg = "Cert is not the first certificate of Chain"
        raise ValueError(msg)
    if hashlib.sha256(chain[0]).hexdigest().encode() != element[b"Hash"]:
        msg = "Hash is not the SHA-256 of the certificate"
        raise ValueError(msg)
    return chain


def _certificates(
    element: dict[bytes, bytes], key: bytes, read: Callable[[bytes], tuple[bytes, ...]]
) -> tuple[bytes, ...]:
    if key not in element:
        return ()
    try:
        return read(element[key])
    except ValueError as error:
        msg = f"{key.decode()}: {error}"
        raise ValueError(msg) from error

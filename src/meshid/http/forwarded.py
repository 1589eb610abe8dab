"""The certificates of a peer whose TLS a proxy has ended, as the proxy wrote them into headers.

A header proves nothing. What is read here is a chain, and a chain is what `Mesh.admit` verifies;
that it is the chain of *this* peer rests on the proxy alone, which has to remove what a client
writes into the same headers, and to be the only one that can reach who reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeAlias

import attrs
from cryptography import x509

from meshid.certificates.chain import MAX_CHAIN_BYTES, MAX_INTERMEDIATES, check_intermediates
from meshid.certificates.pem import decoded, pem_blocks
from meshid.certificates.reading import extension, read_certificate
from meshid.errors import InvalidForwarded, Refused
from meshid.http.certificate_headers import (
    base64_ders,
    base64_leaf,
    base64_list,
    byte_sequence,
    byte_sequences,
    escaped_pem,
    escaped_pem_leaf,
)
from meshid.http.xfcc import MAX_ELEMENTS, read_xfcc
from meshid.support.did_you_mean import Suggestions
from meshid.support.quoting import plural, quote
from meshid.support.types import check_type

MAX_HEADER_BYTES = 128 * 1024
"""Escaped PEM of a chain of 64 KiB has about 100 KiB; Envoy writes the leaf, at most 16 KiB, once more."""

Text: TypeAlias = bytes | str
Headers: TypeAlias = Iterable[tuple[Text, Text]] | Mapping[str, str]
"""Headers of one request: pairs of a name and a value, a mapping from name to value, or a WSGI environ."""

_Read: TypeAlias = Callable[[bytes], tuple[bytes, ...]]

_DIALECTS: dict[str, tuple[tuple[str, _Read], ...]] = {
    "nginx": (("X-Client-Cert-Pem", escaped_pem_leaf),),
    "haproxy": (("Client-Cert", byte_sequence), ("X-Client-Chain-Der", base64_ders)),
    "envoy": (("X-Forwarded-Client-Cert", read_xfcc),),
    "caddy": (("X-Client-Cert-Der", base64_leaf),),
    "traefik": (("X-Forwarded-Tls-Client-Cert", base64_list),),
    # Not `X-Amzn-Mtls-Clientcert-Leaf`: in passthrough mode that one is the client's own.
    "aws-alb": (("X-Amzn-Mtls-Clientcert", escaped_pem),),
    "rfc9440": (("Client-Cert", byte_sequence), ("Client-Cert-Chain", byte_sequences)),
}
"""The headers of each proxy and how to read them, that of the leaf first."""


def _known(proxy: str) -> str:
    check_type(type(proxy), str, "proxy", "a str")
    if proxy not in _DIALECTS:
        near = Suggestions().to(proxy, _DIALECTS)
        right = f"did you mean {near!r}?" if near else f"write one of: {', '.join(_DIALECTS)}"
        msg = f"proxy {quote(proxy)} is not known; {right}"
        raise ValueError(msg)
    return proxy


def _read_intermediates(intermediates: bytes | Iterable[bytes]) -> tuple[bytes, ...]:
    check_type(type(intermediates), Iterable, "intermediates", "PEM bytes or DER certificates")
    try:
        ders = _ders(intermediates) if isinstance(intermediates, bytes) else tuple(intermediates)
        for der in ders:
            check_type(type(der), bytes, "each of the intermediates", "a DER certificate in bytes")
        check_intermediates(ders)
    except Refused as refused:
        msg = f"intermediates: {refused.detail}"
        raise InvalidForwarded(msg) from refused
    except ValueError as error:
        msg = f"intermediates: {error}"
        raise InvalidForwarded(msg) from error
    for number, der in enumerate(ders, 1):
        constraints = extension(read_certificate(der), x509.BasicConstraints)
        if constraints is None or not constraints.ca:
            msg = f"intermediates: number {number} is not an authority, so it has issued nobody's certificate"
            raise InvalidForwarded(msg)
    return ders


def _ders(pem: bytes) -> tuple[bytes, ...]:
    blocks = pem_blocks(pem)
    if not blocks or any(label != "CERTIFICATE" for label, _ in blocks):
        msg = "a PEM text must have certificates, and nothing else"
        raise ValueError(msg)
    return tuple(decoded(block) for _, block in blocks)


def _check_elements(forwarded: Forwarded, _: object, elements: int) -> None:
    check_type(type(elements), int, "elements", "an int")
    if not 1 <= elements <= MAX_ELEMENTS:
        msg = f"elements is {elements}; it is the number of Envoys in a row, 1 to {MAX_ELEMENTS}"
        raise ValueError(msg)
    if elements != 1 and forwarded.proxy != "envoy":
        msg = f"elements is for proxy='envoy' only; {forwarded.proxy} writes no elements"
        raise ValueError(msg)


def _fields_of(forwarded: Forwarded) -> tuple[tuple[str, _Read], ...]:
    fields = _DIALECTS[forwarded.proxy]
    if forwarded.elements == 1:
        return fields
    return ((fields[0][0], partial(read_xfcc, count=forwarded.elements)),)


def _places_of(forwarded: Forwarded) -> dict[bytes, int]:
    return {name.lower().encode(): place for place, (name, _) in enumerate(_fields_of(forwarded))}


@attrs.frozen
class Forwarded:
    """Reads a peer's chain from the headers that one kind of proxy writes.

    ::

        forwarded = Forwarded("nginx", intermediates=Path("intermediates.pem").read_bytes())
        peer = mesh.admit(forwarded.chain(scope["headers"]), request=request)

    What each proxy writes, and how much of the chain:

    ===========  ========================================================================  ============
    proxy        headers                                                                   chain
    ===========  ========================================================================  ============
    nginx        ``X-Client-Cert-Pem``: escaped PEM (``$ssl_client_escaped_cert``)         leaf
    haproxy      ``Client-Cert``: ``:base64:``; ``X-Client-Chain-Der``: base64 of the      whole
                 other certificates, one after the other (``ssl_c_chain_der``)
    envoy        ``X-Forwarded-Client-Cert``: elements with ``Hash``, ``Cert``, ``Chain``  whole
    caddy        ``X-Client-Cert-Der``: base64 (``certificate_der_base64``)                leaf
    traefik      ``X-Forwarded-Tls-Client-Cert``: base64, a comma between certificates     whole
    aws-alb      ``X-Amzn-Mtls-Clientcert``: escaped PEM (mutual TLS in passthrough mode)  whole
    rfc9440      ``Client-Cert``: ``:base64:``; ``Client-Cert-Chain``: ``:base64:, ...``   whole
    ===========  ========================================================================  ============

    Only these headers are read, and it is never guessed which proxy wrote them: each of them, for
    any other proxy, is the client's own. **The proxy must remove them from what a client sends**,
    and nobody but the proxy may reach what reads them. Two of them leave the client's own header in
    place: Traefik for a client without a certificate, where its entry point trusts such headers, so
    let it require one (``clientAuthType``); and a load balancer of AWS in verify mode, in which it
    writes other headers, so use passthrough mode.

    Args:
        proxy: Who writes the headers: ``"nginx"``, ``"haproxy"``, ``"envoy"``, ``"caddy"``,
            ``"traefik"``, ``"aws-alb"`` or ``"rfc9440"``.
        intermediates: Intermediates of your own trust domains, as one PEM text or as DER
            certificates; at most 6, with 48 KiB. They follow those that a proxy passes, as far as
            a chain has room for them (7 certificates, 64 KiB), with every proxy. They are not
            trusted: they are the certificates that a leaf which comes alone lacks. Without them
            such a leaf is refused, unless its issuer is in the trust bundle or its whole chain was
            admitted just before, from elsewhere; with them, the answer does not depend on who came
            before.
        elements: How many Envoys, one behind the other, add an element to the header; 1 to 8. The
            peer is the client of the first. Each of the others must let in none but the one
            before it: whoever can reach it writes the elements before its own.

    Attributes:
        proxy: The same.
        intermediates: The same, as DER.
        elements: The same.

    Raises:
        InvalidForwarded: If the intermediates cannot be read, are too many, or are no authorities.
        TypeError: If an argument has another type.
        ValueError: If the proxy is not known, or *elements* does not fit.
    """

    proxy: str = attrs.field(converter=_known)
    intermediates: tuple[bytes, ...] = attrs.field(
        default=(),
        kw_only=True,
        converter=_read_intermediates,
        repr=lambda ders: f"({plural(len(ders), 'certificate')})",
    )
    elements: int = attrs.field(default=1, kw_only=True, validator=_check_elements)
    _fields: tuple[tuple[str, _Read], ...] = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(_fields_of, takes_self=True)
    )
    _places: dict[bytes, int] = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(_places_of, takes_self=True)
    )

    def chain(self, headers: Headers) -> tuple[bytes, ...]:
        """Return the chain in the headers of one request, for `Mesh.admit`.

        Args:
            headers: The pairs of a name and a value, as ASGI has them; a mapping from name to value;
                or a WSGI environ. The case of a name does not count.

                A mapping cannot show that a header was there twice. Two values that a server
                joined with a comma are refused, except in ``Client-Cert-Chain``, which is a list,
                and where no space follows the comma, with ``"traefik"``; of a server that keeps
                the first or the last one, give the pairs. A WSGI server always joins (RFC 3875
                section 4.1.18); in an environ, a comma in the header of ``"traefik"`` or of several
                Envoys is refused.

                In an environ ``Client_Cert`` is ``Client-Cert`` as well. waitress, Werkzeug and
                gevent leave a name with an underscore out; of a server that does not, such as
                ``wsgiref``, the proxy has to remove both.

        Returns:
            DER certificates, leaf first, not verified; none if no header of the proxy is there, or
            if they are empty, and `Mesh.admit` then refuses the peer as one without a certificate.

        Raises:
            InvalidForwarded: If a header is there twice, or is not exactly what the proxy writes;
                the text names the header.
            TypeError: If *headers* are not headers.
        """
        return self.chain_of(self.values(headers))

    def values(self, headers: Headers) -> tuple[bytes, ...]:
        """Return the values of the proxy's headers, for whoever remembers chains by them.

        Args:
            headers: As for `chain`.

        Returns:
            The value of each of the proxy's headers, in their order in the table; empty for one
            that is not there.

        Raises:
            InvalidForwarded: If a header is there twice, has a character that is not ASCII, or is
                longer than 128 KiB.
            TypeError: If *headers* are not headers.
        """
        found: list[bytes | None] = [None] * len(self._fields)
        is_environ = isinstance(headers, Mapping) and "wsgi.version" in headers
        for name, value in _pairs(headers):
            # The call costs more than all else for a header.
            place = self._places.get((name if type(name) is bytes else _bytes(name)).lower())
            if place is None:
                continue
            header = self._fields[place][0]
            if found[place] is not None:
                msg = f"header {header} is there twice; the proxy must replace what a client sends"
                raise InvalidForwarded(msg)
            if len(value) > MAX_HEADER_BYTES:
                msg = f"header {header} has {len(value)} bytes; at most {MAX_HEADER_BYTES} are read"
                raise InvalidForwarded(msg)
            if not value.isascii():
                msg = f"header {header} is not ASCII"
                raise InvalidForwarded(msg)
            found[place] = joined = _bytes(value)
            if is_environ and b"," in joined and (self.proxy == "traefik" or self.elements > 1):
                msg = f"header {header} has a comma, with which a WSGI server may have joined two of them"
                raise InvalidForwarded(msg)
        return tuple(value or b"" for value in found)

    def chain_of(self, values: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return the chain in what `values` returned.

        Args:
            values: What `values` returned.

        Returns:
            As `chain`.

        Raises:
            InvalidForwarded: If a value is not exactly what the proxy writes.
        """
        chain: list[bytes] = []
        for (header, read), value in zip(self._fields, values, strict=True):
            if not value:
                continue
            if header is not self._fields[0][0] and not chain:
                msg = f"header {header} is there without {self._fields[0][0]}, which has the leaf"
                raise InvalidForwarded(msg)
            try:
                chain += read(value)
            except ValueError as error:
                msg = f"header {header}: {error}"
                raise InvalidForwarded(msg) from error
        return self._completed(chain) if chain else ()

    def _completed(self, chain: list[bytes]) -> tuple[bytes, ...]:
        for each in self.intermediates:
            has_room = len(chain) <= MAX_INTERMEDIATES and sum(map(len, chain)) + len(each) <= MAX_CHAIN_BYTES
            if has_room and each not in chain:
                chain.append(each)
        return tuple(chain)


def _pairs(headers: Headers) -> Iterable[tuple[Text, Text]]:
    if not isinstance(headers, Mapping):
        return headers
    if "wsgi.version" not in headers:
        return headers.items()
    # PEP 3333: `HTTP_` variables are the headers; everything else in an environ is of any type.
    return (
        (name.removeprefix("HTTP_").replace("_", "-"), value)
        for name, value in headers.items()
        if name.startswith("HTTP_")
    )


def _bytes(text: Text) -> bytes:
    if isinstance(text, bytes):
        return text
    check_type(type(text), str, "each name and value of the headers", "bytes or a str")
    # What is not Latin-1 is no name of ours, and lower case has to be that of ASCII: U+212A would be a k.
    return text.encode("latin-1", "replace")

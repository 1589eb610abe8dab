"""Headers as each proxy writes them for a client's chain; written without a line of what reads them."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Callable, Sequence
from typing import TypeAlias
from urllib.parse import quote

from cryptography import x509

Pairs: TypeAlias = list[tuple[bytes, bytes]]

WHOLE = frozenset({"haproxy", "envoy", "traefik", "aws-alb", "rfc9440"})
"""The proxies that pass the whole chain; the others pass the leaf."""


def written(proxy: str, chain: Sequence[bytes]) -> Pairs:
    """Return the headers that *proxy* writes for a client that presented *chain*; none for an empty one."""
    return [(name.encode(), value.encode()) for name, value in _WRITERS[proxy](chain)] if chain else []


def passed(proxy: str, chain: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return what of *chain* the headers have."""
    return tuple(chain if proxy in WHOLE else chain[:1])


def base64_of(der: bytes) -> str:
    return base64.b64encode(der).decode()


def escaped(*chain: bytes, safe: str = "") -> str:
    """Return certificates as PEM, percent-encoded but for the characters in *safe*."""
    return quote("".join(map(ssl.DER_cert_to_PEM_cert, chain)), safe=safe)


def xfcc(
    chain: Sequence[bytes],
    *,
    by: str = "spiffe://prod.example.org/ns/edge/sa/envoy",
    names: Sequence[str] | None = None,
) -> str:
    """Return one element with all that Envoy 1.40 can be told to write, in its order and with its quotes.

    *names* is what it writes of the subject, the URIs and the DNS names; by default those of the leaf.
    """
    pairs = [f"By={by}", f"Hash={hashlib.sha256(chain[0]).hexdigest()}"]
    pairs += [f'Cert="{escaped(chain[0])}"', f'Chain="{escaped(*chain)}"']
    return ";".join([*pairs, *(names_of(chain[0]) if names is None else names)])


def names_of(leaf: bytes) -> list[str]:
    """Return the pairs that Envoy writes of a leaf's names, without quotes (envoyproxy/envoy#32945)."""
    certificate = x509.load_der_x509_certificate(leaf)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [
        f'Subject="{certificate.subject.rfc4514_string()}"',
        *(f"URI={uri}" for uri in names.get_values_for_type(x509.UniformResourceIdentifier)),
        *(f"DNS={host}" for host in names.get_values_for_type(x509.DNSName)),
    ]


def _haproxy(chain: Sequence[bytes]) -> list[tuple[str, str]]:
    leaf = [("client-cert", f":{base64_of(chain[0])}:")]
    return leaf + ([("x-client-chain-der", base64_of(b"".join(chain[1:])))] if chain[1:] else [])


def _rfc9440(chain: Sequence[bytes]) -> list[tuple[str, str]]:
    leaf = [("client-cert", f":{base64_of(chain[0])}:")]
    rest = ", ".join(f":{base64_of(each)}:" for each in chain[1:])
    return leaf + ([("client-cert-chain", rest)] if rest else [])


_WRITERS: dict[str, Callable[[Sequence[bytes]], list[tuple[str, str]]]] = {
    "nginx": lambda chain: [("x-client-cert-pem", escaped(chain[0]))],
    "haproxy": _haproxy,
    "envoy": lambda chain: [("x-forwarded-client-cert", xfcc(chain))],
    "caddy": lambda chain: [("x-client-cert-der", base64_of(chain[0]))],
    "traefik": lambda chain: [("x-forwarded-tls-client-cert", ",".join(map(base64_of, chain)))],
    "aws-alb": lambda chain: [("x-amzn-mtls-clientcert", escaped(*chain, safe="+=/"))],
    "rfc9440": _rfc9440,
}

PROXIES = tuple(_WRITERS)

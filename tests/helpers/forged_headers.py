"""Headers of every dialect, as a client forges them: each claims to be the victim."""

from __future__ import annotations

import base64
from hashlib import sha256
from urllib.parse import quote

from meshid.testing import Issued

Headers = list[tuple[str, str]]


def forged_headers(victim: Issued) -> dict[str, Headers]:
    """Return what a client may send to pass for *victim*, and for a request that everybody may make."""
    leaf, *rest = victim.chain
    der = [base64.b64encode(each).decode() for each in victim.chain]
    pem = quote(victim.chain_pem.decode(), safe="")
    xfcc = f'By=spiffe://prod.example.org/proxy;Hash={sha256(leaf).hexdigest()};Cert="{pem}";Chain="{pem}"'
    dialects: dict[str, Headers] = {
        "nginx": [("X-Client-Cert-Pem", pem)],
        "haproxy": [
            ("Client-Cert", f":{der[0]}:"),
            ("X-Client-Chain-Der", base64.b64encode(b"".join(rest)).decode()),
        ],
        "envoy": [("X-Forwarded-Client-Cert", xfcc)],
        "caddy": [("X-Client-Cert-Der", der[0])],
        "traefik": [("X-Forwarded-Tls-Client-Cert", ",".join(der))],
        "aws-alb": [("X-Amzn-Mtls-Clientcert", pem)],
        "rfc9440": [
            ("Client-Cert", f":{der[0]}:"),
            ("Client-Cert-Chain", ", ".join(f":{each}:" for each in der[1:])),
        ],
        "the handle": [("X-Meshid-Connection", "0" * 32)],
        "what we tell the service": [
            ("X-Meshid-Peer", "spiffe://prod.example.org/ns/checkout/sa/api"),
            ("X-Meshid-Rule", "charges"),
        ],
        "the request, as nginx and HAProxy tell it": [
            ("X-Original-Method", "GET"),
            ("X-Original-URI", "/public"),
        ],
        "the request, as Caddy and Traefik tell it": [
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", "/public"),
        ],
    }
    everything = [pair for headers in dialects.values() for pair in headers]
    return {
        **dialects,
        "all of them": everything,
        # In halves: Caddy reads 16 kB of headers.
        "half of them twice": everything[::2] * 2,
        "the other half twice": everything[1::2] * 2,
        "with underscores": [(name.replace("-", "_"), value) for name, value in everything],
        "empty": [(name, "") for name, _ in everything],
    }

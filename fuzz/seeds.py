"""What the fuzzer starts from: one small honest input, or a few, for each parser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshid.testing import CA

POLICY_TOML = b"""
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["partner.example"]
[[allow]]
id = "a"
why = "b"
from = ["/ns/*/sa/api", "spiffe://partner.example/**"]
to = ["payments", "port/**"]
http = ["POST /v1/charges", "GET /v1/*/items"]
observe = true
[[deny]]
id = "c"
from = ["/**"]
to = ["admin"]
"""

POLICY_JSON = b"""{"version": 1, "environments": {"prod": {"trust_domains": ["prod.example.org"]}},
"allow": [{"id": "a", "from": ["/x/**"], "to": ["payments"], "http": ["* /a/*"]}]}"""

ISTIO = b"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a, namespace: pay}
spec:
  action: ALLOW
  selector: {matchLabels: {app: api}}
  rules:
  - from:
    - source: {principals: ["cluster.local/ns/shop/sa/web"], notNamespaces: ["x"]}
    to:
    - operation: {methods: ["GET"], paths: ["/a/*"]}
"""

DENY_LIST = b"""
version = 1
[[deny]]
peer = "spiffe://prod.example.org/ns/ci/**"
until = 2030-01-01T00:00:00Z
reason = "stolen"
[[deny]]
issuer = "CN=root,O=prod"
serial = "0a:1b"
"""

TRUST = b"""
[bundles."prod.example.org"]
file = "ca.pem"
profile = "spiffe"
"""


def seeds() -> Mapping[str, Sequence[bytes]]:
    """Return the inputs, by the name of the target."""
    root = CA("prod.example.org")
    leaf = root.intermediate().issue("/ns/shop/sa/web", dns=["a.example"])
    crl = root.crl(leaf)
    return {
        "certificate": [*leaf.chain, root.certificate.public_bytes(Encoding.DER)],
        "certificate_message": [_message(leaf.chain, extensions=each) for each in (True, False)],
        "chain": [b"".join(len(each).to_bytes(3, "big") + each for each in leaf.chain)],
        "bundle_pem": [root.pem, leaf.chain_pem],
        "bundle_json": [root.bundle().to_spiffe_json()],
        "credentials": [leaf.chain_pem + leaf.key_pem],
        "revocation_list": [crl, x509.load_pem_x509_crl(crl).public_bytes(Encoding.DER)],
        "deny_list": [DENY_LIST],
        "policy_toml": [POLICY_TOML],
        "policy_json": [POLICY_JSON],
        "istio": [ISTIO],
        "spiffe_id": [b"spiffe://prod.example.org/ns/shop/sa/web"],
        "peer_pattern": [b"spiffe://prod.example.org/ns/*/sa/a*b/**", b"/**/x"],
        "request": [b"GET /a/b%20c?d=e", b"POST /"],
        "distinguished_name": [b"CN=root,O=a\\,b+OU=c", b"/C=US/O=x/CN=y"],
    }


def _message(chain: Sequence[bytes], *, extensions: bool) -> bytes:
    entry = b"\0\0" if extensions else b""
    body = b"".join(len(each).to_bytes(3, "big") + each + entry for each in chain)
    context = b"\0" if extensions else b""
    content = context + len(body).to_bytes(3, "big") + body
    return b"\x0b" + len(content).to_bytes(3, "big") + content

"""What the fuzzer starts from: one small honest input, or a few, for each parser."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshid.testing import CA, Issued, TokenIssuer

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

NGINX = b"""# configuration file /etc/nginx/nginx.conf:
http {
    include conf.d/*.conf;
}
# configuration file /etc/nginx/conf.d/mesh.conf:
server {
    listen 8443 ssl proxy_protocol;
    auth_request /_meshid;
    location / { proxy_pass http://${a}$uri; return 200 "ok"; }
    location = /_meshid { internal; proxy_set_header X-Original-URI '$request_uri'; }
}
"""

TRUST = b"""
[bundles."prod.example.org"]
file = "ca.pem"
profile = "spiffe"
"""

TOKEN_ISSUER = TokenIssuer("https://issuer.example")

TOKEN_CLAIMS = b"""{"iss": "https://issuer.example", "sub": "api", "aud": ["payments"], "iat": 1800000000,
"exp": 1800000300, "tenant": "t-1", "jti": "a", "cnf": {"x5t#S256": "%s"}}""" % (
    base64.urlsafe_b64encode(hashlib.sha256(b"leaf").digest())[:43]
)

PROXIES = ("nginx", "haproxy", "envoy", "caddy", "traefik", "aws-alb", "rfc9440")


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
        "bundle_json": [root.bundle().to_spiffe_json(), _key_set("jwt-svid")],
        "key_set": [_key_set("sig")],
        "credentials": [leaf.chain_pem + leaf.key_pem],
        "revocation_list": [crl, x509.load_pem_x509_crl(crl).public_bytes(Encoding.DER)],
        "deny_list": [DENY_LIST],
        "nginx": [NGINX],
        "policy_toml": [POLICY_TOML],
        "policy_json": [POLICY_JSON],
        "istio": [ISTIO],
        "spiffe_id": [b"spiffe://prod.example.org/ns/shop/sa/web"],
        "peer_pattern": [b"spiffe://prod.example.org/ns/*/sa/a*b/**", b"/**/x"],
        "request": [b"GET /a/b%20c?d=e", b"POST /"],
        "forwarded": _forwarded(leaf),
        "xfcc": [_xfcc(leaf).encode()],
        "token": [TOKEN_ISSUER.mint(TOKEN_CLAIMS).encode()],
        "token_header": [b'{"alg":"ES256","kid":"key-1","typ":"at+jwt"}'],
        "token_claims": [TOKEN_CLAIMS],
        "distinguished_name": [b"CN=root,O=a\\,b+OU=c", b"/C=US/O=x/CN=y"],
    }


def _key_set(use: str) -> bytes:
    """Return a key of each kind."""
    issuer = TokenIssuer(use=use)
    for algorithm in ("ES384", "EdDSA", "RS256"):
        issuer.new_key(algorithm)
    return issuer.jwks()


def _message(chain: Sequence[bytes], *, extensions: bool) -> bytes:
    entry = b"\0\0" if extensions else b""
    body = b"".join(len(each).to_bytes(3, "big") + each + entry for each in chain)
    context = b"\0" if extensions else b""
    content = context + len(body).to_bytes(3, "big") + body
    return b"\x0b" + len(content).to_bytes(3, "big") + content


def _forwarded(leaf: Issued) -> list[bytes]:
    alone = leaf.chain_pem[: leaf.chain_pem.index(b"-----BEGIN", 1)]
    one, two = (base64.b64encode(each).decode() for each in leaf.chain)
    headers = {
        "nginx": f"x-client-cert-pem: {quote(alone, safe='')}",
        "haproxy": f"client-cert: :{one}:\nx-client-chain-der: {two}",
        "envoy": f"x-forwarded-client-cert: {_xfcc(leaf)}",
        "caddy": f"x-client-cert-der: {one}",
        "traefik": f"x-forwarded-tls-client-cert: {one},{two}",
        "aws-alb": f"x-amzn-mtls-clientcert: {quote(leaf.chain_pem, safe='+=/')}",
        "rfc9440": f"client-cert: :{one}:\nclient-cert-chain: :{two}:, :{one}:",
    }
    return [bytes([PROXIES.index(proxy)]) + text.encode() for proxy, text in headers.items()]


def _xfcc(leaf: Issued) -> str:
    digest = hashlib.sha256(leaf.chain[0]).hexdigest()
    chain = quote(leaf.chain_pem, safe="")
    return f'By=spiffe://a/b;Hash={digest};Chain="{chain}";Subject="CN=a\\,b";URI=spiffe://a/c;DNS=d'

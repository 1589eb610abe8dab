"""The worst inputs that are known, each beside an honest one of the same size in bytes.

They are made anew each time, because keys and dates are; what they are like is always the
same. A new one that costs more than its neighbours belongs here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from meshid.testing import CA

DOMAIN = "prod.example.org"
PATH = "/ns/checkout/sa/api"
NAME = f"spiffe://{DOMAIN}{PATH}"
PADDING = ObjectIdentifier("1.3.6.1.4.1.55555.1")

Chain = Sequence[bytes]


# -- Chains ---------------------------------------------------------------------


def subject_of(authority: CA) -> str:
    """Return the subject as text."""
    return authority.certificate.subject.rfc4514_string()


def padding(size: int) -> tuple[x509.ExtensionType, bool]:
    """Return an extension that nobody knows and that nobody needs to."""
    return x509.UnrecognizedExtension(PADDING, bytes(size)), False


def honest_chain(root: CA, size: int) -> Chain:
    """Return a chain of *size* bytes, more or less: a leaf, up to four intermediates, and padding."""
    depth = min(4, max(size - 500, 0) // 450)
    rest = min(size, 60_000) - 500 - 450 * depth
    authority = root
    for number in range(depth):
        extra = [padding(rest)] if number == 0 and rest > 0 else []
        authority = authority.intermediate(extra=extra)
    return authority.issue(PATH).chain


def chain_of(leaf: bytes, *above: CA) -> Chain:
    """Return a chain that is put together by hand."""
    return [leaf, *(each.certificate.public_bytes(Encoding.DER) for each in above)]


def ring(root: CA, key: CertificateIssuerPrivateKeyTypes, each: int, names: int) -> Chain:
    """Return intermediates of one key that sign each other, one of which says that *root* signed it."""
    stranger = CA(DOMAIN, subject=subject_of(root))
    keys = [CA(DOMAIN, subject=f"CN={number}", key=key) for number in range(names)]
    made = [
        keys[(number + 1) % names].intermediate(subject=f"CN={number}", key=key)
        for number in range(names)
        for _ in range(each)
    ][:5]
    lure = stranger.intermediate(subject="CN=0", key=key)
    return chain_of(keys[0].issue(PATH).chain[0], lure, *made)


def namesakes(root: CA, keys: Sequence[CertificateIssuerPrivateKeyTypes]) -> Chain:
    """Return intermediates with the name of *root*, each signed by the one before, and all by strangers."""
    authority = CA(DOMAIN, subject=subject_of(root), key=keys[0])
    above = []
    for key in keys:
        authority = authority.intermediate(subject=subject_of(root), key=key)
        above.append(authority)
    return chain_of(authority.issue(PATH).chain[0], *above)


def straight(root: CA, key: CertificateIssuerPrivateKeyTypes, depth: int) -> Chain:
    """Return a chain of heavy keys whose last link, to *root*, is a lie."""
    authority = CA(DOMAIN, subject=subject_of(root))
    for _ in range(depth):
        authority = authority.intermediate(key=key)
    return authority.issue(PATH).chain


def long_name(size: int) -> str:
    """Return a name of *size* bytes, of as many parts as fit."""
    return ",".join(f"CN={number:03}" for number in range(size // 14))


def heavy_rsa() -> rsa.RSAPrivateKey:
    """Return a key of the greatest size that is accepted."""
    return rsa.generate_private_key(65537, 8192)


def hostile_chains(root: CA) -> Iterator[tuple[str, Chain]]:
    """Yield chains that a stranger can make without a key of ours."""
    p256, p521 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP521R1())
    rsa8192 = heavy_rsa()
    for kind, key in {"P-256": p256, "P-521": p521}.items():
        yield f"3 + 3 of one {kind} key, signing each other", ring(root, key, 3, 2)
        yield f"2 + 2 + 2 of one {kind} key, signing each other", ring(root, key, 2, 3)
        yield f"six of one {kind} key, called like the root", namesakes(root, [key] * 6)
    many = [ec.generate_private_key(ec.SECP521R1()) for _ in range(6)]
    yield "six P-521 keys, called like the root", namesakes(root, many)
    yield "one P-521 key, called like the root", namesakes(root, many[:1])
    yield "a straight chain of P-521", straight(root, p521, 4)
    yield "a straight chain of RSA-8192", straight(root, rsa8192, 4)
    yield "six of one RSA-8192 key, called like the root", namesakes(root, [rsa8192] * 6)
    yield "a straight chain of ML-DSA-87", straight(root, mldsa.MLDSA87PrivateKey.generate(), 4)
    stranger = CA(DOMAIN, subject=subject_of(root))
    yield "a leaf whose subject has 1000 parts", stranger.issue(PATH, subject=long_name(15_000)).chain
    yield "intermediates whose subjects have 400 parts", _long_names(root)
    yield "a leaf with 64 names", stranger.issue(PATH, dns=[f"{n}.{'x' * 200}" for n in range(63)]).chain
    yield "a leaf with 4000 names", stranger.issue(PATH, dns=[str(n) for n in range(2500)]).chain
    yield "64 name constraints and 64 names", _constraints(root)
    unknown = [(x509.UnrecognizedExtension(ObjectIdentifier(f"1.3.{n}"), b""), False) for n in range(900)]
    yield "a leaf with 900 extensions", stranger.issue(PATH, extra=unknown).chain
    yield "an unknown trust domain", stranger.issue("spiffe://" + "x" * 255 + PATH * 90).chain
    yield "100 kB of one-byte certificates", [b"0"] * 100_000


def _long_names(root: CA) -> Chain:
    above = [CA(DOMAIN, subject=long_name(6_000) + f",OU={number}") for number in range(4)]
    signed = [
        low.intermediate(subject=subject_of(high), key=high.key)
        for low, high in zip(above[1:], above, strict=False)
    ]
    lure = CA(DOMAIN, subject=subject_of(root)).intermediate(subject=subject_of(above[-1]), key=above[-1].key)
    return chain_of(above[0].issue(PATH).chain[0], *signed, lure)


def _constraints(root: CA) -> Chain:
    trees = [x509.DNSName(f"{number}.{'y' * 60}") for number in range(64)]
    authority = CA(DOMAIN, subject=subject_of(root))
    for _ in range(4):
        authority = authority.intermediate(extra=[(x509.NameConstraints(None, trees), True)])
    return authority.issue(PATH, dns=[f"{number}.{'x' * 60}" for number in range(63)]).chain


def message(chain: Chain, *, size: int | None = None) -> bytes:
    """Return a TLS 1.3 Certificate message (RFC 8446 section 4.4.2) with *chain*, or with empty entries."""
    entries = [len(each).to_bytes(3, "big") + each + b"\0\0" for each in chain]
    body = b"".join(entries) if size is None else bytes(size)
    return b"\x0b" + (len(body) + 4).to_bytes(3, "big") + b"\0" + len(body).to_bytes(3, "big") + body


# -- What partners and operators load ---------------------------------------------


def honest_json(size: int) -> bytes:
    """Return a bundle of *size* bytes, more or less, of real authorities."""
    one = json.loads(CA(DOMAIN).bundle().to_spiffe_json())["keys"][0]
    count = size // len(json.dumps(one))
    keys = [json.loads(CA(DOMAIN).bundle().to_spiffe_json())["keys"][0] for _ in range(min(count, 40))]
    return json.dumps({"keys": [keys[number % len(keys)] for number in range(count)]}).encode()


def hostile_json(size: int) -> Iterator[tuple[str, bytes]]:
    """Yield bundles of *size* bytes, as a partner may serve them."""
    yield "a bundle of empty keys", b'{"keys":[' + b",".join([b"{}"] * (size // 3)) + b"]}"
    yield "a bundle that is deeply nested", b'{"keys":' + b"[" * size
    yield "a bundle of one number", b'{"keys":[' + b"9" * size + b"]}"
    odd = b'{"kty":"EC","use":"x509-svid","x5c":["AAAA"]}'
    yield "a bundle of keys that are no certificates", b'{"keys":[' + b",".join([odd] * (size // 46)) + b"]}"
    long = b'{"kty":"EC","use":"x509-svid","x5c":["' + b"A" * size + b'"]}'
    yield "a bundle of one key", b'{"keys":[' + long + b"]}"
    members = b",".join(b'"%d":0' % number for number in range(size // 9))
    yield "a bundle with as many members", b'{"keys":[],' + members + b"}"


def honest_pem(size: int) -> bytes:
    """Return a bundle of *size* bytes in PEM."""
    pems = [CA(DOMAIN).pem for _ in range(20)]
    return b"".join(pems[number % 20] for number in range(size // len(pems[0])))


def hostile_pem(size: int) -> Iterator[tuple[str, bytes]]:
    """Yield bundles of *size* bytes in PEM."""
    begin = b"-----BEGIN CERTIFICATE-----\n"
    yield "PEM of BEGIN lines", begin * (size // len(begin))
    different = b"".join(b"-----BEGIN %d-----\n" % number for number in range(size // 22))
    yield "PEM of different BEGIN lines", different
    yield "PEM of dashes", b"-" * size
    yield "PEM with one block", begin + b"A" * size + b"\n-----END CERTIFICATE-----\n"
    empty = b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
    yield "PEM of empty blocks", empty * (size // len(empty))


def crl(entries: Sequence[x509.RevokedCertificate], root: CA) -> bytes:
    """Return a revocation list as DER."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.certificate.subject)
        .last_update(now - timedelta(minutes=5))
        .next_update(now + timedelta(days=1))
    )
    # `add_revoked_certificate` copies all of them each time.
    builder._revoked_certificates = list(entries)  # noqa: SLF001
    assert isinstance(root.key, ec.EllipticCurvePrivateKey)
    return builder.sign(root.key, hashes.SHA256()).public_bytes(Encoding.DER)


def entry(number: int, *extensions: tuple[x509.ExtensionType, bool]) -> x509.RevokedCertificate:
    """Return an entry of a revocation list."""
    builder = x509.RevokedCertificateBuilder(number, datetime(2026, 1, 1, tzinfo=UTC))
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.build()


def hostile_crls(root: CA, size: int) -> Iterator[tuple[str, bytes]]:
    """Yield revocation lists of *size* bytes, more or less."""
    reason = (x509.CRLReason(x509.ReasonFlags.key_compromise), False)
    date = (x509.InvalidityDate(datetime(2026, 1, 1, tzinfo=UTC)), False)
    odd = (x509.UnrecognizedExtension(PADDING, b""), False)
    yield "a list of short numbers", crl([entry(1 + number % 100) for number in range(size // 20)], root)
    with_extensions = [entry(2**150 + number, reason, date, odd) for number in range(size // 100)]
    yield "a list with extensions in each entry", crl(with_extensions, root)
    issuer = x509.CertificateIssuer(
        [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))]
    )
    foreign = [entry(2**150 + number, (issuer, True)) for number in range(size // 80)]
    yield "a list with issuers in each entry", crl(foreign, root)


def honest_crl(root: CA, size: int) -> bytes:
    """Return a revocation list of *size* bytes, more or less."""
    return crl([entry(2**150 + number) for number in range(size // 40)], root)


# -- Policies -------------------------------------------------------------------


def policy(rules: Sequence[str]) -> bytes:
    """Return a policy of these rules."""
    head = f'version = 1\n[environments.prod]\ntrust_domains = ["{DOMAIN}"]\n'
    return (head + "".join(rules)).encode()


def rule(number: int, source: str, target: str, http: str = "") -> str:
    """Return one rule that allows."""
    extra = f'http = ["{http}"]\n' if http else ""
    return f'[[allow]]\nid = "r{number}"\nfrom = ["{source}"]\nto = ["{target}"]\n{extra}'


def honest_policy(size: int) -> bytes:
    """Return a policy of *size* bytes, of rules that are about one service each."""
    one = len(rule(100, "/ns/checkout100/sa/api", "payments100", "GET /v1/a/*"))
    count = max(size // one, 1)
    return policy([rule(n, f"/ns/checkout{n}/sa/api", f"payments{n}", "GET /v1/a/*") for n in range(count)])


def hostile_policies(size: int) -> Iterator[tuple[str, bytes]]:
    """Yield policies of *size* bytes, more or less."""
    stars = "/" + "/".join(["**", "*a*"] * 10)
    count = size // 150
    yield "a policy of double stars", policy([rule(n, stars + f"/{n}", "**") for n in range(count)])
    many = "/" + "/".join(["*a*b*c*"] * 8)
    yield "a policy of stars in segments", policy([rule(n, many + f"/{n}", "a/*b*/**") for n in range(count)])
    deep = "/" + "/".join(["a"] * 900)
    yield (
        "a policy with long paths",
        policy([rule(n, "/**", "**", f"GET {deep}/{n}") for n in range(size // 2000)]),
    )
    wide = ", ".join(f'"/a/{number}"' for number in range(size // 12))
    yield "a policy with one long list", policy([f'[[allow]]\nid = "a"\nfrom = [{wide}]\nto = ["**"]\n'])
    yield "a policy of unknown keys", policy([f"k{number} = 1\n" for number in range(size // 10)])
    yield "a policy that is deeply nested", policy(["a = " + "[" * size])
    yield "a policy of one dotted key", policy(["a." * (size // 2) + "b = 1"])

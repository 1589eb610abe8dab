"""Every kind of chain that an unknown peer can present, and what becomes of it.

One table for all ways in: the verifier, the cache, and each TLS edge that replays the rows
over live handshakes. The certificates have real dates, because a TLS library does not use
our clock. A bad chain is made from a good one, so that one thing is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshid.reasons import Reason
from meshid.testing import Shape
from tests.helpers.chain_case import Case, Maker, rows
from tests.helpers.forged import (
    huge_exponent,
    rsa_public_key,
    since_year_0,
    twin,
    until_year_0,
    with_digest,
    with_unknown_key,
)
from tests.helpers.openssl_cases import OPENSSL_CASES
from tests.helpers.world import (
    CORP,
    DAY,
    DEV,
    HOST,
    LINKERD,
    LINKERD_HOST,
    PATH,
    PROD,
    alone,
    as_leaf,
    below_a_workload,
    below_constraints,
    below_ed25519,
    below_key,
    deep,
    for_key,
    for_purpose,
    hosts,
    linkerd_name_of,
    namesake,
    padding,
    self_signed,
    sending,
    with_path,
    wrongly_signed,
)

# -- The table ----------------------------------------------------------------


def _named(reason: Reason, pattern: str, issuer: str, names: Mapping[str, str]) -> list[Case]:
    """Return a row for each of *names*: URIs in leaves of prod, hosts in leaves of the others."""

    def maker(name: str) -> Maker:
        shape: Shape = {"uris": [name]} if issuer == "prod" else {"uris": [], "dns": [name]}
        return lambda world: getattr(world, issuer).issue(**shape)

    return rows(reason, None, {pattern.format(what): maker(name) for what, name in names.items()})


_ADMITTED = [
    *rows(
        Reason.ALLOWED,
        PROD,
        {
            "issued by the root": lambda w: w.prod.issue(PATH),
            "through an intermediate": lambda w: w.issuing.issue(PATH),
            "through four intermediates": lambda w: deep(w, 4),
            "URI SAN and DNS SANs": lambda w: w.prod.issue(PATH, dns=["a.svc", "*.svc"]),
            "64 names": lambda w: w.prod.issue(PATH, dns=hosts(63)),
            "no extended key usage": lambda w: w.prod.issue(PATH, purposes=None),
            "clientAuth only": lambda w: w.prod.issue(PATH, purposes={"client"}),
            "no basic constraints": lambda w: w.prod.issue(PATH, ca=None),
            "no authority key id": lambda w: w.prod.issue(PATH, authority_key_id=False),
            "nothing critical": lambda w: w.prod.issue(PATH, critical=False),
            "a subject": lambda w: w.prod.issue(PATH, subject="CN=api,O=mesh"),
            "an unknown extension": lambda w: w.prod.issue(PATH, extra=[padding(1)]),
            "64 name constraints": lambda w: below_constraints(w, 64, "h1.example"),
            "the root sent, too": lambda w: sending(w.prod.issue(PATH), w.prod),
            "an intermediate doubled": lambda w: sending(w.issuing.issue(PATH), w.issuing),
            "a namesake of the root sent, too": lambda w: sending(w.prod.issue(PATH), namesake(w.prod)),
            "a stray certificate sent, too": lambda w: sending(w.issuing.issue(PATH), w.dev.intermediate()),
            "P-384": lambda w: w.prod.issue(PATH, key=ec.generate_private_key(ec.SECP384R1())),
            "P-521": lambda w: w.prod.issue(PATH, key=ec.generate_private_key(ec.SECP521R1())),
            "RSA-2048": lambda w: w.prod.issue(PATH, key=rsa.generate_private_key(65537, 2048)),
            "Ed25519": lambda w: w.prod.issue(PATH, key=ed25519.Ed25519PrivateKey.generate()),
        },
    ),
    *rows(
        Reason.ALLOWED,
        PROD,
        {
            "ML-DSA-44": lambda w: w.prod.issue(PATH, key=mldsa.MLDSA44PrivateKey.generate()),
            "the leaf's other signature": lambda w: (twin(w.prod.issue(PATH).certificate),),
        },
        wire=False,
    ),
    *rows(
        Reason.ALLOWED,
        PROD,
        {
            "a server": lambda w: w.prod.issue(PATH),
            "a server with serverAuth only": lambda w: w.prod.issue(PATH, purposes={"server"}),
        },
        role="server",
    ),
    Case("the same workload from dev", lambda w: w.dev.issue(PATH), Reason.ALLOWED, DEV),
    Case("a Linkerd name", lambda w: w.cluster.issue(uris=[], dns=[LINKERD_HOST]), Reason.ALLOWED, LINKERD),
    Case(
        "a Linkerd account with a dot",
        lambda w: w.cluster.issue(uris=[], dns=[f"v1.{LINKERD_HOST}"]),
        Reason.ALLOWED,
        "spiffe://cluster.local/ns/checkout/sa/v1.api",
    ),
    Case("a DNS name", lambda w: w.corp.issue(uris=[], dns=[HOST]), Reason.ALLOWED, CORP),
]

_CHAINS = [
    Case("no certificate", lambda _: (), Reason.NO_CERTIFICATE, None, wire=False),
    *rows(
        Reason.MALFORMED,
        None,
        {
            "an empty leaf": lambda _: (b"",),
            "no DER at all": lambda _: (b"hello",),
            "a leaf cut off": lambda w: (w.prod.issue(PATH).chain[0][:-1],),
            "a leaf until the year 0": lambda w: (until_year_0(w.prod.issue(PATH).certificate, w.prod),),
            "a leaf from the year 0": lambda w: (since_year_0(w.prod.issue(PATH).certificate, w.prod),),
            "a leaf and then some": lambda w: (w.prod.issue(PATH).chain[0] + b"\0",),
            "a malformed intermediate": lambda w: (w.prod.issue(PATH).chain[0], b"0"),
        },
        wire=False,
    ),
    *rows(
        Reason.CHAIN_TOO_LARGE,
        None,
        {
            "too many certificates": lambda w: sending(w.issuing.issue(PATH), *[w.prod] * 6),
            "too large a leaf": lambda w: w.prod.issue(PATH, extra=[padding(16 * 1024)]),
            "too large a chain": lambda w: w.prod.intermediate(extra=[padding(64 * 1024)]).issue(PATH),
            "65 names": lambda w: w.prod.issue(PATH, dns=hosts(64)),
            "65 name constraints": lambda w: below_constraints(w, 65, "h1.example"),
            "an intermediate with a huge exponent": lambda w: w.prod.intermediate(key=huge_exponent()).issue(
                PATH
            ),
        },
    ),
    Case(
        "an intermediate with RSA-16384",
        lambda w: below_key(w, rsa_public_key(16384)),
        Reason.CHAIN_TOO_LARGE,
        None,
        wire=False,
    ),
]

_NAMES = [
    *rows(
        Reason.NO_NAME,
        None,
        {
            "no SAN": lambda w: w.prod.issue(uris=[]),
            "a common name like a DNS name": lambda w: w.corp.issue(uris=[], subject=f"CN={HOST}"),
        },
    ),
    *rows(
        Reason.NO_NAME,
        None,
        {
            "no SAN, with SPIFFE bundles only": lambda w: w.prod.issue(uris=[]),
            "a DNS name, with SPIFFE bundles only": lambda w: w.corp.issue(uris=[], dns=[HOST]),
            "a Linkerd name, with SPIFFE bundles only": lambda w: w.cluster.issue(
                uris=[], dns=[LINKERD_HOST]
            ),
        },
        bundles=attrgetter("spiffe_bundles"),
    ),
    *rows(
        Reason.MANY_NAMES,
        None,
        {
            "two SPIFFE IDs": lambda w: w.prod.issue(uris=[PROD, DEV]),
            "one SPIFFE ID twice": lambda w: w.prod.issue(uris=[PROD, PROD]),
            "a SPIFFE ID and another URI": lambda w: w.prod.issue(uris=[PROD, "https://api.example"]),
            "two DNS names": lambda w: w.corp.issue(uris=[], dns=[HOST, "b.example"]),
            "two Linkerd names": lambda w: w.cluster.issue(uris=[], dns=[LINKERD_HOST, f"x{LINKERD_HOST}"]),
        },
    ),
    *_named(
        Reason.NAME_WITHOUT_PATH, "a SPIFFE ID {}", "prod", {"without path": "spiffe://prod.example.org"}
    ),
    *_named(
        Reason.INVALID_NAME,
        "a SPIFFE ID {}",
        "prod",
        {
            "with an upper-case trust domain": f"spiffe://Prod.example.org{PATH}",
            "with an upper-case scheme": f"SPIFFE://prod.example.org{PATH}",
            "with another scheme": f"https://prod.example.org{PATH}",
            "with a percent": "spiffe://prod.example.org/ns/checkout/sa%2Fapi",
            "with a query": f"{PROD}?a=b",
            "with an empty query": f"{PROD}?",
            "with a fragment": f"{PROD}#a",
            "with an empty fragment": f"{PROD}#",
            "with a newline at its end": f"{PROD}\n",
            "with a newline in its trust domain": f"spiffe://prod.example.org\n{PATH}",
            "with a NUL": f"{PROD}\0.dev",
            "with a port": f"spiffe://prod.example.org:443{PATH}",
            "with user info": f"spiffe://dev@prod.example.org{PATH}",
            "with an empty segment": "spiffe://prod.example.org/ns//api",
            "with a slash at its end": f"{PROD}/",
            "with a slash and no more": "spiffe://prod.example.org/",
            "with a dot segment": "spiffe://prod.example.org/ns/../sa/api",
            "without trust domain": f"spiffe://{PATH}",
            "that is too long": f"{PROD}{'x' * 2048}",
        },
    ),
    # The backend reads an IA5String as UTF-8.
    Case(
        "a SPIFFE ID with a KELVIN SIGN",
        lambda w: with_path(w, "/ns/chec\u212at/sa/api"),
        Reason.INVALID_NAME,
        None,
    ),
    *_named(
        Reason.INVALID_NAME,
        "a Linkerd name {}",
        "cluster",
        {
            "without account": "checkout.serviceaccount.identity.linkerd.cluster.local",
            "without namespace": "api..serviceaccount.identity.linkerd.cluster.local",
            "without trust domain": "api.checkout.serviceaccount.identity.linkerd",
            "with a dot for a trust domain": "api.checkout.serviceaccount.identity.linkerd.",
            "with upper case": LINKERD_HOST.replace("api", "Api"),
            "with a wildcard": f"*.{LINKERD_HOST}",
            "whose account holds the marker": f"api.pay.serviceaccount.identity.x.{LINKERD_HOST}",
            "whose account ends in the marker": f"api.pay.serviceaccount.identity.{LINKERD_HOST}",
            "with the marker twice": LINKERD_HOST.replace("linkerd", "serviceaccount.identity.linkerd"),
        },
    ),
    *_named(
        Reason.INVALID_NAME,
        "a DNS name {}",
        "corp",
        {
            "with a wildcard": "*.corp.example",
            "with upper case": "API.corp.example",
            "with a dot at its end": f"{HOST}.",
            "with a slash": "api/corp.example",
            "with a space": f" {HOST}",
            "with a newline at its end": f"{HOST}\n",
            "that is too long": "x" * 254,
        },
    ),
    Case(
        "an unknown trust domain",
        lambda w: w.stranger.issue(PATH),
        Reason.UNKNOWN_TRUST_DOMAIN,
        f"spiffe://stranger.example{PATH}",
    ),
    Case(
        "an unknown Linkerd domain",
        lambda w: w.cluster.issue(uris=[], dns=[f"{LINKERD_HOST}.example"]),
        Reason.UNKNOWN_TRUST_DOMAIN,
        f"spiffe://cluster.local.example{PATH}",
    ),
    Case(
        "a Linkerd name of a spiffe bundle", lambda w: linkerd_name_of(w.prod), Reason.PROFILE_MISMATCH, PROD
    ),
    Case(
        "a Linkerd name of a dns bundle",
        lambda w: linkerd_name_of(w.corp),
        Reason.PROFILE_MISMATCH,
        f"spiffe://corp.example{PATH}",
    ),
    Case(
        "a SPIFFE ID of a linkerd bundle", lambda w: w.cluster.issue(PATH), Reason.PROFILE_MISMATCH, LINKERD
    ),
    Case(
        "a SPIFFE ID of a dns bundle", lambda w: w.corp.issue(f"/dns/{HOST}"), Reason.PROFILE_MISMATCH, CORP
    ),
]

_LEAVES = [
    *rows(
        Reason.LEAF_IS_CA,
        PROD,
        {
            "a CA as leaf": lambda w: w.prod.issue(PATH, ca=True),
        },
    ),
    Case(
        "an intermediate as leaf",
        lambda w: as_leaf(w.prod.intermediate(uris=[PROD])),
        Reason.LEAF_IS_CA,
        PROD,
        needs_tls13=True,
    ),
    *rows(
        Reason.LEAF_MAY_SIGN,
        PROD,
        {
            "keyCertSign": lambda w: w.prod.issue(PATH, usages={"digital_signature", "key_cert_sign"}),
            "cRLSign": lambda w: w.prod.issue(PATH, usages={"digital_signature", "crl_sign"}),
        },
    ),
    Case("no key usage", lambda w: w.prod.issue(PATH, usages=None), Reason.NO_DIGITAL_SIGNATURE, PROD),
    Case(
        "no digitalSignature",
        lambda w: w.prod.issue(PATH, usages={"key_agreement"}),
        Reason.NO_DIGITAL_SIGNATURE,
        PROD,
        needs_tls13=True,
    ),
    *rows(
        Reason.WRONG_KEY_PURPOSE,
        PROD,
        {
            "no clientAuth": lambda w: w.prod.issue(PATH, purposes={"server"}),
            "anyExtendedKeyUsage only": lambda w: for_purpose(w, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE),
            "another purpose": lambda w: for_purpose(w, ExtendedKeyUsageOID.CODE_SIGNING),
        },
    ),
    Case(
        "a server without serverAuth",
        lambda w: w.prod.issue(PATH, purposes={"client"}),
        Reason.WRONG_KEY_PURPOSE,
        PROD,
        role="server",
    ),
    *rows(
        Reason.WEAK_KEY,
        PROD,
        {
            "RSA with a huge exponent": lambda w: w.prod.issue(PATH, key=huge_exponent()),
            "Ed448": lambda w: w.prod.issue(PATH, key=ed448.Ed448PrivateKey.generate()),
        },
    ),
    *rows(
        Reason.WEAK_KEY,
        PROD,
        {
            "RSA-1024": lambda w: w.prod.issue(PATH, key=rsa.generate_private_key(65537, 1024)),  # noqa: S505 - weak on purpose
            "RSA-16384": lambda w: for_key(w, rsa_public_key(16384)),
            "P-192": lambda w: w.prod.issue(PATH, key=ec.generate_private_key(ec.SECP192R1())),
            "secp256k1": lambda w: w.prod.issue(PATH, key=ec.generate_private_key(ec.SECP256K1())),
            "DSA": lambda w: w.prod.issue(PATH, key=dsa.generate_private_key(1024)),  # noqa: S505 - weak on purpose
            "an unknown kind of key": lambda w: (with_unknown_key(w.prod.issue(PATH).certificate, w.prod),),
        },
        wire=False,
    ),
    Case("expired", lambda w: w.prod.issue(PATH, not_after=w.past), Reason.EXPIRED, PROD),
    Case(
        "not yet valid",
        lambda w: w.prod.issue(PATH, not_before=w.future, not_after=w.future + DAY),
        Reason.NOT_YET_VALID,
        PROD,
    ),
]

_PATHS = [
    *rows(
        Reason.FOREIGN_AUTHORITY,
        PROD,
        {
            "dev mints a prod name": lambda w: w.dev.issue(PROD),
            "a dev intermediate mints a prod name": lambda w: w.dev.intermediate().issue(PROD),
            "dev mints a prod name, called like prod": lambda w: w.namesake.issue(PROD),
            "dev mints a prod name, beside prod's chain": lambda w: sending(w.dev.issue(PROD), w.issuing),
        },
    ),
    Case("prod mints a dev name", lambda w: w.prod.issue(DEV), Reason.FOREIGN_AUTHORITY, DEV),
    *rows(
        Reason.FOREIGN_AUTHORITY,
        LINKERD,
        {
            "prod mints a Linkerd name": lambda w: w.prod.issue(uris=[], dns=[LINKERD_HOST]),
            "a DNS authority mints a Linkerd name": lambda w: w.corp.issue(uris=[], dns=[LINKERD_HOST]),
        },
    ),
    Case(
        "prod mints a DNS name",
        lambda w: w.prod.issue(uris=[], dns=[HOST]),
        Reason.FOREIGN_AUTHORITY,
        f"/dns/{HOST}",
    ),
    Case("self-signed", lambda _: self_signed(), Reason.SELF_SIGNED, PROD),
    *rows(
        Reason.UNKNOWN_AUTHORITY,
        PROD,
        {
            "a stranger": lambda w: w.stranger.issue(PROD),
            "a stranger with its root": lambda w: sending(w.stranger.issue(PROD), w.stranger),
            "a stranger called like prod": lambda w: namesake(w.prod).issue(PATH),
            "a stranger called like prod, with its root": lambda w: sending(
                namesake(w.prod).issue(PATH), namesake(w.prod)
            ),
            "a missing intermediate": lambda w: alone(w.issuing.issue(PATH)),
        },
    ),
    *rows(
        Reason.AUTHORITY_NOT_IN_DATE,
        PROD,
        {
            "an expired intermediate": lambda w: w.prod.intermediate(not_after=w.past).issue(PATH),
            "an intermediate of tomorrow": lambda w: w.prod.intermediate(not_before=w.future).issue(PATH),
        },
    ),
    Case(
        "an expired anchor",
        lambda w: w.faded.issue(PATH),
        Reason.AUTHORITY_NOT_IN_DATE,
        f"spiffe://faded.example{PATH}",
    ),
    *rows(
        Reason.INVALID_PATH,
        PROD,
        {
            "no keyCertSign above": lambda w: w.prod.intermediate(usages={"crl_sign"}).issue(PATH),
            "no key usage above": lambda w: w.prod.intermediate(usages=None).issue(PATH),
            "no basic constraints above": lambda w: w.prod.intermediate(ca=None).issue(PATH),
            "no CA above": lambda w: w.prod.intermediate(ca=False).issue(PATH),
            "signed by a workload": below_a_workload,
            "below an authority for servers": lambda w: w.prod.intermediate(purposes={"server"}).issue(PATH),
            "path length exceeded": lambda w: w.prod.intermediate(path_length=0).intermediate().issue(PATH),
            "five intermediates": lambda w: deep(w, 5),
            "a wrong signature below an intermediate": wrongly_signed,
            "below an Ed25519 intermediate": below_ed25519,
            "a name outside of the name constraints": lambda w: below_constraints(w, 1, "h1.example"),
            "an unknown critical extension": lambda w: w.prod.issue(PATH, extra=[padding(1, critical=True)]),
        },
    ),
    *rows(
        Reason.INVALID_PATH,
        PROD,
        {
            "signed with SHA-1": lambda w: (with_digest(w.prod.issue(PATH).certificate, w.prod, 1),),
            "signed with SHA-224": lambda w: (with_digest(w.prod.issue(PATH).certificate, w.prod, 224),),
        },
        wire=False,
    ),
    Case(
        "a server below one for clients",
        lambda w: w.prod.intermediate(purposes={"client"}).issue(PATH),
        Reason.INVALID_PATH,
        PROD,
        role="server",
    ),
]

_TAKEN_BACK = [
    Case(
        "a revoked leaf",
        lambda w: w.revoked_leaf,
        Reason.REVOKED,
        "spiffe://prod.example.org/ns/revoked/sa/api",
    ),
    Case("a revoked intermediate", lambda w: w.revoked.issue(PATH), Reason.REVOKED, PROD),
    *rows(
        Reason.CRL_NOT_IN_DATE,
        PROD,
        {
            "an overdue revocation list": lambda w: w.stale.issue(PATH),
            "a revocation list of tomorrow": lambda w: w.early.issue(PATH),
        },
    ),
    Case(
        "a revocation list that somebody else signed",
        lambda w: w.unclear.issue(PATH),
        Reason.REVOCATION_UNDETERMINED,
        PROD,
    ),
    Case(
        "denied by SPIFFE ID",
        lambda w: w.prod.issue("/ns/denied/sa/api"),
        Reason.DENY_LISTED,
        "spiffe://prod.example.org/ns/denied/sa/api",
    ),
    Case(
        "denied by pattern",
        lambda w: w.prod.issue("/ns/ci/sa/builder"),
        Reason.DENY_LISTED,
        "spiffe://prod.example.org/ns/ci/sa/builder",
    ),
    Case(
        "denied by the leaf's fingerprint",
        lambda w: w.denied_leaf,
        Reason.DENY_LISTED,
        "spiffe://prod.example.org/ns/stolen/sa/api",
    ),
    Case(
        "denied by the intermediate's fingerprint", lambda w: w.denied.issue(PATH), Reason.DENY_LISTED, PROD
    ),
    Case(
        "denied by the anchor's fingerprint",
        lambda w: w.denied_root.issue(PATH),
        Reason.DENY_LISTED,
        f"spiffe://lost.example{PATH}",
    ),
    Case(
        "the denied name in dev",
        lambda w: w.dev.issue("/ns/denied/sa/api"),
        Reason.ALLOWED,
        "spiffe://dev.example.org/ns/denied/sa/api",
    ),
]

CASES: tuple[Case, ...] = (*_ADMITTED, *_CHAINS, *_NAMES, *_LEAVES, *_PATHS, *_TAKEN_BACK, *OPENSSL_CASES)

"""The authorities of all cases, which of them are trusted, and what is revoked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from meshid.certificates.reading import fingerprint, to_der
from meshid.testing import CA, Issued
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.revocations import Revocations
from tests.helpers.forged import rewritten, with_key

PATH = "/ns/checkout/sa/api"
PROD = f"spiffe://prod.example.org{PATH}"
DEV = f"spiffe://dev.example.org{PATH}"
LINKERD_HOST = "api.checkout.serviceaccount.identity.linkerd.cluster.local"
LINKERD = f"spiffe://cluster.local{PATH}"
HOST = "api.corp.example"
CORP = f"spiffe://corp.example/dns/{HOST}"

ANY_PURPOSE, TEXT_KEY_ID, TWINS, FAR_TWIN = (
    f"{domain}.example.org" for domain in ("any-purpose", "text-key-id", "twins", "far-twin")
)
RENEWALS = {
    f"renewed-{number}.example.org": (order, lapsed)
    for number, (order, lapsed) in enumerate(product(("old first", "new first"), (False, True)))
}
"""Trust domains that anchor an intermediate and its successor: in which order, and if the old one expired."""

FEDERATED = (
    "dev.example.org",
    "cluster.local",
    "corp.example",
    ANY_PURPOSE,
    TEXT_KEY_ID,
    TWINS,
    FAR_TWIN,
    *RENEWALS,
)
"""The trust domains, beside prod, of which somebody is admitted."""

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Clock:
    """POSIX seconds, which a test sets."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> float:
        return self.now.timestamp()


class World:
    """One set of bundles and one of revocations, which decide all cases alike."""

    def __init__(self) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        self.past, self.future = now - HOUR, now + HOUR

        self.prod = CA("prod.example.org")
        self.issuing = self.prod.intermediate()
        self.dev = CA("dev.example.org")
        self.namesake = CA("dev.example.org", subject=called(self.prod))
        self.cluster = CA("cluster.local")
        self.corp = CA("corp.example")
        self.faded = CA("faded.example", not_after=self.past)
        self.stranger = CA("stranger.example")
        self.any_purpose = CA(ANY_PURPOSE, extra=[for_any_purpose()])
        self.text_key_id = CA(TEXT_KEY_ID, extra=[key_id(b"the first key")])
        # As in two clusters of Istio: only their keys tell them apart.
        self.twins = CA(TWINS, subject="O=cluster.local"), CA(TWINS, subject="O=cluster.local")
        self.far_twin = CA(FAR_TWIN, subject="O=cluster.local")
        self.renewals = {
            domain: renewal(CA(domain), self.past if lapsed else None)
            for domain, (_, lapsed) in RENEWALS.items()
        }

        self.revoked_leaf = self.prod.issue("/ns/revoked/sa/api")
        self.revoked = self.prod.intermediate()
        self.stale = self.prod.intermediate()
        self.early = self.prod.intermediate()
        self.unclear = self.prod.intermediate()
        self.denied_leaf = self.prod.issue("/ns/stolen/sa/api")
        self.denied = self.prod.intermediate()
        self.denied_root = CA("lost.example")

        spiffe = [
            self.prod.bundle(),
            TrustBundle.from_pem("dev.example.org", self.dev.pem + self.namesake.pem),
            self.faded.bundle(),
            self.denied_root.bundle(),
            self.any_purpose.bundle(),
            self.text_key_id.bundle(),
            TrustBundle.from_pem(TWINS, b"".join(each.pem for each in self.twins)),
            self.far_twin.bundle(),
            *(self._anchored(domain, order) for domain, (order, _) in RENEWALS.items()),
        ]
        self.spiffe_bundles = BundleSet(spiffe)
        self.bundles = BundleSet(
            [*spiffe, self.cluster.bundle(profile="linkerd"), self.corp.bundle(profile="dns")]
        )
        self.revocations = Revocations(
            crls=[
                self.prod.crl(self.revoked_leaf, self.revoked),
                self.stale.crl(last_update=self.past - DAY, next_update=self.past),
                self.early.crl(last_update=self.future),
                CA("prod.example.org", subject=called(self.unclear)).crl(),
            ],
            deny=[
                "spiffe://prod.example.org/ns/denied/sa/api",
                "spiffe://prod.example.org/ns/ci/**",
                *(fingerprint(to_der(each.certificate)) for each in self._denied()),
            ],
        )

    def _anchored(self, domain: str, order: str) -> TrustBundle:
        old, new = self.renewals[domain]
        return TrustBundle.from_pem(domain, old.pem + new.pem if order == "old first" else new.pem + old.pem)

    def _denied(self) -> tuple[Issued | CA, ...]:
        return self.denied_leaf, self.denied, self.denied_root


def called(authority: CA) -> str:
    return authority.certificate.subject.rfc4514_string()


def key_id(identifier: bytes) -> tuple[x509.ExtensionType, bool]:
    """Return the identifier of a certificate's own key, whatever it is."""
    return x509.SubjectKeyIdentifier(identifier), False


def for_any_purpose() -> tuple[x509.ExtensionType, bool]:
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False


def renewal(authority: CA, end: datetime | None = None) -> tuple[CA, CA]:
    """Return an intermediate, until its *end*, and its successor: another key under the same name."""
    old = authority.intermediate(not_after=end) if end else authority.intermediate()
    return old, authority.intermediate(subject=called(old))


# -- Chains that take more than a line ----------------------------------------


def alone(issued: Issued) -> Issued:
    return Issued(issued.certificate, issued.key, ())


def sending(issued: Issued, *more: CA) -> Issued:
    extra = [authority.certificate for authority in more]
    return Issued(issued.certificate, issued.key, (*issued.intermediates, *extra))


def as_leaf(authority: CA) -> Issued:
    return Issued(authority.certificate, authority.key, ())


def self_signed() -> Issued:
    return as_leaf(CA("prod.example.org", ca=False, usages={"digital_signature"}, uris=[PROD]))


def namesake(authority: CA) -> CA:
    """Return a stranger of the same name."""
    return CA(authority.trust_domain, subject=called(authority))


def renewed(authority: CA) -> CA:
    """Return the same authority with a new key, which its old key has signed."""
    return authority.intermediate(subject=called(authority))


def deep(world: World, depth: int) -> Issued:
    authority = world.prod
    for _ in range(depth):
        authority = authority.intermediate()
    return authority.issue(PATH)


def below_a_workload(world: World) -> Issued:
    return world.prod.intermediate(ca=False, usages={"digital_signature"}).issue(PATH)


def below_ed25519(world: World) -> Issued:
    return world.prod.intermediate(key=ed25519.Ed25519PrivateKey.generate()).issue(PATH)


def below_constraints(world: World, count: int, host: str) -> Issued:
    constraints = x509.NameConstraints([x509.DNSName(each) for each in hosts(count)], None)
    return world.prod.intermediate(extra=[(constraints, True)]).issue(PATH, dns=[host])


def below_key(world: World, key: rsa.RSAPublicKey) -> tuple[bytes, ...]:
    heavy = with_key(world.issuing.certificate, world.prod, key)
    return world.issuing.issue(PATH).chain[0], to_der(heavy)


def wrongly_signed(world: World) -> Issued:
    """Return a leaf, and above it the intermediate that it names and that has not signed it."""
    forged = CA("prod.example.org", subject=called(world.issuing)).issue(PATH, authority_key_id=False)
    return sending(forged, world.issuing)


def for_key(world: World, key: rsa.RSAPublicKey) -> tuple[bytes, ...]:
    return (to_der(with_key(world.prod.issue(PATH).certificate, world.prod, key)),)


def for_purpose(world: World, purpose: ObjectIdentifier) -> Issued:
    return world.prod.issue(PATH, purposes=None, extra=[(x509.ExtendedKeyUsage([purpose]), False)])


def with_path(world: World, path: str) -> Issued:
    """Return a leaf with a *path* in UTF-8, which takes as many bytes as `PATH`."""
    leaf = world.prod.issue(PATH)
    written = rewritten(leaf.certificate, world.prod, PATH.encode(), path.encode())
    return Issued(x509.load_der_x509_certificate(written), leaf.key, ())


def linkerd_name_of(authority: CA) -> Issued:
    host = LINKERD_HOST.replace("cluster.local", str(authority.trust_domain))
    return authority.issue(uris=[], dns=[host])


def padding(size: int, *, critical: bool = False) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), bytes(size)), critical


def hosts(count: int) -> list[str]:
    return [f"h{number}.example" for number in range(count)]

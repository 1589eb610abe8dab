"""A certificate authority in memory, for tests: yours and ours.

    prod = CA("prod.example.org")
    api = prod.issue("/ns/pay/sa/api")                     # a good peer
    old = prod.issue("/ns/pay/sa/api", not_after=past)     # and a wrong one, in one line

`api.svid` and `prod.bundle()` go into a `Mesh`, `api.chain` into `Mesh.admit()`, and
`api.client_context()` into any client that should knock at your server.
"""

from __future__ import annotations

import secrets
import ssl
import tempfile
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from meshid.certificates.leaf import PURPOSE, Role
from meshid.certificates.reading import to_der, to_pem
from meshid.names.spiffe_id import TrustDomain
from meshid.trust.bundles import TrustBundle
from meshid.trust.credentials import X509Svid

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_SKEW = timedelta(minutes=5)


class Shape(TypedDict, total=False):
    """What can be said of a certificate, to make it wrong or to make it like some mesh's.

    Attributes:
        uris: The URI SANs, in place of the one made from the name.
        dns: DNS SANs, none by default.
        not_before: Valid from; five minutes ago by default (aware).
        not_after: Valid until; in an hour by default, in a day for an authority (aware).
        ca: The cA flag of the basic constraints; None leaves the extension out.
        path_length: The path length constraint of the basic constraints.
        usages: The key usages, by their names in `cryptography`; None leaves the extension out.
        purposes: The extended key usages, ``"client"`` and ``"server"``; None leaves the extension out.
        critical: Whether basic constraints, key usage and SAN are critical.
        authority_key_id: Whether to name the issuer's key; Istio does not.
        subject: The subject; a leaf has none by default, as with Istio and SPIRE.
        key: The certificate's private key; a new P-256 key by default.
        serial: The serial number; random by default.
        extra: Further extensions, each with whether it is critical.
    """

    uris: Sequence[str]
    dns: Sequence[str]
    not_before: datetime
    not_after: datetime
    ca: bool | None
    path_length: int | None
    usages: Collection[str] | None
    purposes: Collection[str] | None
    critical: bool
    authority_key_id: bool
    subject: str
    key: CertificateIssuerPrivateKeyTypes
    serial: int
    extra: Sequence[tuple[x509.ExtensionType, bool]]


class Issued:
    """A certificate with its key and the intermediates above it. Made by `CA.issue`.

    Attributes:
        certificate: The certificate.
        key: Its private key.
        intermediates: The intermediates that belong to its chain, lowest first.
    """

    def __init__(
        self,
        certificate: x509.Certificate,
        key: CertificateIssuerPrivateKeyTypes,
        intermediates: tuple[x509.Certificate, ...],
    ) -> None:
        """Hold what was issued."""
        self.certificate = certificate
        self.key = key
        self.intermediates = intermediates

    @cached_property
    def chain(self) -> tuple[bytes, ...]:
        """The chain as DER, leaf first."""
        return tuple(to_der(each) for each in (self.certificate, *self.intermediates))

    @property
    def chain_pem(self) -> bytes:
        """The chain as PEM, leaf first."""
        return to_pem(self.chain)

    @property
    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def svid(self) -> X509Svid:
        """The same as credentials for a `Mesh`; raises `InvalidCredentials` if it cannot be one."""
        return X509Svid.from_pem(self.chain_pem, self.key_pem)

    def client_context(self) -> ssl.SSLContext:
        """Return a plain client context that presents this chain and believes any server.

        It is the stranger at the door of your server under test; never use it elsewhere.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Make *context* present this chain."""
        with tempfile.TemporaryDirectory() as directory:
            pem = Path(directory, "identity.pem")
            pem.write_bytes(self.key_pem + self.chain_pem)
            context.load_cert_chain(pem)


class CA:
    """The authority of one trust domain.

    Args:
        trust_domain: The trust domain that it speaks for.
        shape: What is different about its own certificate.

    Attributes:
        trust_domain: The trust domain that it speaks for.
        certificate: Its own certificate.
        key: Its private key.
        intermediates: The certificates between what it issues and the root, itself first; none for a root.
    """

    def __init__(self, trust_domain: TrustDomain | str, **shape: Unpack[Shape]) -> None:
        """Make a root with a new key."""
        self.trust_domain = TrustDomain(str(trust_domain))
        own = _authority_shape(shape, _subject("root", self.trust_domain))
        self.key = own["key"]
        self.certificate = _sign(own, None, self.key, own["subject"])
        self.intermediates: tuple[x509.Certificate, ...] = ()

    def intermediate(self, **shape: Unpack[Shape]) -> CA:
        """Return an authority below this one; what it issues carries the chain up to here.

        Args:
            shape: What is different about its certificate.
        """
        below = CA.__new__(CA)
        below.trust_domain = self.trust_domain
        own = _authority_shape(shape, _subject(f"intermediate {secrets.token_hex(4)}", self.trust_domain))
        below.key = own["key"]
        below.certificate = _sign(own, self.certificate, self.key, own["subject"])
        below.intermediates = (below.certificate, *self.intermediates)
        return below

    def issue(self, name: str = "/workload", **shape: Unpack[Shape]) -> Issued:
        """Issue a leaf.

        Args:
            name: A path in the trust domain, or a whole URI of any kind; the one URI SAN
                unless *shape* has others.
            shape: What is different about the certificate.
        """
        uri = f"spiffe://{self.trust_domain}{name}" if name.startswith("/") or not name else name
        leaf: Shape = {
            "uris": [uri],
            "ca": False,
            "usages": {"digital_signature"},
            "purposes": {"client", "server"},
            "key": shape.get("key") or ec.generate_private_key(ec.SECP256R1()),
        }
        leaf.update(shape)
        certificate = _sign(leaf, self.certificate, self.key, leaf.get("subject", ""))
        return Issued(certificate, leaf["key"], self.intermediates)

    def bundle(self, *, profile: str = "spiffe") -> TrustBundle:
        """Return the trust bundle with this authority alone.

        Args:
            profile: How it writes names: ``spiffe``, ``linkerd`` or ``dns``.
        """
        return TrustBundle.from_pem(self.trust_domain, self.pem, profile=profile)

    @property
    def pem(self) -> bytes:
        """This authority's certificate as PEM."""
        return to_pem((to_der(self.certificate),))

    def crl(
        self,
        *revoked: Issued | CA,
        last_update: datetime | None = None,
        next_update: datetime | None = None,
        extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """Return a PEM certificate revocation list of this authority; current for a day by default.

        Args:
            revoked: Whose certificates are revoked.
            last_update: Since when it is current; five minutes ago by default (aware).
            next_update: Until when it is current; in a day by default (aware).
            extra: More extensions, each with whether it is critical.
        """
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(last_update or now - _SKEW)
            .next_update(next_update or now + timedelta(days=1))
        )
        for each in revoked:
            entry = x509.RevokedCertificateBuilder(each.certificate.serial_number, now)
            builder = builder.add_revoked_certificate(entry.build())
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, _digest(self.key)).public_bytes(serialization.Encoding.PEM)


def _subject(kind: str, trust_domain: TrustDomain) -> str:
    # A name's attributes have at most 64 characters (RFC 5280 appendix A.1).
    return f"CN={kind},O={trust_domain.name[:64]}"


def _authority_shape(shape: Shape, subject: str) -> Shape:
    own: Shape = {
        "ca": True,
        "usages": {"key_cert_sign", "crl_sign"},
        "purposes": None,
        "not_after": datetime.now(UTC) + timedelta(days=1),
        "subject": subject,
        "key": shape.get("key") or ec.generate_private_key(ec.SECP256R1()),
    }
    own.update(shape)
    return own


def _sign(
    shape: Shape,
    issuer: x509.Certificate | None,
    key: CertificateIssuerPrivateKeyTypes,
    subject: str,
) -> x509.Certificate:
    now = datetime.now(UTC)
    name = x509.Name.from_rfc4514_string(subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(shape["key"].public_key())
        .serial_number(shape.get("serial") or x509.random_serial_number())
        .not_valid_before(shape.get("not_before", min(now, shape.get("not_after", now)) - _SKEW))
        .not_valid_after(shape.get("not_after", now + timedelta(hours=1)))
    )
    for extension, critical in _extensions(shape, None if issuer is None else key):
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, _digest(key))


def _extensions(
    shape: Shape, issuer_key: CertificateIssuerPrivateKeyTypes | None
) -> list[tuple[x509.ExtensionType, bool]]:
    critical = shape.get("critical", True)
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if (ca := shape.get("ca")) is not None:
        extensions.append((x509.BasicConstraints(ca, shape.get("path_length")), critical))
    if (usages := shape.get("usages")) is not None:
        extensions.append((x509.KeyUsage(**{usage: usage in usages for usage in _USAGES}), critical))
    if (purposes := shape.get("purposes")) is not None:
        extensions.append((x509.ExtendedKeyUsage([PURPOSE[Role(each)] for each in sorted(purposes)]), False))
    names = [x509.UniformResourceIdentifier(uri) for uri in shape.get("uris", ())]
    hosts = [x509.DNSName(host) for host in shape.get("dns", ())]
    if names or hosts:
        extensions.append((x509.SubjectAlternativeName([*names, *hosts]), critical))
    if issuer_key is not None and shape.get("authority_key_id", True):
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        extensions.append((identifier, False))
    return [*extensions, *shape.get("extra", ())]


def _digest(key: CertificateIssuerPrivateKeyTypes) -> hashes.SHA256 | None:
    # All others bring a digest of their own (RFC 8410 section 3, RFC 9881 section 3).
    return hashes.SHA256() if isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)) else None

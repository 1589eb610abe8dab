"""A certificate authority in memory, for tests: yours and ours.

    prod = CA("prod.example.org")
    api = prod.issue("/ns/pay/sa/api")                     # a good peer
    old = prod.issue("/ns/pay/sa/api", not_after=past)     # and a bad one, in one line

`api.svid` and `prod.bundle()` go into a `Mesh`, `api.chain` into `Mesh.admit()`, and
`api.client_context()` into any client that should connect to your server.
"""

from __future__ import annotations

import secrets
import ssl
import tempfile
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from meshid.certificates.leaf import PURPOSE, Role
from meshid.certificates.reading import to_der
from meshid.names.spiffe_id import TrustDomain
from meshid.support.did_you_mean import Suggestions
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
    """What a certificate can be asked to have, to make it bad or to make it like those of some mesh.

    Attributes:
        uris: The URI SANs, in place of the one made from the name.
        dns: The DNS SANs; none by default.
        not_before: Valid from (aware); five minutes ago by default.
        not_after: Valid until (aware); in an hour by default, in a day for an authority.
        ca: The cA flag of the basic constraints; None leaves the extension out.
        path_length: The path length constraint of the basic constraints.
        usages: The key usages, by their names in `cryptography`; None leaves the extension out.
        purposes: The extended key usages, ``"client"`` and ``"server"``; None leaves the extension out.
        critical: Whether basic constraints, key usage and SAN are critical; they are by default.
        authority_key_id: Whether to name the issuer's key; the default is to name it, Istio does not.
        subject: The subject (RFC 4514); empty for a leaf by default, as with Istio and SPIRE.
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
    """A certificate with its key and the intermediates above it; `CA.issue` makes it.

    Args:
        certificate: The certificate.
        key: Its private key.
        intermediates: The intermediates of its chain, lowest first.

    Attributes:
        certificate: The certificate.
        key: Its private key.
        intermediates: The intermediates of its chain, lowest first.
    """

    def __init__(
        self,
        certificate: x509.Certificate,
        key: CertificateIssuerPrivateKeyTypes,
        intermediates: tuple[x509.Certificate, ...],
    ) -> None:
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
        return b"".join(
            each.public_bytes(serialization.Encoding.PEM) for each in (self.certificate, *self.intermediates)
        )

    @property
    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def svid(self) -> X509Svid:
        """The same as credentials for a `Mesh`.

        Raises:
            InvalidCredentials: If the certificate cannot be a workload's own.
        """
        return X509Svid.from_pem(self.chain_pem, self.key_pem)

    def client_context(self) -> ssl.SSLContext:
        """Return a plain client context that presents this chain and trusts any server.

        It is for a client in a test of your server; never use it elsewhere.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Make *context* present this chain.

        Args:
            context: A client's or a server's context.
        """
        with tempfile.TemporaryDirectory() as directory:
            pem = Path(directory, "identity.pem")
            pem.write_bytes(self.key_pem + self.chain_pem)
            context.load_cert_chain(pem)


class CA:
    """The authority of one trust domain: a root with a new key.

    Args:
        trust_domain: The trust domain that it speaks for.
        shape: What is different about its own certificate, by the names in `Shape`.

    Attributes:
        trust_domain: The trust domain that it speaks for.
        certificate: Its own certificate.
        key: Its private key.
        intermediates: What it adds to the chain of each leaf: itself and the authorities
            above it, without the root; empty for a root.

    Raises:
        InvalidSpiffeId: If *trust_domain* is not the name of a trust domain.
        TypeError: If *shape*, here or in the methods, has a name that is not in `Shape`.
        ValueError: If it has a key usage that there is not.
    """

    def __init__(self, trust_domain: TrustDomain | str, **shape: Unpack[Shape]) -> None:
        _check_shape(shape)
        self.trust_domain = TrustDomain(str(trust_domain))
        own = _authority_shape(shape, _subject("root", self.trust_domain))
        self.key = own["key"]
        self.certificate = _sign(own, None, self.key, own["subject"])
        self.intermediates: tuple[x509.Certificate, ...] = ()

    def intermediate(self, **shape: Unpack[Shape]) -> CA:
        """Return an authority below this one; the leaves that it issues carry the chain up to here.

        Args:
            shape: What is different about its own certificate, by the names in `Shape`.
        """
        _check_shape(shape)
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
            name: A path in the trust domain, or a whole URI of any kind. It is the one URI
                SAN, unless *shape* has others.
            shape: What is different about the certificate, by the names in `Shape`.
        """
        _check_shape(shape)
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
            profile: The profile of the bundle: ``"spiffe"``, ``"linkerd"`` or ``"dns"``.

        Raises:
            InvalidBundle: If the authority could never verify a leaf of this profile.
        """
        return TrustBundle.from_pem(self.trust_domain, self.pem, profile=profile)

    @property
    def pem(self) -> bytes:
        """This authority's certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def crl(
        self,
        *revoked: Issued | CA,
        last_update: datetime | None = None,
        next_update: datetime | None = None,
        extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """Return a PEM certificate revocation list of this authority (RFC 5280 section 5).

        Args:
            revoked: The leaves and authorities that it revokes.
            last_update: When it was made (aware); five minutes ago by default.
            next_update: When the next one is due (aware); in a day by default.
            extra: Further extensions, each with whether it is critical.
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


def _check_shape(shape: Shape) -> None:
    """Reject a misspelt name: a certificate that is not as bad as a test wants makes it pass for nothing."""
    if misspelt := _misspelt(shape, Shape.__annotations__):
        raise TypeError(misspelt)
    if misspelt := _misspelt(shape.get("usages") or (), _USAGES):
        raise ValueError(misspelt)


def _misspelt(names: Iterable[str], known: Collection[str]) -> str | None:
    """Return a text about the first name that is not known."""
    for name in names:
        if name not in known:
            meant = Suggestions().to(name, known)
            right = f"did you mean {meant!r}?" if meant else f"write one of: {', '.join(known)}"
            return f"a certificate has no {name!r}; {right}"
    return None


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
    # The others have a digest of their own (RFC 8410 section 3, RFC 9881 section 3).
    return hashes.SHA256() if isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)) else None

"""One message of the Workload API, to a state (SPIFFE Workload API section 5.2.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from cryptography.hazmat.primitives import serialization

from meshid.certificates.reading import to_pem
from meshid.errors import InvalidBundle, InvalidCredentials, InvalidInput
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.sources.source import State
from meshid.support.quoting import quote
from meshid.trust.bundles import TrustBundle
from meshid.trust.credentials import X509Svid
from meshid.trust.revocations import Revocations

_SEQUENCE = 0x30
_LONG_FORM = 0x80


class Svid(Protocol):
    """Message ``X509SVID``."""

    spiffe_id: str
    x509_svid: bytes
    x509_svid_key: bytes
    bundle: bytes


class Response(Protocol):
    """Message ``X509SVIDResponse``."""

    svids: Sequence[Svid]
    crl: Sequence[bytes]
    federated_bundles: Mapping[str, bytes]


def state_of(message: Response) -> State:
    """Return what a message says: with its first SVID, which is the default one, and nothing from before.

    A bundle of another trust domain that cannot be read is left out: nobody of it is admitted,
    and everybody else is.

    Raises:
        InvalidInput: If anything else cannot be read.
    """
    if not message.svids:
        msg = "the answer has no X509-SVID"
        raise InvalidCredentials(msg)
    svid = message.svids[0]
    name = SpiffeId.parse(svid.spiffe_id)
    own = _bundle(name.trust_domain, svid.bundle)
    federated, warnings = _federated(message.federated_bundles, name.trust_domain)
    return State(
        credentials=_credentials(svid, name),
        bundles=(own, *federated),
        revocations=Revocations(crls=tuple(message.crl)),
        warnings=tuple(warnings),
    )


def _credentials(svid: Svid, name: SpiffeId) -> X509Svid:
    try:
        key = serialization.load_der_private_key(svid.x509_svid_key, password=None)
    # The backend's exceptions have no common base.
    except Exception as error:
        msg = f"own certificate: the private key cannot be read: {type(error).__name__}"
        raise InvalidCredentials(msg) from error
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    credentials = X509Svid.from_pem(to_pem(tuple(_certificates(svid.x509_svid))), pem)
    if credentials.claim.spiffe_id != name:
        msg = f"own certificate: it is that of {credentials.claim.spiffe_id}, and the answer says {name}"
        raise InvalidCredentials(msg)
    return credentials


def _federated(bundles: Mapping[str, bytes], own: TrustDomain) -> tuple[list[TrustBundle], list[str]]:
    read, warnings = [], []
    for name, data in sorted(bundles.items()):
        try:
            domain = TrustDomain.parse(name)
            if domain == own:
                msg = "it is our own, which is not federated"
                raise InvalidBundle(msg)
            read.append(_bundle(domain, data))
        except InvalidInput as error:
            warnings.append(f"bundle of {quote(name)} is left out, so nobody of it is admitted: {error}")
    return read, warnings


def _bundle(domain: TrustDomain, data: bytes) -> TrustBundle:
    try:
        certificates = to_pem(tuple(_certificates(data)))
    except InvalidCredentials as error:
        msg = f"bundle of {domain}: {error}"
        raise InvalidBundle(msg) from error
    return TrustBundle.from_pem(domain, certificates)


def _certificates(data: bytes) -> Iterator[bytes]:
    """Split certificates in DER that stand one behind the other (X.690 section 8.1.3)."""
    while data:
        end = _end(data)
        if data[0] != _SEQUENCE or end > len(data):
            msg = "it is no sequence of certificates in DER"
            raise InvalidCredentials(msg)
        yield data[:end]
        data = data[end:]


def _end(data: bytes) -> int:
    first = data[1] if len(data) > 1 else 0
    if first < _LONG_FORM:
        return 2 + first
    octets = first - _LONG_FORM
    return 2 + octets + int.from_bytes(data[2 : 2 + octets], "big")

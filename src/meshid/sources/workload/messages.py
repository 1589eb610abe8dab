"""A message of the Workload API as a state (SPIFFE Workload API section 5.2.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

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
    """Return the state in a message: its first SVID, which is the default one, and nothing from before.

    A bundle of another trust domain that cannot be read is left out: no peer of that trust domain
    is admitted, and the others are not affected.

    Raises:
        InvalidInput: If anything else cannot be read.
    """
    if not message.svids:
        msg = "the response has no X509-SVID"
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
        chain = _split(svid.x509_svid)
    except ValueError as error:
        msg = f"own certificate: {error}"
        raise InvalidCredentials(msg) from error
    credentials = X509Svid.from_der(chain, svid.x509_svid_key)
    if credentials.claim.spiffe_id != name:
        msg = f"own certificate: its SPIFFE ID is {credentials.claim.spiffe_id}, but the response says {name}"
        raise InvalidCredentials(msg)
    return credentials


def _federated(bundles: Mapping[str, bytes], own: TrustDomain) -> tuple[list[TrustBundle], list[str]]:
    read, warnings = [], []
    for name, data in sorted(bundles.items()):
        try:
            domain = TrustDomain.parse(name)
            if domain == own:
                msg = "it is our own trust domain, which is not a federated one"
                raise InvalidBundle(msg)
            read.append(_bundle(domain, data))
        except InvalidInput as error:
            warnings.append(f"bundle of {quote(name)} is left out, so no peer of it is admitted: {error}")
    return read, warnings


def _bundle(domain: TrustDomain, data: bytes) -> TrustBundle:
    try:
        certificates = _split(data)
    except ValueError as error:
        msg = f"bundle of {domain}: {error}"
        raise InvalidBundle(msg) from error
    return TrustBundle.from_der(domain, certificates)


def _split(data: bytes) -> list[bytes]:
    """Split concatenated DER certificates (X.690 section 8.1.3)."""
    certificates = []
    while data:
        end = _end(data)
        if data[0] != _SEQUENCE or end > len(data):
            msg = "it is not DER certificates, one after the other"
            raise ValueError(msg)
        certificates.append(data[:end])
        data = data[end:]
    return certificates


def _end(data: bytes) -> int:
    first = data[1] if len(data) > 1 else 0
    if first < _LONG_FORM:
        return 2 + first
    octets = first - _LONG_FORM
    return 2 + octets + int.from_bytes(data[2 : 2 + octets], "big")

"""A message of the Workload API as a state (SPIFFE Workload API section 5.2.1).

The rules of this module:

- A message is the whole state: what is absent from it, or empty, is removed (section 4.4).
- A part that cannot be read is a fault of that part, and its last good state stays: a key that
  does not match must not hold up the removal of a stolen authority. Only the first message must
  have good credentials and a good bundle of our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import attrs

from meshid.errors import InvalidBundle, InvalidCredentials, InvalidInput
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.sources.source import Fault, State
from meshid.sources.workload.choice import Choice
from meshid.support.quoting import quote
from meshid.trust.bundles import TrustBundle
from meshid.trust.credentials import X509Svid
from meshid.trust.crl import Undetermined, read_list_file
from meshid.trust.revocations import Revocations

MAX_SVIDS = 100
MAX_BUNDLES = 1000
MAX_LISTS = 1000
MAX_CERTIFICATES = 1000
"""In one bundle or chain."""

MAX_WARNINGS = 20

_SEQUENCE = 0x30
_LONG_FORM = 0x80


class Svid(Protocol):
    """Message ``X509SVID``."""

    spiffe_id: str
    x509_svid: bytes
    x509_svid_key: bytes
    bundle: bytes
    hint: str


class Response(Protocol):
    """Message ``X509SVIDResponse``."""

    svids: Sequence[Svid]
    crl: Sequence[bytes]
    federated_bundles: Mapping[str, bytes]


_Offered = tuple[SpiffeId, Svid]


@attrs.frozen
class _Findings:
    """What is wrong with a message.

    Attributes:
        is_first: Whether there is no last good state yet.
        faults: The parts that cannot be read.
        warnings: What is left out, and why.
    """

    is_first: bool
    faults: list[Fault] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)

    @contextmanager
    def of_part(self, trust_domain: TrustDomain | None, *, is_ours: bool) -> Iterator[None]:
        """Note the fault of a part; at the start, raise the fault of one of ours."""
        try:
            yield
        except InvalidInput as error:
            if is_ours and self.is_first:
                raise
            self.faults.append(Fault(str(error), trust_domain))

    def first_warnings(self) -> tuple[str, ...]:
        """Return the first warnings, and how many more there are."""
        more = len(self.warnings) - MAX_WARNINGS
        return (*self.warnings[:MAX_WARNINGS], *([f"and {more} more of this kind"] if more > 0 else []))


def state_of(message: Response, choice: Choice, before: State | None = None) -> State:
    """Return the state in a message.

    Args:
        message: The message.
        choice: Which of its SVIDs is ours.
        before: The last good state; None if there is none yet.

    Raises:
        InvalidInput: If the message has no SVID; or if it is the first, and our own credentials
            or our own bundle cannot be read.
    """
    found = _Findings(before is None)
    last = State() if before is None else before
    offered = _offered(message.svids, found.warnings)
    own: _Offered | None = None
    credentials = last.credentials
    with found.of_part(None, is_ours=True):
        own = _chosen(offered, choice, last.credentials)
        credentials = _credentials(*own)
    return State(
        credentials=credentials,
        bundles=_bundles(own, offered, message.federated_bundles, found),
        revocations=_revocations(message.crl),
        warnings=found.first_warnings(),
        faults=tuple(found.faults),
    )


def _offered(svids: Sequence[Svid], warnings: list[str]) -> list[_Offered]:
    """Return the SVIDs with their names, without those whose name is not one."""
    if not svids:
        msg = "the response has no X509-SVID"
        raise InvalidCredentials(msg)
    offered = []
    for number, svid in enumerate(svids[:MAX_SVIDS], 1):
        try:
            offered.append((SpiffeId.parse(svid.spiffe_id), svid))
        except InvalidInput as error:
            warnings.append(f"SVID {number} is left out: {error}")
    if len(svids) > MAX_SVIDS:
        warnings.append(f"there are {len(svids)} SVIDs; those after the first {MAX_SVIDS} are left out")
    if not offered:
        raise InvalidCredentials(warnings[0])
    return offered


def _chosen(offered: list[_Offered], choice: Choice, last: X509Svid | None) -> _Offered:
    current = None if last is None else last.claim.spiffe_id
    picked = choice.of([(name, svid.hint) for name, svid in offered], current)
    return next((name, svid) for name, svid in offered if (name, svid.hint) == picked)


def _credentials(name: SpiffeId, svid: Svid) -> X509Svid:
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


def _revocations(lists: Sequence[bytes]) -> Revocations:
    """Return the revocation lists; of one that cannot be used, that its issuer has one."""
    read = [
        read_list_file(f"revocation list {number}", data) for number, data in enumerate(lists[:MAX_LISTS], 1)
    ]
    undetermined = [each for _, unusable in read for each in unusable]
    if len(lists) > MAX_LISTS:
        text = f"there are {len(lists)} revocation lists; meshid reads up to {MAX_LISTS}"
        undetermined.append(Undetermined(text, None))
    return Revocations(crls=[each for good, _ in read for each in good], undetermined=undetermined)


def _bundles(
    own: _Offered | None, offered: Sequence[_Offered], federated: Mapping[str, bytes], found: _Findings
) -> tuple[TrustBundle, ...]:
    """Return the bundles of the trust domains that we have a name in, and the federated ones."""
    # The first of a trust domain counts: our own SVID's.
    first = offered if own is None else [own, *offered]
    ours = {name.trust_domain: svid.bundle for name, svid in reversed(first)}
    good = []
    for domain, data in (ours | _federated(federated, frozenset(ours), found.warnings)).items():
        with found.of_part(domain, is_ours=own is not None and domain == own[0].trust_domain):
            good.append(_bundle(domain, data))
    return tuple(good)


def _federated(
    bundles: Mapping[str, bytes], ours: frozenset[TrustDomain], warnings: list[str]
) -> dict[TrustDomain, bytes]:
    """Return the federated bundles that are to be read; an empty one is removed (section 4.4)."""
    known: dict[TrustDomain, bytes] = {}
    for name, data in sorted(bundles.items())[:MAX_BUNDLES]:
        try:
            domain = TrustDomain.parse(name)
        except InvalidInput as error:
            why = str(error)
        else:
            if data and domain not in ours and domain not in known:
                known[domain] = data
                continue
            why = "it is empty" if not data else "its trust domain has another bundle here"
        warnings.append(f"bundle of {quote(name)} is left out: {why}")
    if len(bundles) > MAX_BUNDLES:
        warnings.append(f"there are {len(bundles)} federated bundles; those after {MAX_BUNDLES} are left out")
    return known


def _bundle(domain: TrustDomain, data: bytes) -> TrustBundle:
    try:
        certificates = _split(data)
    except ValueError as error:
        msg = f"bundle of {domain}: {error}"
        raise InvalidBundle(msg) from error
    return TrustBundle.from_der(domain, certificates)


def _split(data: bytes) -> list[bytes]:
    """Split concatenated DER certificates (X.690 section 8.1.3)."""
    certificates: list[bytes] = []
    start = 0
    while start < len(data):
        end = _end(data, start)
        if data[start] != _SEQUENCE or end > len(data):
            msg = "it is not DER certificates, one after the other"
            raise ValueError(msg)
        if len(certificates) == MAX_CERTIFICATES:
            msg = f"it has more than {MAX_CERTIFICATES} certificates"
            raise ValueError(msg)
        certificates.append(data[start:end])
        start = end
    return certificates


def _end(data: bytes, start: int) -> int:
    content = start + 2
    first = data[start + 1] if content <= len(data) else 0
    if first < _LONG_FORM:
        return content + first
    octets = first - _LONG_FORM
    return content + octets + int.from_bytes(data[content : content + octets], "big")

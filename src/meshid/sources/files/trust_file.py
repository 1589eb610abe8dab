"""Trust bundles, from files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from typing_extensions import override

from meshid.errors import InvalidBundle, InvalidInput
from meshid.names.spiffe_id import TrustDomain
from meshid.sources.files.layouts import layout_in
from meshid.sources.files.polled import PolledFiles
from meshid.sources.source import Fault, State
from meshid.support.documents import is_json
from meshid.support.quoting import quote
from meshid.support.strict_json import parse_json
from meshid.trust.bundles import MAX_BUNDLE_BYTES, TrustBundle

MAX_BUNDLES = 1000
"""In one bundle map."""


class TrustFile(PolledFiles):
    """The bundle of one trust domain.

    Args:
        trust_domain: The trust domain.
        path: A file, PEM or SPIFFE bundle JSON; or a directory in the layout of a Kubernetes TLS
            Secret, of Istio or of spiffe-helper.
        profile: How these authorities write names: ``spiffe``, ``linkerd`` or ``dns``.

    Raises:
        InvalidSpiffeId: If *trust_domain* is not a trust domain name.
    """

    is_required = False
    """A mesh waits for the bundle of its own trust domain, whichever source has it."""

    def __init__(self, trust_domain: str, path: str | Path, *, profile: str = "spiffe") -> None:
        self._trust_domain = TrustDomain.parse(trust_domain)
        super().__init__(f"trust of {self._trust_domain} {quote(str(path))}")
        self._path = Path(path)
        self._profile = profile

    @override
    def _paths(self) -> Sequence[Path]:
        if not self._path.is_dir():
            return (self._path,)
        return (self._path / layout_in(self._path, "trust").trust,)

    @override
    def _state(self, paths: Sequence[Path], contents: Sequence[bytes]) -> State:
        (data,) = contents
        read = TrustBundle.from_spiffe_json if is_json(data) else TrustBundle.from_pem
        bundle = read(self._trust_domain, data, profile=self._profile)
        return State(bundles=(bundle,), warnings=tuple(_warnings(bundle)))


class BundleMapFile(PolledFiles):
    """The bundles of several trust domains (SPIFFE Trust Domain and Bundle section 5).

    A trust domain that is no longer in the file is no longer trusted. One whose bundle cannot
    be read is a fault of that trust domain alone.

    Args:
        path: A SPIFFE bundle map, in JSON, of at most `MAX_BUNDLE_BYTES` and `MAX_BUNDLES`.
    """

    is_required = False
    """A mesh waits for the bundle of its own trust domain, whichever source has it."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(f"bundle map {quote(str(path))}")
        self._path = Path(path)

    @override
    def _paths(self) -> Sequence[Path]:
        return (self._path,)

    @override
    def _state(self, paths: Sequence[Path], contents: Sequence[bytes]) -> State:
        bundles: dict[TrustDomain, TrustBundle] = {}
        faults = []
        for name, document in _bundle_map(contents[0]).items():
            domain = None
            try:
                domain = TrustDomain.parse(name)
                bundle = TrustBundle.from_spiffe_document(domain, document)
            except InvalidInput as error:
                faults.append(Fault(str(error), domain))
            else:
                # One trust domain can be spelled in two ways: with spiffe:// and without.
                if bundles.setdefault(domain, bundle) is not bundle:
                    faults.append(Fault(f"bundle of {domain}: it occurs twice; the first counts", domain))
        warnings = tuple(chain.from_iterable(map(_warnings, bundles.values())))
        return State(bundles=tuple(bundles.values()), warnings=warnings, faults=tuple(faults))


def _bundle_map(data: bytes) -> dict[str, object]:
    if len(data) > MAX_BUNDLE_BYTES:
        msg = f"it has {len(data)} bytes, and at most {MAX_BUNDLE_BYTES} are read"
        raise InvalidBundle(msg)
    try:
        document = parse_json(data)
    except ValueError as error:
        raise InvalidBundle(str(error)) from error
    bundles = document.get("trust_domains") if isinstance(document, dict) else None
    if not isinstance(bundles, dict):
        msg = 'it must be a JSON object with an object "trust_domains" that has a bundle for each name'
        raise InvalidBundle(msg)
    if len(bundles) > MAX_BUNDLES:
        msg = f"it has {len(bundles)} bundles, and at most {MAX_BUNDLES} are read"
        raise InvalidBundle(msg)
    return bundles


def _warnings(bundle: TrustBundle) -> Iterator[str]:
    where = f"bundle of {bundle.trust_domain}"
    # Valid, and how a trust domain withdraws everything (SPIFFE Trust Domain and Bundle section 4.1.3).
    if not bundle.authorities:
        yield f"{where}: it is empty, so no peer of this trust domain is admitted"
    yield from (f"{where}: skipped {problem}" for problem in bundle.skipped)

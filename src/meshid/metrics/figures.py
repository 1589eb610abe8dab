"""The metrics, under their names in OpenTelemetry."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from math import isfinite

import attrs

from meshid.certificates.leaf import Role
from meshid.health.alarm import AlarmLevel
from meshid.health.status import SourceStatus
from meshid.mesh import Mesh
from meshid.policy.issuers import IssuerProfile

_DIRECTIONS = {Role.CLIENT: "inbound", Role.SERVER: "outbound"}

_BEGINS_A_PLACE = re.compile(r"['\"/]")
"""A source is named by its kind and its place, such as ``policy '/etc/policy.toml'``."""

Sample = tuple[Mapping[str, str], float]


@attrs.frozen
class Figure:
    """One counter or gauge.

    Attributes:
        name: Its name, with dots.
        about: What it is.
        samples: Returns its current values, each with its labels.
        is_counter: Whether it is a counter.
        is_time: Whether it is a time, in POSIX seconds.
    """

    name: str
    about: str
    samples: Callable[[Mesh], Iterator[Sample]]
    is_counter: bool = False
    is_time: bool = False


def _decisions(mesh: Mesh) -> Iterator[Sample]:
    for kind, count in mesh.counts().items():
        decision = "allow" if kind.allowed else "deny"
        labels = {"call": kind.call, "decision": decision, "reason": str(kind.reason)}
        yield {**labels, "direction": _DIRECTIONS[kind.role]}, count


def _hits(mesh: Mesh) -> Iterator[Sample]:
    yield {}, mesh.snapshot.verifier.stats().hits


def _misses(mesh: Mesh) -> Iterator[Sample]:
    yield {}, mesh.snapshot.verifier.stats().misses


def _connections(mesh: Mesh) -> Iterator[Sample]:
    yield {}, mesh.open_connections


def _generation(mesh: Mesh) -> Iterator[Sample]:
    yield {}, mesh.snapshot.generation


def _credential_end(mesh: Mesh) -> Iterator[Sample]:
    if mesh.snapshot.credentials is not None:
        yield {}, mesh.snapshot.credentials.leaf.not_valid_after_utc.timestamp()


def _authority_ends(mesh: Mesh) -> Iterator[Sample]:
    for domain, bundle in mesh.snapshot.bundles.items():
        if bundle.authorities:
            last = max(each.not_valid_after_utc for each in bundle.authorities)
            yield {"trust_domain": str(domain)}, last.timestamp()


def _list_ends(mesh: Mesh) -> Iterator[Sample]:
    due: dict[str, datetime] = {}
    for each in mesh.snapshot.revocations.crls:
        issuer, end = each.crl.issuer.rfc4514_string(), each.crl.next_update_utc
        if end is not None:
            due[issuer] = min(end, due.get(issuer, end))
    for issuer, end in due.items():
        yield {"issuer": issuer}, end.timestamp()


def _key_ends(mesh: Mesh) -> Iterator[Sample]:
    policy, keys = mesh.snapshot.policy, mesh.snapshot.keys
    for issuer in () if policy is None else policy.issuers:
        # Those of JWT-SVIDs are in the bundles, and count as long as these do.
        if issuer.profile is not IssuerProfile.JWT_SVID:
            end = keys[issuer.name].serve_until if issuer.name in keys else 0.0
            if isfinite(end):
                yield {"issuer": issuer.name}, end


def _policy(mesh: Mesh) -> Iterator[Sample]:
    if (policy := mesh.snapshot.policy) is not None:
        yield {"hash": policy.hash, "environment": policy.environment.name}, 1


def _reloads(mesh: Mesh) -> Iterator[Sample]:
    for kind, sources in _sources_by_kind(mesh).items():
        reads, failures = sum(each.reads for each in sources), sum(each.failures for each in sources)
        yield {"source": kind, "result": "success"}, reads - failures
        yield {"source": kind, "result": "failure"}, failures


def _last_reloads(mesh: Mesh) -> Iterator[Sample]:
    for kind, sources in _sources_by_kind(mesh).items():
        times = [each.read_at for each in sources if each.read_at is not None]
        # One that was never read is seen in the failures; of the others the oldest is the one to look at.
        if times:
            yield {"source": kind}, min(times)


def _sources_by_kind(mesh: Mesh) -> dict[str, list[SourceStatus]]:
    """Return the sources by what they are: a path or URL in a label would be one time series a deployment."""
    found: dict[str, list[SourceStatus]] = {}
    for each in mesh.sources():
        kind = _BEGINS_A_PLACE.split(each.name, maxsplit=1)[0].strip()
        found.setdefault(kind, []).append(each)
    return found


def _ready(mesh: Mesh) -> Iterator[Sample]:
    yield {}, int(mesh.health().ready)


def _alarms(mesh: Mesh) -> Iterator[Sample]:
    counts = Counter(alarm.level for alarm in mesh.health().alarms)
    for level in AlarmLevel:
        yield {"level": str(level)}, counts[level]


FIGURES = (
    Figure("meshid.peer.decisions", "Decisions about peers.", _decisions, is_counter=True),
    Figure("meshid.verify.cache.hits", "Verifications answered from the cache of the trust in force.", _hits),
    Figure("meshid.verify.cache.misses", "Verifications not answered from that cache.", _misses),
    Figure("meshid.ready", "Whether the next peer that ought to be admitted would be: 1 or 0.", _ready),
    Figure("meshid.alarms", "What a person should look at, by level.", _alarms),
    Figure("meshid.connections", "Open connections.", _connections),
    Figure("meshid.generation", "The number of the snapshot in force.", _generation),
    Figure("meshid.credential.not_after", "When our own certificate expires.", _credential_end, is_time=True),
    Figure(
        "meshid.trust_anchor.not_after",
        "When the last authority of a trust domain expires.",
        _authority_ends,
        is_time=True,
    ),
    Figure(
        "meshid.crl.next_update",
        "When the next update of a revocation list is due.",
        _list_ends,
        is_time=True,
    ),
    Figure(
        "meshid.token_keys.serve_until",
        "Until when the keys of an issuer of tokens count, if they cannot be read again; 0 without any.",
        _key_ends,
        is_time=True,
    ),
    Figure("meshid.policy.info", "The policy in force.", _policy),
    Figure("meshid.reload", "Reads of a source.", _reloads, is_counter=True),
    Figure(
        "meshid.last_successful_reload",
        "When a source was last read without an error.",
        _last_reloads,
        is_time=True,
    ),
)

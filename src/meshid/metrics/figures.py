"""The metrics, under their names in OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import attrs

from meshid.certificates.leaf import Role
from meshid.mesh import Mesh

_DIRECTIONS = {Role.CLIENT: "inbound", Role.SERVER: "outbound"}

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


def _policy(mesh: Mesh) -> Iterator[Sample]:
    if (policy := mesh.snapshot.policy) is not None:
        yield {"hash": policy.hash, "environment": policy.environment.name}, 1


def _reloads(mesh: Mesh) -> Iterator[Sample]:
    for source in mesh.sources():
        yield {"source": source.name, "result": "success"}, source.reads - source.failures
        yield {"source": source.name, "result": "failure"}, source.failures


def _last_reloads(mesh: Mesh) -> Iterator[Sample]:
    for source in mesh.sources():
        if source.read_at is not None:
            yield {"source": source.name}, source.read_at


FIGURES = (
    Figure("meshid.peer.decisions", "Decisions about peers.", _decisions, is_counter=True),
    Figure("meshid.verify.cache.hits", "Verifications answered from the cache of the trust in force.", _hits),
    Figure("meshid.verify.cache.misses", "Verifications not answered from that cache.", _misses),
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
    Figure("meshid.policy.info", "The policy in force.", _policy),
    Figure("meshid.reload", "Reads of a source.", _reloads, is_counter=True),
    Figure(
        "meshid.last_successful_reload",
        "When a source was last read without an error.",
        _last_reloads,
        is_time=True,
    ),
)

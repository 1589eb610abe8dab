"""What a mesh has loaded, how old it is and until when it is valid: for a person, a file or a probe."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime

import attrs

from meshid.admission.admission import Admission
from meshid.admission.snapshot import Snapshot
from meshid.health.health import Health

_YEAR_10000 = 253_402_300_800


@attrs.frozen(kw_only=True)
class SourceStatus:
    """The state of one source.

    Attributes:
        name: Its kind and its place, such as ``policy '/etc/policy.toml'``.
        read_at: The POSIX time in seconds at which it was last read without an error; None if never.
        fault: What is wrong with it now; None if nothing is.
        reads: How many times it was read, failures included.
        failures: How many of those reads failed.
    """

    name: str
    read_at: float | None = None
    fault: str | None = None
    reads: int = 0
    failures: int = 0

    def after(self, fault: str | None, now: float) -> SourceStatus:
        """Return how it does after another read.

        Args:
            fault: What was wrong with all or a part of it; None if nothing was.
            now: The POSIX time in seconds.
        """
        if fault is not None:
            return attrs.evolve(self, fault=fault, reads=self.reads + 1, failures=self.failures + 1)
        return attrs.evolve(self, fault=None, reads=self.reads + 1, read_at=now)


def status_of(
    admission: Admission, health: Health, sources: Iterable[SourceStatus], now: float
) -> dict[str, object]:
    """Return the state of a mesh as plain values; nothing in it is a secret.

    Its members: ``version`` of this form (1), ``time``, ``pid``, ``service``, ``spiffe_id``; ``ready``,
    ``generation`` and ``alarms`` as in `Health`; ``certificate``, ``bundles`` by trust domain, ``policy``
    and ``revocations``; ``keys`` by issuer; ``open_connections``; ``sources``. Times are ISO 8601, in UTC.

    Args:
        admission: The admission of the mesh.
        health: Its health.
        sources: The state of each source.
        now: The POSIX time in seconds.
    """
    snapshot = admission.snapshot
    return {
        "version": 1,
        "time": _text(now),
        "pid": os.getpid(),
        "service": admission.service,
        "spiffe_id": None if snapshot.name is None else str(snapshot.name),
        **health.as_dict(),
        **_parts(snapshot),
        "open_connections": len(admission.connections),
        "sources": [_source(each) for each in sources],
    }


def _parts(snapshot: Snapshot) -> dict[str, object]:
    own, policy, revocations = snapshot.credentials, snapshot.policy, snapshot.revocations
    return {
        "certificate": own
        and {
            "not_before": own.leaf.not_valid_before_utc.isoformat(),
            "not_after": own.leaf.not_valid_after_utc.isoformat(),
            "serial_number": f"{own.leaf.serial_number:X}",
        },
        "bundles": {
            str(bundle.trust_domain): {
                "authorities": len(bundle.authorities),
                "not_after": max(
                    (each.not_valid_after_utc.isoformat() for each in bundle.authorities), default=None
                ),
            }
            for bundle in snapshot.bundles.values()
        },
        "policy": policy and {"environment": policy.environment.name, "hash": policy.hash},
        "revocations": {"lists": len(revocations.crls), "denials": len(revocations.deny)},
        "keys": {
            issuer: {
                "keys": len(keys.keys),
                "serve_until": _text(keys.serve_until) if keys.serve_until < _YEAR_10000 else None,
            }
            for issuer, keys in snapshot.keys.items()
        },
    }


def _source(each: SourceStatus) -> dict[str, object]:
    read_at = None if each.read_at is None else _text(each.read_at)
    return {"name": each.name, "read": read_at, "fault": each.fault}


def _text(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds")

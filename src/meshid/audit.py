"""One event for each decision, to a logger and to a callable.

The names are those of OpenTelemetry where it has one (``tls.*``, ``security_rule.*``),
and ``meshid.*`` for the rest. Whatever a stranger wrote is bounded and escaped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import attrs

from meshid.decisions import Decision
from meshid.text import MAX_QUOTED, quote

LOGGER = logging.getLogger("meshid.audit")
"""Gets each event: admissions at INFO, refusals at WARNING, the event itself as ``record.meshid``."""


@attrs.frozen(kw_only=True)
class AuditEvent:
    """One decision, and from what it was made.

    Attributes:
        time: When it was made, POSIX seconds.
        call: Which call asked: ``admit`` or ``check``.
        decision: The decision.
        role: What the peer is in the handshake: ``client`` or ``server``.
        fingerprint: SHA-256 over the DER of the leaf that was presented, in lower-case hex.
        local_name: Our own SPIFFE ID.
        environment: The environment of the policy in force.
        generation: The snapshot in force; it counts up with each publication.
    """

    time: float
    call: str
    decision: Decision
    role: str
    fingerprint: str | None
    local_name: str | None
    environment: str | None
    generation: int

    def as_dict(self) -> dict[str, object]:
        """Return the event flat, without what is empty, each string bounded to 256 characters."""
        decision = self.decision
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds"),
            "event.name": f"meshid.peer.{self.call}",
            "meshid.decision": "allow" if decision.allowed else "deny",
            "meshid.reason": str(decision.reason),
            "meshid.detail": decision.detail,
            "meshid.peer.spiffe_id": decision.name,
            "meshid.peer.role": self.role,
            "meshid.local.spiffe_id": self.local_name,
            "meshid.target": decision.target,
            "meshid.request": decision.request,
            "meshid.observed": ", ".join(decision.observed),
            "meshid.generation": self.generation,
            "deployment.environment.name": self.environment,
            "security_rule.name": decision.rule,
            "security_rule.version": decision.policy_hash,
            f"tls.{self.role}.hash.sha256": self.fingerprint.upper() if self.fingerprint else None,
        }
        return {name: _bounded(value) for name, value in fields.items() if value not in {None, ""}}

    def __str__(self) -> str:
        """Return the event as one line for a person."""
        decision = self.decision
        verdict = "admitted" if decision.allowed else "refused"
        who = decision.name or f"an unnamed {self.role}"
        where = f" at {quote(decision.target)}" if decision.target else ""
        what = f" for {quote(decision.request)}" if decision.request else ""
        rule = f", rule {decision.rule}" if decision.rule else ""
        why = f" ({decision.detail})" if decision.detail else ""
        return f"{verdict} {who}{where}{what}: {decision.reason}{rule}{why}"


Sink = Callable[[AuditEvent], None]
"""Is called with each event, before the decision takes effect; if it raises, the peer is refused."""


def wants(sink: Sink | None, *, allowed: bool) -> bool:
    """Tell whether anybody would hear of a decision; if not, no event need be made."""
    return sink is not None or LOGGER.isEnabledFor(_level(allowed))


def record(sink: Sink | None, event: AuditEvent) -> None:
    """Tell the *sink* and the logger of the event; if the sink raises, the logger hears nothing."""
    if sink is not None:
        sink(event)
    level = _level(event.decision.allowed)
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, "%s", event, extra={"meshid": event})


class JsonFormatter(logging.Formatter):
    """Formats the events of the logger ``meshid.audit`` as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as JSON; of any other record, its time, level and message."""
        event = getattr(record, "meshid", None)
        if isinstance(event, AuditEvent):
            return json.dumps({"level": record.levelname, **event.as_dict()})
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"level": record.levelname, "time": time, "message": super().format(record)})


def _level(allowed: bool) -> int:  # noqa: FBT001  # the one fact about a decision that a level depends on
    return logging.INFO if allowed else logging.WARNING


def _bounded(value: object) -> object:
    return quote(value) if isinstance(value, str) and len(value) > MAX_QUOTED else value

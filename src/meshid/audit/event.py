"""One event for each decision, to a logger and to a callable.

Field names are those of OpenTelemetry where it has one (``tls.*``, ``security_rule.*``),
and ``meshid.*`` for the rest. Whatever a peer wrote is bounded and escaped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

import attrs
from cryptography import x509

from meshid.audit.connection_info import ConnectionInfo
from meshid.audit.rate_limit import RateLimit, left_out
from meshid.certificates.chain import MAX_LEAF_BYTES
from meshid.certificates.reading import fingerprint, read_leaf, subject_of
from meshid.decisions import Call, Decision
from meshid.policy.evidence import TokenEvidence
from meshid.support.logs import INFO, WARNING, log
from meshid.support.quoting import MAX_QUOTED, escaped, quote

LOGGER = logging.getLogger("meshid.audit")
"""Gets each event: admissions at INFO, refusals at WARNING, the event itself as ``record.meshid``."""

# The fields that a replay reads back.
TIME = "time"
EVENT_NAME = "event.name"
VERDICT = "meshid.decision"
REASON = "meshid.reason"
PEER = "meshid.peer.spiffe_id"
LOCAL_NAME = "meshid.local.spiffe_id"
TARGET = "meshid.target"
REQUEST = "meshid.request"
OBSERVED = "meshid.observed"
ENVIRONMENT = "deployment.environment.name"
RULE = "security_rule.name"
POLICY_HASH = "security_rule.version"
PEER_NAME = "meshid.peer.name"
EVIDENCE = "meshid.evidence"
JWT_ISSUER = "meshid.token.issuer"
JWT_PRINCIPAL = "meshid.token.principal"
JWT_KEY_ID = "meshid.token.key_id"
JWT_ID = "meshid.token.jti"
JWT_BINDING = "meshid.token.binding"

_MAX_RDNS = MAX_QUOTED // 4 + 1
"""Each takes four characters or more in the text of a name."""

EVENT_NAMES = {call: f"meshid.peer.{call}" for call in Call}
VERDICTS = {True: "allow", False: "deny"}


@attrs.frozen(kw_only=True)
class AuditEvent:
    """One decision, and what it was made from.

    Attributes:
        time: When it was made, in POSIX seconds.
        call: Which call asked for it.
        decision: The decision.
        role: What the peer is in the handshake: ``client`` or ``server``.
        leaf: The leaf that the peer presented, as DER; None if there was none.
        local_name: Our own SPIFFE ID; None without credentials.
        environment: The environment of the policy in force; None without a policy.
        generation: The number of the snapshot in force; it counts up with each publication.
        token: What a token says of the peer, if its issuer has signed it; it may be refused all the same.
        connection: What is known of the connection, if there is one.
        suppressed: How many refusals were left out of the log since the last one in it.
    """

    time: float
    call: Call
    decision: Decision
    role: str
    leaf: bytes | None = attrs.field(repr=False)
    local_name: str | None
    environment: str | None
    generation: int
    token: TokenEvidence | None = None
    connection: ConnectionInfo = attrs.field(factory=ConnectionInfo)
    suppressed: int = 0

    @property
    def fingerprint(self) -> str | None:
        """SHA-256 over the DER of the leaf, in lower-case hex; None without a leaf."""
        return None if self.leaf is None else fingerprint(self.leaf)

    def as_dict(self) -> dict[str, object]:
        """Return the event as a flat mapping, without empty fields; strings are cut after 256 characters."""
        decision = self.decision
        fields: dict[str, object] = {
            TIME: datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds"),
            EVENT_NAME: EVENT_NAMES[self.call],
            VERDICT: VERDICTS[decision.allowed],
            REASON: str(decision.reason),
            "meshid.detail": decision.detail,
            PEER: decision.name,
            PEER_NAME: decision.peer_name,
            "meshid.peer.role": self.role,
            LOCAL_NAME: self.local_name,
            TARGET: decision.target,
            REQUEST: decision.request,
            OBSERVED: ", ".join(decision.observed),
            "meshid.generation": self.generation,
            ENVIRONMENT: self.environment,
            RULE: decision.rule,
            POLICY_HASH: decision.policy_hash,
            "meshid.suppressed": self.suppressed or None,
            EVIDENCE: "x509, token" if decision.allowed and self.token else None,
            **_about_token(self.token),
            **self.connection.as_dict(),
        }
        bounded = {name: _bounded(value) for name, value in fields.items()}
        bounded.update(_about_leaf(self.leaf, self.role))
        return {name: value for name, value in bounded.items() if value not in {None, ""}}

    def __str__(self) -> str:
        decision = self.decision
        verdict = "admitted" if decision.allowed else "refused"
        who = decision.name or f"an unnamed {self.role}"
        where = f" at {quote(decision.target)}" if decision.target else ""
        what = f" for {quote(decision.request)}" if decision.request else ""
        token = f", with a token of {self.token.issuer} {quote(self.token.principal)}" if self.token else ""
        rule = f", rule {decision.rule}" if decision.rule else ""
        why = f" ({decision.detail})" if decision.detail else ""
        source = f" from {self.connection.address}" if self.connection.address else ""
        asked = f"{who}{token}{source}{where}{what}"
        return f"{verdict} {asked}: {decision.reason}{rule}{why}{left_out(self.suppressed)}"


Sink = Callable[[AuditEvent], None]
"""Called with each event before the decision takes effect; if it raises, the peer is refused."""


def wants(sink: Sink | None, *, allowed: bool) -> bool:
    """Tell whether a sink or the logger takes an event of this kind; if not, none has to be made."""
    return sink is not None or LOGGER.isEnabledFor(_level(allowed))


def new_limits() -> dict[Call, RateLimit]:
    """Return the limits of the refusal log, for `record`.

    Peers choose how many refusals there are of new connections and of requests, so the log takes a limited
    number: strangers cannot drown what peers do, nor the other way round. The end of an open connection,
    which no peer chooses, is always logged.
    """
    return {Call.ADMIT: RateLimit(), Call.CHECK: RateLimit(), Call.BIND: RateLimit()}


def record(sink: Sink | None, event: AuditEvent, limits: Mapping[Call, RateLimit]) -> None:
    """Give the event to the *sink*, and then to the logger; if the sink raises, nothing is logged.

    Refusals are logged within the *limits*: of one reason, for the network of a new connection or for the
    name of a peer; and over all.
    """
    if sink is not None:
        sink(event)
    level = _level(event.decision.allowed)
    if not LOGGER.isEnabledFor(level):
        return
    limit = None if event.decision.allowed else limits.get(event.call)
    if limit is not None:
        who = event.connection.network if event.call is Call.ADMIT else event.decision.name
        suppressed = limit.suppressed((event.decision.reason, who))
        if suppressed is None:
            return
        event = attrs.evolve(event, suppressed=suppressed)
    log(LOGGER, level, "%s", event, meshid=event)


@runtime_checkable
class _Event(Protocol):
    """An event of another room."""

    def as_dict(self) -> dict[str, object]:
        """Return it as a flat mapping."""


class JsonFormatter(logging.Formatter):
    """Formats the events of the loggers of meshid, and any other record, as one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the event as JSON; for other records than those of the audit, with time and message."""
        event = getattr(record, "meshid", None)
        if isinstance(event, AuditEvent):
            return json.dumps({"level": record.levelname, **event.as_dict()})
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"level": record.levelname, TIME: time, "message": super().format(record)}
        return json.dumps({**line, **event.as_dict()} if isinstance(event, _Event) else line)


def _level(allowed: bool) -> int:  # noqa: FBT001  # the one fact about a decision that a level depends on
    return INFO if allowed else WARNING


def _about_leaf(leaf: bytes | None, role: str) -> dict[str, object]:
    if leaf is None:
        return {}
    about: dict[str, object] = {f"tls.{role}.hash.sha256": fingerprint(leaf).upper()}
    # It was refused for its size, without a look at it: the record must not cost more than the answer.
    if len(leaf) > MAX_LEAF_BYTES:
        return about
    try:
        certificate = read_leaf(leaf)
    except ValueError:
        return about
    subject = subject_of(certificate)
    return {
        **about,
        f"tls.{role}.subject": "" if subject is None else _text(subject),
        f"tls.{role}.issuer": _text(certificate.issuer),
        f"tls.{role}.not_before": certificate.not_valid_before_utc.isoformat(),
        f"tls.{role}.not_after": certificate.not_valid_after_utc.isoformat(),
        f"tls.{role}.x509.serial_number": f"{certificate.serial_number:X}",
    }


def _about_token(token: TokenEvidence | None) -> dict[str, object]:
    if token is None:
        return {}
    # An issuer signs what it is asked to.
    written = {JWT_PRINCIPAL: token.principal, JWT_KEY_ID: token.key_id, JWT_ID: token.token_id}
    return {
        JWT_ISSUER: token.issuer,
        JWT_BINDING: str(token.binding),
        **{name: escaped(value) for name, value in written.items() if value is not None},
    }


def _text(name: x509.Name) -> str:
    # RFC 4514 section 2.1: the text begins with the last of them, and the rest would be cut off.
    return escaped(x509.Name(name.rdns[-_MAX_RDNS:]).rfc4514_string())


def _bounded(value: object) -> object:
    return quote(value) if isinstance(value, str) and len(value) > MAX_QUOTED else value

"""meshid: who is at the other end of a mutual TLS connection, and may they be there?

    bytes -> chain -> claimed name -> bundle of its trust domain -> Peer -> Decision

`Mesh.admit()` is the one way in. `Mesh.server_context()` and `Mesh.client_context()` return
`ssl.SSLContext` objects that call it in every handshake, and `Mesh.check()` decides again for each
call. `Mesh.from_env()` follows what the platform mounts. Import `meshid.sources`, `meshid.http`,
`meshid.metrics`, `meshid.istio`, `meshid.envoy` and `meshid.testing` by name.
"""

from meshid.admission.snapshot import Snapshot
from meshid.admission.watched import WatchedConnection
from meshid.audit.counters import DecisionKind
from meshid.audit.event import AuditEvent, JsonFormatter
from meshid.certificates.leaf import Profile
from meshid.decisions import Call, Decision
from meshid.errors import (
    ConnectionEnded,
    HandshakeTimeout,
    InvalidBundle,
    InvalidCredentials,
    InvalidForwarded,
    InvalidInput,
    InvalidPattern,
    InvalidPolicy,
    InvalidRequest,
    InvalidRevocations,
    InvalidSettings,
    InvalidSpiffeId,
    MeshidError,
    MissingExtra,
    NoPeer,
    PeerRejected,
    PolicyTooComplex,
    Problem,
    UnsupportedPython,
)
from meshid.health.alarm import Alarm, AlarmLevel
from meshid.health.health import Health
from meshid.health.status import SourceStatus
from meshid.mesh import Mesh
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy import (
    REQUEST_FOLLOWS,
    Explanation,
    Finding,
    FindingKind,
    Policy,
    PolicyDiff,
    Proof,
    Request,
)
from meshid.reasons import Reason
from meshid.settings.settings import Settings
from meshid.tls.context import MeshContext
from meshid.tls.peer_of import peer_of
from meshid.tls.refusal_of import refusal_of
from meshid.tls.starttls import start_tls
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.credentials import X509Svid
from meshid.trust.deny_list import Denial
from meshid.trust.revocations import Revocations
from meshid.verification.cache import CachedVerifier, CacheStats
from meshid.verification.verifier import ChainVerifier, Peer

__all__ = [
    "REQUEST_FOLLOWS",
    "Alarm",
    "AlarmLevel",
    "AuditEvent",
    "BundleSet",
    "CacheStats",
    "CachedVerifier",
    "Call",
    "ChainVerifier",
    "ConnectionEnded",
    "Decision",
    "DecisionKind",
    "Denial",
    "Explanation",
    "Finding",
    "FindingKind",
    "HandshakeTimeout",
    "Health",
    "InvalidBundle",
    "InvalidCredentials",
    "InvalidForwarded",
    "InvalidInput",
    "InvalidPattern",
    "InvalidPolicy",
    "InvalidRequest",
    "InvalidRevocations",
    "InvalidSettings",
    "InvalidSpiffeId",
    "JsonFormatter",
    "Mesh",
    "MeshContext",
    "MeshidError",
    "MissingExtra",
    "NoPeer",
    "Pattern",
    "Peer",
    "PeerPattern",
    "PeerRejected",
    "Policy",
    "PolicyDiff",
    "PolicyTooComplex",
    "Problem",
    "Profile",
    "Proof",
    "Reason",
    "Request",
    "Revocations",
    "Settings",
    "Snapshot",
    "SourceStatus",
    "SpiffeId",
    "TrustBundle",
    "TrustDomain",
    "UnsupportedPython",
    "WatchedConnection",
    "X509Svid",
    "peer_of",
    "refusal_of",
    "start_tls",
]

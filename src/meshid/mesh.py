"""`Mesh`: what a service holds."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, Unpack

from OpenSSL import SSL

from meshid.admission.admission import Admission
from meshid.admission.deciding import Deciding
from meshid.admission.ended import OnRevoked
from meshid.admission.question import Expected
from meshid.admission.snapshot import Changes, Snapshot
from meshid.audit.counters import DecisionKind
from meshid.audit.event import Sink
from meshid.health.health import Health, health_of
from meshid.health.status import SourceStatus, status_of
from meshid.names.spiffe_id import SpiffeId
from meshid.policy import REQUEST_FOLLOWS, Policy
from meshid.settings.settings import Settings
from meshid.sources.source import Source
from meshid.support.quoting import quote
from meshid.support.types import check_type
from meshid.tls.context import MeshContext
from meshid.tls.handshakes import DEFAULT_TIMEOUT
from meshid.tls.self_handshake import shake_hands_with_self
from meshid.tokens.key_set import KeySets
from meshid.tokens.token_signature import require_extra
from meshid.trust.bundles import BundleSet
from meshid.trust.credentials import X509Svid
from meshid.trust.revocations import Revocations

if TYPE_CHECKING:
    from meshid.sources.refresher import Refresher


class Mesh(Deciding):
    """Decides who may be at the other end of a service's connections.

    Made from its parts, a mesh changes with `publish` alone and holds no thread, no file and no
    socket. Made by `from_sources`, `from_settings` or `from_env`, it follows its sources until
    `close`, or until the end of a ``with`` block. All methods may be called from any thread.

    Args:
        credentials: Our own certificate and key; needed for TLS contexts.
        bundles: The trust bundles, one for each trust domain; without any, nobody is admitted.
        policy: Who may reach what; without one, no client is admitted.
        revocations: What is revoked: CRLs and the deny list.
        keys: The keys of the issuers of tokens, one set for each; a token needs one.
        spiffe_id: Our SPIFFE ID; credentials with another one are refused.
        service: The name of this service, which is the target of a peer that names no other.
        audit: Called with each `AuditEvent` before its decision takes effect, or after an open
            connection was ended; if it raises, a peer that asks is refused.
        on_revoked: Called with the peer, the `PeerRejected` and the connection (an
            `ssl.SSLObject` or `ssl.SSLSocket`, or what `watch` returned) after all that had to end was ended.
        clock: Returns the POSIX time in seconds.
        leaf_grace: For how many seconds, at most 3600, an open connection may outlive its peer's
            leaf, which the peer has renewed meanwhile; see `check`.
        tokens: ``"required"`` if each request needs a token of an issuer in the policy, and any other
            token is refused; handshakes need none.
        keep_encoded: What stays percent-encoded in a path, as for `Request`; only if the server is known to
            read it so, or else a rule about one path lets another one through.

    What is passed here, and every log handler and signal handler, may call every method of the mesh:
    meshid holds no lock while it calls them.

    Raises:
        InvalidInput: If *leaf_grace* is not a number from 0 to 3600, or *spiffe_id* is no SPIFFE ID.
        InvalidCredentials: If the credentials are not in date, have another name than *spiffe_id*,
            lead to no authority of their trust domain, cannot be used by OpenSSL, or belong to
            another environment than the policy.
        InvalidBundle: If none of the authorities of a bundle is in date.
        MissingExtra: If tokens are required, and PyJWT is not installed.
        TypeError: If an argument has the wrong type.
        ValueError: If *tokens* is neither ``"optional"`` nor ``"required"``; as `Request` for *keep_encoded*.
    """

    def __init__(  # noqa: PLR0913  # a mesh has that many parts, all named
        self,
        *,
        credentials: X509Svid | None = None,
        bundles: BundleSet | None = None,
        policy: Policy | None = None,
        revocations: Revocations | None = None,
        keys: KeySets | None = None,
        spiffe_id: SpiffeId | str | None = None,
        service: str | None = None,
        audit: Sink | None = None,
        on_revoked: OnRevoked | None = None,
        clock: Callable[[], float] = time.time,
        leaf_grace: float = 0.0,
        tokens: Literal["optional", "required"] = "optional",
        keep_encoded: Collection[str] = (),
    ) -> None:
        check_type(type(tokens), str, "tokens", "'optional' or 'required'")
        if tokens not in {"optional", "required"}:
            msg = f"tokens must be 'optional' or 'required', not {quote(tokens)}"
            raise ValueError(msg)
        if tokens == "required":
            require_extra()  # Now, and not at each request.
        changes: Changes = {
            "credentials": credentials,
            "bundles": BundleSet() if bundles is None else bundles,
            "policy": policy,
            "revocations": Revocations() if revocations is None else revocations,
            "keys": KeySets() if keys is None else keys,
        }
        super().__init__(
            Admission(
                changes,
                spiffe_id=None if spiffe_id is None else SpiffeId.parse(str(spiffe_id)),
                service=service,
                audit=audit,
                on_revoked=on_revoked,
                try_credentials=shake_hands_with_self,
                clock=clock,
                leaf_grace=leaf_grace,
                requires_tokens=tokens == "required",
            ),
            keep_encoded,
        )
        self._refresher: Refresher | None = None

    @classmethod
    def from_sources(  # noqa: PLR0913  # as for a mesh, all named
        cls,
        sources: Iterable[Source],
        *,
        spiffe_id: SpiffeId | str | None = None,
        service: str | None = None,
        audit: Sink | None = None,
        on_revoked: OnRevoked | None = None,
        timeout: float = 10.0,
        state_file: str | Path | None = None,
        clock: Callable[[], float] = time.time,
        leaf_grace: float = 0.0,
        tokens: Literal["optional", "required"] = "optional",
        keep_encoded: Collection[str] = (),
    ) -> Self:
        """Return a mesh that follows sources, such as those in `meshid.sources`.

        What a source says from now on is put in force as soon as it is read, whole or not at
        all. What cannot be put in force is an alarm, and the last good state stays.

        Args:
            sources: Where credentials, bundles, revocations and the policy come from.
            spiffe_id: As for `Mesh`; of several SVIDs of an agent, `WorkloadApi` chooses.
            service: As for `Mesh`.
            audit: As for `Mesh`.
            on_revoked: As for `Mesh`.
            timeout: How many seconds to wait for a first state: a sidecar may start beside us. 10 by default.
            state_file: The file that `meshid status` reads; it is replaced as the mesh changes.
            clock: As for `Mesh`.
            leaf_grace: As for `Mesh`.
            tokens: As for `Mesh`.
            keep_encoded: As for `Mesh`.

        Raises:
            SourceUnavailable: With everything that was wrong at the end of that time.
        """
        from meshid.sources.refresher import Refresher

        mesh = cls(
            spiffe_id=spiffe_id,
            service=service,
            audit=audit,
            on_revoked=on_revoked,
            clock=clock,
            leaf_grace=leaf_grace,
            tokens=tokens,
            keep_encoded=keep_encoded,
        )
        file = None if state_file is None else Path(state_file)
        mesh._refresher = mesh._admission.keeper = Refresher(mesh._admission, sources, clock, file)
        try:
            mesh._refresher.start(timeout)
        except BaseException:
            mesh.close()
            raise
        return mesh

    @classmethod
    def from_settings(
        cls, settings: Settings, *, audit: Sink | None = None, on_revoked: OnRevoked | None = None
    ) -> Self:
        """Return a mesh that follows what *settings* name; *audit* and *on_revoked* are as for `Mesh`.

        Raises:
            InvalidInput, SourceUnavailable: As the sources and `from_sources` do.
        """
        return cls.from_sources(
            settings.sources(),
            spiffe_id=settings.spiffe_id,
            service=settings.service,
            audit=audit,
            on_revoked=on_revoked,
            timeout=settings.start_timeout,
            state_file=settings.state_file,
            leaf_grace=settings.leaf_grace,
            tokens=settings.tokens,
            keep_encoded=settings.keep_encoded,
        )

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        audit: Sink | None = None,
        on_revoked: OnRevoked | None = None,
    ) -> Self:
        """Return a mesh that follows what ``MESHID_*`` variables name; see `Settings.from_env`.

        Args:
            environ: The variables; `os.environ` if None.
            audit: As for `Mesh`.
            on_revoked: As for `Mesh`.

        Raises:
            InvalidSettings: With everything that is wrong with them.
            InvalidInput, SourceUnavailable: As the sources and `from_sources` do.
        """
        return cls.from_settings(Settings.from_env(environ), audit=audit, on_revoked=on_revoked)

    def publish(self, **changes: Unpack[Changes]) -> Snapshot:
        """Put changed parts in force, all of them or none.

        After it has returned, no decision is made under the old state, and each connection whose
        peer may no longer be there has ended. Parts with equal content are not a change: the same
        snapshot stays, with its cache. Returns the snapshot in force.

        Args:
            changes: Any of ``credentials``, ``bundles``, ``revocations``, ``policy``, ``keys``.

        Raises:
            InvalidCredentials, InvalidBundle, InvalidRevocations, InvalidPolicy: If a part
                cannot be put in force; everything then stays as it was.
            TypeError: If there is no such part, or if one has the wrong type.
        """
        return self._admission.publish(changes)

    def server_context(  # noqa: PLR0913  # what a user chooses, all named
        self,
        *,
        target: str | None = None,
        alpn: Iterable[str] = (),
        http: bool = False,
        resumption: bool = False,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        handshake_timeout: float = DEFAULT_TIMEOUT,
    ) -> MeshContext:
        """Return a server's `ssl.SSLContext`: each client is admitted under the policy, or refused.

        Args:
            target: What clients of this listener reach; this service if None.
            alpn: The application protocols on offer, preferred first (RFC 7301).
            http: The promise to `check` each request; without it, a rule with http conditions admits nobody.
            resumption: Whether clients may resume TLS sessions; each is judged again.
            minimum_version: The oldest TLS version that is accepted: TLS 1.3 or 1.2.
            handshake_timeout: How many seconds a handshake may take; one more than 1024 ends the oldest.

        Raises:
            InvalidCredentials: If the mesh has no credentials.
            TypeError: If an argument has the wrong type.
            ValueError: If nothing says what clients reach, or if an argument is out of its range.
        """
        check_type(type(http), bool, "http", "True or False")
        return MeshContext(
            self._admission,
            question=self._question(target, REQUEST_FOLLOWS if http else None, None),
            alpn=alpn,
            resumption=resumption,
            minimum_version=minimum_version,
            handshake_timeout=handshake_timeout,
        )

    def client_context(
        self,
        expect: Expected,
        alpn: Iterable[str] = (),
        *,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        handshake_timeout: float = DEFAULT_TIMEOUT,
    ) -> MeshContext:
        """Return a client's `ssl.SSLContext`: the server's name must match, or it is refused.

        Args:
            expect: The SPIFFE ID, or a pattern of SPIFFE IDs, that the server's name must
                match; or several, one of which. ``/ns/pay/sa/api`` is in our own trust
                domain; ``spiffe://partner.example/ns/pay/**`` names another.
            alpn: The application protocols to ask for, preferred first (RFC 7301).
            minimum_version: The oldest TLS version that is accepted: TLS 1.3 or 1.2.
            handshake_timeout: How many seconds a handshake may take.

        Raises:
            InvalidCredentials: If the mesh has no credentials.
            InvalidPattern: If one of the patterns is not valid.
            TypeError: If an argument has the wrong type.
            ValueError: If *expect* is empty or has a host name, or an argument is out of its range.
        """
        if expect is None:
            msg = "expect must name the server, such as '/ns/pay/sa/api', not None"
            raise TypeError(msg)
        return MeshContext(
            self._admission,
            question=self._question(None, None, expect),
            alpn=alpn,
            minimum_version=minimum_version,
            handshake_timeout=handshake_timeout,
        )

    def openssl_context(  # noqa: PLR0913  # what a user chooses, all named
        self,
        *,
        server_side: bool,
        target: str | None = None,
        expect: Expected | None = None,
        alpn: Iterable[str] = (),
        http: bool = False,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        handshake_timeout: float = DEFAULT_TIMEOUT,
    ) -> SSL.Context:
        """Return an `OpenSSL.SSL.Context`, for pyOpenSSL and Twisted: each peer is admitted, or refused.

        Args:
            server_side: Whether it is a server's.
            target: As for `server_context`; a server's alone, and so is *http*.
            expect: As for `client_context`; a client's alone, which needs it.
            alpn: As for both, and so are the next two.
            http: As for `server_context`.
            minimum_version: The oldest TLS version that is accepted: TLS 1.3 or 1.2.
            handshake_timeout: How many seconds a handshake may take.

        Raises:
            InvalidCredentials: If the mesh has no credentials, or if pyOpenSSL cannot use them.
            UnsupportedPython: If this pyOpenSSL does not show the certificates of a peer.
            InvalidPattern, TypeError, ValueError: As `server_context` and `client_context` do.
        """
        from meshid.tls.pyopenssl.openssl_context import MeshOpenSSLContext

        check_type(type(server_side), bool, "server_side", "True or False")
        check_type(type(http), bool, "http", "True or False")
        if server_side is (expect is not None) or (not server_side and (http or target is not None)):
            msg = "a client needs expect=, and a server takes target= and http= instead"
            raise ValueError(msg)
        return MeshOpenSSLContext(
            self._admission,
            question=self._question(target, REQUEST_FOLLOWS if http else None, expect),
            alpn=alpn,
            minimum_version=minimum_version,
            handshake_timeout=handshake_timeout,
        )

    def refresh(self) -> Snapshot:
        """Read all sources now, except streams such as the Workload API; return the snapshot in force.

        Raises:
            SourceUnavailable: With everything that is wrong; the last good state stays in force.
        """
        if self._refresher is not None:
            self._refresher.refresh()
        return self.snapshot

    def health(self) -> Health:
        """Return whether the next peer that ought to be admitted would be, and what to look at."""
        alarms = () if self._refresher is None else self._refresher.alarms()
        return health_of(self._admission, datetime.fromtimestamp(self._admission.clock(), UTC), *alarms)

    def status(self) -> dict[str, object]:
        """Return what is loaded, until when it is valid, and what failed last, as plain values."""
        return status_of(self._admission, self.health(), self.sources(), self._admission.clock())

    def sources(self) -> tuple[SourceStatus, ...]:
        """Return the status of each source that the mesh follows."""
        return () if self._refresher is None else self._refresher.statuses()

    def counts(self) -> dict[DecisionKind, int]:
        """Return how many decisions there were of each kind."""
        return self._admission.counters.now()

    @property
    def open_connections(self) -> int:
        """How many connections of the mesh's TLS contexts are open, and how many are watched."""
        return len(self._admission.connections)

    def close(self) -> None:
        """Stop following the sources; what is in force stays in force."""
        if self._refresher is not None:
            self._refresher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

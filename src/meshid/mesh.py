"""`Mesh`: the door, and the TLS contexts that ask it."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from typing_extensions import override

from meshid.admission.admission import Admission, OnRevoked
from meshid.admission.question import Question
from meshid.admission.snapshot import Changes, Snapshot
from meshid.audit.event import Sink
from meshid.health.health import Health, health_of
from meshid.health.status import SourceStatus, status_of
from meshid.names.peer_pattern import PeerPattern
from meshid.policy import REQUEST_FOLLOWS
from meshid.settings.settings import Settings
from meshid.sources import Source
from meshid.sources.refresher import START_SECONDS, Refresher
from meshid.tls.context import MeshContext
from meshid.tls.self_handshake import rehearse


class Mesh(Admission):
    """Who may be at the other end of our connections, and the TLS contexts that ask.

    The arguments are those of `Admission`. Made so, it changes with `publish()` alone, and holds no
    thread, no file and no socket. Made `from_sources`, it follows them until `close()`, or the
    end of a ``with`` block.
    """

    _refresher: Refresher | None = None

    @classmethod
    def from_sources(  # noqa: PLR0913  # as for a mesh, all named
        cls,
        sources: Iterable[Source],
        *,
        service: str | None = None,
        audit: Sink | None = None,
        on_revoked: OnRevoked | None = None,
        timeout: float = START_SECONDS,
        state_file: str | Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Return a mesh that follows sources; see `meshid.sources` for what there is.

        What a source says from now on is put in force as soon as it is read, whole or not at
        all; what cannot be is an alarm, and the last good state stays in force.

        Args:
            sources: Where credentials, trust, revocations and the policy come from.
            service: As for `Admission`.
            audit: As for `Admission`.
            on_revoked: As for `Admission`.
            timeout: How many seconds to wait for a first state that can be in force.
            state_file: Where to tell how this mesh does, for `meshid status`.
            clock: As for `Admission`.

        Raises:
            SourceUnavailable: With all that was wrong at the end of that time.
        """
        mesh = cls(service=service, audit=audit, on_revoked=on_revoked, clock=clock)
        file = None if state_file is None else Path(state_file)
        mesh._refresher = Refresher(mesh, sources, clock, file)
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
        """Return a mesh that follows what *settings* name; as `from_sources`.

        Raises:
            InvalidInput: If the URL of a bundle endpoint is none.
            SourceUnavailable: If there is no first state that can be in force.
        """
        return cls.from_sources(
            settings.sources(),
            service=settings.service,
            audit=audit,
            on_revoked=on_revoked,
            state_file=settings.state_file,
        )

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] = os.environ,
        *,
        audit: Sink | None = None,
        on_revoked: OnRevoked | None = None,
    ) -> Self:
        """Return a mesh that follows what ``MESHID_*`` variables name; see `Settings.from_env`.

        Raises:
            InvalidSettings: With everything that is wrong with them.
            InvalidInput: If the URL of a bundle endpoint is none.
            SourceUnavailable: If there is no first state that can be in force.
        """
        return cls.from_settings(Settings.from_env(environ), audit=audit, on_revoked=on_revoked)

    def refresh(self) -> Snapshot:
        """Read all sources now instead of within a second, and return the snapshot in force.

        Raises:
            SourceUnavailable: With all that is wrong; the last good state stays in force.
        """
        if self._refresher is not None:
            self._refresher.refresh()
        return self.snapshot

    def health(self) -> Health:
        """Return whether the mesh can serve, and what a person should look at.

        An alarm about our own certificate begins when a third of its time is left.
        """
        alarms = () if self._refresher is None else self._refresher.alarms()
        return health_of(self.snapshot, datetime.fromtimestamp(self._clock(), UTC), *alarms)

    def status(self) -> dict[str, object]:
        """Return what is loaded, until when it holds, and what failed last, as plain values."""
        return status_of(self, self.health(), self.sources(), self._clock())

    def sources(self) -> tuple[SourceStatus, ...]:
        """Return how each of the sources does."""
        return () if self._refresher is None else self._refresher.reports()

    def close(self) -> None:
        """Stop following the sources; what is in force stays so."""
        if self._refresher is not None:
            self._refresher.close()

    def __enter__(self) -> Self:
        """Return the mesh."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop following the sources."""
        self.close()

    @override
    def _rehearse(self, changes: Changes) -> None:
        if credentials := changes.get("credentials"):
            rehearse(credentials)

    def server_context(
        self,
        *,
        target: str | None = None,
        alpn: Iterable[str] = (),
        http: bool = False,
        resumption: bool = False,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> MeshContext:
        """Return a server's `ssl.SSLContext`: each client is admitted under the policy, or refused.

        Args:
            target: What clients of this listener reach; this service if None.
            alpn: The application protocols on offer, preferred first (RFC 7301).
            http: The promise that each request will be asked about with `check()`; without
                it, an allow rule with http conditions lets nobody in.
            resumption: Whether clients may resume TLS sessions; each is judged again, under
                what is in force then.
            minimum_version: The oldest TLS version that is accepted.

        Raises:
            InvalidCredentials: If the mesh has no credentials.
            ValueError: If neither *target* nor the mesh's service says what clients reach.
        """
        if target is None and self.service is None:
            msg = "no target: name it here, or give the Mesh a service"
            raise ValueError(msg)
        question = Question(target=target, request=REQUEST_FOLLOWS if http else None)
        return MeshContext(
            self, question=question, alpn=alpn, resumption=resumption, minimum_version=minimum_version
        )

    def client_context(
        self,
        expect: Iterable[str],
        alpn: Iterable[str] = (),
        *,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> MeshContext:
        """Return a client's `ssl.SSLContext`: the server's name must match a pattern, or it is refused.

        Args:
            expect: Patterns of SPIFFE IDs, such as ``/ns/pay/sa/api`` in our own trust
                domain, or ``spiffe://partner.example/ns/pay/**``; an empty one expects nobody.
            alpn: The application protocols to ask for, preferred first (RFC 7301).
            minimum_version: The oldest TLS version that is accepted.

        Raises:
            InvalidPattern: If one of the patterns is none.
            InvalidCredentials: If the mesh has no credentials.
            TypeError: If *expect* is one string: it would be taken apart.
        """
        if isinstance(expect, str):
            msg = f"expect is a list of patterns: write [{expect!r}]"
            raise TypeError(msg)
        question = Question(expect=tuple(PeerPattern.parse(text) for text in expect))
        return MeshContext(self, question=question, alpn=alpn, minimum_version=minimum_version)

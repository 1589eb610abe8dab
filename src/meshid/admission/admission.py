"""Admission: who may be here, decided under one snapshot and recorded.

The rules of this module:

- A snapshot is read once for each decision, and the decision counts only if the same
  snapshot is still in force when it has been made; to let a peer in, also when it has been
  recorded. So nobody is admitted under a state that has been replaced.
- Failing is refusing: an exception, in meshid or in an audit sink, is a refusal.
- A decision about a peer that asks is recorded as one event before it takes effect. A token that is bound
  decides nothing yet: the next decision about its peer is recorded with it. A refused one is at once.
- What is taken away ends first, and is told afterwards: a review ends every connection whose
  peer may no longer be there, and then calls the user's code about one after the other. A review
  that lets a connection stay changes nothing, and records nothing.
- The user's code (a sink, `on_revoked`, a log handler, a clock, a policy) is never called with a
  lock held. It may call everything here again, and it may raise anything.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeAlias, cast

from meshid.admission.ended import Ended, EndedConnection, OnRevoked
from meshid.admission.judgement import Judgement, judge, judge_token
from meshid.admission.open_connections import Connection, Described, OpenConnection, OpenConnections
from meshid.admission.question import Question, check_fits, check_takes_token
from meshid.admission.recorder import Recorder, internal_error
from meshid.admission.settled import Settled
from meshid.admission.snapshot import Changes, Snapshot, first_snapshot, next_snapshot
from meshid.admission.watched import End, Watched, WatchedConnection
from meshid.audit.connection_info import ConnectionInfo
from meshid.audit.counters import Counters
from meshid.audit.event import Sink
from meshid.certificates.leaf import Role
from meshid.decisions import Call, Decision
from meshid.errors import ConnectionEnded, PeerRejected
from meshid.names.spiffe_id import SpiffeId
from meshid.support.locks import Order, new_lock
from meshid.tokens.bearer_token import BearerToken
from meshid.trust.credentials import X509Svid
from meshid.verification.grace import checked_leaf_grace
from meshid.verification.verifier import Peer

Judging: TypeAlias = Callable[[Snapshot, float], Judgement]
"""Decides under a snapshot, at a POSIX time in seconds."""


def _accept(_: X509Svid) -> None:
    """Accept any credentials: no TLS context of ours will present them."""


def _want_nothing(_: str) -> None:
    """Have no keys read: this mesh has no sources."""


class Admission:
    """Admits peers under the snapshot in force; the arguments are those of `Mesh`.

    Args:
        changes: The first parts to put in force.
        try_credentials: Tries new credentials before they are in force; raises `InvalidCredentials`.
        clock: Returns the POSIX time in seconds.

    Raises:
        MeshidError, TypeError: As `Mesh` does.
    """

    def __init__(  # noqa: PLR0913  # a mesh has that many parts, all named
        self,
        changes: Changes,
        *,
        spiffe_id: SpiffeId | None = None,
        service: str | None = None,
        audit: Sink | None = None,
        on_revoked: OnRevoked | None = None,
        try_credentials: Callable[[X509Svid], None] = _accept,
        clock: Callable[[], float] = time.time,
        leaf_grace: float = 0.0,
        requires_tokens: bool = False,
    ) -> None:
        if not isinstance(service, str | None):
            msg = f"service must be a str, the name of this service, not {type(service).__name__}"
            raise TypeError(msg)
        for name, function in {"audit": audit, "on_revoked": on_revoked, "clock": clock}.items():
            if function is not None and not callable(function):
                msg = f"{name} must be callable, not {type(function).__name__}"
                raise TypeError(msg)
        self.service = service
        self.clock = clock
        self.connections = OpenConnections()
        self._watched = Watched()
        self.counters = Counters()
        # What keeps this up to date must live as long: a service may hold no more of its mesh than a context.
        self.keeper: object = None
        # Called with the name of an issuer whose keys cannot verify a token; returns at once.
        self.wants_keys: Callable[[str], None] = _want_nothing
        # What TLS contexts meet: health depends on it. Only added to, so that no lock is needed.
        self.roles: set[Role] = set()
        self.listeners: set[Question] = set()
        self._recorder = Recorder(audit, self.counters)
        self._on_revoked = on_revoked
        self._try_credentials = try_credentials
        self._publishing = new_lock(Order.PUBLISHING)
        grace = checked_leaf_grace(leaf_grace)
        self._snapshot = first_snapshot(clock, grace, spiffe_id, requires_tokens=requires_tokens)
        self.publish(changes)

    @property
    def snapshot(self) -> Snapshot:
        """Everything in force at this instant."""
        return self._snapshot

    def publish(self, changes: Changes) -> Snapshot:
        """Put changed parts in force, all of them or none, as `Mesh.publish` does."""
        snapshot, ended = self.put_in_force(changes)
        self.tell(ended)
        return snapshot

    def put_in_force(self, changes: Changes, now: float | None = None) -> tuple[Snapshot, Ended]:
        """Put changed parts in force, and end the connections whose peers may no longer be there.

        It calls no sink, no log handler and no `on_revoked`: that is left to `tell`.

        Args:
            changes: The parts, as for `Mesh.publish`.
            now: The POSIX time in seconds; the clock's if None.

        Returns:
            The snapshot in force, and what has to be told.

        Raises:
            MeshidError, TypeError: As `Mesh.publish` does; everything then stays as it was.
        """
        now = self.clock() if now is None else now
        while True:
            before = self._snapshot
            snapshot = next_snapshot(before, changes, now)
            if snapshot.credentials is not None and snapshot.credentials is not before.credentials:
                self._try_credentials(snapshot.credentials)
            with self._publishing:
                # Another thread or a signal handler may have published meanwhile. CPython runs signal
                # handlers at calls and at jumps backwards, and these two lines have neither.
                if self._snapshot is before:
                    self._snapshot = snapshot
                    break
        is_same = snapshot.generation == before.generation
        return snapshot, Ended() if is_same else self._review(self.connections.now(), now)

    def sweep(self, now: float) -> Ended:
        """End connections whose peers, tokens or rules have ended; review those that no review has reached.

        Args:
            now: The POSIX time in seconds.
        """
        snapshot = self._snapshot
        overdue = {name for name, keys in snapshot.keys.items() if keys.serve_until <= now}
        entries = self.connections.now()
        return self._review(
            [each for each in entries if each.is_behind(snapshot.generation, now, overdue)], now
        )

    def tell(self, ended: Ended) -> None:
        """Record each connection that was ended, and call `on_revoked` with it.

        Raises:
            BaseException: What is not an `Exception`, such as `KeyboardInterrupt`, once all are told.
        """
        ended.tell(self._on_revoked)

    def settle(self, chain: Sequence[bytes], question: Question) -> Settled:
        """Decide about a chain as `admit` does, and tell nobody.

        Args:
            chain: DER certificates, leaf first.
            question: What is asked about it.
        """
        return self._settle(partial(judge, Call.ADMIT, chain, None, question))

    def open(
        self,
        connection: Connection,
        chain: Sequence[bytes],
        question: Question,
        settled: Settled | None = None,
    ) -> None:
        """Admit the peer of a connection, and register the connection as open.

        Args:
            connection: The connection.
            chain: The certificates that its peer has presented.
            question: What is asked about the peer.
            settled: The answer, if it is known. A refusal counts; any other one, as long as its
                snapshot is in force, and unless rules of its policy end.

        Raises:
            PeerRejected: If the peer may not be there.
        """
        snapshot = self._snapshot
        generation = snapshot.generation
        peer = self.admit(chain, question, connection, settled)
        # If any rule has ended by the next sweep, it reviews this connection: one may have ended in between.
        entry = self.connections.add(connection, question, generation, snapshot.next_end(-math.inf))
        # Last: a signal handler may raise anywhere, and a peer that no review knows would stay for good.
        connection.peer = peer
        # A publication since then did not see this connection.
        if self._snapshot.generation != generation:
            self.tell(self._review([entry], None))

    def watch(self, peer: Peer, question: Question, end: End, address: ConnectionInfo) -> WatchedConnection:
        """Register a connection that others read and write, as `Mesh.watch` does."""
        check_fits(question, peer)
        watched = WatchedConnection(peer, end, address, self._watched)
        self._watched.hold(watched)
        try:
            # Behind every generation: whatever happens to this review, the next sweep repeats it.
            entry = self.connections.add(watched, question, generation=-1, until=-math.inf)
            self.tell(self._review([entry], None))
        except BaseException:
            watched.done()
            raise
        if watched.rejection is not None:
            raise watched.rejection
        return watched

    def admit(
        self,
        chain: Sequence[bytes],
        question: Question,
        connection: Described | None = None,
        settled: Settled | None = None,
        token: BearerToken | None = None,
    ) -> Peer:
        """Verify a chain and ask the policy; return the peer, or raise.

        Args:
            chain: DER certificates, leaf first, of a peer that has proved that it holds the leaf's key.
            question: What is asked about it.
            connection: The connection, for the record.
            settled: As for `open`.
            token: The token that came with it.

        Raises:
            PeerRejected: If the peer may not be there, or if meshid fails.
            ValueError: If there is a token, and the peer is a server.
        """
        if token is not None:
            check_takes_token(question)
        judging = partial(judge, Call.ADMIT, chain, token, question)
        peer, decision = self._decide(Call.ADMIT, chain, question, judging, connection, settled)
        if peer is None or not decision.allowed:
            raise PeerRejected(decision, of_server=question.role is Role.SERVER)
        return peer

    def decide(
        self, chain: Sequence[bytes], question: Question, token: BearerToken | None = None
    ) -> Decision:
        """Decide about a chain as `admit` does, and return the decision, as `Mesh.decide` does."""
        if token is not None:
            check_takes_token(question)
        judging = partial(judge, Call.ADMIT, chain, token, question)
        return self._decide(Call.ADMIT, chain, question, judging)[1]

    def bind(self, peer: Peer, token: BearerToken, question: Question | None = None) -> Peer:
        """Return a peer with what a token adds, as `Mesh.bind` does.

        Args:
            peer: The peer, as it was admitted.
            token: The token.
            question: What will be asked about the peer, for the record.

        Raises:
            PeerRejected: As for `Mesh.bind`.
            TypeError, ValueError: The same.
        """
        check_takes_token(peer)
        snapshot = self._snapshot
        if not snapshot.takes_tokens:
            return peer
        settled = self._settle(partial(judge_token, peer, token, question))
        if settled.admits:
            return cast("Peer", settled.peer)
        raise PeerRejected(self._recorder.record(Call.BIND, peer.chain, Role.CLIENT, settled))

    def check(self, peer: Peer, question: Question) -> Decision:
        """Decide again about a peer with an open connection, as `Mesh.check` does."""
        check_fits(question, peer)
        judging = partial(judge, Call.CHECK, peer.chain, peer if peer.token else None, question)
        return self._decide(Call.CHECK, peer.chain, question, judging)[1]

    def _decide(  # noqa: PLR0913, PLR0917  # what there is to record, and how to find it
        self,
        call: Call,
        chain: Sequence[bytes],
        question: Question,
        judging: Judging,
        connection: Described | None = None,
        settled: Settled | None = None,
    ) -> tuple[Peer | None, Decision]:
        if settled is None or (settled.admits and not self._still_counts(settled)):
            settled = self._settle(judging)
        recorded: Decision | None = None
        # A sink that took its time has been told the same before.
        while recorded is None or settled.decision != recorded:
            recorded = self._recorder.record(
                call, chain, question.role, settled, partial(_info_of, connection)
            )
            # A refusal needs no second look.
            if settled.snapshot is self._snapshot or not recorded.allowed:
                return settled.peer, recorded
            settled = self._settle(judging)
        return settled.peer, settled.decision

    def _still_counts(self, settled: Settled) -> bool:
        # A handshake takes its time. Where rules end, it is cheaper to ask again than to ask the clock.
        return settled.snapshot is self._snapshot and settled.snapshot.next_end(-math.inf) == math.inf

    def _review(self, entries: Iterable[OpenConnection], now: float | None) -> Ended:
        ended: list[EndedConnection] = []
        failures: list[BaseException] = []
        for each in entries:
            try:
                self._review_one(each, now, ended)
            # Whatever happens to one, the next must end; this one stays behind, for the sweep.
            except BaseException as error:  # noqa: BLE001
                failures.append(error)
        try:
            self._watched.end_all()
        except Exception as error:  # noqa: BLE001 - there can be no more threads now, and the next review tries again
            failures.append(error)
        return Ended(connections=tuple(ended), failures=tuple(failures))

    def _review_one(self, each: OpenConnection, now: float | None, ended: list[EndedConnection]) -> None:
        connection = each.connection()
        if connection is None or (peer := connection.peer) is None:
            return
        judging = partial(judge, Call.REVIEW, peer.chain, peer if peer.token else None, each.question)
        settled = self._settle(judging, now)
        # Another review may have ended it meanwhile, or be about to: each end is told once.
        if connection.peer is None or each.is_ending:
            return
        if settled.admits:
            connection.peer, each.generation = settled.peer, settled.snapshot.generation
            each.until = settled.snapshot.next_end(settled.time)
            return
        each.is_ending = True
        # Asked now: a connection that has ended knows no address.
        info = _info_of(connection)
        rejection = ConnectionEnded(settled.decision, of_server=each.question.role is Role.SERVER)
        try:
            connection.end(rejection)
        finally:
            each.is_ending = False
            record = partial(
                self._recorder.record, Call.REVIEW, peer.chain, each.question.role, settled, lambda: info
            )
            ended.append(
                EndedConnection(connection=connection, peer=peer, rejection=rejection, record=record)
            )

    def _settle(self, judging: Judging, now: float | None = None) -> Settled:
        while True:
            snapshot, at = self._snapshot, now
            try:
                at = self.clock() if at is None else at
                peer, decision, aside = judging(snapshot, at)
                if aside is not None and aside.wants_keys_of is not None:
                    self.wants_keys(aside.wants_keys_of)
            # The only catch-all: whatever fails in here is a refusal, with its own reason.
            except Exception as error:  # noqa: BLE001
                peer, decision, aside = None, internal_error(error), None
            if snapshot is self._snapshot:
                # The record of a clock that fails has the system's time.
                return Settled(time.time() if at is None else at, snapshot, peer, decision, aside)


_NO_INFO = ConnectionInfo()


def _info_of(connection: Described | None) -> ConnectionInfo:
    try:
        return _NO_INFO if connection is None else connection.info()
    # For the record only: a transport that cannot say where it leads keeps nobody in and nobody out.
    except Exception:  # noqa: BLE001
        return _NO_INFO

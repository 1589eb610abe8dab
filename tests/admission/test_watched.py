"""A connection that a custom proxy reads and writes ends with those of the mesh's own contexts."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Callable

import pytest

from meshid import (
    BundleSet,
    Call,
    ConnectionEnded,
    DecisionKind,
    Mesh,
    Peer,
    PeerRejected,
    Reason,
    Revocations,
    WatchedConnection,
)
from meshid.admission.open_connections import Connection, OpenConnections
from meshid.certificates.leaf import Role
from meshid.testing import CA
from tests.helpers.ending_rule import ENDING, EndingRule
from tests.helpers.lines import sweep
from tests.helpers.processes import ends_well
from tests.helpers.tls_peers import (
    CLOSED_POLICY,
    PATH,
    POLICY,
    TIMEOUT,
    Heard,
    Memory,
    credentials,
    mesh_of,
    policy,
    stranger,
)
from tests.helpers.world import HOUR, Clock

OTHER = "/ns/shop/sa/other"
LEDGER = "/ns/pay/sa/ledger"
ADDRESS = ("192.0.2.7", 51234)
DENIED = Revocations(deny=[f"spiffe://prod.example.org{PATH}"])


class Ends:
    """What ends connections: each call is kept, to be waited for."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[PeerRejected] = queue.SimpleQueue()

    def __call__(self, rejection: PeerRejected) -> None:
        self._calls.put(rejection)

    def next(self) -> PeerRejected:
        return self._calls.get(timeout=TIMEOUT)

    def is_quiet(self) -> bool:
        return self._calls.empty()


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
def peer(mesh: Mesh, prod_ca: CA) -> Peer:
    return mesh.admit(prod_ca.issue(PATH).chain)


def no_op(_: PeerRejected) -> None:
    """End nothing."""


def wait_for_quiet() -> None:
    """Wait until no thread calls what ends a connection."""
    for thread in threading.enumerate():
        if thread.name == "meshid-watch":
            thread.join(TIMEOUT)


class TestItEnds:
    def test_when_its_peer_is_denied_and_others_go_on(self, prod_ca: CA, heard: Heard, ends: Ends) -> None:
        told: queue.SimpleQueue[tuple[Peer, PeerRejected, Connection]] = queue.SimpleQueue()
        mesh = mesh_of(prod_ca, audit=heard, on_revoked=lambda *what: told.put(what))
        bad, good = (mesh.admit(prod_ca.issue(path).chain) for path in (PATH, OTHER))
        ending = mesh.watch(bad, ends, address=ADDRESS)
        with mesh.watch(good, ends) as going_on:
            assert (mesh.open_connections, ending.peer, going_on.peer) == (2, bad, good)
            mesh.publish(revocations=DENIED)
            assert ending.peer is None
            assert ending.rejection is ends.next()
            assert isinstance(ending.rejection, ConnectionEnded)
            assert ending.rejection.reason is Reason.DENY_LISTED
            assert (mesh.open_connections, going_on.peer, going_on.rejection) == (1, good, None)
            assert told.get(timeout=TIMEOUT) == (bad, ending.rejection, ending)
        assert mesh.open_connections == 0
        assert [heard.next().call for _ in range(2)] == ["admit", "admit"]
        event = heard.next()
        assert (event.call, event.decision.reason) == ("review", Reason.DENY_LISTED)
        assert (event.connection.address, event.connection.port) == ADDRESS
        assert heard.is_quiet()
        assert mesh.counts()[DecisionKind(Call.REVIEW, Role.CLIENT, False, Reason.DENY_LISTED)] == 1

    @pytest.mark.parametrize("grace", [0.0, 3600.0], ids=["without a grace", "after its grace"])
    def test_when_its_peer_has_expired(self, prod_ca: CA, clock: Clock, ends: Ends, grace: float) -> None:
        mesh = mesh_of(prod_ca, clock=clock, leaf_grace=grace)
        leaf = prod_ca.issue(PATH, not_after=clock.now + HOUR)
        watched = mesh.watch(mesh.admit(leaf.chain), ends)
        clock.now += HOUR * 3 / 2
        sweep(mesh)
        assert (watched.peer is None) is (grace == 0.0)
        clock.now += HOUR
        sweep(mesh)
        assert watched.peer is None
        assert ends.next().reason is Reason.EXPIRED

    @pytest.mark.parametrize("request_", [None, "GET /stream"], ids=["a connection", "a stream"])
    def test_when_the_rule_ends_that_has_let_it_in(self, ends: Ends, request_: str | None) -> None:
        ending = EndingRule()
        mesh = ending.mesh()
        peer = mesh.admit(ending.issue(ENDING).chain, request=request_)
        watched = mesh.watch(peer, ends, request=request_)
        ending.before_the_end()
        sweep(mesh)
        assert watched.peer is not None
        ending.at_the_end()
        sweep(mesh)
        assert watched.peer is None
        assert ends.next().reason is Reason.NO_RULE

    def test_when_its_peer_is_a_server(self, mesh: Mesh, prod_ca: CA, ends: Ends) -> None:
        server = mesh.admit(prod_ca.issue(LEDGER).chain, expect=LEDGER)
        watched = mesh.watch(server, ends, expect=LEDGER)
        mesh.publish(policy=CLOSED_POLICY)
        assert watched.peer is not None, "the policy is about clients"
        mesh.publish(bundles=BundleSet([CA("prod.example.org").bundle()]), credentials=None)
        assert watched.peer is None
        assert ends.next().reason is Reason.UNKNOWN_AUTHORITY

    def test_although_the_caller_has_forgotten_it(self, mesh: Mesh, peer: Peer, ends: Ends) -> None:
        mesh.watch(peer, ends)
        gc.collect()
        assert mesh.open_connections == 1
        mesh.publish(policy=CLOSED_POLICY)
        assert ends.next().reason is Reason.NO_RULE
        assert mesh.open_connections == 0

    def test_at_once_if_its_peer_may_not_be_there_any_more(
        self, mesh: Mesh, peer: Peer, heard: Heard, ends: Ends
    ) -> None:
        mesh.publish(revocations=DENIED)
        with pytest.raises(ConnectionEnded) as caught:
            mesh.watch(peer, ends, address=ADDRESS)
        assert ends.next() is caught.value
        assert mesh.open_connections == 0
        assert [heard.next().call for _ in range(2)] == ["admit", "review"]

    def test_if_a_publication_comes_while_it_is_registered(
        self, mesh: Mesh, peer: Peer, ends: Ends, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add = OpenConnections.add

        def publish_first(*arguments: object, **named: object) -> object:
            monkeypatch.undo()
            mesh.publish(policy=CLOSED_POLICY)
            return add(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(OpenConnections, "add", publish_first)
        with pytest.raises(PeerRejected):
            mesh.watch(peer, ends)
        assert ends.next().reason is Reason.NO_RULE

    def test_not_if_requests_follow_and_some_are_allowed(self, mesh: Mesh, prod_ca: CA, ends: Ends) -> None:
        support = prod_ca.issue("/ns/support/sa/web").chain
        peer = mesh.admit(support, request="GET /charges/1")
        with mesh.watch(peer, ends, http=True) as watched:
            mesh.publish(policy=policy())
            assert watched.peer == peer
        with pytest.raises(PeerRejected):
            mesh.watch(peer, ends)
        assert ends.next().reason is Reason.NO_RULE

    def test_by_the_one_request_that_it_is_about(self, mesh: Mesh, prod_ca: CA, ends: Ends) -> None:
        support = prod_ca.issue("/ns/support/sa/web").chain
        peer = mesh.admit(support, request="GET /charges/1")
        with mesh.watch(peer, ends, request="GET /charges/1") as watched:
            mesh.publish(policy=policy(POLICY.replace("GET /charges/*", "GET /charges/2")))
            assert watched.peer is None
        assert ends.next().reason is Reason.NO_RULE


class TestWhatIsDoneWith:
    def test_is_not_ended(self, mesh: Mesh, peer: Peer, heard: Heard, ends: Ends) -> None:
        watched = mesh.watch(peer, ends)
        watched.done()
        watched.done()
        assert (watched.peer, watched.rejection, mesh.open_connections) == (None, None, 0)
        mesh.publish(policy=CLOSED_POLICY)
        wait_for_quiet()
        assert ends.is_quiet()
        assert heard.next().call == "admit"
        assert heard.is_quiet()

    def test_is_not_ended_by_a_review_that_has_found_it_before(
        self, mesh: Mesh, peer: Peer, ends: Ends
    ) -> None:
        watched = mesh.watch(peer, ends)
        watched.done()
        # Between the two steps of a review: that it is open, and that it must end.
        watched.end(PeerRejected(mesh.check(peer)))
        mesh.publish(policy=CLOSED_POLICY)
        wait_for_quiet()
        assert ends.is_quiet()

    def test_is_done_with_at_the_end_of_a_block_that_fails(self, mesh: Mesh, peer: Peer) -> None:
        with pytest.raises(ZeroDivisionError), mesh.watch(peer, no_op):
            raise ZeroDivisionError
        assert mesh.open_connections == 0

    def test_is_kept_alive_by_nobody(self, mesh: Mesh, peer: Peer) -> None:
        watched = mesh.watch(peer, no_op)
        watched.done()
        del watched
        gc.collect()
        assert not any(type(each) is WatchedConnection for each in gc.get_objects())

    def test_is_not_left_behind_by_a_signal_handler_that_raises(
        self, mesh: Mesh, peer: Peer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(OpenConnections, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mesh.watch(peer, no_op)
        gc.collect()
        assert not any(type(each) is WatchedConnection for each in gc.get_objects())


class TestWhatEndsItIsCodeOfOthers:
    def test_it_runs_when_our_own_connections_have_ended(self, mesh: Mesh, prod_ca: CA, peer: Peer) -> None:
        own = Memory(mesh.server_context(), stranger(prod_ca.issue(OTHER)))
        seen: queue.SimpleQueue[Peer | None] = queue.SimpleQueue()
        # It stands before the other in the registry.
        mesh.watch(peer, lambda _: seen.put(own.server.peer))  # type: ignore[attr-defined]
        own.shake_hands()
        mesh.publish(policy=CLOSED_POLICY)
        assert seen.get(timeout=TIMEOUT) is None

    def test_one_that_hangs_holds_up_nothing(self, mesh: Mesh, prod_ca: CA, clock: Clock, ends: Ends) -> None:
        hanging, going_on = threading.Semaphore(0), threading.Event()

        def hang(_: PeerRejected) -> None:
            hanging.release()
            going_on.wait()

        first, second = (mesh.admit(prod_ca.issue(path).chain) for path in (PATH, OTHER))
        try:
            watched = [mesh.watch(first, hang) for _ in range(3)]
            watched.append(mesh.watch(first, ends))
            kept = mesh.watch(second, ends)
            mesh.publish(revocations=DENIED)
            assert [each.peer for each in watched] == [None] * 4
            assert ends.next().reason is Reason.DENY_LISTED
            assert all(hanging.acquire(timeout=TIMEOUT) for _ in range(3))
            # They hang at this moment.
            clock.now += 2 * HOUR
            sweep(mesh)
            assert kept.peer is None
            assert ends.next().reason is Reason.EXPIRED
            assert mesh.open_connections == 0
            mesh.publish(policy=CLOSED_POLICY)
        finally:
            going_on.set()
        wait_for_quiet()

    @pytest.mark.parametrize("error", [RuntimeError, SystemExit], ids=lambda error: error.__name__)
    def test_one_that_raises_is_logged(
        self,
        mesh: Mesh,
        peer: Peer,
        ends: Ends,
        error: type[BaseException],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def fail(_: PeerRejected) -> None:
            msg = "a mistake of the application"
            raise error(msg)

        watched = [mesh.watch(peer, fail), mesh.watch(peer, ends)]
        mesh.publish(policy=CLOSED_POLICY)
        assert ends.next().reason is Reason.NO_RULE
        wait_for_quiet()
        assert [each.peer for each in watched] == [None, None]
        assert f"a watched connection was not ended: {error.__name__}: 'a mistake" in caplog.text

    def test_it_may_ask_the_mesh_everything(self, mesh: Mesh, prod_ca: CA, ends: Ends) -> None:
        peers = [mesh.admit(prod_ca.issue(path).chain) for path in (PATH, OTHER)]

        def end(rejection: PeerRejected) -> None:
            mesh.publish(policy=CLOSED_POLICY)
            assert not mesh.check(peers[1])
            mesh.health()
            ends(rejection)

        first, second = mesh.watch(peers[0], end), mesh.watch(peers[1], ends)
        mesh.publish(revocations=DENIED)
        assert [ends.next().reason for _ in range(2)] == [Reason.DENY_LISTED, Reason.NO_RULE] or (
            first.peer,
            second.peer,
        ) == (None, None)
        wait_for_quiet()

    def test_its_threads_do_not_keep_the_process_alive(self, mesh: Mesh, peer: Peer) -> None:
        seen: queue.SimpleQueue[bool] = queue.SimpleQueue()
        mesh.watch(peer, lambda _: seen.put(threading.current_thread().daemon))
        mesh.publish(policy=CLOSED_POLICY)
        assert seen.get(timeout=TIMEOUT)


def failing_starts(monkeypatch: pytest.MonkeyPatch, *, which: Callable[[int], bool]) -> None:
    """Let there be no thread for some of the calls, which are counted from 0."""
    start, calls = threading.Thread.start, iter(range(1000))

    def limited(thread: threading.Thread) -> None:
        if which(next(calls)):
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


class TestWithoutAThread:
    def test_at_first_the_next_review_tries_again(
        self,
        mesh: Mesh,
        peer: Peer,
        ends: Ends,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        watched = mesh.watch(peer, ends)
        with monkeypatch.context() as limited:
            failing_starts(limited, which=lambda _: True)
            mesh.publish(policy=CLOSED_POLICY)
        assert watched.peer is None
        assert "can't start new thread" in caplog.text
        assert ends.is_quiet()
        sweep(mesh)
        assert ends.next() is watched.rejection

    def test_of_its_own_it_is_ended_on_that_of_all(
        self, mesh: Mesh, peer: Peer, ends: Ends, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(3):
            mesh.watch(peer, ends)
        failing_starts(monkeypatch, which=lambda call: call > 0)
        mesh.publish(policy=CLOSED_POLICY)
        assert [ends.next().reason for _ in range(3)] == [Reason.NO_RULE] * 3


def test_each_of_many_is_either_ended_once_or_done_with(mesh: Mesh, prod_ca: CA) -> None:
    peer = mesh.admit(prod_ca.issue(PATH).chain)
    calls: list[PeerRejected] = []
    watched: list[WatchedConnection] = []
    barrier = threading.Barrier(5)

    def work() -> None:
        mine = [mesh.watch(peer, calls.append) for _ in range(50)]
        watched.extend(mine)
        barrier.wait(TIMEOUT)
        for each in mine:
            each.done()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait(TIMEOUT)
    mesh.publish(policy=CLOSED_POLICY)
    for thread in threads:
        thread.join(TIMEOUT)
    wait_for_quiet()
    assert mesh.open_connections == 0
    assert len(watched) == 200
    assert len(set(map(id, calls))) == len(calls) <= sum(each.rejection is not None for each in watched)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        pytest.param({"end": None}, TypeError, "end must be callable, not NoneType", id="end"),
        pytest.param({"peer": "spiffe://a/b"}, TypeError, "peer must be a Peer", id="peer"),
        pytest.param({"http": 1}, TypeError, "http must be True or False", id="http"),
        pytest.param({"expect": LEDGER}, ValueError, "the peer is a client", id="role"),
        pytest.param({"request": 1}, TypeError, "request must be a Request", id="request"),
        pytest.param({"request": "GET /", "http": True}, ValueError, "there is one, and no other", id="both"),
    ],
)
def test_a_mistake_of_the_caller_is_said(
    mesh: Mesh, peer: Peer, wrong: dict[str, object], error: type[Exception], message: str
) -> None:
    arguments: dict[str, object] = {"peer": peer, "end": no_op, **wrong}
    with pytest.raises(error, match=message):
        mesh.watch(**arguments)  # type: ignore[arg-type]
    assert mesh.open_connections == 0


FORKING = """
import logging, os, threading
from meshid.testing import CA
from tests.helpers.tls_peers import CLOSED_POLICY, PATH, mesh_of

logging.disable()
ca = CA("prod.example.org")
mesh = mesh_of(ca)
peer = mesh.admit(ca.issue(PATH).chain)
hangs, forked = threading.Event(), threading.Event()

def hang(_):
    hangs.set()
    forked.wait()

mesh.watch(peer, hang)
mesh.publish(policy=CLOSED_POLICY)
assert hangs.wait(10)
mesh.publish(policy=mesh_of(ca).snapshot.policy)
ended = threading.Event()
watched = mesh.watch(peer, lambda _: ended.set())
child = os.fork()
mesh.publish(policy=CLOSED_POLICY)
assert watched.peer is None
assert ended.wait(10)
if not child:
    os._exit(0)
forked.set()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_forked_child_ends_its_own() -> None:
    ends_well(FORKING)


def test_its_peer_is_the_one_of_the_last_review(prod_ca: CA, clock: Clock) -> None:
    issuing = prod_ca.intermediate()
    mesh = mesh_of(prod_ca, clock=clock)
    with mesh.watch(mesh.admit(issuing.issue(PATH).chain), no_op) as watched:
        bundle = type(prod_ca.bundle()).from_pem("prod.example.org", issuing.pem + prod_ca.pem)
        mesh.publish(bundles=BundleSet([bundle]), credentials=credentials(prod_ca))
        assert watched.peer is not None
        assert len(watched.peer.chain) == 2

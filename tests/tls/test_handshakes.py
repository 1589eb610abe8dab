"""A handshake has a deadline, and a server has only so many under way at once."""

from __future__ import annotations

import asyncio
import gc
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from math import inf, nan

import attrs
import pytest

from meshid import HandshakeTimeout, Mesh
from meshid.audit.connection_info import ConnectionInfo
from meshid.testing import CA
from meshid.tls import handshakes
from meshid.tls.handshakes import MAX_HANDSHAKES, Handshakes
from tests.helpers.mounted import eventually
from tests.helpers.processes import ends_well
from tests.helpers.tls_peers import (
    HELLO,
    HOST,
    PATH,
    SERVERS,
    TIMEOUT,
    Serving,
    arriving,
    client_hello,
    knock,
    stranger,
)

SHORT = 0.2
"""Seconds."""

NAME = f"spiffe://prod.example.org{PATH}\n".encode()
EACH_SERVER = pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "meshid.tls"]


def dribble(plain: socket.socket, sent: bytes) -> int:
    """Send byte after byte, waiting as long as the socket's timeout; return how many until the end."""
    for number, byte in enumerate(sent):
        try:
            plain.sendall(bytes([byte]))
            if plain.recv(1) == b"":
                return number
        except TimeoutError:
            continue
        except ConnectionError:
            return number
    return len(sent)


def failure_of(call: Callable[[], object]) -> OSError | None:
    try:
        call()
    except OSError as error:
        return error
    return None


def connect_blocking(port: int, context: ssl.SSLContext) -> None:
    context.wrap_socket(socket.create_connection((HOST, port)))


def connect_asyncio(port: int, context: ssl.SSLContext) -> None:
    asyncio.run(asyncio.wait_for(asyncio.open_connection(HOST, port, ssl=context), TIMEOUT))


@attrs.define(eq=False, slots=False)
class Fake:
    """A connection with nobody at its other end."""

    ended: HandshakeTimeout | None = None
    peername: object = ("192.0.2.1", 443)

    def end(self, rejection: HandshakeTimeout) -> None:
        self.ended = rejection


class Told:
    """Whom the end of a handshake is told to."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[tuple[ConnectionInfo, HandshakeTimeout]] = queue.SimpleQueue()
        self.failure: BaseException | None = None

    def __call__(self, info: ConnectionInfo, error: HandshakeTimeout) -> None:
        self.calls.put((info, error))
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def told() -> Told:
    return Told()


class TestADeadline:
    @EACH_SERVER
    @pytest.mark.parametrize(
        "sent", [b"", client_hello(), client_hello()[:20]], ids=["silent", "half", "part"]
    )
    def test_ends_a_handshake_that_stops(
        self, sent: bytes, serve: Serving, mesh: Mesh, prod_ca: CA, caplog: pytest.LogCaptureFixture
    ) -> None:
        context = mesh.server_context(handshake_timeout=SHORT)
        with serve(context) as service, socket.create_connection((HOST, service.port), TIMEOUT) as plain:
            plain.sendall(sent)
            began = time.monotonic()
            while plain.recv(4096):
                pass
            assert time.monotonic() - began < TIMEOUT / 2
            assert knock(service.port, stranger(prod_ca.issue(PATH))).answer == NAME
            assert eventually(lambda: lines(caplog))
        assert lines(caplog) == [
            "no TLS handshake with a client from 127.0.0.1: the handshake did not end within 0.2 s"
        ]
        assert service.seen == [HELLO]

    @EACH_SERVER
    def test_is_not_put_off_by_a_byte_now_and_then(self, serve: Serving, mesh: Mesh) -> None:
        hello = client_hello()
        with (
            serve(mesh.server_context(handshake_timeout=SHORT)) as service,
            socket.create_connection((HOST, service.port), TIMEOUT) as plain,
        ):
            plain.settimeout(SHORT / 8)
            assert 0 < dribble(plain, hello) < len(hello)

    @pytest.mark.parametrize("timeout", [None, TIMEOUT], ids=["blocking", "timeout"])
    def test_is_an_error_of_the_call_that_waits(self, timeout: float | None, mesh: Mesh) -> None:
        context = mesh.server_context(handshake_timeout=SHORT)
        ours, theirs = socket.socketpair()
        with theirs:
            ours.settimeout(timeout)
            with pytest.raises(HandshakeTimeout, match=r"did not end within 0\.2 s"):
                context.wrap_socket(ours, server_side=True)

    def test_is_the_same_error_ever_after(self, mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
        context = mesh.server_context(handshake_timeout=SHORT)
        end = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
        with pytest.raises(ssl.SSLWantReadError):
            end.do_handshake()
        assert eventually(lambda: not isinstance(failure_of(end.do_handshake), ssl.SSLWantReadError))
        failure = failure_of(end.do_handshake)
        assert isinstance(failure, HandshakeTimeout)
        assert failure_of(end.read) is failure
        assert failure_of(lambda: end.write(HELLO)) is failure
        assert (failure.library, failure.reason) == ("meshid", "HANDSHAKE_TIMEOUT")
        assert eventually(lambda: lines(caplog))

    @pytest.mark.parametrize("connect", [connect_blocking, connect_asyncio])
    def test_is_there_for_a_client_whose_caller_hears_of_it(
        self, connect: Callable[[int, ssl.SSLContext], None], mesh: Mesh, caplog: pytest.LogCaptureFixture
    ) -> None:
        context = mesh.client_context("/ns/pay/**", handshake_timeout=SHORT)
        with socket.create_server((HOST, 0)) as silent, pytest.raises(HandshakeTimeout):
            connect(silent.getsockname()[1], context)
        assert lines(caplog) == []

    def test_leaves_those_alone_that_have_ended(self, mesh: Mesh, prod_ca: CA) -> None:
        context = mesh.server_context(handshake_timeout=SHORT)
        with arriving(stranger(prod_ca.issue(PATH))) as (plain, visit):
            tls = context.wrap_socket(plain, server_side=True)
            with tls:
                assert tls.recv(1024) == HELLO
                tls.settimeout(2 * SHORT)
                failure = failure_of(lambda: tls.recv(1))
            assert isinstance(failure, TimeoutError)
            assert not isinstance(failure, HandshakeTimeout)
            visit.result(TIMEOUT)

    @pytest.mark.parametrize("seconds", ["10", None, True], ids=["text", "none", "bool"])
    def test_is_a_number(self, seconds: object, mesh: Mesh) -> None:
        for make in (mesh.server_context, lambda **timeout: mesh.client_context("/**", **timeout)):
            with pytest.raises(TypeError, match=r"handshake_timeout must be a number of seconds, not "):
                make(handshake_timeout=seconds)  # type: ignore[arg-type]

    @pytest.mark.parametrize("seconds", [0, -1.0, inf, nan, 10**400], ids=["0", "-1", "inf", "nan", "huge"])
    def test_is_positive_and_finite(self, seconds: float, mesh: Mesh) -> None:
        with pytest.raises(ValueError, match="must be a positive, finite number of seconds, not"):
            mesh.server_context(handshake_timeout=seconds)


class TestTheCap:
    def test_lets_the_oldest_give_way(
        self, mesh: Mesh, prod_ca: CA, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(handshakes, "MAX_HANDSHAKES", 2)
        with SERVERS["asyncio"](mesh.server_context()) as service:
            silent = [socket.create_connection((HOST, service.port), TIMEOUT) for _ in range(3)]
            assert silent[0].recv(1) == b""
            assert knock(service.port, stranger(prod_ca.issue(PATH))).answer == NAME
            assert silent[1].recv(1) == b""
            for each in silent:
                each.close()
        assert set(lines(caplog)) == {
            (
                "no TLS handshake with a client from 127.0.0.1: more than 2 handshakes were under way,"
                " and this was the oldest"
            )
        }

    def test_is_not_for_a_client(self) -> None:
        under_way, connections = Handshakes(TIMEOUT), [Fake() for _ in range(MAX_HANDSHAKES + 1)]
        for each in connections:
            under_way.begin(each)
        assert len(under_way) == MAX_HANDSHAKES + 1

    def test_holds_after_a_flood(self, told: Told) -> None:
        under_way, connections = Handshakes(TIMEOUT, told), [Fake() for _ in range(2 * MAX_HANDSHAKES)]
        for each in connections:
            under_way.begin(each)
        assert len(under_way) == MAX_HANDSHAKES
        assert [each.ended is not None for each in connections] == [
            number < MAX_HANDSHAKES for number in range(2 * MAX_HANDSHAKES)
        ]


class TestUnderWay:
    def test_is_what_has_begun_and_has_not_ended(self) -> None:
        under_way, one, two = Handshakes(TIMEOUT), Fake(), Fake()
        for connection in (one, one, two):
            under_way.begin(connection)
        assert len(under_way) == 2
        under_way.done(one)
        under_way.done(one)
        assert len(under_way) == 1

    def test_is_not_what_its_owner_has_dropped(self) -> None:
        under_way, connection = Handshakes(TIMEOUT), Fake()
        under_way.begin(connection)
        del connection
        gc.collect()
        assert len(under_way) == 0

    @EACH_SERVER
    def test_is_nothing_after_a_handshake_good_or_bad(self, serve: Serving, mesh: Mesh, prod_ca: CA) -> None:
        context = mesh.server_context()
        under_way = context._handshakes  # noqa: SLF001 - nobody else counts them
        with serve(context) as service:
            for path in (PATH, "/ns/unknown/sa/web"):
                knock(service.port, stranger(prod_ca.issue(path)))
                assert eventually(lambda: len(under_way) == 0)
            with socket.create_connection((HOST, service.port), TIMEOUT):
                assert eventually(lambda: len(under_way) == 1)
            assert eventually(lambda: len(under_way) == 0)


class TestTheWatch:
    def test_ends_what_is_overdue_and_tells_where_it_came_from(self, told: Told) -> None:
        under_way, connection = Handshakes(SHORT, told), Fake()
        under_way.begin(connection)
        info, error = told.calls.get(timeout=TIMEOUT)
        assert info == ConnectionInfo(address="192.0.2.1", port=443)
        assert error is connection.ended
        assert len(under_way) == 0

    def test_wakes_up_for_a_deadline_that_is_nearer_than_those_it_knew(self, told: Told) -> None:
        slow, fast = Handshakes(1e9, told), Handshakes(SHORT, told)
        connections = Fake(), Fake()
        for under_way, connection in zip((slow, fast), connections, strict=True):
            under_way.begin(connection)
        told.calls.get(timeout=TIMEOUT)
        assert [each.ended is None for each in connections] == [True, False]
        assert len(slow) == 1

    def test_leaves_out_what_is_gone_at_that_moment(self, told: Told) -> None:
        under_way, gone = Handshakes(TIMEOUT, told), Fake()

        class Last(Fake):
            def end(self, rejection: HandshakeTimeout) -> None:
                super().end(rejection)
                # As its own thread may do, when it is its turn.
                under_way.done(gone)

        last = Last()
        for connection in (last, gone):
            under_way.begin(connection)
        assert under_way.end_overdue(inf) == inf
        assert [each.ended is None for each in (last, gone)] == [False, True]
        assert told.calls.qsize() == 1

    @pytest.mark.parametrize("failure", [ValueError(), SystemExit()], ids=["error", "exit"])
    def test_survives_a_log_handler_that_raises(self, failure: BaseException, told: Told) -> None:
        under_way, connections = Handshakes(SHORT, told), (Fake(), Fake())
        told.failure = failure
        for connection in connections:
            under_way.begin(connection)
            told.calls.get(timeout=TIMEOUT)
        assert len(under_way) == 0

    def test_tries_again_if_there_is_no_thread_to_be_had(
        self, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: threading.Thread) -> None:
            msg = "can't start new thread"
            raise RuntimeError(msg)

        under_way, connections = Handshakes(SHORT, told), (Fake(), Fake())
        monkeypatch.setattr(handshakes, "_watch", handshakes._Watch())  # noqa: SLF001 - as in a new process
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            under_way.begin(connections[0])
        under_way.begin(connections[1])
        for _ in connections:
            told.calls.get(timeout=TIMEOUT)

    @pytest.mark.parametrize("method", ["__init__", "start", "put"])
    def test_outlives_a_signal_handler_that_raises(
        self, method: str, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watch = handshakes._Watch()  # noqa: SLF001 - as in a new process
        monkeypatch.setattr(handshakes, "_watch", watch)
        under_way, connections = Handshakes(SHORT, told), (Fake(), Fake())
        with monkeypatch.context() as patch:
            if method == "put":
                patch.setattr(watch, "_news", _Interrupting())
            else:
                patch.setattr(threading.Thread, method, _interrupt)
            with pytest.raises(KeyboardInterrupt):
                under_way.begin(connections[0])
        # Not before: what it has missed it finds at the next chance.
        eventually(lambda: time.monotonic() > watch.wakes_at)
        under_way.begin(connections[1])
        for _ in connections:
            told.calls.get(timeout=TIMEOUT)

    def test_has_one_thread_however_many_are_started(self, told: Told) -> None:
        watch = handshakes._Watch()  # noqa: SLF001 - as in a new process
        watch._vacancy.clear()  # noqa: SLF001 - the other thread was faster
        watch._run()  # noqa: SLF001 - ends at once
        assert told.calls.empty()

    def test_begins_anew_in_a_forked_child(self, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = handshakes._Watch()  # noqa: SLF001 - as in a new process
        monkeypatch.setattr(handshakes, "_watch", watch)
        under_way, connections = Handshakes(SHORT, told), (Fake(), Fake())
        under_way.begin(connections[0])
        # What the interpreter does in the child, which has no thread.
        handshakes._forget_all()  # noqa: SLF001
        assert len(under_way) == 0
        under_way.begin(connections[1])
        told.calls.get(timeout=TIMEOUT)
        assert [each.ended is None for each in connections] == [True, False]


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


class _Interrupting:
    def put(self, _: None) -> None:
        raise KeyboardInterrupt


FORKING = """
import logging, os, socket, ssl, sys
from meshid.testing import CA
from meshid import BundleSet, HandshakeTimeout, Mesh

logging.disable()
ca = CA("prod.example.org")
mesh = Mesh(credentials=ca.issue().svid, bundles=BundleSet([ca.bundle()]), service="payments")
context = mesh.server_context(handshake_timeout=0.3)

def shake_hands():
    ours, theirs = socket.socketpair()
    try:
        context.wrap_socket(ours, server_side=True)
    except HandshakeTimeout:
        return theirs

def begin():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    tls = context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return tls, theirs

shake_hands()
tls, theirs = begin()
child = os.fork()
if child == 0:
    # It ends later than that of the parent would.
    shake_hands()
    os._exit(0)
context._handshakes.done(tls)
assert os.waitpid(child, 0)[1] == 0
theirs.setblocking(False)
try:
    theirs.recv(1)
except BlockingIOError:
    sys.exit(0)
sys.exit("the child has ended what its parent had begun")
"""


def test_each_process_ends_its_own() -> None:
    ends_well(FORKING)

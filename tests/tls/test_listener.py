"""A listener hands out connections whose handshake has ended well, as a plain one hands out connections."""

from __future__ import annotations

import errno
import logging
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshid import AuditEvent, Mesh, peer_of
from meshid.testing import CA
from meshid.tls import backlog as backlogs
from meshid.tls.backlog import Backlog
from meshid.tls.listener import MeshListener
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import (
    HELLO,
    HOST,
    PATH,
    TIMEOUT,
    Visit,
    client_hello,
    credentials,
    knock,
    mesh_of,
    stranger,
)

NAME = f"spiffe://prod.example.org{PATH}"
REFUSED = "/ns/unknown/sa/web"


def listening(mesh: Mesh) -> MeshListener:
    plain = socket.create_server((HOST, 0))
    listener = mesh.server_context().wrap_socket(plain, server_side=True)
    assert isinstance(listener, MeshListener)
    return listener


@pytest.fixture
def listener(mesh: Mesh) -> Iterator[MeshListener]:
    with listening(mesh) as listener:
        listener.settimeout(TIMEOUT)
        yield listener


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def visiting(prod_ca: CA) -> Callable[[MeshListener, str], Visit]:
    """Visit a listener with a certificate of that path."""

    def visit(listener: MeshListener, path: str = PATH) -> Visit:
        return knock(port_of(listener), stranger(prod_ca.issue(path)))

    return visit


def port_of(listener: MeshListener) -> int:
    port = listener.getsockname()[1]
    assert isinstance(port, int)
    return port


def is_readable(listener: MeshListener, seconds: float = 0.0) -> bool:
    return bool(select.select([listener], [], [], seconds)[0])


def answer(listener: MeshListener) -> socket.socket:
    """Accept a connection and answer it."""
    connection, _ = listener.accept()
    assert connection.recv(1024) == HELLO
    connection.sendall(HELLO)
    return connection


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "meshid-listener"}


Visiting = Callable[..., Visit]


class TestAccept:
    def test_returns_who_was_admitted_and_from_where(
        self, listener: MeshListener, visiting: Visiting, pool: ThreadPoolExecutor
    ) -> None:
        assert listener.fileno() >= 0
        refused = pool.submit(visiting, listener, REFUSED)
        assert refused.result(TIMEOUT).answer == b""
        visit = pool.submit(visiting, listener)
        connection, address = listener.accept()
        with connection:
            assert str(peer_of(connection).spiffe_id) == NAME
            assert address == connection.getpeername()
            connection.sendall(HELLO)
            assert visit.result(TIMEOUT).answer == HELLO

    def test_returns_the_generation_of_its_time(
        self, listener: MeshListener, visiting: Visiting, pool: ThreadPoolExecutor, mesh: Mesh, prod_ca: CA
    ) -> None:
        for _ in range(2):
            new = credentials(prod_ca)
            mesh.publish(credentials=new)
            visit = pool.submit(visiting, listener)
            with answer(listener):
                assert visit.result(TIMEOUT).presented == new.chain[0]

    def test_waits_no_longer_than_it_may(self, listener: MeshListener) -> None:
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError, match="timed out"):
            listener.accept()
        listener.setblocking(False)
        assert listener.gettimeout() == 0
        with pytest.raises(BlockingIOError) as caught:
            listener.accept()
        assert caught.value.errno == errno.EAGAIN
        listener.setblocking(True)
        assert listener.gettimeout() is None

    @pytest.mark.parametrize("default", [None, 5.0], ids=["none", "default"])
    def test_gives_a_connection_the_default_timeout(
        self, default: float | None, listener: MeshListener, visiting: Visiting, pool: ThreadPoolExecutor
    ) -> None:
        visit = pool.submit(visiting, listener)
        socket.setdefaulttimeout(default)
        try:
            connection = answer(listener)
        finally:
            socket.setdefaulttimeout(None)
        with connection:
            assert connection.gettimeout() == default
            visit.result(TIMEOUT)

    def test_may_be_called_by_many_threads_at_once(
        self, listener: MeshListener, visiting: Visiting, pool: ThreadPoolExecutor
    ) -> None:
        accepting = [pool.submit(answer, listener) for _ in range(3)]
        visits = [pool.submit(visiting, listener) for _ in range(3)]
        for each in accepting:
            with each.result(TIMEOUT):
                pass
        assert [visit.result(TIMEOUT).answer for visit in visits] == [HELLO] * 3

    def test_goes_on_waiting_if_another_thread_was_faster(
        self, listener: MeshListener, visiting: Visiting, pool: ThreadPoolExecutor
    ) -> None:
        accepting = pool.submit(answer, listener)
        assert eventually(threads)
        # As if a connection had come and gone.
        assert listener._backlog is not None  # noqa: SLF001
        listener._backlog.ready.put_up()  # noqa: SLF001
        visit = pool.submit(visiting, listener)
        with accepting.result(TIMEOUT):
            assert visit.result(TIMEOUT).answer == HELLO

    def test_needs_a_socket_that_listens(self, mesh: Mesh) -> None:
        with mesh.server_context().wrap_socket(socket.socket(), server_side=True) as unbound:
            assert unbound.fileno() >= 0
            with pytest.raises(OSError, match="Invalid argument") as caught:
                unbound.accept()
        assert caught.value.errno == errno.EINVAL


class TestTheDescriptor:
    def test_is_readable_while_a_connection_waits_that_can_be_accepted(
        self, listener: MeshListener, visiting: Visiting, pool: ThreadPoolExecutor
    ) -> None:
        with socket.create_connection(listener.getsockname(), TIMEOUT) as half:
            half.sendall(client_hello())
            assert not is_readable(listener, 0.05)
            assert pool.submit(visiting, listener, REFUSED).result(TIMEOUT).answer == b""
            assert not is_readable(listener)
            visits = [pool.submit(visiting, listener) for _ in range(2)]
            for _ in visits:
                assert is_readable(listener, TIMEOUT)
                answer(listener).close()
            assert [visit.result(TIMEOUT).answer for visit in visits] == [HELLO] * 2
            assert not is_readable(listener)

    def test_may_be_asked_for_before_it_listens(
        self, mesh: Mesh, visiting: Visiting, pool: ThreadPoolExecutor
    ) -> None:
        plain = socket.socket()
        plain.bind((HOST, 0))
        with mesh.server_context().wrap_socket(plain, server_side=True) as listener:
            assert isinstance(listener, MeshListener)
            descriptor = listener.fileno()
            assert threads() == set()
            listener.listen()
            visit = pool.submit(visiting, listener)
            assert select.select([descriptor], [], [], TIMEOUT)[0] == [descriptor]
            with answer(listener):
                visit.result(TIMEOUT)

    def test_is_not_there_before_somebody_waits(self, listener: MeshListener) -> None:
        assert f"laddr=('{HOST}', {port_of(listener)})" in repr(listener)
        listener.listen()
        assert threads() == set()
        listener.close()
        assert (repr(listener), listener.fileno()) == ("<MeshListener closed>", -1)


class TestTheEnd:
    def test_of_a_listener_closes_what_nobody_has_accepted(
        self, listener: MeshListener, visiting: Visiting, pool: ThreadPoolExecutor
    ) -> None:
        assert listener.fileno() >= 0
        (thread,) = threads()
        with socket.create_connection(listener.getsockname(), TIMEOUT) as silent:
            visit = pool.submit(visiting, listener)
            assert is_readable(listener, TIMEOUT)
            port = port_of(listener)
            listener.close()
            listener.close()
            assert silent.recv(1) == b""
            assert visit.result(TIMEOUT).answer == b""
        assert not thread.is_alive()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), TIMEOUT)
        with pytest.raises(OSError, match="Bad file descriptor"):
            listener.accept()

    def test_comes_to_who_waits_in_accept(self, listener: MeshListener, pool: ThreadPoolExecutor) -> None:
        accepting = pool.submit(listener.accept)
        assert eventually(threads)
        listener.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            accepting.result(TIMEOUT)

    def test_comes_by_shutdown_too(self, listener: MeshListener, pool: ThreadPoolExecutor) -> None:
        accepting = pool.submit(listener.accept)
        assert eventually(threads)
        listener.shutdown(socket.SHUT_RDWR)
        for end in (accepting.result, listener.accept):
            with pytest.raises(OSError, match="Invalid argument"):
                end()
        assert is_readable(listener)

    def test_comes_when_nobody_holds_it(self, mesh: Mesh) -> None:
        listener = listening(mesh)
        assert listener.fileno() >= 0
        (thread,) = threads()
        held = [listener]
        del listener
        # As for any socket.
        with pytest.warns(ResourceWarning, match="unclosed"):
            held.clear()
        thread.join(TIMEOUT)
        assert not thread.is_alive()

    def test_leaves_the_socket_to_who_detaches_it(self, listener: MeshListener) -> None:
        assert listener.fileno() >= 0
        (thread,) = threads()
        with socket.socket(fileno=listener.detach()) as plain:
            thread.join(TIMEOUT)
            assert not thread.is_alive()
            with socket.create_connection(plain.getsockname(), TIMEOUT):
                plain.settimeout(TIMEOUT)
                plain.accept()[0].close()

    def test_may_come_from_an_audit_sink(
        self, prod_ca: CA, visiting: Visiting, pool: ThreadPoolExecutor
    ) -> None:
        listeners: list[MeshListener] = []

        def close(_: AuditEvent) -> None:
            listeners[0].close()

        listener = listening(mesh_of(prod_ca, audit=close))
        listeners.append(listener)
        accepting = pool.submit(listener.accept)
        assert eventually(threads)
        visit = pool.submit(visiting, listener)
        with pytest.raises(OSError, match="Bad file descriptor"):
            accepting.result(TIMEOUT)
        assert visit.result(TIMEOUT).answer == b""
        assert eventually(lambda: not threads())


class TestTheThread:
    def test_takes_no_more_than_can_be_laid_by(
        self,
        listener: MeshListener,
        visiting: Visiting,
        pool: ThreadPoolExecutor,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(backlogs, "MAX_FINISHED", 1)
        first = pool.submit(visiting, listener)
        assert is_readable(listener, TIMEOUT)
        backlog = listener._backlog  # noqa: SLF001
        assert backlog is not None
        assert eventually(lambda: not backlog._accepts)  # noqa: SLF001
        others = [pool.submit(visiting, listener) for _ in range(2)]
        assert len(backlog._finished) == 1  # noqa: SLF001
        for _ in range(3):
            answer(listener).close()
        assert [visit.result(TIMEOUT).answer for visit in (first, *others)] == [HELLO] * 3

    @pytest.mark.parametrize("failure", [ValueError("x"), SystemExit("x")], ids=["error", "exit"])
    def test_survives_an_audit_sink_that_raises(  # fixtures
        self,
        failure: BaseException,
        prod_ca: CA,
        visiting: Visiting,
        pool: ThreadPoolExecutor,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        failures = [failure]

        def fail(_: AuditEvent) -> None:
            if failures:
                raise failures.pop()

        with listening(mesh_of(prod_ca, audit=fail)) as listener:
            assert listener.fileno() >= 0
            assert pool.submit(visiting, listener).result(TIMEOUT).answer == b""
            visit = pool.submit(visiting, listener)
            with answer(listener):
                visit.result(TIMEOUT)
        assert [each.levelno for each in caplog.records] == [logging.ERROR]

    def test_goes_on_when_a_client_has_gone_before_it_looks(
        self, listener: MeshListener, visiting: Visiting, pool: ThreadPoolExecutor
    ) -> None:
        with socket.create_connection(listener.getsockname(), TIMEOUT) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        visit = pool.submit(visiting, listener)
        with answer(listener):
            visit.result(TIMEOUT)


class TestABacklog:
    """What a kernel does too seldom for a test."""

    @pytest.fixture
    def backlog(self, listener: MeshListener) -> Backlog:
        assert listener.fileno() >= 0
        backlog = listener._backlog  # noqa: SLF001
        assert backlog is not None
        return backlog

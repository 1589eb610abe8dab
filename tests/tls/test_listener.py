"""A listener hands out connections whose handshake has ended well, as a plain one hands out connections."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from meshid import AuditEvent, Mesh, peer_of
from meshid.audit.rate_limit import BURST, RateLimit
from meshid.testing import CA
from meshid.tls import backlog as backlogs
from meshid.tls import listener as listeners
from meshid.tls.backlog import Backlog
from meshid.tls.listener import MeshListener
from tests.helpers.mounted import eventually
from tests.helpers.processes import ends_well
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
            port, backlog = port_of(listener), listener._backlog  # noqa: SLF001
            assert backlog is not None
            listener.close()
            listener.close()
            assert silent.recv(1) == b""
            assert visit.result(TIMEOUT).answer == b""
        assert not thread.is_alive()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), TIMEOUT)
        # The latter is for who has been in `accept()` when it was closed.
        for end in (listener.accept, backlog.take):
            with pytest.raises(OSError, match="Bad file descriptor"):
                end()

    def test_comes_to_who_waits_in_accept(self, listener: MeshListener, pool: ThreadPoolExecutor) -> None:
        accepting = pool.submit(listener.accept)
        assert eventually(threads)
        listener.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            accepting.result(TIMEOUT)

    def test_comes_to_who_was_about_to_wait(
        self, listener: MeshListener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take = Backlog.take

        def take_and_close(backlog: Backlog) -> object:
            taken = take(backlog)
            listener.close()
            return taken

        monkeypatch.setattr(Backlog, "take", take_and_close)
        with pytest.raises(OSError, match="Bad file descriptor"):
            listener.accept()

    def test_comes_by_shutdown_too(self, listener: MeshListener, pool: ThreadPoolExecutor) -> None:
        accepting = pool.submit(listener.accept)
        assert eventually(threads)
        listener.shutdown(socket.SHUT_RDWR)
        backlog = listener._backlog  # noqa: SLF001
        assert backlog is not None
        for end in (accepting.result, listener.accept, backlog.take):
            with pytest.raises(OSError, match="Invalid argument"):
                end()
        assert select.select([backlog.ready], [], [], TIMEOUT)[0] == [backlog.ready]

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


class TestWhatCannotBeAccepted:
    @pytest.fixture
    def backlog(self, listener: MeshListener) -> Backlog:
        assert listener.fileno() >= 0
        backlog = listener._backlog  # noqa: SLF001
        assert backlog is not None
        return backlog

    def fail(self, backlog: Backlog, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the next connection be one that the kernel cannot hand over."""
        failures, plain = [error], backlog._listening  # noqa: SLF001

        class Failing:
            def accept(self) -> tuple[socket.socket, object]:
                if failures:
                    raise failures.pop()
                return plain.accept()

            def fileno(self) -> int:
                return plain.fileno()

            def close(self) -> None:
                plain.close()

        monkeypatch.setattr(backlog, "_listening", Failing())

    @pytest.mark.parametrize("number", [errno.EAGAIN, errno.ECONNABORTED], ids=errno.errorcode.get)
    def test_may_be_another_process_s_or_gone(  # noqa: PLR0913, PLR0917  # fixtures
        self,
        number: int,
        listener: MeshListener,
        backlog: Backlog,
        visiting: Visiting,
        pool: ThreadPoolExecutor,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.fail(backlog, OSError(number, "x"), monkeypatch)
        visit = pool.submit(visiting, listener)
        answer(listener).close()
        assert visit.result(TIMEOUT).answer == HELLO
        assert caplog.records == []

    def test_is_left_to_the_kernel_for_a_moment(  # noqa: PLR0913, PLR0917  # fixtures
        self,
        listener: MeshListener,
        backlog: Backlog,
        visiting: Visiting,
        pool: ThreadPoolExecutor,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.fail(backlog, OSError(errno.EMFILE, "Too many open files"), monkeypatch)
        began = time.monotonic()
        visit = pool.submit(visiting, listener)
        answer(listener).close()
        assert visit.result(TIMEOUT).answer == HELLO
        assert time.monotonic() - began >= 0.1
        assert [each.getMessage() for each in caplog.records] == [
            "no connection can be accepted now: OSError: '[Errno 24] Too many open files'"
        ]

    def test_gets_the_place_of_the_oldest_handshake(
        self,
        listener: MeshListener,
        backlog: Backlog,
        visiting: Visiting,
        pool: ThreadPoolExecutor,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with socket.create_connection(listener.getsockname(), TIMEOUT) as silent:
            assert eventually(lambda: backlog._under_way)  # noqa: SLF001
            self.fail(backlog, OSError(errno.EMFILE, "Too many open files"), monkeypatch)
            visit = pool.submit(visiting, listener)
            answer(listener).close()
            assert visit.result(TIMEOUT).answer == HELLO
            assert silent.recv(1) == b""

    def test_is_told_at_a_limited_rate(
        self, backlog: Backlog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seconds = [0.0]
        monkeypatch.setattr(backlog, "_limit", RateLimit(lambda: seconds[0]))
        for _ in range(BURST + 3):
            backlog._say("x", OSError("y"))  # noqa: SLF001
        assert len(caplog.records) == BURST
        seconds[0] = 1.0
        backlog._say("x", OSError("y"))  # noqa: SLF001
        assert caplog.records[-1].getMessage() == "x: OSError: 'y'; 3 before it were not logged"

    def test_leaves_alone_who_had_to_go_meanwhile(self, listener: MeshListener, backlog: Backlog) -> None:
        with socket.create_connection(listener.getsockname(), TIMEOUT):
            assert eventually(lambda: backlog._under_way)  # noqa: SLF001
            (connection,) = list(backlog._under_way)  # noqa: SLF001
        assert eventually(lambda: not backlog._under_way)  # noqa: SLF001
        # As if the selector had named it before.
        backlog._step(connection, None)  # noqa: SLF001
        assert eventually(lambda: connection.fileno() < 0)

    def test_is_no_reason_to_wait_for_reading_where_there_is_something_to_write(
        self, backlog: Backlog
    ) -> None:
        """What OpenSSL sends in a handshake fits into the buffer of any socket, so that it never waits."""
        ours, theirs = socket.socketpair()
        with theirs, Blocked(fileno=ours.detach()) as blocked:
            connection = cast("ssl.SSLSocket", blocked)
            backlog._under_way[connection] = 0  # noqa: SLF001
            backlog._step(connection, None)  # noqa: SLF001
            assert eventually(lambda: blocked.waits_for == [])
            theirs.sendall(HELLO)
            assert eventually(lambda: blocked.fileno() < 0)


class Blocked(socket.socket):
    """A connection that is slow."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.waits_for = [ssl.SSLWantReadError(), ssl.SSLWantWriteError(), ssl.SSLWantWriteError()]

    def do_handshake(self) -> None:
        if self.waits_for:
            raise self.waits_for.pop()
        raise ConnectionResetError


FORKING = """
import http.client, http.server, os, signal, socket, socketserver, ssl, sys, threading
from meshid import BundleSet, Mesh, Policy
from meshid.testing import CA
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import HOST, PATH, TIMEOUT, mesh_of, stranger

ca = CA("prod.example.org")
client = stranger(ca.issue(PATH))

def get(port):
    connection = http.client.HTTPSConnection(HOST, port, context=client, timeout=TIMEOUT)
    connection.request("GET", "/")
    body = connection.getresponse().read()
    connection.close()
    return body

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        # Nothing of the parent's is open here but its listening socket and this connection.
        body = f"{os.getpid()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
"""

FORK_FOR_EACH = (
    FORKING
    + """
class Server(socketserver.ForkingMixIn, http.server.HTTPServer):
    pass

server = Server((HOST, 0), Handler)
server.socket = mesh_of(ca).server_context().wrap_socket(server.socket, server_side=True)
thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
thread.start()
port = server.server_address[1]
# The children have this one, too, and must not keep it open.
silent = socket.create_connection((HOST, port), TIMEOUT)
pids = {get(port) for _ in range(3)}
server.shutdown()
server.server_close()
thread.join()
assert len(pids - {str(os.getpid()).encode()}) == 3, pids
assert silent.recv(1) == b""
"""
)

FORK_BEFORE = (
    FORKING
    + """
server = http.server.HTTPServer((HOST, 0), Handler)
server.socket = mesh_of(ca).server_context().wrap_socket(server.socket, server_side=True)
port = server.server_address[1]
descriptor = server.fileno()
# One that the parent's thread holds, and that is the parent's.
silent = socket.create_connection((HOST, port), TIMEOUT)
assert eventually(lambda: server.socket._backlog._under_way)
child = os.fork()
if child == 0:
    assert server.fileno() == descriptor
    server.serve_forever(0.01)
# The parent leaves the rest to the child.
server.server_close()
assert silent.recv(1) == b""
assert get(port) == get(port) == str(child).encode()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
"""
)


@pytest.mark.parametrize("program", [FORK_FOR_EACH, FORK_BEFORE], ids=["for-each", "before"])
def test_a_fork_leaves_to_each_process_what_it_has_accepted(program: str) -> None:
    ends_well(program)


def test_a_forked_child_has_a_descriptor_of_its_own_under_the_same_number(
    listener: MeshListener,
    visiting: Visiting,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        # As in a child, which has not the parent's thread.
        patch.setattr(threading.Thread, "start", lambda _: None)
        number = listener.fileno()
    backlog = listener._backlog  # noqa: SLF001
    assert backlog is not None
    held = [socket.socketpair() for _ in range(2)]
    backlog._under_way[cast("ssl.SSLSocket", held[0][0])] = 0  # noqa: SLF001
    backlog._finished.append((cast("ssl.SSLSocket", held[1][0]), None))  # noqa: SLF001
    writer = backlog.ready._writer  # noqa: SLF001
    of_parent = [socket.socket(fileno=os.dup(each)) for each in (number, writer.fileno())]
    with of_parent[0], of_parent[1]:
        listeners._part_all()  # noqa: SLF001 - what the interpreter does in the child
        for ours, theirs in held:
            assert ours.fileno() < 0
            theirs.close()
        assert listener.fileno() == number
        visit = pool.submit(visiting, listener)
        assert is_readable(listener, TIMEOUT)
        assert select.select(of_parent[:1], [], [], 0)[0] == []
        answer(listener).close()
        assert visit.result(TIMEOUT).answer == HELLO


def test_a_listener_that_is_closed_or_has_never_been_waited_for_is_left_alone(mesh: Mesh) -> None:
    with listening(mesh) as unused, listening(mesh) as closed:
        assert closed.fileno() >= 0
        closed.close()
        listeners._part_all()  # noqa: SLF001
        unused.part()
        assert (closed.fileno(), threads()) == (-1, set())

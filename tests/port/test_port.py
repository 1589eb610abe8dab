"""A port listens, drains and closes; what it is given is checked when it is made."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import os
import resource
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from meshid import InvalidCredentials, InvalidPattern, Mesh
from meshid.port import MeshPort, PortFigures, acceptor
from meshid.port.arguments import MAX_CONNECTIONS, limits
from meshid.testing import CA
from meshid.tls.handshakes import MAX_HANDSHAKES
from tests.helpers.mounted import eventually
from tests.helpers.ports import (
    MAKERS,
    Line,
    Upstream,
    connect,
    joined,
    port_of,
    running_port,
    tcp_upstream,
)
from tests.helpers.proxy_protocol import read_header
from tests.helpers.tls_peers import HELLO, HOST, PATH, TIMEOUT, Memory, mesh_of, policy, stranger
from tests.http.test_authorizer import asked, question

EACH_LOOP = pytest.mark.parametrize("loop", MAKERS)


@pytest.fixture
def client(prod_ca: CA) -> ssl.SSLContext:
    """The context of a client that is admitted."""
    return stranger(prod_ca.issue(PATH))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with tcp_upstream() as found:
        yield found


# -- Where it listens ---------------------------------------------------------------


def test_a_unix_socket_that_took_its_place_keeps_its_name(mesh: Mesh, tmp_path: Path) -> None:
    """As when a new process starts before the old one has drained."""
    path = tmp_path / "s"

    async def replace() -> None:
        old, new = (MeshPort(mesh, "127.0.0.1:1", host=f"unix:{path}") for _ in range(2))
        async with old, new:
            await old.close()
            assert path.is_socket()
        assert not path.exists()
        async with MeshPort(mesh, "127.0.0.1:1", host=f"unix:{path}"):
            path.unlink()

    asyncio.run(replace())


def test_before_it_is_started_it_has_no_address_and_does_nothing(mesh: Mesh) -> None:
    port = MeshPort(mesh, "127.0.0.1:1")
    assert (port.addresses, len(port)) == ((), 0)
    assert port.figures() == PortFigures(
        connections=0,
        handshakes=0,
        admitted=0,
        refused=0,
        broken_off=0,
        over_limit=0,
        upstream_failures=0,
        bytes_in=0,
        bytes_out=0,
    )
    assert asyncio.run(port.drain(1)) == 0
    asyncio.run(port.close())


def test_it_is_started_once(mesh: Mesh) -> None:
    async def start_twice() -> None:
        async with MeshPort(mesh, "127.0.0.1:1") as port:
            with pytest.raises(RuntimeError, match="started once"):
                await port.start()
            with pytest.raises(RuntimeError, match=r"call authorizer\(\) before start"):
                port.authorizer()

    asyncio.run(start_twice())


@EACH_LOOP
def test_it_listens_at_all_addresses_of_a_name(loop: str, mesh: Mesh) -> None:
    async def listen(*hosts: str) -> list[set[str]]:
        found = []
        for host in hosts:
            async with MeshPort(mesh, "127.0.0.1:1", host=host) as port:
                found.append({str(cast("tuple[object, ...]", address)[0]) for address in port.addresses})
        return found

    with asyncio.Runner(loop_factory=MAKERS[loop]) as runner:
        v4, v6, both = runner.run(listen("127.0.0.1", "::1", "localhost"))
    assert (v4, v6) == ({"127.0.0.1"}, {"::1"})
    assert both in ({"127.0.0.1"}, {"::1"}, v4 | v6)


def test_where_it_cannot_listen_it_says_so(mesh: Mesh, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        number = taken.getsockname()[1]
        port = MeshPort(mesh, "127.0.0.1:1", port=number)
        with pytest.raises(
            OSError, match=f"cannot listen on 127.0.0.1, port {number}: Address already in use"
        ):
            asyncio.run(port.start())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot listen on unix:.*: Address already in use"):
        asyncio.run(MeshPort(mesh, "127.0.0.1:1", host=f"unix:{tmp_path}/file").start())
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.host\.invalid, port 0: "):
        asyncio.run(MeshPort(mesh, "127.0.0.1:1", host="no.such.host.invalid").start())


def test_sockets_that_cannot_be_listened_on_are_closed(mesh: Mesh) -> None:
    listener = socket.create_server((HOST, 0))
    connected = socket.create_connection(listener.getsockname())
    with pytest.raises(OSError, match="Invalid argument"):
        asyncio.run(MeshPort(mesh, "127.0.0.1:1").start([listener, connected]))
    assert listener.fileno() == connected.fileno() == -1


@EACH_LOOP
def test_a_unix_socket_is_for_its_owner_and_goes_with_the_port(
    loop: str, prod_ca: CA, upstream: Upstream, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    # As a process that was killed leaves it behind.
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    mesh = mesh_of(prod_ca, credentials=prod_ca.issue(PATH).svid)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    prod_ca.issue("/ns/pay/sa/payments").load_into(context)
    port = port_of(mesh, upstream, host=f"unix:{path}", client=True, expect="/ns/pay/sa/payments")
    with running_port(port, MAKERS[loop]), socket.socket(socket.AF_UNIX) as plain:
        assert port.addresses == (str(path),)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        plain.connect(str(path))
        plain.sendall(HELLO)
        with upstream.take() as service, context.wrap_socket(service.plain, server_side=True) as tls:
            assert tls.recv(len(HELLO)) == HELLO
    assert not path.exists()


def test_a_unix_socket_that_was_passed_keeps_its_name(mesh: Mesh, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    with running_port(MeshPort(mesh, "127.0.0.1:1"), sockets=[listener]):
        pass
    assert (tmp_path / "s").exists()


def test_a_flood_of_connections_lets_the_loop_go_on(
    mesh: Mesh, upstream: Upstream, client: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "AT_ONCE", 1)
    with running_port(port_of(mesh, upstream)) as running:
        silent = [connect(running) for _ in range(5)]
        with joined(running, upstream, client):
            pass
        for each in silent:
            each.close()


@EACH_LOOP
def test_out_of_files_it_goes_on_listening(  # noqa: PLR0913, PLR0917  # fixtures
    loop: str,
    mesh: Mesh,
    upstream: Upstream,
    client: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acceptor, "PAUSE_SECONDS", 0.05)
    # Another test may have asked for the lines about peers that are admitted.
    caplog.set_level(logging.WARNING, "meshid.audit")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (
        running_port(port_of(mesh, upstream), MAKERS[loop]) as running,
        socket.socket() as plain,
        joined(running, upstream, client),
    ):
        address = (HOST, running.number)
        # The lowest that is free: nothing can be opened.
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            plain.connect(address)
            assert eventually(lambda: caplog.records)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        line = Line(plain, client).shake_hands(HELLO)
        with upstream.take() as service:
            assert service.receive(len(HELLO)) == HELLO
        line.rest()
    assert caplog.records[0].getMessage() == (
        "cannot accept connections: OSError: '[Errno 24] Too many open files':"
        " raise the limit of open files (ulimit -n)"
    )


class Broken(socket.socket):
    """One that cannot accept, as where a firewall forbids it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[None] = []

    def accept(self) -> Any:  # noqa: ANN401
        self.asked.append(None)
        raise OSError(errno.EPERM, "Operation not permitted")


def test_a_system_that_cannot_accept_is_asked_again_and_again(
    mesh: Mesh, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And said once a second."""
    monkeypatch.setattr(acceptor, "PAUSE_SECONDS", 0.001)
    listener = Broken()
    listener.bind((HOST, 0))
    with running_port(MeshPort(mesh, "127.0.0.1:1"), sockets=[listener]) as running, connect(running):
        assert eventually(lambda: len(listener.asked) > 20)
    assert len(caplog.records) < len(listener.asked)
    assert caplog.records[0].getMessage() == (
        "cannot accept connections: PermissionError: '[Errno 1] Operation not permitted'"
    )


def test_a_pause_ends_with_the_port(
    mesh: Mesh, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "PAUSE_SECONDS", 3600)
    listener = Broken()
    listener.bind((HOST, 0))
    with running_port(MeshPort(mesh, "127.0.0.1:1"), sockets=[listener]) as running, connect(running):
        assert eventually(lambda: caplog.records)
        pause = running.port._acceptor._pause  # type: ignore[union-attr]  # noqa: SLF001
        assert pause is not None
        running.call(running.port.close())
        assert pause.cancelled()
    assert len(listener.asked) == 1


# -- How it ends ----------------------------------------------------------------------


@EACH_LOOP
def test_draining_waits_for_who_ends_and_cuts_off_who_does_not(
    loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    with running_port(port_of(mesh, upstream), MAKERS[loop]) as running:
        number = running.number
        with joined(running, upstream, client) as (one, service), joined(running, upstream, client) as rest:
            assert eventually(lambda: len(running.port) == 2)
            draining = asyncio.run_coroutine_threadsafe(running.port.drain(0.5), running.loop)
            assert eventually(lambda: running.port.addresses == ())
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((HOST, number), TIMEOUT)
            one.send(HELLO)
            assert service.receive(len(HELLO)) == HELLO
            one.end()
            service.end()
            assert one.rest() == service.rest() == (b"", "end")
            assert draining.result(TIMEOUT) == 1
            assert [each.rest() for each in rest] == [(b"", "reset")] * 2
        assert running.call(running.port.drain(1)) == 0
        assert len(running.port) == 0


@EACH_LOOP
def test_draining_ends_with_the_last_connection(
    loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    with (
        running_port(port_of(mesh, upstream), MAKERS[loop]) as running,
        joined(running, upstream, client) as (one, service),
    ):
        draining = asyncio.run_coroutine_threadsafe(running.port.drain(3600), running.loop)
        one.end()
        service.end()
        assert draining.result(TIMEOUT) == 0


@EACH_LOOP
def test_closing_cuts_off_all(loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext) -> None:
    with (
        running_port(port_of(mesh, upstream), MAKERS[loop]) as running,
        joined(running, upstream, client) as ends,
        Line(connect(running)) as silent,
    ):
        assert eventually(lambda: running.port.figures().handshakes == 1)
        running.call(running.port.close())
        assert [each.rest() for each in ends] == [(b"", "reset")] * 2
        assert silent.rest()[1] in {"end", "reset"}
        assert (len(running.port), running.port.figures().handshakes) == (0, 0)


# -- What the upstream is told --------------------------------------------------------


@EACH_LOOP
@pytest.mark.parametrize("tlv", [0xE0, 0xD0], ids=["0xE0", "0xD0"])
def test_the_upstream_is_told_who_is_connected(
    loop: str, tlv: int, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    port = port_of(mesh, upstream, proxy_protocol=True, spiffe_tlv=tlv)
    with running_port(port, MAKERS[loop]) as running, Line(connect(running), client) as line:
        line.shake_hands(HELLO)
        with upstream.take() as service:
            line.end()
            header = read_header(service.rest()[0])
        assert (header.source, header.destination) == (line.plain.getsockname(), line.plain.getpeername())
        assert header.entries[tlv] == f"spiffe://prod.example.org{PATH}".encode()
        assert header.tls[2] == {0x21: b"TLSv1.3"}
        assert len(header.entries[0x05]) == 32
        assert header.rest == HELLO
    assert port.figures().bytes_in == len(HELLO)


def _ask(running: Any, headers: list[tuple[bytes, bytes]]) -> tuple[int, dict[bytes, bytes]]:  # noqa: ANN401
    """Ask the authorizer of a port about ``GET /charges/1``."""
    sent: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/authorize",
        "raw_path": b"/authorize",
        "query_string": b"",
        "headers": [(b"x-original-method", b"GET"), (b"x-original-uri", b"/charges/1"), *headers],
    }
    running.call(running.port.authorizer()(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])


@EACH_LOOP
def test_the_upstream_asks_about_requests_by_the_handle_of_the_connection(
    loop: str, mesh: Mesh, prod_ca: CA, upstream: Upstream
) -> None:
    """The rule of support has http conditions: without an authorizer it would admit nobody."""
    context = stranger(prod_ca.issue("/ns/support/sa/desk"))
    port = port_of(mesh, upstream, proxy_protocol=True)
    app = port.authorizer()
    with running_port(port, MAKERS[loop]) as running:
        assert running.port.authorizer() is app
        with Line(connect(running), context) as line:
            line.shake_hands()
            with upstream.take() as service:
                service.plain.settimeout(TIMEOUT)
                handle = read_header(service.plain.recv(1024)).entries[0x05]
                named = (b"x-meshid-connection", handle)
                status, headers = _ask(running, [named])
                assert (status, headers[b"x-meshid-peer"]) == (
                    200,
                    b"spiffe://prod.example.org/ns/support/sa/desk",
                )
                assert headers[b"x-meshid-rule"] == b"support"
                assert _ask(running, [named, named])[0] == 403
                for other in ([], [(b"x-meshid-connection", b"0" * 32)]):
                    status, headers = _ask(running, other)
                    assert (status, headers[b"x-meshid-reason"]) == (401, b"no_certificate")
                status, headers = _ask(running, [(b"x-meshid-connection", b"\xff")])
                assert (status, headers[b"x-meshid-reason"]) == (403, b"malformed_certificate")
                mesh.publish(policy=policy())
                line.end()
                service.end()
        assert running.is_empty()
        assert _ask(running, [named])[0] == 401


def test_without_an_authorizer_a_rule_with_http_conditions_admits_nobody(
    mesh: Mesh, prod_ca: CA, upstream: Upstream
) -> None:
    context = stranger(prod_ca.issue("/ns/support/sa/desk"))
    with running_port(port_of(mesh, upstream, proxy_protocol=True)) as running:
        with Line(connect(running), context) as line, contextlib.suppress(ssl.SSLError):
            line.shake_hands()
            line.receive(1)
        assert running.is_empty()
    assert running.port.figures().refused == 1


# -- What it is given -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"mesh": None}, TypeError, "mesh must be a Mesh, not NoneType"),
        (
            {"upstream": 80},
            TypeError,
            "upstream must be a str such as '127.0.0.1:8080' or 'unix:/run/app.sock', not int",
        ),
        (
            {"upstream": "8080"},
            ValueError,
            "upstream '8080' is neither HOST:PORT, such as 127.0.0.1:8080, nor unix:/path",
        ),
        ({"upstream": ":8080"}, ValueError, "is neither HOST:PORT"),
        ({"upstream": "a b:8080"}, ValueError, "is neither HOST:PORT"),
        ({"upstream": "a" * 254 + ":80"}, ValueError, "is neither HOST:PORT"),
        ({"upstream": "a" * 64 + ":80"}, ValueError, "is neither HOST:PORT"),
        ({"upstream": "http://localhost:80"}, ValueError, "is neither HOST:PORT"),
        ({"upstream": "[localhost]:80"}, ValueError, "is neither HOST:PORT"),
        ({"upstream": "[127.0.0.1]:80"}, ValueError, "is neither HOST:PORT"),
        ({"upstream": "::1:80"}, ValueError, "has more than one colon: write an IPv6 address as [::1]:8080"),
        ({"upstream": "localhost:0"}, ValueError, "has no port from 1 to 65535 after its last colon"),
        ({"upstream": "localhost:65536"}, ValueError, "has no port from 1 to 65535"),
        ({"upstream": "localhost:٣"}, ValueError, "has no port from 1 to 65535"),
        ({"upstream": "localhost:"}, ValueError, "has no port from 1 to 65535"),
        (
            {"upstream": "unix:s"},
            ValueError,
            "upstream 'unix:s' must be unix: and an absolute path of at most 107 bytes",
        ),
        ({"upstream": "unix:/" + "ü" * 54}, ValueError, "at most 107 bytes"),
        ({"upstream": "unix:/a\0b"}, ValueError, "must be unix: and an absolute path"),
        (
            {"upstream": "10.0.0.1:80"},
            ValueError,
            "upstream '10.0.0.1:80' is not of the loopback, and would get plain text",
        ),
        ({"upstream": "[2001:db8::1]:80"}, ValueError, "upstream '[2001:db8::1]:80' is not of the loopback"),
        ({"upstream": "app.example:80"}, ValueError, "is not of the loopback"),
        ({"host": None}, TypeError, "host must be a str, not NoneType"),
        ({"host": "unix:"}, ValueError, "host 'unix:' must be unix: and an absolute path"),
        ({"port": "443"}, TypeError, "port must be a whole number, not str"),
        ({"port": True}, TypeError, "port must be a whole number, not bool"),
        ({"port": 65536}, ValueError, "port must be from 0 to 65535, not 65536"),
        ({"port": -1}, ValueError, "port must be from 0 to 65535, not -1"),
        ({"client": 1}, TypeError, "client must be True or False, not int"),
        ({"proxy_protocol": "no"}, TypeError, "proxy_protocol must be True or False, not str"),
        ({"remote_upstream": None}, TypeError, "remote_upstream must be True or False, not NoneType"),
        ({"client": True}, ValueError, "client=True needs expect="),
        (
            {"client": True, "expect": "/a", "target": "x"},
            ValueError,
            "target is for clients with a certificate",
        ),
        (
            {"client": True, "expect": "/a", "host": "::"},
            ValueError,
            "host '::' is not of the loopback",
        ),
        ({"expect": "/a", "proxy_protocol": True}, ValueError, "proxy_protocol is for a plain upstream"),
        (
            {"client": True, "expect": "/a", "alpn": ["h2", "http/1.1"]},
            ValueError,
            "alpn must be one protocol with client=True: clients speak plainly",
        ),
        ({"alpn": "h2"}, TypeError, "alpn must be a list of protocols: write ['h2']"),
        ({"alpn": [b"h2"]}, TypeError, "alpn must be a list of protocols as str, not of bytes"),
        ({"alpn": ["h2", ""]}, ValueError, "alpn has '', which is not 1 to 255 ASCII characters"),
        ({"expect": "/a**b"}, InvalidPattern, ""),
        ({"spiffe_tlv": 0x05}, ValueError, "spiffe_tlv must be 0xD0, or 0xE0 to 0xEF, not 5"),
        ({"target": 5}, TypeError, ""),
        ({"minimum_version": ssl.TLSVersion.TLSv1_1}, ValueError, "minimum_version must be"),
        (
            {"handshake_timeout": 0},
            ValueError,
            "handshake_timeout must be a positive, finite number of seconds",
        ),
        ({"connect_timeout": "5"}, TypeError, "connect_timeout must be a number of seconds, not str"),
        ({"connect_timeout": True}, TypeError, "connect_timeout must be a number of seconds, not bool"),
        (
            {"half_close_timeout": math.nan},
            ValueError,
            "half_close_timeout must be a positive, finite number",
        ),
        ({"idle_timeout": math.inf}, ValueError, "idle_timeout must be a positive, finite number"),
        ({"idle_timeout": 0}, ValueError, "idle_timeout must be a positive, finite number of seconds, not 0"),
        ({"max_connections": 0}, ValueError, "max_connections must be from 1 to"),
        ({"max_connections": 1.5}, TypeError, "max_connections must be a whole number, not float"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence(
    options: dict[str, Any], error: type[Exception], text: str, mesh: Mesh
) -> None:
    given: dict[str, Any] = {"mesh": mesh, "upstream": "127.0.0.1:8080", **options}
    with pytest.raises(error) as raised:
        MeshPort(given.pop("mesh"), given.pop("upstream"), **given)
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_right(mesh: Mesh) -> None:
    for upstream in ("127.0.0.2:80", "[::1]:80", "localhost:80", "unix:/run/app.sock"):
        MeshPort(mesh, upstream)
    MeshPort(mesh, "app.example:80", remote_upstream=True)
    MeshPort(mesh, "app.example:80", expect="/ns/pay/sa/api")
    MeshPort(mesh, "app.example:80", expect="/ns/pay/sa/api", client=True, host="unix:/run/s")


def test_there_must_be_a_target_and_credentials(prod_ca: CA) -> None:
    with pytest.raises(ValueError, match="target"):
        MeshPort(mesh_of(prod_ca, service=None), "127.0.0.1:80")
    with pytest.raises(InvalidCredentials):
        asyncio.run(MeshPort(mesh_of(prod_ca, credentials=None), "127.0.0.1:80").start())


def test_an_authorizer_needs_the_proxy_protocol(mesh: Mesh) -> None:
    with pytest.raises(ValueError, match="needs proxy_protocol=True"):
        MeshPort(mesh, "127.0.0.1:80").authorizer()


@pytest.mark.parametrize(
    ("files", "handshakes", "connections"),
    [
        (20, 5, 1),
        (256, 64, 32),
        (1024, 256, 320),
        (1 << 20, MAX_HANDSHAKES, MAX_CONNECTIONS),
        (resource.RLIM_INFINITY, MAX_HANDSHAKES, MAX_CONNECTIONS),
    ],
    ids=str,
)
def test_the_limit_of_open_files_is_enough_for_all(
    files: int, handshakes: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert limits(None) == (handshakes, connections)
    assert limits(7) == (handshakes, 7)


def test_who_does_not_use_it_does_not_load_it() -> None:
    program = "import sys, meshid; sys.exit('meshid.port' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_stays_encoded_in_a_mesh_does_so_for_the_authorizer_of_a_port(prod_ca: CA) -> None:
    mesh = mesh_of(prod_ca, keep_encoded=["%2F"])
    port = MeshPort(mesh, "127.0.0.1:80", proxy_protocol=True)
    both = Memory(mesh.server_context(http=True), stranger(prod_ca.issue("/ns/support/sa/desk")))
    both.shake_hands()
    handle = port._plan.handles.add(both.server).encode()  # type: ignore[arg-type]  # noqa: SLF001
    for target, status in (("/charges/a%2fb", 200), ("/charges/a%3Bb", 403)):
        pairs = [(b"x-meshid-connection", handle)]
        assert asked(port.authorizer(), question("nginx", "GET", target, pairs)).status == status

"""What a refused peer gets to read, taken off the wire."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import anyio
import attrs
import pytest
import trio

from meshid import Mesh, PeerRejected, Reason
from meshid.testing import CA, Issued
from meshid.tls import alerts
from tests.helpers.alerts import VERSIONS, Version, WireEnd, client_of, visit, wire_server
from tests.helpers.loops import EVERYWHERE, new_uvloop
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import (
    CLOSED_POLICY,
    HELLO,
    HOST,
    PATH,
    TIMEOUT,
    Heard,
    Memory,
    Service,
    Serving,
    lazy_server,
    mesh_of,
    stranger,
)
from tests.helpers.world import HOUR, World

TLS12 = ssl.TLSVersion.TLSv1_2
UNKNOWN = "/ns/unknown/sa/web"

EACH_VERSION = pytest.mark.parametrize("version", VERSIONS)


# -- Clients that are refused -----------------------------------------------------


class _Silent(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def http_server(context: ssl.SSLContext) -> Iterator[Service]:
    """Serve as the documentation of `http.server` does: with a listener that is wrapped as a whole."""
    service = Service()
    with http.server.ThreadingHTTPServer((HOST, 0), _Silent) as server:
        service.port = server.server_address[1]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join(TIMEOUT)


SERVERS: dict[str, Serving] = {**EVERYWHERE, "lazy": lazy_server, "http_server": http_server}
EACH_SERVER = pytest.mark.parametrize("serve", SERVERS.values(), ids=list(SERVERS))


@attrs.frozen
class Refused:
    """A client that may not be there, and why."""

    issue: Callable[[World], Issued | None]
    reason: Reason

    def alert(self, version: Version) -> str:
        """Return what it gets to read (RFC 8446 section 4.4.2.4, RFC 5246 section 7.4.6)."""
        if self.reason is not Reason.NO_CERTIFICATE:
            return "unknown_ca"
        return "certificate_required" if version == "TLSv1.3" else "handshake_failure"


REFUSED = {
    "of an unknown authority": Refused(
        lambda _: CA("prod.example.org").issue(PATH), Reason.UNKNOWN_AUTHORITY
    ),
    "of an unknown trust domain": Refused(
        lambda world: world.stranger.issue(PATH), Reason.UNKNOWN_TRUST_DOMAIN
    ),
    "without a rule": Refused(lambda world: world.prod.issue(UNKNOWN), Reason.NO_RULE),
    "on the deny list": Refused(lambda world: world.denied_leaf, Reason.DENY_LISTED),
    "on a revocation list": Refused(lambda world: world.revoked_leaf, Reason.REVOKED),
    "expired": Refused(
        lambda world: world.prod.issue(PATH, not_after=datetime.now(UTC) - HOUR), Reason.EXPIRED
    ),
    "without a certificate": Refused(lambda _: None, Reason.NO_CERTIFICATE),
}


@attrs.frozen
class Site:
    """A server on one of the loops, and what its mesh tells."""

    service: Service
    heard: Heard


@pytest.fixture(scope="module", params=SERVERS.values(), ids=list(SERVERS))
def site(world: World, request: pytest.FixtureRequest) -> Iterator[Site]:
    heard = Heard()
    mesh = mesh_of(world.prod, revocations=world.revocations, audit=heard)
    serve: Serving = request.param
    with serve(mesh.server_context(minimum_version=TLS12)) as service:
        yield Site(service, heard)


@EACH_VERSION
@pytest.mark.parametrize("client", REFUSED.values(), ids=list(REFUSED))
def test_a_refused_client_reads_an_alert(client: Refused, version: Version, site: Site, world: World) -> None:
    """With bytes of its own under way, and while it waits for ours."""
    context = client_of(version, client.issue(world))
    for hello in (HELLO, b""):
        seen = visit(site.service.port, context, hello)
        assert seen.alerts == (client.alert(version),)
        assert seen.ending == "eof"
        assert seen.answer == b""
        assert seen.agreed is (version == "TLSv1.3")
        assert site.heard.reason() is client.reason
    assert site.heard.is_quiet()


@EACH_SERVER
def test_a_client_that_is_too_old_reads_an_alert(serve: Serving, mesh: Mesh, prod_ca: CA) -> None:
    with serve(mesh.server_context()) as service:
        seen = visit(service.port, client_of("TLSv1.2", prod_ca.issue(PATH)))
    assert (seen.alerts, seen.ending) == (("protocol_version",), "eof")


@EACH_VERSION
@EACH_SERVER
def test_a_client_that_resumes_a_session_in_vain_reads_close_notify(
    serve: Serving, version: Version, mesh: Mesh, prod_ca: CA, heard: Heard
) -> None:
    """It is decided about after the handshake, where Python can send no other alert."""
    context = client_of(version, prod_ca.issue(PATH))
    with serve(mesh.server_context(resumption=True, minimum_version=TLS12)) as service:
        first = visit(service.port, context)
        assert heard.reason() is Reason.ALLOWED
        mesh.publish(policy=CLOSED_POLICY)
        for hello in (HELLO, b""):
            seen = visit(service.port, context, hello, session=first.session)
            assert seen.resumed
            assert (seen.alerts, seen.ending, seen.answer) == (("close_notify",), "eof", b"")
    assert heard.of_handshakes() == [Reason.NO_RULE, Reason.NO_RULE]


@EACH_SERVER
@EACH_VERSION
def test_a_client_that_does_not_hang_up_is_not_waited_for(
    version: Version, serve: Serving, mesh: Mesh, prod_ca: CA
) -> None:
    context, stranger = client_of(version, prod_ca.issue(PATH)), client_of(version)
    with serve(mesh.server_context(resumption=True, minimum_version=TLS12)) as service:
        session = visit(service.port, context).session
        mesh.publish(policy=CLOSED_POLICY)
        before = time.monotonic()
        assert visit(service.port, stranger, lingers=True).ending == "eof"
        assert visit(service.port, context, b"", session=session, lingers=True).alerts == ("close_notify",)
        assert time.monotonic() - before < TIMEOUT / 2


@EACH_VERSION
@pytest.mark.parametrize("serve", EVERYWHERE.values(), ids=list(EVERYWHERE))
def test_a_client_whose_open_connection_is_ended_reads_no_close_notify(
    serve: Serving, version: Version, mesh: Mesh, prod_ca: CA
) -> None:
    """What was cut off must not look complete (RFC 8446 section 6.1)."""
    with (
        ThreadPoolExecutor(1) as pool,
        serve(mesh.server_context(minimum_version=TLS12)) as service,
        socket.create_connection((HOST, service.port), TIMEOUT) as plain,
    ):
        client = WireEnd(client_of(version, prod_ca.issue(PATH)), plain)
        visiting = pool.submit(client.talk, b"")
        assert client.has_agreed.wait(TIMEOUT)
        assert eventually(lambda: mesh.open_connections == 1)
        mesh.publish(policy=CLOSED_POLICY)
        seen = visiting.result(TIMEOUT)
    assert seen.alerts == ()
    assert seen.ending in {"eof", "reset"}
    assert seen.error == "UNEXPECTED_EOF_WHILE_READING"


# -- Servers that are refused -----------------------------------------------------


async def _open_connection(port: int, context: ssl.SSLContext) -> None:
    _, writer = await asyncio.open_connection(HOST, port, ssl=context)
    writer.close()


def connect_asyncio(port: int, context: ssl.SSLContext) -> None:
    asyncio.run(_open_connection(port, context))


def connect_uvloop(port: int, context: ssl.SSLContext) -> None:
    with asyncio.Runner(loop_factory=new_uvloop) as runner:
        runner.run(_open_connection(port, context))


def connect_trio(port: int, context: ssl.SSLContext) -> None:
    async def connect() -> None:
        stream = await trio.open_ssl_over_tcp_stream(HOST, port, ssl_context=context)
        async with stream:
            await stream.do_handshake()

    trio.run(connect)


def connect_anyio(port: int, context: ssl.SSLContext) -> None:
    async def connect() -> None:
        async with await anyio.connect_tcp(HOST, port, ssl_context=context):
            pass

    anyio.run(connect)


def connect_blocking(port: int, context: ssl.SSLContext) -> None:
    with socket.create_connection((HOST, port), TIMEOUT) as plain, context.wrap_socket(plain):
        pass


CONNECT: dict[str, Callable[[int, ssl.SSLContext], None]] = {
    "asyncio": connect_asyncio,
    "uvloop": connect_uvloop,
    "trio": connect_trio,
    "anyio": connect_anyio,
    "threads": connect_blocking,
}

WRONG: dict[str, tuple[Callable[[World], Issued], Reason]] = {
    "of an unknown authority": (lambda world: world.stranger.issue(PATH), Reason.UNKNOWN_TRUST_DOMAIN),
    "of another name": (lambda world: world.prod.issue(UNKNOWN), Reason.UNEXPECTED_SERVER),
    "on the deny list": (lambda world: world.denied_leaf, Reason.DENY_LISTED),
}


@EACH_VERSION
@pytest.mark.parametrize("connect", CONNECT.values(), ids=list(CONNECT))
@pytest.mark.parametrize(("issue", "reason"), WRONG.values(), ids=list(WRONG))
def test_a_refused_server_reads_an_alert(
    issue: Callable[[World], Issued],
    reason: Reason,
    connect: Callable[[int, ssl.SSLContext], None],
    version: Version,
    world: World,
) -> None:
    """And whoever connects gets the reason."""
    context = mesh_of(world.prod, revocations=world.revocations).client_context([PATH], minimum_version=TLS12)
    with wire_server(issue(world), version) as (port, seen), pytest.raises(Exception) as caught:  # noqa: PT011
        connect(port, context)
    assert [(each.alerts, each.ending, each.agreed) for each in seen] == [(("unknown_ca",), "eof", False)]
    # trio wraps it.
    refusal = caught.value.__cause__ or caught.value
    assert isinstance(refusal, PeerRejected)
    assert refusal.reason is reason


# -- Other TLS libraries ----------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "path", "words", "number"),
    [
        ("-tls1_3", UNKNOWN, "tlsv1 alert unknown ca", 48),
        ("-tls1_2", UNKNOWN, "tlsv1 alert unknown ca", 48),
        ("-tls1_3", None, "tlsv13 alert certificate required", 116),
        ("-tls1_2", None, "sslv3 alert handshake failure", 40),
    ],
)
@pytest.mark.parametrize("serve", SERVERS.values(), ids=list(SERVERS))
def test_openssl_says_why(  # noqa: PLR0913, PLR0917  # fixtures
    version: str,
    path: str | None,
    words: str,
    number: int,
    serve: Serving,
    mesh: Mesh,
    prod_ca: CA,
    tmp_path: Path,
) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None
    options: list[str] = []
    if path is not None:
        client = prod_ca.issue(path)
        (tmp_path / "client.pem").write_bytes(client.chain_pem + client.key_pem)
        options = ["-cert", str(tmp_path / "client.pem")]
    with serve(mesh.server_context(minimum_version=TLS12)) as service:
        told = subprocess.run(
            [openssl, "s_client", "-connect", f"{HOST}:{service.port}", "-quiet", version, *options],
            input=HELLO,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    assert told.stdout == b""
    said = told.stderr.decode()
    assert words in said
    assert f"SSL alert number {number}" in said


# -- How it is sent ---------------------------------------------------------------


def test_whoever_drives_an_ssl_object_by_hand_is_asked_to_send_the_alert_and_then_told(
    mesh: Mesh, prod_ca: CA, heard: Heard
) -> None:
    both = Memory(mesh.server_context(), stranger(prod_ca.issue(UNKNOWN)))
    for step in (both.client, both.server, both.client):
        with contextlib.suppress(ssl.SSLWantReadError):
            step.do_handshake()
        both.to_server.write(both.sent.read())
    with pytest.raises(ssl.SSLWantReadError):
        both.server.do_handshake()
    with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
        both.client.read()
    for call in (both.server.do_handshake, both.server.read, lambda: both.server.write(b"secret")):
        with pytest.raises(PeerRejected):
            call()
        assert both.to_client.read() == b""
    assert heard.reason() is Reason.NO_RULE
    assert heard.is_quiet()


def test_a_client_that_has_hung_up_is_waited_for_by_nobody(mesh: Mesh) -> None:
    both = Memory(mesh.server_context(), stranger())
    both.to_server.write_eof()
    with pytest.raises(ssl.SSLEOFError):
        both.server.do_handshake()


class Failed(ssl.SSLSocket):
    """A socket whose handshake has failed: what is below TLS is all that counts."""

    def __init__(self, sock: socket.socket) -> None:
        socket.socket.__init__(self, fileno=sock.detach())

    def version(self) -> None:
        return None


def failed_and_other_end() -> tuple[Failed, socket.socket]:
    ours, theirs = socket.socketpair()
    return Failed(ours), theirs


@pytest.mark.parametrize("timeout", [None, 0, TIMEOUT])
def test_a_socket_ends_its_half_and_reads_off_what_is_there(
    timeout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the end only if its owner would wait, too."""
    monkeypatch.setattr(alerts, "LINGER_SECONDS", 1.5 * TIMEOUT)
    ours, theirs = failed_and_other_end()
    with ours, theirs:
        theirs.settimeout(TIMEOUT)
        theirs.sendall(bytes(50_000))
        if timeout != 0:
            theirs.shutdown(socket.SHUT_WR)
        ours.settimeout(timeout)
        before = time.monotonic()
        alerts.part(ours, Failed)
        assert time.monotonic() - before < TIMEOUT
        assert ours.gettimeout() == timeout
        assert theirs.recv(1) == b""
        assert select.select([ours], [], [], 0)[0] == ([] if timeout == 0 else [ours])


def test_a_socket_waits_for_silence_only_a_moment() -> None:
    ours, theirs = failed_and_other_end()
    with ours, theirs:
        ours.settimeout(None)
        alerts.part(ours, Failed)
        assert ours.gettimeout() is None


def test_a_socket_reads_off_so_many_bytes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "MAX_READ_OFF", 30_000)
    ours, theirs = failed_and_other_end()
    with ours, theirs:
        theirs.sendall(bytes(100_000))
        alerts.part(ours, Failed)
        assert socket.socket.recv(ours, 1) == b"\0"


def test_a_socket_reads_off_for_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.0, alerts.LINGER_SECONDS])
    monkeypatch.setattr("meshid.tls.alerts.time.monotonic", lambda: next(times))
    ours, theirs = failed_and_other_end()
    with ours, theirs:
        theirs.sendall(bytes(100_000))
        alerts.part(ours, Failed)
        assert socket.socket.recv(ours, 1) == b"\0"


def test_a_socket_that_is_closed_already_is_left_alone() -> None:
    ours, theirs = failed_and_other_end()
    with theirs:
        ours.close()
        alerts.part(ours, Failed)

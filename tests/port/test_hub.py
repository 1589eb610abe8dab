"""Who is let in, how many, and what happens if the upstream cannot be reached."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshid import Mesh, Reason, Revocations
from meshid.port import MeshPort, tls_side
from meshid.port import hub as hubs
from meshid.testing import CA
from tests.helpers.alerts import VERSIONS, Version, client_of, visit
from tests.helpers.mounted import eventually
from tests.helpers.ports import (
    MAKERS,
    Line,
    Running,
    Upstream,
    connect,
    joined,
    port_of,
    running_port,
    tcp_upstream,
    unix_upstream,
)
from tests.helpers.tls_peers import (
    HELLO,
    HOST,
    PATH,
    TIMEOUT,
    Heard,
    client_hello,
    credentials,
    mesh_of,
    stranger,
)

EACH_LOOP = pytest.mark.parametrize("loop", MAKERS)


@pytest.fixture
def client(prod_ca: CA) -> ssl.SSLContext:
    """The context of a client that is admitted."""
    return stranger(prod_ca.issue(PATH))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with tcp_upstream() as found:
        yield found


def lines(caplog: pytest.LogCaptureFixture, logger: str = "meshid.port") -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == logger]


# -- Who is refused ---------------------------------------------------------------


@EACH_LOOP
@pytest.mark.parametrize("version", VERSIONS)
def test_who_is_refused_reads_an_alert_and_nothing_reaches_the_upstream(  # noqa: PLR0913, PLR0917  # fixtures
    loop: str, version: Version, mesh: Mesh, heard: Heard, prod_ca: CA, upstream: Upstream
) -> None:
    """Each sends a request with its last flight, as clients do that do not wait."""
    strangers = {
        "forged": (CA("prod.example.org").issue(PATH), Reason.UNKNOWN_AUTHORITY, "unknown_ca"),
        "denied": (prod_ca.issue("/ns/shop/sa/agent"), Reason.DENIED, "unknown_ca"),
        "none": (
            None,
            Reason.NO_CERTIFICATE,
            "certificate_required" if version == "TLSv1.3" else "handshake_failure",
        ),
    }
    port = port_of(mesh, upstream, minimum_version=ssl.TLSVersion.TLSv1_2)
    with running_port(port, MAKERS[loop]) as running:
        for presented, reason, alert in strangers.values():
            seen = visit(running.number, client_of(version, presented), bytes(200_000))
            assert (seen.alerts, seen.ending, seen.answer) == ((alert,), "eof", b"")
            assert heard.reason() is reason
        assert running.is_empty()
        assert upstream.is_quiet()
    figures = port.figures()
    assert (figures.refused, figures.admitted, figures.broken_off) == (3, 0, 0)
    assert figures.bytes_in == figures.bytes_out == 0


@EACH_LOOP
def test_who_speaks_no_tls_or_hangs_up_has_broken_off(
    loop: str, mesh: Mesh, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    port = port_of(mesh, upstream)
    with running_port(port, MAKERS[loop]) as running:
        with Line(connect(running)) as line:
            line.send(b"GET / HTTP/1.1\r\n\r\n")
            assert line.rest()[1] == "end"
        for said in (b"", client_hello()[:20], client_hello()):
            with Line(connect(running)) as line:
                line.send(said)
                line.end()
                line.rest()
        assert running.is_empty()
        assert upstream.is_quiet()
    assert port.figures().broken_off == 4
    (told,) = lines(caplog, "meshid.tls")
    assert "it speaks HTTP without TLS" in told


@EACH_LOOP
def test_who_talks_on_after_a_refusal_is_read_for_a_while(
    loop: str, mesh: Mesh, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_side, "LINGER_SECONDS", TIMEOUT)
    monkeypatch.setattr(tls_side, "MAX_READ_OFF", 100_000)
    with running_port(port_of(mesh, upstream), MAKERS[loop]) as running:
        with Line(connect(running), stranger(CA("prod.example.org").issue(PATH))) as line:
            line.shake_hands()
            with pytest.raises(ConnectionError):
                line.plain.sendall(bytes(10_000_000))
        assert running.is_empty()


@EACH_LOOP
def test_who_does_not_hang_up_after_a_refusal_is_hung_up_on(
    loop: str, mesh: Mesh, upstream: Upstream
) -> None:
    with running_port(port_of(mesh, upstream), MAKERS[loop]) as running, connect(running) as plain:
        plain.sendall(b"no TLS at all")
        assert running.is_empty()


# -- How many, and for how long -----------------------------------------------------


@EACH_LOOP
def test_a_handshake_has_a_deadline(
    loop: str, mesh: Mesh, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    port = port_of(mesh, upstream, handshake_timeout=0.2)
    with running_port(port, MAKERS[loop]) as running:
        with Line(connect(running)) as silent, Line(connect(running)) as slow:
            slow.send(client_hello()[:20])
            assert eventually(lambda: port.figures().handshakes == 2)
            assert silent.rest()[1] in {"end", "reset"}
            assert slow.rest()[1] in {"end", "reset"}
        assert running.is_empty()
    assert (port.figures().broken_off, port.figures().handshakes) == (2, 0)
    # Told when both have ended, by the thread that ends them.
    assert eventually(lambda: lines(caplog, "meshid.tls"))
    assert set(lines(caplog, "meshid.tls")) == {
        f"no TLS handshake with a client from {HOST}: the handshake did not end within 0.2 s"
    }


@EACH_LOOP
def test_strangers_do_not_keep_a_good_client_out(
    loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold as many handshakes as there may be, and the oldest gives way; connections count apart."""
    monkeypatch.setattr("meshid.port.arguments.MAX_HANDSHAKES", 2)
    port = port_of(mesh, upstream, max_connections=1)
    with running_port(port, MAKERS[loop]) as running:
        silent = [Line(connect(running)) for _ in range(2)]
        assert eventually(lambda: port.figures().handshakes == 2)
        with joined(running, upstream, client) as (ours, service):
            assert silent[0].rest()[1] in {"end", "reset"}
            ours.send(HELLO)
            assert service.receive(len(HELLO)) == HELLO
            assert (port.figures().handshakes, len(port)) == (1, 1)
        for each in silent:
            each.plain.close()
        assert running.is_empty()


@EACH_LOOP
def test_a_flood_of_failures_is_not_waited_for(
    loop: str, mesh: Mesh, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What strangers hold is bounded, whether they say nothing or nonsense."""
    monkeypatch.setattr(hubs, "MAX_PARTING", 2)
    monkeypatch.setattr(tls_side, "LINGER_SECONDS", TIMEOUT)
    port = port_of(mesh, upstream)
    with running_port(port, MAKERS[loop]) as running:
        flood = []
        for _ in range(5):
            flood.append(Line(connect(running)))
            flood[-1].send(b"GET / HTTP/1.1\r\n\r\n")
            assert flood[-1].rest()[1] in {"end", "reset"}
        assert eventually(lambda: len(running.hub._relays) == 2)  # noqa: SLF001 - what strangers hold
        for each in flood:
            each.plain.close()
        assert running.is_empty()


@EACH_LOOP
def test_while_the_port_is_full_who_comes_next_waits(
    loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext
) -> None:
    port = port_of(mesh, upstream, max_connections=1)
    with running_port(port, MAKERS[loop]) as running:
        with joined(running, upstream, client) as (first, service):
            assert eventually(lambda: len(port) == 1)
            with Line(connect(running), client) as waiting:
                waiting.plain.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    waiting.shake_hands()
                assert port.figures().handshakes == 0
                waiting.plain.settimeout(TIMEOUT)
                first.reset()
                service.rest()
                waiting.shake_hands()
                with upstream.take() as next_service:
                    waiting.send(HELLO)
                    assert next_service.receive(len(HELLO)) == HELLO
        assert running.is_empty()


def test_a_handshake_that_ends_when_the_port_is_full_is_cut_off(
    mesh: Mesh, upstream: Upstream, client: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    port = port_of(mesh, upstream, max_connections=1)
    with running_port(port) as running, Line(connect(running), client) as late:
        assert eventually(lambda: port.figures().handshakes == 1)
        with joined(running, upstream, client):
            late.shake_hands()
            assert late.rest() == (b"", "reset")
        assert upstream.is_quiet()
    assert (port.figures().over_limit, port.figures().admitted) == (1, 1)
    assert lines(caplog) == ["a peer that was admitted is cut off: 1 are connected, as many as may"]


# -- The upstream -------------------------------------------------------------------


@EACH_LOOP
def test_without_an_upstream_a_client_is_cut_off_at_once(
    loop: str, mesh: Mesh, client: ssl.SSLContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tcp_upstream() as gone:
        pass
    nowhere = (gone.address, "Connection refused"), (f"unix:{tmp_path}/none", "No such file or directory")
    for address, why in nowhere:
        port = MeshPort(mesh, address)
        with running_port(port, MAKERS[loop]) as running:
            for _ in range(12):
                with Line(connect(running), client) as line:
                    line.shake_hands(HELLO)
                    assert line.rest() == (b"", "reset")
            assert running.is_empty()
        assert (port.figures().upstream_failures, port.figures().admitted) == (12, 12)
        told = lines(caplog)
        # A burst, and then one a second.
        assert 10 <= len(told) <= 12
        assert told[0] == f"cannot connect to the upstream {address}: {why}"
        caplog.clear()


@EACH_LOOP
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_an_upstream_that_does_not_answer_is_given_up(  # noqa: PLR0913, PLR0917  # fixtures
    loop: str,
    kind: str,
    mesh: Mesh,
    client: ssl.SSLContext,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = tcp_upstream(0) if kind == "tcp" else unix_upstream(tmp_path / "s", 0)
    with made as upstream:
        # The queue of the kernel is full.
        full = []
        for _ in range(4):
            sock = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
            sock.setblocking(False)
            full.append(sock)
            sock.connect_ex(str(tmp_path / "s") if kind == "unix" else (HOST, int(upstream.address[10:])))
        port = port_of(mesh, upstream, connect_timeout=0.3)
        with running_port(port, MAKERS[loop]) as running, Line(connect(running), client) as line:
            line.shake_hands(HELLO)
            assert line.rest() == (b"", "reset")
        for each in full:
            each.close()
    assert port.figures().upstream_failures == 1
    assert lines(caplog) == [
        f"cannot connect to the upstream {upstream.address}: it did not answer within 0.3 s"
    ]


@EACH_LOOP
def test_a_unix_socket_whose_queue_was_full_is_tried_again(
    loop: str, mesh: Mesh, client: ssl.SSLContext, tmp_path: Path
) -> None:
    with unix_upstream(tmp_path / "s", 0) as upstream, socket.socket(socket.AF_UNIX) as first:
        first.connect(str(tmp_path / "s"))
        with (
            running_port(port_of(mesh, upstream), MAKERS[loop]) as running,
            Line(connect(running), client) as line,
        ):
            line.shake_hands(HELLO)
            assert eventually(lambda: len(running.port) == 1)
            with upstream.take(), upstream.take() as service:
                assert service.receive(len(HELLO)) == HELLO


@EACH_LOOP
def test_a_peer_that_is_revoked_while_the_upstream_is_connected_is_cut_off(
    loop: str, mesh: Mesh, client: ssl.SSLContext, tmp_path: Path
) -> None:
    with unix_upstream(tmp_path / "s", 0) as upstream, socket.socket(socket.AF_UNIX) as first:
        first.connect(str(tmp_path / "s"))
        with running_port(port_of(mesh, upstream), MAKERS[loop]) as running:
            with Line(connect(running), client) as line:
                line.shake_hands(HELLO)
                assert eventually(lambda: len(running.port) == 1)
                mesh.publish(revocations=Revocations(deny=[f"spiffe://prod.example.org{PATH}"]))
                assert line.rest() == (b"", "reset")
            assert running.is_empty()
    assert running.port.figures().upstream_failures == 0


@EACH_LOOP
def test_a_connection_that_is_cut_off_when_the_upstream_has_just_been_connected(
    loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that connects does not know yet, and is cancelled: uvloop then closes without a word."""

    def cut_off(*_: object) -> bytes:
        running.relay().abort()
        return b""

    with running_port(port_of(mesh, upstream), MAKERS[loop]) as running:
        monkeypatch.setattr(running.hub, "joined", cut_off)
        with Line(connect(running), client) as line:
            line.shake_hands(HELLO)
            assert line.rest() == (b"", "reset")
            with upstream.take() as service:
                assert service.rest()[0] == b""
        assert running.is_empty()


def test_a_client_whose_tls_cannot_be_made_is_cut_off(
    mesh: Mesh,
    upstream: Upstream,
    client: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Our key goes through a file, and there may be none to be had."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with running_port(port_of(mesh, upstream)) as running:
        with monkeypatch.context() as failing:
            failing.setattr(hubs, "TlsSide", fail)
            with Line(connect(running)) as line:
                assert line.rest()[1] in {"end", "reset"}
        with joined(running, upstream, client):
            pass
    assert lines(caplog) == ["cannot serve a client: No space left on device"]


# -- TLS to the upstream ------------------------------------------------------------


def _plain(running: Running) -> Line:
    return Line(connect(running))


@EACH_LOOP
def test_a_plain_client_reaches_a_server_of_the_mesh(
    loop: str, prod_ca: CA, mesh: Mesh, upstream: Upstream
) -> None:
    """Through two ports: the one of the client speaks TLS with the one of the server."""
    ours = mesh_of(prod_ca, credentials=prod_ca.issue(PATH).svid)
    with running_port(port_of(mesh, upstream), MAKERS[loop]) as server:
        far = f"localhost:{server.number}"
        near = MeshPort(ours, far, client=True, expect="/ns/pay/sa/payments")
        with running_port(near, MAKERS[loop]) as running:
            with _plain(running) as client:
                # Sent at once, long before there is anybody to read it.
                client.send(HELLO)
                client.end()
                with upstream.take() as service:
                    assert service.rest() == (HELLO, "end")
                    service.send(bytes(1 << 20))
                    service.end()
                    assert client.rest() == (bytes(1 << 20), "end")
            assert running.is_empty()
            with _plain(running) as client, upstream.take() as service:
                service.reset()
                assert client.rest() == (b"", "reset")
            assert running.is_empty()
    figures = near.figures()
    assert (figures.admitted, figures.upstream_failures, figures.handshakes) == (2, 0, 0)


@EACH_LOOP
def test_a_server_that_was_not_expected_reads_an_alert_and_gets_nothing(
    loop: str, prod_ca: CA, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    mesh = mesh_of(prod_ca, credentials=credentials(prod_ca))
    port = port_of(mesh, upstream, client=True, expect="/ns/other/sa/api")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    prod_ca.issue(PATH).load_into(context)
    with running_port(port, MAKERS[loop]) as running:
        with _plain(running) as client:
            client.send(HELLO)
            with upstream.take() as service, pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
                context.wrap_socket(service.plain, server_side=True).recv(1)
            assert client.rest() == (b"", "reset")
        assert running.is_empty()
    assert (port.figures().upstream_failures, port.figures().admitted) == (1, 0)
    assert lines(caplog) == [
        f"cannot connect to the upstream {upstream.address}: it was refused (unexpected_server)"
    ]


@EACH_LOOP
def test_an_upstream_that_is_silent_in_the_handshake_is_given_up(
    loop: str, mesh: Mesh, upstream: Upstream, client: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    port = port_of(mesh, upstream, expect="/ns/pay/sa/payments", handshake_timeout=0.5)
    with running_port(port, MAKERS[loop]) as running:
        with Line(connect(running), client) as line:
            line.shake_hands(HELLO)
            with upstream.take():
                assert line.rest() == (b"", "reset")
        assert running.is_empty()
    assert (port.figures().upstream_failures, port.figures().admitted) == (1, 1)
    assert len(lines(caplog)) == 1
    assert "the handshake did not end within 0.5 s" in lines(caplog)[0]

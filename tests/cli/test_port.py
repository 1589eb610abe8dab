"""`meshid port` as an operator runs it: what it prints, what it logs, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import logging
import os
import queue
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshid import InvalidSettings, Settings
from meshid.__main__ import main
from meshid.cli.log_lines import show_log
from meshid.cli.no_answer import NoAnswer
from meshid.cli.port import _loop_factory
from meshid.cli.port.cannot_listen import listening_at, why_not
from meshid.cli.port.checks import check
from meshid.cli.port.readiness import Readiness
from meshid.cli.port.running import Running
from meshid.errors import InvalidInput
from meshid.policy import Policy
from meshid.support.logs import WARNING, failures, log
from meshid.testing import CA
from tests.helpers.activation import activated
from tests.helpers.mounted import eventually
from tests.helpers.port_process import (
    CHECKOUT,
    MESHID,
    POLICY,
    PortFiles,
    PortProcess,
    connected,
    echo,
    started,
)
from tests.helpers.proxy_protocol import read_header
from tests.helpers.tls_peers import HOST, TIMEOUT, Service, mesh_of, threaded_server
from tests.helpers.unix_http import UnixConnection

WITHOUT_UVLOOP = [
    sys.executable,
    "-c",
    "import sys; sys.modules['uvloop'] = None\nfrom meshid.__main__ import main; sys.exit(main())",
]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is listened at is free, and closed soon
COMMANDS = {"uvloop": [MESHID], "asyncio": WITHOUT_UVLOOP}

Start = Callable[..., contextlib.AbstractContextManager[PortProcess]]


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA("prod.example.org")


@pytest.fixture(scope="module")
def files(ca: CA, tmp_path_factory: pytest.TempPathFactory) -> PortFiles:
    return PortFiles(tmp_path_factory.mktemp("port"), ca)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with threaded_server(echo) as service:
        yield f"{HOST}:{service.port}"


@pytest.fixture
def start(files: PortFiles, upstream: str, tmp_path: Path) -> Start:
    def start(*options: str, loop: str = "uvloop", **variables: str) -> object:
        environ = {**files.environ, "MESHID_UPSTREAM": upstream, **variables}
        return started([*COMMANDS[loop], "port", *options], environ, tmp_path / "log")

    return start  # type: ignore[return-value]


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """What the command changes in this process."""
    logger = logging.getLogger("meshid")
    handlers, level, ended = list(logger.handlers), logger.level, signal.getsignal(signal.SIGHUP)
    yield
    logger.handlers = handlers
    logger.setLevel(level)
    signal.signal(signal.SIGHUP, ended)


def fetched(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=TIMEOUT) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class TestServing:
    @pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
    def test_who_may_comes_in_and_who_may_not_is_told_in_one_line(
        self, loop: str, start: Start, ca: CA
    ) -> None:
        with start("--status-address", f"{HOST}:0", loop=loop) as port:
            status = port.said[0].rpartition(" ")[2].strip()
            with connected(port.port, ca.issue(CHECKOUT).client_context()):
                pass
            with contextlib.suppress(OSError), connected(port.port, ca.issue("/ns/x/sa/y").client_context()):
                pytest.fail("it was let in")
            assert port.logs("refused spiffe://")
            (line,) = [line for line in port.log.splitlines() if "refused" in line]
            who = "spiffe://prod.example.org/ns/x/sa/y"
            assert f" warning: refused {who} from 127.0.0.1 at 'payments': no_rule (allow rule " in line
            assert "admitted spiffe://prod.example.org/ns/checkout/sa/api" in port.log
            assert fetched(status, "/livez") == (200, "alive\n")
            assert fetched(status, "/readyz") == (200, "ready\n")
            figures = fetched(status, "/metrics")[1]
            assert "\nmeshid_port_admitted_total 1.0\n" in figures
            assert "\nmeshid_port_refused_total 1.0\n" in figures
            assert "\nmeshid_generation 1.0\n" in figures
            port.process.send_signal(signal.SIGHUP)
            assert port.logs("SIGHUP: there is nothing to reload")
            assert port.stop() == 0
            assert port.next_line() == "stopping: 0 open connections may end within 25 s\n"
            assert port.next_line() == "stopped\n"

    def test_the_first_line_says_what_it_does(self, start: Start, upstream: str) -> None:
        with start() as port:
            policy = f"environment prod, policy {Policy.from_toml(POLICY, 'prod').hash[:12]}"
            where = f"listening on {HOST}:{port.port} for payments, to {upstream}"
            assert port.said[0] == f"{where}; {policy}\n"
            assert port.logs("warning: only this machine can connect: set MESHID_HOST")

    def test_as_json(self, start: Start, upstream: str, ca: CA) -> None:
        with start(
            "--json", "--quiet", "--host", EVERYWHERE, "--drain-timeout=inf", "--max-connections=900000000"
        ) as port:
            about = json.loads(port.said[0])
            (listening,) = about["listening"]
            assert about["upstream"] == upstream
            assert (about["service"], about["environment"], len(about["policy_hash"])) == (
                "payments",
                "prod",
                64,
            )
            number = int(listening.removeprefix("0.0.0.0:"))
            for name in (CHECKOUT, "/ns/x/sa/y"):
                with contextlib.suppress(OSError), connected(number, ca.issue(name).client_context()):
                    pass
            assert port.logs("no_rule")
            too_many, line = port.log.splitlines()
            assert re.search("max_connections is 900000000, and .* allows [0-9]+: raise it", too_many)
            assert json.loads(line)["meshid.reason"] == "no_rule"
            assert port.stop(signal.SIGINT) == 0
            stopping = "stopping: 0 open connections may end, however long it takes"
            assert json.loads(port.next_line())["message"] == stopping
            assert json.loads(port.next_line()) == {"message": "stopped", "cut_off": 0}

    def test_it_is_not_ready_without_its_upstream(self, start: Start) -> None:
        with socket.create_server((HOST, 0)) as closed:
            address = f"{HOST}:{closed.getsockname()[1]}"
        with start("--status-address", f"{HOST}:0", "--upstream", address) as port:
            status = port.said[0].rpartition(" ")[2].strip()
            assert fetched(status, "/readyz") == (503, "not ready: the upstream does not answer\n")

    def test_it_is_not_ready_if_nobody_would_be_admitted(self, ca: CA) -> None:
        answer = asyncio.run(Readiness(mesh_of(ca, policy=None), None).answer())
        assert answer == (503, "not ready: policy\n")
        assert asyncio.run(Readiness(mesh_of(ca), None).answer()) == (200, "ready\n")


class TestEnding:
    def test_connections_may_end_by_themselves(self, start: Start, ca: CA) -> None:
        with start("--status-address", f"{HOST}:0") as port:
            status = port.said[0].rpartition(" ")[2].strip()
            with connected(port.port, ca.issue(CHECKOUT).client_context()) as tls:
                port.process.send_signal(signal.SIGTERM)
                assert port.next_line() == "stopping: 1 open connection may end within 25 s\n"
                assert fetched(status, "/readyz") == (503, "not ready: it is stopping\n")
                with pytest.raises(ConnectionError):
                    socket.create_connection((HOST, port.port), TIMEOUT)
                tls.sendall(b"more")
                assert tls.recv(100) == b"more"
            assert port.process.wait(TIMEOUT) == 0
            assert port.next_line() == "stopped\n"

    @pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
    @pytest.mark.parametrize(("seconds", "signals"), [("0.1", 1), ("inf", 2)], ids=["in time", "at once"])
    def test_connections_that_do_not_end_are_cut_off(
        self, start: Start, ca: CA, seconds: str, signals: int, loop: str
    ) -> None:
        with (
            start("--drain-timeout", seconds, loop=loop) as port,
            connected(port.port, ca.issue(CHECKOUT).client_context()) as tls,
        ):
            for _ in range(signals):
                port.process.send_signal(signal.SIGTERM)
                port.next_line()
            assert port.process.wait(TIMEOUT) == 1
            assert "stopped: 1 connection cut off\n" in [port.said[-1], port.next_line()]
            with contextlib.suppress(ConnectionError):
                assert tls.recv(100) == b""

    def test_nobody_reads_what_it_prints(self, start: Start, ca: CA) -> None:
        with start("--status-address", f"{HOST}:0") as port:
            status = port.said[0].rpartition(" ")[2].strip()
            assert port.process.stdout is not None
            port.process.stdout.close()
            with connected(port.port, ca.issue(CHECKOUT).client_context()) as tls:
                port.process.send_signal(signal.SIGTERM)
                assert eventually(lambda: fetched(status, "/readyz") == (503, "not ready: it is stopping\n"))
                tls.sendall(b"more")
                assert tls.recv(100) == b"more"
            # Its lines are lost, and its connection is not.
            assert port.process.wait(TIMEOUT) in {0, 2}


class TestSystemd:
    def test_it_serves_on_the_sockets_of_systemd_and_tells_it_its_state(
        self, files: PortFiles, upstream: str, tmp_path: Path, ca: CA
    ) -> None:
        environ = {**files.environ, "MESHID_UPSTREAM": upstream, "MESHID_PORT": ""}
        with (
            socket.create_server((HOST, 0)) as listener,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
        ):
            systemd.bind(str(tmp_path / "notify"))
            systemd.settimeout(TIMEOUT)
            number = listener.getsockname()[1]
            with started(
                activated([MESHID, "port"], listener),
                {**environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": systemd.getsockname()},
                tmp_path / "log",
                pass_fds=[listener.fileno()],
            ) as port:
                assert port.port == number
                assert systemd.recv(1000).decode() == f"READY=1\nSTATUS={port.said[0].strip()}"
                with connected(number, ca.issue(CHECKOUT).client_context()):
                    pass
                assert port.stop() == 0
                assert systemd.recv(1000).decode().startswith("STOPPING=1\nSTATUS=stopping: ")
                assert "only this machine" not in port.log


class TestForClients:
    def test_a_plain_client_speaks_to_a_server_of_the_mesh(
        self, start: Start, files: PortFiles, tmp_path: Path
    ) -> None:
        client = tmp_path / "client"
        client.mkdir()
        issued = files.ca.issue(CHECKOUT)
        (client / "tls.crt").write_bytes(issued.chain_pem)
        (client / "tls.key").write_bytes(issued.key_pem)
        with start("--alpn", "http/1.1", "--alpn", "h2") as server:
            environ = {**files.environ, "MESHID_CREDENTIALS": str(client), "MESHID_POLICY": ""}
            options = ["--client", "--upstream", f"{HOST}:{server.port}", "--expect", "/ns/pay/sa/*"]
            options += ["--status-address", f"{HOST}:0", "--alpn", "h2"]
            with started([MESHID, "port", *options], environ, tmp_path / "client.log") as port:
                assert port.said[0].startswith(
                    f"listening on {HOST}:{port.port} without TLS, to {HOST}:{server.port},"
                    " which must be /ns/pay/sa/*; status on "
                )
                # It misses no policy: nobody is admitted here.
                status = port.said[0].rpartition(" ")[2].strip()
                assert fetched(status, "/readyz") == (200, "ready\n")
                with socket.create_connection((HOST, port.port), TIMEOUT) as plain:
                    plain.sendall(b"hello")
                    assert plain.recv(100) == b"hello"
                assert port.stop() == 0
                assert "only this machine" not in port.log


class TestAuthorizer:
    def test_port_and_authorizer_are_one_process(self, start: Start, ca: CA, tmp_path: Path) -> None:
        """The upstream asks with the handle that the port has told it."""
        tmp_path.chmod(0o700)
        (tmp_path / "policy.toml").write_text(f'{POLICY}http = ["GET /public"]\n')
        path, told = tmp_path / "authorizer.sock", queue.SimpleQueue[bytes]()

        def tell(service: Service, plain: socket.socket) -> None:
            header = read_header(plain.recv(2000))
            told.put(header.entries[0x05])
            plain.sendall(header.rest)
            echo(service, plain)

        with (
            threaded_server(tell) as service,
            start(
                *("--proxy-protocol", "--authorizer", f"unix:{path}"),
                *("--upstream", f"{HOST}:{service.port}"),
                MESHID_POLICY=str(tmp_path / "policy.toml"),
            ) as port,
        ):
            assert f"; asked on unix:{path}" in port.said[0]
            with connected(port.port, ca.issue(CHECKOUT).client_context()):
                handle = told.get(timeout=TIMEOUT)
                assert asked(path, handle, b"/public") == 200
                assert asked(path, handle, b"/private") == 403
                assert asked(path, b"0" * 32, b"/public") == 401
                port.process.send_signal(signal.SIGTERM)
                port.next_line()
                # Until the last connection has ended: for longer than uvicorn takes to see a signal.
                end = time.monotonic() + 0.5
                while time.monotonic() < end:
                    assert asked(path, handle, b"/public") == 200
            assert port.process.wait(TIMEOUT) == 0
        assert not path.exists()


def asked(path: Path, handle: bytes, target: bytes) -> int:
    """Ask as nginx does, and return the status."""
    names = (b"Host", b"X-Meshid-Connection", b"X-Original-Method", b"X-Original-URI")
    connection = UnixConnection(path)
    with contextlib.closing(connection):
        return connection.ask(
            b"GET", b"/authorize", zip(names, (b"x", handle, b"GET", target), strict=True)
        ).status


@pytest.mark.usefixtures("as_it_was")
class TestWrongSettings:
    """Each is one line, and exit status 2."""

    @pytest.fixture(autouse=True)
    def environment(self, files: PortFiles, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in files.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MESHID_UPSTREAM", "127.0.0.1:9")

    @pytest.mark.parametrize(
        ("change", "options", "said"),
        [
            pytest.param(
                {"MESHID_UPSTREAM": ""}, "", "upstream: is not set: what is behind", id="no upstream"
            ),
            pytest.param(
                {"MESHID_UPSTREAM": "8080"},
                "",
                "upstream, from variable MESHID_UPSTREAM: '8080' is neither HOST:PORT, such as",
                id="an upstream without a host",
            ),
            pytest.param(
                {},
                "--upstream=127.0.0.1:99999",
                "upstream, from argument: '127.0.0.1:99999' has no port from 1 to 65535",
                id="an upstream with a wrong port",
            ),
            pytest.param(
                {},
                "--upstream=10.0.0.1:80",
                "upstream, from argument: '10.0.0.1:80' is not on the loopback, and would get plain text",
                id="an upstream elsewhere",
            ),
            pytest.param({"MESHID_PORT": ""}, "", "port: is not set: where to listen?", id="no port"),
            pytest.param(
                {"MESHID_PORT": "http"}, "", "port, from variable MESHID_PORT: 'http'", id="a wrong port"
            ),
            pytest.param(
                {"MESHID_SERVICE": ""}, "", "service: is not set: it is what clients", id="no service"
            ),
            pytest.param({"MESHID_POLICY": ""}, "", "policy: is not set: nobody would be", id="no policy"),
            pytest.param(
                {"MESHID_CREDENTIALS": ""}, "", "credentials: is not set: a port has", id="no certificate"
            ),
            pytest.param(
                {}, "--host=192.0.2.1", "cannot listen at '192.0.2.1:0': Cannot assign", id="not ours"
            ),
            pytest.param(
                {},
                "--host=no.invalid",
                "cannot listen at 'no.invalid:0': Name or service not known; ",
                id="a host that is unknown",
            ),
            pytest.param({}, "--host=a..b", "host, from argument: 'a..b' is no address", id="no host"),
            pytest.param(
                {},
                "--host=unix:x",
                "host, from argument: 'unix:x' must be unix: and an absolute",
                id="a relative socket",
            ),
            pytest.param(
                {"MESHID_HOST": "http://localhost"},
                "--client --expect=/a",
                "host, from variable MESHID_HOST: 'http://localhost' is no address and no name of a host: ",
                id="a URL for a host",
            ),
            pytest.param(
                {},
                f"--port=4711 --status-address={HOST}:4711",
                f"status_address, from argument: '{HOST}:4711' is where the port itself listens; ",
                id="one address for both",
            ),
            pytest.param(
                {}, "--host=unix:/gone/x", "cannot listen at 'unix:/gone/x': No such file", id="no folder"
            ),
            pytest.param(
                {}, "--status-address=192.0.2.1:0", "cannot listen at '192.0.2.1:0': ", id="a status not ours"
            ),
            pytest.param(
                {}, "--status-address=9", "status_address, from argument: '9' is not", id="a wrong status"
            ),
            pytest.param(
                {}, "--idle-timeout=0", "idle_timeout, from argument: '0' would end", id="no time at all"
            ),
            pytest.param(
                {}, "--max-connections=0", "max_connections, from argument: '0' is", id="no connections"
            ),
            pytest.param(
                {}, "--expect=api:80", "expect, from argument: 'api:80' must begin with", id="a host name"
            ),
            pytest.param(
                {}, "--client", "expect: is not set: with --client the upstream", id="no name expected"
            ),
            pytest.param(
                {"MESHID_HOST": EVERYWHERE},
                "--client --expect=/a",
                "host, from variable MESHID_HOST: '0.0.0.0' is not of the loopback, and with --client",
                id="clients from elsewhere",
            ),
            pytest.param(
                {"MESHID_ALPN": "h2,http/1.1"},
                "--client --expect=/a",
                "alpn, from variable MESHID_ALPN: must be one protocol with --client: clients",
                id="two protocols of plain clients",
            ),
            pytest.param(
                {},
                "--alpn=h2,http/1.1",
                "alpn, from argument: 'h2,http/1.1' is not the name",
                id="two at once",
            ),
            pytest.param(
                {"MESHID_PROXY_PROTOCOL": "true"},
                "--client --expect=/a",
                "proxy_protocol, from variable MESHID_PROXY_PROTOCOL: does not go with --client",
                id="names of clients that have none",
            ),
            pytest.param(
                {"MESHID_AUTHORIZER": "unix:/run/a.sock"},
                "",
                "authorizer, from variable MESHID_AUTHORIZER: needs MESHID_PROXY_PROTOCOL=true",
                id="an authorizer without handles",
            ),
            pytest.param(
                {},
                "--proxy-protocol --expect=/a",
                "proxy_protocol, from argument: is for a plain upstream",
                id="a header before TLS",
            ),
            pytest.param(
                {},
                "--proxy-protocol --authorizer=unix:/gone/a.sock",
                "the directory '/gone' is not there; make it: ",
                id="no directory for the authorizer",
            ),
            pytest.param(
                {},
                "--spiffe-tlv=0x05",
                "spiffe_tlv, from argument: '0x05' is not a type",
                id="a type of others",
            ),
            pytest.param({"LISTEN_FDS": "x"}, "", "LISTEN_FDS is 'x'; it must be", id="no number of sockets"),
        ],
    )
    def test_is_one_line(
        self,
        change: dict[str, str],
        options: str,
        said: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for name, value in change.items():
            monkeypatch.setenv(name, value)
        if "LISTEN_FDS" in change:
            monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        assert main(["port", *options.split()]) == 2
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if "generation 1" not in line]
        assert out == ""
        assert len(lines) == 1
        assert lines[0].startswith(f"meshid: {said}")

    @pytest.mark.parametrize("host", [HOST, EVERYWHERE, "localhost"])
    def test_an_upstream_that_is_the_port_itself(self, host: str, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server((HOST, 0)) as taken:
            number = taken.getsockname()[1]
        assert main(["port", "--host", host, "--port", str(number), "--upstream", f"{HOST}:{number}"]) == 2
        said = f"upstream, from argument: '{HOST}:{number}' is where this port itself listens"
        assert capsys.readouterr().err.startswith(f"meshid: {said}")

    def test_an_upstream_that_is_the_port_itself_over_a_unix_socket(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        address = f"unix:{tmp_path / 's'}"
        assert main(["port", "--host", address, "--upstream", address]) == 2
        assert "is where this port itself listens" in capsys.readouterr().err

    def test_an_authorizer_without_its_server(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "uvicorn", None)
        assert main(["port", "--proxy-protocol", "--authorizer=unix:/run/a"]) == 2
        assert "(the extra 'authorizer' of meshid)" in capsys.readouterr().err

    def test_a_socket_directory_that_others_can_enter(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tmp_path.chmod(0o755)
        assert main(["port", "--proxy-protocol", f"--authorizer=unix:{tmp_path / 'a'}"]) == 2
        said = f"others can reach or replace what is in '{tmp_path}', whose mode is 0755: chmod 750 "
        assert said in capsys.readouterr().err.splitlines()[-1]

    @pytest.mark.parametrize("option", ["--port", "--status-address"])
    def test_a_port_in_use(self, option: str, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server((HOST, 0)) as taken:
            number = taken.getsockname()[1]
            value = str(number) if option == "--port" else f"{HOST}:{number}"
            assert main(["port", option, value]) == 2
        said = f"cannot listen at '{HOST}:{number}': Address already in use; choose another port, or 0"
        assert f"meshid: {said}" in capsys.readouterr().err

    def test_what_the_settings_let_through_is_told_by_the_port(self, ca: CA) -> None:
        settings = Settings(trust=(), upstream="127.0.0.1:1", idle_timeout=0.0)
        with pytest.raises(InvalidInput, match="idle_timeout must be a positive, finite number"):
            Running(mesh_of(ca), settings, client=False, as_json=False)

    def test_a_name_that_the_resolver_does_not_take(self) -> None:
        said = r"cannot listen at 'a\.\.b:1': that is no name of a host"
        with pytest.raises(NoAnswer, match=said), listening_at("a..b", 1):
            "a..b".encode("idna")

    def test_a_port_that_needs_a_right(self) -> None:
        said = why_not("127.0.0.1", 80, PermissionError(errno.EACCES, "x"))
        assert said.startswith(
            "cannot listen at '127.0.0.1:80': Permission denied; choose a port from 1024 on"
        )
        assert why_not("127.0.0.1", 8080, PermissionError(errno.EACCES, "x")).endswith(": Permission denied")

    def test_sockets_of_systemd_that_others_could_connect_to(self) -> None:
        settings = Settings.from_env(upstream="api.prod:8443", expect=["/a"])
        with pytest.raises(InvalidSettings, match=r"host, from default: '192\.0\.2\.1' is not of"):
            check(settings, [("192.0.2.1", 443)], client=True)
        check(settings, [(HOST, 443)], client=True)


@pytest.mark.usefixtures("as_it_was")
def test_without_a_standard_error_no_line_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer that stands in for it would grow with each decision."""
    buffer = io.StringIO()
    monkeypatch.setattr(sys, "stderr", buffer)
    show_log(as_json=False, quiet=False)
    log(logging.getLogger("meshid.port"), WARNING, "kept")
    assert buffer.getvalue() == ""


@pytest.mark.usefixtures("as_it_was")
def test_a_log_that_nobody_takes_is_an_alarm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as closed:
        monkeypatch.setattr(sys, "stderr", closed)
        show_log(as_json=False, quiet=False)
    log(logging.getLogger("meshid.port"), WARNING, "lost")
    assert "1 line of meshid.port at WARNING was lost: " in str(failures())


def test_without_uvloop_it_runs_on_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _loop_factory() is not None
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert _loop_factory() is None

"""`meshid serve` as a developer runs it: what it prints and logs, whom it serves, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from meshid import MissingExtra
from meshid.__main__ import main
from meshid.cli.serve.application import load_application
from meshid.testing import CA
from tests.helpers.activation import activated
from tests.helpers.port_process import CHECKOUT, MESHID, PortFiles, PortProcess, started
from tests.helpers.tls_peers import HOST, TIMEOUT

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "checkout"
from = ["/ns/checkout/sa/api"]
to = ["payments"]
http = ["GET /v1/**"]
"""

MAIN = '''
"""A service that knows nothing of TLS."""
import asyncio, logging.config, os
# As many do: it disables every logger that is there.
logging.config.dictConfig({"version": 1})
assert os.path.basename(__file__) == "main.py"

class Charges:
    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            if "FAILS" in os.environ:
                await send({"type": "lifespan.startup.failed", "message": "no database"})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            print("the application has shut down", flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/v1/boom":
            raise RuntimeError("a mistake of the application")
        peer, client = scope.get("meshid.peer"), scope["client"][0]
        body = f"{peer and peer.spiffe_id.path} from {client}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"charges")]})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if scope["path"] == "/v1/slow":
            for _ in range(int(os.environ.get("SLOW", "2"))):
                await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": b"."})

app = Charges()
number = 1
silent = dict

def wsgi(environ, start_response):
    pass

def create():
    return app

def other(one, two, three, four):
    pass
'''


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> PortFiles:
    made = PortFiles(tmp_path_factory.mktemp("serve"), CA("prod.example.org"))
    (made.root / "policy.toml").write_text(POLICY)
    (made.root / "main.py").write_text(MAIN)
    (made.root / "broken.py").write_text("def f():\n    return 1 / 0\nf()\n")
    (made.root / "unwritten.py").write_text("def f(:\n")
    (made.root / "needs.py").write_text("import not_installed_anywhere\n")
    return made


@contextlib.contextmanager
def serve(files: PortFiles, *arguments: str, **environ: str) -> Iterator[PortProcess]:
    command = [MESHID, "serve", "main:app", *arguments]
    log = files.root / "log"
    with started(command, {**files.environ, **environ}, log, cwd=files.root) as process:
        yield process


def client_of(files: PortFiles, path: str = CHECKOUT) -> ssl.SSLContext:
    return files.ca.issue(path).client_context()


@contextlib.contextmanager
def connected(port: int, context: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
    connection = http.client.HTTPSConnection(HOST, port, timeout=TIMEOUT, context=context)
    with contextlib.closing(connection):
        yield connection


def asked(port: int, context: ssl.SSLContext, path: str, **headers: str) -> tuple[int, str]:
    with connected(port, context) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        assert answer.headers["server"] is None
        return answer.status, answer.read().decode()


@pytest.fixture(scope="class")
def running(files: PortFiles) -> Iterator[PortProcess]:
    with serve(files, "--public", "GET /healthz", "--status-address", f"{HOST}:0") as process:
        yield process
        with connected(process.port, client_of(files)) as idle:
            idle.request("GET", "/v1/charges")
            idle.getresponse().read()
            # An idle connection holds nobody up.
            assert process.stop() == 0
        assert process.next_line() == "stopping: what is under way may end within 25 s\n"
        assert process.next_line() == "the application has shut down\n"
        assert process.next_line() == "stopped\n"


class TestServing:
    def test_it_says_where_and_for_whom(self, running: PortProcess) -> None:
        said = f"listening on {HOST}:{running.port} for payments; environment prod, policy "
        assert running.said[0].startswith(said)
        assert running.logs("warning: only this machine can connect: set MESHID_HOST")
        assert running.logs("info: requests that need no peer: GET /healthz")

    def test_the_application_knows_the_peer(self, running: PortProcess, files: PortFiles) -> None:
        # Nor does it believe what a peer says of its address.
        headers = {"X-Forwarded-For": "192.0.2.1"}
        assert asked(running.port, client_of(files), "/v1/charges", **headers) == (
            200,
            f"{CHECKOUT} from {HOST}.",
        )
        assert running.logs(
            f"info: admitted spiffe://prod.example.org{CHECKOUT} at 'payments' for 'GET /v1/charges'"
        )

    def test_each_request_is_judged(self, running: PortProcess, files: PortFiles) -> None:
        status, body = asked(running.port, client_of(files), "/v2/charges")
        assert (status, CHECKOUT in body) == (403, False)
        assert running.logs(
            "warning: refused spiffe://prod.example.org/ns/checkout/sa/api at 'payments' for 'GET /v2"
        )

    def test_what_is_public_needs_no_rule(self, running: PortProcess, files: PortFiles) -> None:
        assert asked(running.port, client_of(files), "/healthz")[0] == 200

    def test_nobody_else_connects(self, running: PortProcess, files: PortFiles) -> None:
        nobody = ssl.create_default_context()
        nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
        for each in (
            nobody,
            client_of(files, "/ns/shop/sa/web"),
            CA("prod.example.org").issue(CHECKOUT).client_context(),
        ):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                asked(running.port, each, "/healthz")
        with socket.create_connection((HOST, running.port), TIMEOUT) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP" not in plain.recv(1024)

    def test_a_mistake_of_the_application_is_logged_and_told_to_nobody(
        self, running: PortProcess, files: PortFiles
    ) -> None:
        assert asked(running.port, client_of(files), "/v1/boom") == (500, "Internal Server Error")
        assert running.logs("error: RuntimeError: a mistake of the application")

    def test_probes_without_a_certificate_have_a_place(self, running: PortProcess) -> None:
        status = running.said[0].rpartition("status on ")[2].strip()
        with urllib.request.urlopen(f"http://{status}/readyz", timeout=TIMEOUT) as answer:
            assert answer.read() == b"ready\n"
        with urllib.request.urlopen(f"http://{status}/metrics", timeout=TIMEOUT) as answer:
            assert b"meshid_" in answer.read()

    def test_its_port_is_taken(self, running: PortProcess, files: PortFiles) -> None:
        environ = {**os.environ, **files.environ}
        command = [MESHID, "serve", "main:app", "--port", str(running.port)]
        ended = subprocess.run(
            command, env=environ, cwd=files.root, capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stdout) == (2, "")
        line = f"\nmeshid: cannot listen at '{HOST}:{running.port}': Address already in use; choose another"
        assert line in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_it_has_no_reload(self, running: PortProcess, files: PortFiles) -> None:
        running.process.send_signal(signal.SIGHUP)
        assert running.logs("info: SIGHUP: there is nothing to reload")
        assert asked(running.port, client_of(files), "/v1/charges")[0] == 200


class TestTheEnd:
    def test_what_is_under_way_may_end(self, files: PortFiles) -> None:
        with (
            serve(files, "--drain-timeout", "inf") as process,
            connected(process.port, client_of(files)) as slow,
        ):
            slow.request("GET", "/v1/slow")
            answer = slow.getresponse()
            process.process.send_signal(signal.SIGTERM)
            assert process.next_line() == "stopping: what is under way may end, however long it takes\n"
            assert answer.read().endswith(b".")
            slow.close()
            assert process.process.wait(TIMEOUT) == 0

    @pytest.mark.parametrize("how", ["the time is over", "a second signal"])
    def test_or_is_cut_off(self, files: PortFiles, how: str) -> None:
        everywhere = {"SLOW": "1000", "MESHID_HOST": "0.0.0.0"}  # noqa: S104 - what a container does
        seconds = "0.1" if how == "the time is over" else "60"
        with (
            serve(files, "--json", "--drain-timeout", seconds, **everywhere) as process,
            connected(json_port(process), client_of(files)) as slow,
        ):
            slow.request("GET", "/v1/slow")
            answer = slow.getresponse()
            process.process.send_signal(signal.SIGINT)
            assert json.loads(process.next_line())["message"].startswith("stopping")
            if how == "a second signal":
                process.process.send_signal(signal.SIGINT)
            with pytest.raises((http.client.IncompleteRead, OSError)):
                answer.read()
            assert process.process.wait(TIMEOUT) == 1
            said = process.process.stdout
            assert said is not None
            assert json.loads(said.read().splitlines()[-1]) == {
                "message": "stopped: 1 connection cut off",
                "cut_off": 1,
            }
        assert "Traceback" not in process.log

    def test_an_application_that_does_not_start_is_no_server(self, files: PortFiles) -> None:
        with serve(files, FAILS="1") as process:
            assert process.process.wait(TIMEOUT) == 2
        assert process.said == [""]
        assert "error: no database" in process.log
        assert process.log.endswith("\nmeshid: the application did not start: what it said is above\n")
        assert "Traceback" not in process.log


def json_port(process: PortProcess) -> int:
    said = json.loads(process.said[0])
    assert (said["service"], said["environment"], said["spiffe_id"]) == (
        "payments",
        "prod",
        "spiffe://prod.example.org/ns/pay/sa/payments",
    )
    return int(said["listening"][0].rpartition(":")[2])


def test_systemd_may_open_the_port(files: PortFiles) -> None:
    environ = {name: value for name, value in files.environ.items() if name != "MESHID_PORT"}
    with socket.create_server((HOST, 0)) as listener:
        command = activated([MESHID, "serve", "main:app"], listener)
        with started(
            command,
            {**environ, "LISTEN_FDS": "1"},
            files.root / "log",
            pass_fds=[listener.fileno()],
            cwd=files.root,
        ) as process:
            assert process.port == listener.getsockname()[1]
            assert asked(process.port, client_of(files), "/v1/charges")[0] == 200


@contextlib.contextmanager
def as_it_was() -> Iterator[None]:
    """Restore what a command changes in its process."""
    hangup, path, modules = signal.getsignal(signal.SIGHUP), list(sys.path), set(sys.modules)
    loggers = [(each, each.handlers, each.level) for each in map(logging.getLogger, ("meshid", "uvicorn"))]
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, hangup)
        sys.path[:] = path
        for name in set(sys.modules) & {"main", "broken", "needs", "unwritten", "twice"} - modules:
            del sys.modules[name]
        for logger, handlers, level in loggers:
            logger.handlers = handlers
            logger.setLevel(level)


class TestMistakes:
    @pytest.fixture(autouse=True)
    def here(self, files: PortFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.chdir(files.root)
        for name, value in files.environ.items():
            monkeypatch.setenv(name, value)
        with as_it_was():
            yield

    @pytest.mark.parametrize(
        ("name", "fault"),
        [
            ("main", "'main' is not MODULE:NAME: write main:app for `app` in main.py, without a path"),
            ("main.py:app", "'main.py:app' is not MODULE:NAME: write"),
            ("src/main:app", "'src/main:app' is not MODULE:NAME: write"),
            ("mian:app", "and none is installed; did you mean 'main'?"),
            ("no.where:app", "there is no module 'no.where' in '"),
            ("main.deep:app", "there is no module 'main.deep' in '"),
            ("main:ap", "the module 'main' has no 'ap'; did you mean 'app'?"),
            ("main:app.inner", "the module 'main' has no 'app.inner'"),
            ("main:number", "'main:number' is no application, but of the type int"),
            ("main:wsgi", "'main:wsgi' takes two arguments, as a WSGI application does, and this is f"),
            ("main:create", "'main:create' takes no arguments: if it makes the application, call it in th"),
            ("main:Charges", "'main:Charges' is no ASGI application, which takes three arguments: scope"),
            ("main:other", "'main:other' is no ASGI application, which takes three arguments: scope"),
        ],
    )  # fmt: skip
    def test_a_wrong_name_is_one_line(
        self, name: str, fault: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["serve", name]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert fault in said.err

    @pytest.mark.parametrize(
        ("module", "fault"),
        [
            ("broken", "ZeroDivisionError: division by zero"),
            ("needs", "No module named 'not_installed_anywhere'"),
            ("unwritten", "SyntaxError"),
        ],
    )
    def test_a_module_that_fails_shows_its_own_traceback(
        self, module: str, fault: str, files: PortFiles, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["serve", f"{module}:app"]) == 2
        said = capsys.readouterr().err
        assert fault in said
        assert said.endswith(f"\nmeshid: the module '{module}' cannot be imported: see the traceback above\n")
        # It begins in the user's file.
        head = said.removeprefix("Traceback (most recent call last):\n")
        assert head.startswith(f'  File "{files.root / module}.py", line ')

    def test_what_does_not_say_what_it_takes_is_tried(self) -> None:
        assert load_application("main:silent") is dict  # type: ignore[comparison-overlap]

    def test_a_middleware_is_not_put_into_another(
        self, files: PortFiles, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (files.root / "twice.py").write_text(
            "from main import app as inner\nfrom meshid import Mesh\nfrom meshid.http import ASGIMiddleware\n"
            "with Mesh.from_env() as mesh:\n    app = ASGIMiddleware(inner, mesh)\n"
        )
        assert main(["serve", "twice:app"]) == 2
        assert (
            "'twice:app' is in an ASGIMiddleware already: name the application inside"
            in capsys.readouterr().err
        )

    @pytest.mark.parametrize(
        ("name", "value", "fault"),
        [
            ("port", "", "port: is not set: where to listen? Set MESHID_PORT; 0 is a free one"),
            ("credentials", "", "credentials: is not set: a server has a certificate; set MESHID_"),
            ("service", "", "service: is not set: it is what clients reach; set MESHID_SERVICE"),
            ("policy", "", "policy: is not set: nobody would be admitted; set MESHID_POLICY"),
            ("host", "unix:/a", "host, from variable MESHID_HOST: 'unix:/a' is no address and no name of a"),
            ("host", "no.such.host.invalid", "cannot listen at 'no.such.host.invalid:0': "),
            ("status_address", "192.0.2.1:0", "cannot listen at '192.0.2.1:0': "),
        ],
    )  # fmt: skip
    def test_a_wrong_setting_is_one_line(
        self,
        name: str,
        value: str,
        fault: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv(f"MESHID_{name.upper()}", value)
        assert main(["serve", "--quiet", "main:app"]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert fault in said.err

    @pytest.mark.parametrize("public", ["/healthz", "* /**"])
    def test_what_is_public_is_checked(self, public: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["serve", "--quiet", "main:app", "--public", public]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n"), "public" in said.err) == ("", 1, True)

    def test_without_uvicorn_the_extra_is_named(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "uvicorn", None)
        assert main(["serve", "main:app"]) == 2
        assert capsys.readouterr().err == f"meshid: {MissingExtra('serve')}\n"

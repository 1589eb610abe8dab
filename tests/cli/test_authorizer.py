"""`meshid authorizer` as an operator runs it: what it prints, what it logs, and how it ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from meshid import MissingExtra
from meshid.__main__ import main
from meshid.testing import CA, TokenIssuer
from tests.helpers.forwarding import Pairs, written, xfcc
from tests.helpers.mounted import eventually
from tests.helpers.port_process import CHECKOUT, MESHID, POLICY, PortProcess, started
from tests.helpers.unix_http import UnixConnection

QUESTION = [(b"Host", b"meshid"), (b"X-Original-Method", b"GET"), (b"X-Original-URI", b"/charges")]
XFCC = b"X-Forwarded-Client-Cert"
ISSUER = """
[environments.prod.issuers.idp]
profile = "oidc"
issuer = "https://idp.example"
audience = ["payments"]
jwks = "{keys}"
[[peers]]
name = "checkout"
spiffe = ["/ns/checkout/sa/api"]
tokens = [{{ issuer = "idp", principal = "checkout" }}]
"""


@attrs.frozen
class Files:
    """What an authorizer for nginx reads, and a peer whose intermediate only the settings know."""

    root: Path
    environ: dict[str, str]
    leaf: Pairs
    two_elements: bytes

    @property
    def socket(self) -> Path:
        return self.root / "run" / "a.sock"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    root = tmp_path_factory.mktemp("authorizer")
    (root / "run").mkdir(0o750)
    ca = CA("prod.example.org")
    issuing = ca.intermediate()
    (root / "prod.pem").write_bytes(ca.pem)
    (root / "issuing.pem").write_bytes(issuing.pem)
    (root / "policy.toml").write_text(POLICY)
    environ = {
        "MESHID_ENVIRONMENT": "prod",
        "MESHID_SERVICE": "payments",
        "MESHID_TRUST": f"prod.example.org={root / 'prod.pem'}",
        "MESHID_POLICY": str(root / "policy.toml"),
        "MESHID_PROXY": "nginx",
        "MESHID_INTERMEDIATES": str(root / "issuing.pem"),
        "MESHID_AUTHORIZER": f"unix:{root / 'run' / 'a.sock'}",
    }
    chain = issuing.issue(CHECKOUT).chain
    return Files(root, environ, written("nginx", chain), f"{xfcc(chain)},{xfcc(chain)}".encode())


@pytest.fixture(scope="class")
def running(files: Files) -> Iterator[PortProcess]:
    with started([MESHID, "authorizer"], files.environ, files.root / "log") as process:
        yield process
        with UnixConnection(files.socket) as connection:
            assert connection.ask(b"GET", b"/authorize", QUESTION).status == 401
            # An idle connection of the proxy holds nobody up.
            assert process.stop() == 0
    assert not files.socket.exists()


class TestRunning:
    def test_it_says_who_asks_where(self, running: PortProcess, files: Files) -> None:
        assert running.said[0].startswith(
            f"nginx asks at unix:{files.socket} about payments; environment prod, policy "
        )

    def test_it_answers_and_logs(self, running: PortProcess, files: Files) -> None:
        with UnixConnection(files.socket) as connection:
            got = connection.ask(b"GET", b"/authorize", [*QUESTION, *files.leaf])
            assert got.headers == {
                "cache-control": "no-store",
                "content-length": "0",
                "x-meshid-peer": f"spiffe://prod.example.org{CHECKOUT}",
                "x-meshid-rule": "checkout",
                "x-meshid-policy": got.headers["x-meshid-policy"],
            }
            assert connection.ask(b"GET", b"/authorize", [*QUESTION, *files.leaf, *files.leaf]).status == 403
        assert running.logs(
            "info: admitted spiffe://prod.example.org/ns/checkout/sa/api at 'payments' for 'GET /charges'"
        )
        assert running.logs(
            "warning: refused: malformed_certificate: header X-Client-Cert-Pem is there twice"
        )

    def test_what_is_no_http_is_one_line(self, running: PortProcess, files: Files) -> None:
        with UnixConnection(files.socket) as connection:
            assert connection.ask(b"G E T", b"/", []).status == 400
        assert running.logs("warning: Invalid HTTP request received.")
        assert "Traceback" not in running.log

    def test_a_second_one_does_not_take_its_socket(self, running: PortProcess, files: Files) -> None:
        assert running.process.poll() is None
        assert (
            refused(files)
            == f"meshid: a process listens at '{files.socket}'; stop it first, or choose another path"
        )

    def test_it_has_no_reload(self, running: PortProcess, files: Files) -> None:
        running.process.send_signal(signal.SIGHUP)
        with UnixConnection(files.socket) as connection:
            assert connection.ask(b"GET", b"/authorize", QUESTION).status == 401


def test_it_prints_and_logs_json_where_asked(files: Files) -> None:
    command = [MESHID, "authorizer", "--json", "--quiet", "--proxy", "envoy", "--elements", "2"]
    environ = {name: value for name, value in files.environ.items() if name != "MESHID_INTERMEDIATES"}
    with started(command, environ, files.root / "json") as process:
        said = json.loads(process.said[0])
        assert (said["socket"], said["proxy"], said["service"], said["environment"]) == (
            f"unix:{files.socket}",
            "envoy",
            "payments",
            "prod",
        )
        with UnixConnection(files.socket) as connection:
            # What is behind "#" is judged as well: with httptools, it would have been cut off.
            got = connection.ask(b"GET", b"/authorize/charges#/v1", [QUESTION[0], (XFCC, files.two_elements)])
            assert (got.status, got.headers["x-meshid-reason"]) == (403, "unsafe_request")
        assert process.stop(signal.SIGINT) == 0
    lines = [json.loads(line) for line in process.log.splitlines()]
    assert [line["level"] for line in lines] == ["WARNING"]


def test_it_judges_tokens_with_the_keys_of_a_file_and_can_demand_them(files: Files, tmp_path: Path) -> None:
    issuer = TokenIssuer("https://idp.example")
    (tmp_path / "keys.json").write_bytes(issuer.jwks())
    (tmp_path / "policy.toml").write_text(POLICY + ISSUER.format(keys=tmp_path / "keys.json"))
    environ = {**files.environ, "MESHID_POLICY": str(tmp_path / "policy.toml"), "MESHID_TOKENS": "required"}
    token = issuer.mint({"sub": "checkout", "aud": "payments"}).encode()
    with started([MESHID, "authorizer"], environ, tmp_path / "log") as process:
        with UnixConnection(files.socket) as connection:

            def ask(*credentials: bytes) -> tuple[int, str | None]:
                fields = [(b"Authorization", b"Bearer " + each) for each in credentials]
                got = connection.ask(b"GET", b"/authorize", [*QUESTION, *files.leaf, *fields])
                return got.status, got.headers.get("x-meshid-reason")

            assert ask() == (401, "no_token")
            # The keys are read beside, and nobody waits for them.
            assert eventually(lambda: ask(token) == (200, None))
            assert ask(token, token) == (401, "token_malformed")
        assert process.stop() == 0
    assert token.decode() not in process.log


@contextlib.contextmanager
def signals_and_loggers_restored() -> Iterator[None]:
    hangup = signal.getsignal(signal.SIGHUP)
    loggers = [(each, each.handlers, each.level) for each in map(logging.getLogger, ("meshid", "uvicorn"))]
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, hangup)
        for logger, handlers, level in loggers:
            logger.handlers = handlers
            logger.setLevel(level)


def refused(files: Files, *arguments: str, **environment: str) -> str:
    """Return the one line of a command that does not start."""
    environ = {**os.environ, **files.environ, **environment}
    ended = subprocess.run(
        [MESHID, "authorizer", "--quiet", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    return line


class TestWrongSettings:
    @pytest.mark.parametrize(
        ("name", "value", "fault"),
        [
            ("authorizer", "", "authorizer: is not set: where does the proxy ask? Set MESHID_AUTH"),
            ("authorizer", "127.0.0.1:80", "'127.0.0.1:80' is not a Unix socket: write unix:/run/"),
            ("authorizer", "unix:/nowhere/a", "'/nowhere' is not there; make it: install -d -m 0750 -o "),
            ("proxy", "", "proxy: is not set: who asks? Set MESHID_PROXY, such as nginx"),
            ("proxy", "ngnix", "MESHID_PROXY: proxy 'ngnix' is not known; did you mean 'nginx'?"),
            ("proxy", "aws-alb", "aws-alb asks no authorizer"),
            ("service", "", "service: is not set: it is what peers reach through the proxy"),
            ("policy", "", "policy: is not set: nobody would be admitted; set MESHID_POLICY"),
            ("elements", "two", "elements, from variable MESHID_ELEMENTS: 'two' is not a number"),
            ("elements", "2", "elements, from variable MESHID_ELEMENTS: elements is for proxy='envoy' only"),
            ("intermediates", "/nowhere", "intermediates, from variable MESHID_INTERMEDIATES: '/nowhere'"),
        ],
    )  # fmt: skip
    def test_each_is_one_line(  # noqa: PLR0913, PLR0917  # three are fixtures
        self,
        files: Files,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        value: str,
        fault: str,
    ) -> None:
        for each, its in {**files.environ, f"MESHID_{name.upper()}": value}.items():
            monkeypatch.setenv(each, its)
        with signals_and_loggers_restored():
            assert main(["authorizer", "--quiet"]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert fault in said.err

    def test_a_socket_of_systemd_is_not_left_to_wait(
        self, files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for each, its in {**files.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}.items():
            monkeypatch.setenv(each, its)
        assert main(["authorizer"]) == 2
        said = (
            "meshid: systemd hands over a socket, and the authorizer makes its own: remove the .socket unit\n"
        )
        assert capsys.readouterr().err == said

    def test_intermediates_that_are_none_are_told_with_their_file(self, files: Files) -> None:
        file = files.root / "policy.toml"
        assert refused(files, "--intermediates", str(file)).startswith(f"meshid: '{file}': intermediates: ")

    def test_without_uvicorn_the_extra_is_named(self, files: Files) -> None:
        program = (
            "import sys; sys.modules['uvicorn'] = None; from meshid.__main__ import main; sys.exit(main())"
        )
        ended = subprocess.run(
            [sys.executable, "-c", program, "authorizer"],
            env={**os.environ, **files.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr.splitlines()) == (2, [f"meshid: {MissingExtra('authorizer')}"])

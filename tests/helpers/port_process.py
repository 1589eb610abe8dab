"""`meshid port` as a process, with files that it reads and a service behind it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from meshid.testing import CA
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import HOST, TIMEOUT, Service
from tests.helpers.volumes import pair

MESHID = str(Path(sys.executable).with_name("meshid"))

CHECKOUT = "/ns/checkout/sa/api"
"""May reach the service."""

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "checkout"
from = ["/ns/checkout/sa/api"]
to = ["payments"]
"""


def echo(_: Service, plain: socket.socket) -> None:
    """Be the service behind a port."""
    while data := plain.recv(1024):
        plain.sendall(data)


@contextlib.contextmanager
def connected(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """Yield a connection that has reached the service."""
    with socket.create_connection((HOST, port), TIMEOUT) as plain, context.wrap_socket(plain) as tls:
        tls.sendall(b"ping")
        assert tls.recv(100) == b"ping"
        yield tls


class PortFiles:
    """The files and variables of a port for the service ``payments``.

    Args:
        root: Where to write the files.
        ca: Issues its certificate.
    """

    def __init__(self, root: Path, ca: CA) -> None:
        self.root = root
        self.ca = ca
        (root / "tls").mkdir()
        for name, data in pair(ca.issue("/ns/pay/sa/payments")).items():
            (root / "tls" / name).write_bytes(data)
        (root / "prod.pem").write_bytes(ca.pem)
        (root / "policy.toml").write_text(POLICY)
        self.environ = {
            "MESHID_ENVIRONMENT": "prod",
            "MESHID_SERVICE": "payments",
            "MESHID_CREDENTIALS": str(root / "tls"),
            "MESHID_TRUST": f"prod.example.org={root / 'prod.pem'}",
            "MESHID_POLICY": str(root / "policy.toml"),
            "MESHID_PORT": "0",
        }


class PortProcess:
    """A port that runs.

    Args:
        process: Its process.
        log: The file of its standard error.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log
        self.said: list[str] = []

    def next_line(self) -> str:
        """Return the next line of its standard output."""
        assert self.process.stdout is not None
        self.said.append(self.process.stdout.readline())
        return self.said[-1]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def logs(self, text: str) -> bool:
        """Wait until a text is in its log."""
        return eventually(lambda: text in self.log)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    @property
    def port(self) -> int:
        match = re.search(r"listening on [^ ,]*:([0-9]+)", self.said[0])
        assert match, self.log
        return int(match[1])


@contextlib.contextmanager
def started(
    command: Sequence[str],
    environ: dict[str, str],
    log: Path,
    *,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
) -> Iterator[PortProcess]:
    """Start a command, wait for its first line, and end it with the block."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("MESHID")}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            env={**others, **environ},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            pass_fds=pass_fds,
            cwd=cwd,
        ) as process,
    ):
        running = PortProcess(process, log)
        try:
            running.next_line()
            yield running
        finally:
            # Not killed at once: what it has run would not be measured.
            process.terminate()
            try:
                process.wait(TIMEOUT)
            finally:
                process.kill()

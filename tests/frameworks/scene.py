"""A mesh of two trust domains as files, and a server or a client that follows them in a process of its own.

The first half is for the process of a row: `mesh` and `listening`, `free_port`. The second half is the
harness's: it writes the files, starts the process, and changes the files while it runs.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from typing_extensions import override

from meshid import AuditEvent, Mesh
from meshid.sources import refresher
from meshid.sources.files import consistent_read, polled
from meshid.testing import CA, Issued
from meshid.tls.context import MeshContext
from tests.helpers.mounted import eventually
from tests.helpers.processes import UNMEASURED
from tests.helpers.tls_peers import HOST
from tests.helpers.volumes import KubernetesVolume, pair

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0
STOP_SECONDS = 10.0

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["partner.example"]
[[allow]]
id = "checkout"
from = ["/ns/checkout/sa/*", "spiffe://partner.example/ns/checkout/sa/*"]
to = ["payments"]
http = ["GET /v1/charges/*", "POST /v1/charges", "GET /v1/stream", "GET /v1/ws", "POST /shop.Charges/*"]
[[allow]]
id = "web"
from = ["/ns/shop/sa/web"]
to = ["payments"]
http = ["GET /reports/*"]
[[allow]]
id = "raw"
from = ["/ns/checkout/sa/*", "spiffe://partner.example/ns/checkout/sa/*"]
to = ["raw"]
"""
"""Whoever may connect, and what it may ask for; ``web`` may ask for nothing that is here.

``raw`` is the target of a protocol that has no requests: whoever may connect may do all.
"""

NOTHING_DENIED = "version = 1\n"

# -- In the process of a row ----------------------------------------------------


class RowMesh(Mesh):
    """A mesh whose servers give tickets: a session that is resumed must be judged as any other."""

    @override
    def server_context(self, **options: Any) -> MeshContext:
        """Return a context that gives tickets."""
        return super().server_context(**{"resumption": True, **options})


def mesh() -> Mesh:
    """Return the mesh of the variables; it follows its files twenty times a second, and records on file."""
    polled.POLL_SECONDS = refresher.TICK_SECONDS = 0.05
    consistent_read.SETTLING_SECONDS = 0.01
    return RowMesh.from_env(audit=functools.partial(_write, Path(os.environ["ROW_AUDIT"])))


def _write(file: Path, event: AuditEvent) -> None:
    decision = event.decision
    line = {
        "call": event.call,
        "allowed": decision.allowed,
        "reason": decision.reason,
        "name": decision.name,
        "request": decision.request,
    }
    append(file, json.dumps(line))


def append(file: Path, line: str) -> None:
    """Add a line at once: several processes may write to the same file."""
    with file.open("ab", buffering=0) as stream:
        stream.write(f"{line}\n".encode())


def options() -> dict[str, Any]:
    """Return the options of the row, for a module that several rows run."""
    found: dict[str, Any] = json.loads(os.environ.get("ROW_OPTIONS", "{}"))
    return found


def free_port() -> int:
    """Return a port for a server that cannot tell which one it got."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def listening(port: int) -> None:
    """Tell the harness the port."""
    sys.stdout.write(f"port {port}\n")
    sys.stdout.flush()


# -- The harness ----------------------------------------------------------------


class Scene:
    """The files of the service ``payments``, and its peers.

    Args:
        root: An empty directory.

    Attributes:
        ca: The authority of prod.example.org.
        second: Another authority of it, which can be removed.
        partner: The authority of partner.example, which is trusted for its own names.
        stranger: An authority of prod.example.org that nobody trusts.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ca, self.partner = CA("prod.example.org"), CA("partner.example")
        self.second = CA("prod.example.org", subject="CN=second,O=prod")
        self.stranger = CA("prod.example.org", subject="CN=stranger,O=prod")
        self.log, self.audit = root / "application.log", root / "audit.log"
        self.log.touch()
        self.audit.touch()
        self._own = KubernetesVolume(root / "tls", pair(self.issue_own()))
        self.trust(self.ca, self.second)
        (root / "partner.pem").write_bytes(self.partner.pem)
        self.policy(POLICY)
        self.deny()

    def issue_own(self) -> Issued:
        """Issue a certificate of the service; it has a DNS name as well, for clients that want one."""
        return self.ca.issue("/ns/pay/sa/payments", dns=["localhost"])

    def renew(self) -> bytes:
        """Rotate the service's own certificate; return the new leaf."""
        issued = self.issue_own()
        self._own.swap(pair(issued))
        return issued.chain[0]

    def trust(self, *authorities: CA) -> None:
        """Trust these authorities of prod.example.org, and no others."""
        self._replace("prod.pem", b"".join(each.pem for each in authorities))

    def policy(self, toml: str) -> None:
        """Put a policy in place."""
        self._replace("policy.toml", toml.encode())

    def deny(self, *names: str) -> None:
        """Deny these SPIFFE IDs, and no others."""
        entries = "".join(f'[[deny]]\npeer = "{name}"\n' for name in names)
        self._replace("deny.toml", (NOTHING_DENIED + entries).encode())

    def environ(self) -> dict[str, str]:
        """Return the environment of a process that follows the files."""
        root = self.root
        return UNMEASURED | {
            "PYTHONUNBUFFERED": "1",
            "MESHID_ENVIRONMENT": "prod",
            "MESHID_SERVICE": "payments",
            "MESHID_CREDENTIALS": str(root / "tls"),
            "MESHID_TRUST": f"prod.example.org={root}/prod.pem,partner.example={root}/partner.pem",
            "MESHID_POLICY": str(root / "policy.toml"),
            "MESHID_DENY": str(root / "deny.toml"),
            "ROW_LOG": str(self.log),
            "ROW_AUDIT": str(self.audit),
        }

    def requests(self) -> list[tuple[str, str, str]]:
        """Return what reached the application: method, path and peer, each as it saw them."""
        lines = self.log.read_text("utf-8").splitlines()
        return [(method, path, peer) for method, path, peer in (line.split(" ") for line in lines)]

    def decisions(self) -> list[dict[str, Any]]:
        """Return the decisions so far."""
        return [json.loads(line) for line in self.audit.read_text("utf-8").splitlines()]

    def _replace(self, name: str, content: bytes) -> None:
        new = self.root / f"{name}.new"
        new.write_bytes(content)
        new.replace(self.root / name)


@attrs.frozen
class Row:
    """A process that runs.

    Attributes:
        scene: What it follows.
        process: It, the leader of a group of its own.
        port: Where it listens; 0 for a client.
    """

    scene: Scene
    process: subprocess.Popen[bytes]
    port: int

    def descriptors(self) -> int:
        """Count the open files of its whole group."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in _group(self.process.pid))

    def said(self) -> str:
        """Return what it wrote to stdout and stderr."""
        return (self.scene.root / "output").read_text("utf-8", "replace")


class DidNotStart(Exception):
    """The process ended, or did not listen in time; with all that it said."""


@contextlib.contextmanager
def running(scene: Scene, module: str, **environ: str) -> Iterator[Row]:
    """Run a server until the end of the block; no process of its group is left.

    Args:
        scene: What it follows.
        module: The module to run.
        environ: Further variables.

    Raises:
        DidNotStart: If it does not listen in time.
    """
    output = scene.root / "output"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=scene.environ() | environ,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Row(scene, process, _port_of(process, output))
    finally:
        _stop(process, output)


def _port_of(process: subprocess.Popen[bytes], output: Path) -> int:
    def told() -> list[bytes]:
        lines = output.read_bytes().splitlines()
        return [line for line in lines if line.startswith(b"port ")]

    eventually(lambda: told() or process.poll() is not None, START_SECONDS)
    if ports := told():
        port = int(ports[0].split()[1])
        if eventually(lambda: _accepts(port) or process.poll() is not None, START_SECONDS) and _accepts(port):
            return port
    raise DidNotStart(output.read_text("utf-8", "replace"))


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), 1):
            return True
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes], output: Path) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired as error:
        msg = f"it does not stop on SIGTERM; it said:\n{output.read_text('utf-8', 'replace')}"
        raise AssertionError(msg) from error
    finally:
        # Workers end a moment after their parent.
        gone = eventually(lambda: not _group(process.pid), STOP_SECONDS)
        if not gone:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert gone, "a process of its group was left"


def _group(leader: int) -> list[int]:
    """Return the processes of a group that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # It may be gone by now. The name, in parentheses, may have spaces.
        with contextlib.suppress(OSError):
            state, _, group, *_ = stat.read_text().rpartition(")")[2].split()
            if int(group) == leader and state != "Z":
                found.append(int(stat.parent.name))
    return found

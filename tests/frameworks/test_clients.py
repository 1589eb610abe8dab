"""The battery, for every client of the table: a wrong server hears nothing."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import ssl
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from meshid import Mesh, Reason, Revocations, peer_of, refusal_of
from meshid.port import MeshPort
from meshid.testing import CA, Issued
from tests.frameworks.results import ROOT, Value
from tests.frameworks.results import Recorder as Results
from tests.frameworks.rows import CLIENTS, ClientRow
from tests.helpers.ports import running_port
from tests.helpers.processes import UNMEASURED
from tests.helpers.recording import Recorder, recording
from tests.helpers.tls_peers import Heard, mesh_of

# Each process of the tests collects this module, and a dozen libraries take seconds to import.
if TYPE_CHECKING:
    from tests.frameworks.clients.kinds import Ask
    from tests.frameworks.clients.trials import Trial

EXPECT = "/ns/payments/sa/api"
CALLER = "/ns/shop/sa/web"
ANSWER = "hello"
NAME = f"spiffe://prod.example.org{EXPECT}"

Wrong = Mapping[str, tuple[Issued, Reason]]
"""Servers that are refused, by what is wrong with them, and the reason."""


@attrs.define
class Scene:
    """A client and its servers.

    Attributes:
        trial: The client.
        ca: The authority of both.
        heard: What the client's mesh decides.
        mesh: The client's mesh.
    """

    trial: Trial
    ca: CA
    heard: Heard
    mesh: Mesh

    @classmethod
    def of(cls, trial: Trial, ca: CA) -> Scene:
        """Make one."""
        heard = Heard()
        return cls(trial, ca, heard, mesh_of(ca, credentials=ca.issue(CALLER).svid, audit=heard))

    @contextlib.contextmanager
    def right_server(self) -> Iterator[Recorder]:
        """Run the server that is expected."""
        speech = self.trial.speech
        mesh = mesh_of(self.ca, credentials=self.ca.issue(EXPECT).svid)
        context = mesh.server_context(alpn=speech.alpn)
        with recording(context, speech.dialogue, speech.before_tls) as server:
            yield server

    @contextlib.contextmanager
    def wrong_server(self, issued: Issued) -> Iterator[Recorder]:
        """Run one that presents something else, and takes whatever it is told."""
        speech = self.trial.speech
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(list(speech.alpn))
        issued.load_into(context)
        with recording(context, speech.tempt, speech.before_tls) as server:
            yield server

    @contextlib.contextmanager
    def client(self, port: int) -> Iterator[Ask]:
        """Make the client, for a server."""
        context = self.mesh.client_context(EXPECT, alpn=self.trial.speech.alpn)
        with contextlib.ExitStack() as stack:
            if self.trial.by_port:
                between = MeshPort(self.mesh, f"localhost:{port}", client=True, expect=EXPECT)
                port = stack.enter_context(running_port(between)).number
            yield stack.enter_context(self.trial.client(context, port))

    def refused(self, server: Recorder, reason: Reason) -> BaseException:
        """Ask a server that is refused, and return what the user sees."""
        try:
            with self.client(server.port) as ask:
                answer, _ = ask()
        except Exception as error:  # noqa: BLE001 - each library has its own
            self.is_refusal(error, reason)
            return error
        pytest.fail(f"it was answered: {answer!r}")

    def is_refusal(self, error: BaseException, reason: Reason) -> None:
        """Check what the user sees, and what our record says."""
        refusal = refusal_of(error)
        assert (refusal is not None) == self.trial.tells, f"{error!r} leads to {refusal!r}"
        assert refusal is None or refusal.reason is reason
        assert reason in self.heard.of_handshakes()


def right(scene: Scene) -> dict[str, Value]:
    """The right server answers; where the library shows its connection, we are told who it is."""
    with scene.right_server() as server, scene.client(server.port) as ask:
        answer, shown = ask()
        assert answer == ANSWER
        if scene.trial.peer is not None:
            assert str(peer_of(shown).spiffe_id) == NAME
    assert server.requests
    return {"right": "yes", "peer": f"`peer_of({scene.trial.peer})`" if scene.trial.peer else "-"}


def wrong(scene: Scene, wrong_servers: Wrong) -> dict[str, Value]:
    """No wrong server hears a byte of a request, and it is asked as often as the row says."""
    seen: dict[str, Value] = {}
    for fault, (issued, reason) in wrong_servers.items():
        with scene.wrong_server(issued) as server:
            error = scene.refused(server, reason)
        assert server.received == b""
        assert b"charge" not in server.plain
        assert server.connections == (scene.trial.handshakes or server.connections)
        seen[fault] = f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}"
    return {
        "wrong_name": seen["name"],
        "wrong_ca": seen["authority"],
        "bytes": 0,
        "refusal": "`refusal_of(error)`" if scene.trial.tells else "our log",
        "retries": "until it gives up" if scene.trial.handshakes is None else scene.trial.handshakes - 1,
    }


def rotation(scene: Scene) -> dict[str, Value]:
    """A kept connection goes on, a new one shows the new certificate, and a revoked server hears no more."""
    trial = scene.trial
    with scene.right_server() as server, contextlib.ExitStack() as clients:
        ask = clients.enter_context(scene.client(server.port))
        assert ask()[0] == ANSWER
        first = server.connections
        renewed = scene.ca.issue(CALLER)
        scene.mesh.publish(credentials=renewed.svid)
        assert ask()[0] == ANSWER
        kept = server.connections == first
        assert kept or not trial.pools
        if not trial.pools:
            ask = clients.enter_context(scene.client(server.port))
        else:
            server.hang_up()
        assert _answer_after_a_loss(ask) == ANSWER
        assert server.presented[-1] == renewed.chain[0]
        said = len(server.requests)
        scene.mesh.publish(revocations=Revocations(deny=[NAME]))
        with pytest.raises(Exception):  # noqa: B017, PT011 - each library has its own
            ask()
        scene.refused(server, Reason.DENY_LISTED)
        assert len(server.requests) == said
    return {"rotation": "kept, then the new certificate" if kept else "the new certificate"}


def _answer_after_a_loss(ask: Ask) -> object:
    """Ask once more where the library tells its user that the kept connection has gone."""
    try:
        return ask()[0]
    except Exception as error:  # noqa: BLE001 - each library has its own
        assert refusal_of(error) is None
        return ask()[0]


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA("prod.example.org")


@pytest.fixture(scope="module")
def wrong_servers(ca: CA) -> Wrong:
    past = datetime.now(UTC) - timedelta(hours=1)
    names = ["localhost"]
    return {
        "name": (ca.issue("/ns/other/sa/api", dns=names), Reason.UNEXPECTED_SERVER),
        "authority": (CA("dev.example.org").issue(NAME, dns=names), Reason.UNKNOWN_AUTHORITY),
        "forged": (CA("prod.example.org").issue(EXPECT, dns=names), Reason.UNKNOWN_AUTHORITY),
        "expired": (
            ca.issue(EXPECT, dns=names, not_before=past - timedelta(hours=1), not_after=past),
            Reason.EXPIRED,
        ),
    }


@pytest.mark.parametrize("row", [row for row in CLIENTS if not row.fails], ids=lambda row: row.name)
def test_a_client_does_what_its_row_says(
    row: ClientRow, ca: CA, wrong_servers: Wrong, recorder: Results
) -> None:
    from tests.frameworks.clients.trials import TRIALS  # noqa: PLC0415  # see above

    trial = TRIALS[row.name]
    scene = Scene.of(trial, ca)
    with warnings.catch_warnings():
        if trial.leaves_sockets:
            warnings.simplefilter("ignore", ResourceWarning)
        values = right(scene) | wrong(scene, wrong_servers) | rotation(scene)
        if trial.leaves_sockets:
            gc.collect()
    recorder.record(row, values)


def test_each_row_is_tried() -> None:
    from tests.frameworks.clients.trials import TRIALS  # noqa: PLC0415  # see above

    assert {row.name for row in CLIENTS if not row.fails} == TRIALS.keys()


@pytest.mark.parametrize("row", [row for row in CLIENTS if row.fails], ids=lambda row: row.name)
def test_niquests_does_not_ask_who_the_server_is(row: ClientRow, recorder: Results) -> None:
    assert "NIQUESTS_PYTHON" in os.environ, "it needs an environment of its own: run make frameworks"
    command = [os.environ["NIQUESTS_PYTHON"], "-m", "tests.frameworks.clients.niquests_client"]
    ran = subprocess.run(command, cwd=ROOT, env=UNMEASURED, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    values = json.loads(ran.stdout)
    assert values["bytes"] > 0, "it works now: let its row say so"
    recorder.record(row, values)

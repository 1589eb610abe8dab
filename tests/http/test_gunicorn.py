"""gunicorn with the file of docs/wsgi.md, and with workers that ignore it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.frameworks.gunicorn import gunicorn_conf
from tests.frameworks.scene import ROOT, Scene, running
from tests.helpers.mounted import eventually
from tests.helpers.proxy_scene import Line
from tests.helpers.tls_peers import HOST, stranger

GOOD = "/ns/checkout/sa/good"
CHARGE, HEALTH = "/v1/charges/7", "/healthz"

pytestmark = pytest.mark.slow


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize(("row", "tls"), [("gunicorn_uvicorn", True), ("gunicorn_plain", False)])
def test_what_ignores_the_hook_serves_nobody(scene: Scene, row: str, *, tls: bool) -> None:
    """Its handshakes, if there are any, let everybody in; only what is public is served."""
    good, anybody = stranger(scene.ca.issue(GOOD)), stranger(None)
    with running(scene, f"tests.frameworks.servers.{row}") as process:
        for context in (good, anybody) if tls else (None,):
            for path, status in ((CHARGE, 403), (HEALTH, 200)):
                with Line(process.port, context) as line:
                    assert line.ask("GET", path).status == status
    assert {path for _, path, _ in scene.requests()} == {HEALTH}


def test_with_our_file_such_a_worker_never_serves(scene: Scene) -> None:
    """The file is no certificate."""
    config, said = scene.root / "gunicorn.conf.py", scene.root / "said"
    config.write_text(gunicorn_conf())
    command = (
        f"gunicorn --no-control-socket --bind {HOST}:0 --chdir tests/frameworks/gunicorn --config {config}"
    )
    with (
        said.open("wb") as stream,
        subprocess.Popen(
            [sys.executable, "-m", *command.split(), "-k", "uvicorn.workers.UvicornWorker", "asgi_app:app"],
            cwd=ROOT,
            env=scene.environ(),
            stderr=stream,
        ) as process,
    ):
        assert eventually(lambda: "ssl.SSLError" in said.read_text(), 30)
        process.terminate()


def test_workers_of_one_server_follow_the_files(scene: Scene) -> None:
    """Each has a mesh of its own, and a client that chooses what is routed is refused by each."""
    good = scene.ca.issue(GOOD)
    context = stranger(good)

    def status(*headers: tuple[str, str]) -> int:
        with Line(process.port, context) as line:
            return line.ask("GET", CHARGE, headers).status

    with running(
        scene, "tests.frameworks.servers.gunicorn_gthread", GUNICORN_CMD_ARGS="--workers 2"
    ) as process:
        assert status() == 200
        assert status(("SCRIPT_NAME", "/v1")) == 403
        scene.deny(f"spiffe://prod.example.org{GOOD}")
        # Whichever of the two it is that answers.
        assert eventually(lambda: {status() for _ in range(10)} == {0})
        scene.deny()
        assert eventually(lambda: {status() for _ in range(10)} == {200})
    assert "Traceback" not in process.said()
    assert {(path, peer) for _, path, peer in scene.requests()} == {
        (CHARGE, f"spiffe://prod.example.org{GOOD}")
    }

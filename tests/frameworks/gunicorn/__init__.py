"""gunicorn, as its users start it, with the file of docs/wsgi.md."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.frameworks import scene
from tests.helpers.tls_peers import HOST

HERE = Path(__file__).parent


def become_gunicorn(*options: str, config: str = "gunicorn.conf.py", app: str = "app:app") -> None:
    """Let gunicorn take the place of this process."""
    port = scene.free_port()
    scene.listening(port)
    command = ["gunicorn", "--chdir", str(HERE), "--config", str(HERE / config), "--bind", f"{HOST}:{port}"]
    os.execv(sys.executable, [sys.executable, "-m", *command, *options, app])  # noqa: S606 - no shell

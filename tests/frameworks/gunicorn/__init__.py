"""gunicorn, as its users start it: with the file of docs/wsgi.md."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from tests.frameworks import scene
from tests.helpers.tls_peers import HOST

PATCHED = "from gevent import monkey\nmonkey.patch_all()\n"
"""What the file begins with where the application is loaded before gunicorn patches its workers."""


def gunicorn_conf() -> str:
    """Return the file, as it is on the page."""
    page = (scene.ROOT / "docs/wsgi.md").read_text("utf-8")
    found = re.search(r"^```python file=gunicorn\.conf\.py\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def conf_with_a_certificate() -> str:
    """Return the file with a real certificate, for workers that ignore its hook."""
    files = Path(os.environ["MESHID_CREDENTIALS"])
    given = f"certfile = {str(files / 'tls.crt')!r}\nkeyfile = {str(files / 'tls.key')!r}\n"
    return given + gunicorn_conf().replace("certfile", "unused")


def become_gunicorn(*options: str, config: str = "", app: str = "app:app") -> None:
    """Let gunicorn take the place of this process."""
    file = Path(os.environ["ROW_LOG"]).with_name("gunicorn.conf.py")
    file.write_text(config or gunicorn_conf(), "utf-8")
    port = scene.free_port()
    scene.listening(port)
    here = ["--chdir", str(Path(__file__).parent), "--config", str(file), "--bind", f"{HOST}:{port}"]
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", *here, *options, app]
    os.execv(sys.executable, command)  # noqa: S606 - no shell

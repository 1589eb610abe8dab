"""How the tests start real proxies: what fails says why, and nothing is left behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.helpers.proxies import NGINX, Program, documented, reserved_port, running_nginx, running_proxy

ENDS = "import sys; print('no such directive', file=sys.stderr); sys.exit(3)"
LEAVES_A_CHILD = """
import os, socket, sys, time
if os.fork() == 0:
    time.sleep(100)
socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(100)
"""


@pytest.mark.parametrize("path", [None, Path("/nowhere/nginx")], ids=["not found", "gone"])
def test_a_program_that_is_missing_is_a_failure_that_says_how_to_install_it(path: Path | None) -> None:
    with pytest.raises(AssertionError, match="not installed; run: apt-get install nginx"):
        Program(lambda: path, "apt-get install nginx").path()


def test_a_proxy_that_does_not_start_is_a_failure_with_what_it_said(tmp_path: Path) -> None:
    with (
        reserved_port() as port,
        pytest.raises(AssertionError, match="status 3") as caught,
        running_proxy([sys.executable, "-c", ENDS], port, tmp_path),
    ):
        pass
    assert "no such directive" in caught.value.__notes__[0]


def test_a_process_that_a_proxy_leaves_behind_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.helpers.proxies.STOP_SECONDS", 0.2)
    with (
        reserved_port() as port,
        pytest.raises(AssertionError, match="left processes behind"),
        running_proxy([sys.executable, "-c", LEAVES_A_CHILD, str(port)], port, tmp_path),
    ):
        pass


@pytest.mark.parametrize("nginx", NGINX.values(), ids=list(NGINX))
def test_two_proxies_never_get_one_port(nginx: Program, tmp_path: Path) -> None:
    with reserved_port() as one, reserved_port() as other:
        assert one != other
        for port in (one, other):
            with running_nginx(nginx, f"server {{ listen 127.0.0.1:{port}; }}", port, tmp_path):
                pass


def test_a_block_is_found_by_its_first_line() -> None:
    with pytest.raises(AssertionError, match="0 blocks"):
        documented("policy", "no block begins like this")

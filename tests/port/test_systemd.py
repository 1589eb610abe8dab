"""What systemd hands over, and what it is told, over real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.errors import InvalidInput
from meshid.port.systemd import READY, listening_sockets, notify
from tests.helpers.activation import activated
from tests.helpers.tls_peers import HOST

PROGRAM = """
import os, sys
from meshid.errors import InvalidInput
from meshid.port.systemd import listening_sockets
try:
    for each in listening_sockets(os.environ):
        print(each.getsockname()[1], each.getblocking(), each.get_inheritable())
        each.close()
except InvalidInput as error:
    print(error)
"""


def handed(*sockets: socket.socket, number: int | None = None, pid: str = "") -> list[str]:
    """Start a process as systemd does; return what it says of the sockets that it was handed."""
    ended = subprocess.run(
        activated([sys.executable, "-c", PROGRAM], *sockets, pid=pid),
        env={**os.environ, "LISTEN_FDS": str(len(sockets) if number is None else number)},
        pass_fds=[each.fileno() for each in sockets],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as listening:
        yield listening


class TestSockets:
    def test_they_are_those_of_systemd(self, listener: socket.socket) -> None:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
            ports = [each.getsockname()[1] for each in (listener, other)]
            assert handed(listener, other) == [f"{port} False False" for port in ports]

    def test_those_of_a_parent_are_not_ours(self, listener: socket.socket) -> None:
        assert handed(listener, pid="1") == []

    def test_none_are_handed_over(self) -> None:
        assert listening_sockets({}) == []

    @pytest.mark.parametrize("number", ["", "x", "-1", "65", "9" * 5000, "٣"])
    def test_a_number_that_is_none(self, number: str) -> None:
        with pytest.raises(InvalidInput, match="it must be a number of sockets, at most 64"):
            listening_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": number})

    def test_a_descriptor_that_is_closed(self, listener: socket.socket) -> None:
        (said,) = handed(listener, number=2)
        assert said == "file descriptor 4, from LISTEN_FDS, is no socket: Bad file descriptor"

    @pytest.mark.parametrize("kind", ["datagrams", "a Unix socket", "a connection"])
    def test_what_no_port_can_listen_on(self, kind: str) -> None:
        families = {
            "datagrams": socket.AF_INET,
            "a Unix socket": socket.AF_UNIX,
            "a connection": socket.AF_INET,
        }
        types = {"datagrams": socket.SOCK_DGRAM}
        with socket.socket(families[kind], types.get(kind, socket.SOCK_STREAM)) as handed_over:
            (said,) = handed(handed_over)
        assert said.startswith(
            "file descriptor 3, from LISTEN_FDS, is no TCP socket that listens: write Listen"
        )


class TestNotify:
    @pytest.fixture
    def systemd(self, tmp_path: Path) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(str(tmp_path / "notify"))
            yield listening

    def test_a_state_is_a_datagram(self, systemd: socket.socket) -> None:
        assert notify({"NOTIFY_SOCKET": systemd.getsockname()}, READY, "STATUS=two\nlines")
        assert systemd.recv(100) == b"READY=1\nSTATUS=two lines"

    def test_the_name_may_be_abstract(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind("")
            name = listening.getsockname()
            assert isinstance(name, bytes)
            assert name.startswith(b"\0")
            assert notify({"NOTIFY_SOCKET": f"@{name[1:].decode()}"}, READY)
            assert listening.recv(100) == b"READY=1"

    @pytest.mark.parametrize("address", ["", "vsock:2:3", "relative", "/gone", "@gone", "/" + "x" * 200])
    def test_nobody_listens(self, address: str) -> None:
        assert not notify({"NOTIFY_SOCKET": address}, READY)

    def test_a_full_queue_holds_up_nothing(self, systemd: socket.socket) -> None:
        environ = {"NOTIFY_SOCKET": systemd.getsockname()}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sending.sendto(b"x", systemd.getsockname())
            assert not notify(environ, READY)

    @given(st.text())
    def test_whatever_is_in_a_status_is_one_line_of_it(self, text: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind("")
            notify({"NOTIFY_SOCKET": f"@{listening.getsockname()[1:].decode()}"}, f"STATUS={text}")
            assert b"\n" not in listening.recv(10_000)

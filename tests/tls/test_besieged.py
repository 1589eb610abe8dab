"""2 000 clients that say nothing and 500 that stop half-way do not keep a good client waiting."""

from __future__ import annotations

import contextlib
import http.client
import logging
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshid.testing import CA
from meshid.tls.handshakes import MAX_HANDSHAKES
from tests.helpers.besieged import SERVERS
from tests.helpers.mounted import eventually
from tests.helpers.processes import UNMEASURED
from tests.helpers.tls_peers import HELLO, HOST, PATH, TIMEOUT, client_hello, stranger

FIGURES = logging.getLogger(__name__)
"""Shown by `pytest --log-cli-level=INFO`."""

SILENT, HALF = 2000, 500
SECONDS = 5.0
"""The deadline of a handshake."""


@contextlib.contextmanager
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Besieged:
    """The server's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        (self.port,) = map(int, self._stdout.readline().split())

    def size(self) -> tuple[int, int]:
        """Return its memory in kB, and its number of descriptors."""
        self._stdin.write("\n")
        self._stdin.flush()
        memory, descriptors = map(int, self._stdout.readline().split())
        return memory, descriptors


def seconds_of_a_request(port: int, client: ssl.SSLContext) -> float:
    began = time.monotonic()
    connection = http.client.HTTPSConnection(HOST, port, context=client, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        assert connection.getresponse().read() == HELLO
    return time.monotonic() - began


def is_over(client: socket.socket) -> bool:
    try:
        return client.recv(4096, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_a_good_client_is_served_within_a_second(kind: str, prod_ca: CA, tmp_path: Path) -> None:
    own = prod_ca.issue("/ns/pay/sa/payments").svid
    (tmp_path / "own.pem").write_bytes(own.key_pem() + own.chain_pem())
    (tmp_path / "trusted.pem").write_bytes(prod_ca.pem)
    good, half = stranger(prod_ca.issue(PATH)), client_hello()
    arguments = [kind, str(SECONDS), str(tmp_path / "own.pem"), str(tmp_path / "trusted.pem")]
    with (
        many_descriptors(),
        subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.besieged", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=UNMEASURED,
            text=True,
        ) as process,
        # Last, so that it kills the process before anybody waits for it.
        contextlib.ExitStack() as held,
    ):
        held.callback(process.kill)
        server, clients, waited = Besieged(process), [], []
        seconds_of_a_request(server.port, good)
        memory, descriptors = server.size()
        for number in range(SILENT + HALF):
            client = held.enter_context(socket.create_connection((HOST, server.port), TIMEOUT))
            clients.append(client)
            # A fifth stops after the whole first message, or goes on byte by byte below.
            if number % 5 == 0:
                client.sendall(half if number % 10 else half[:1])
            if number % 250 == 0:
                waited.append(seconds_of_a_request(server.port, good))
        waited.append(seconds_of_a_request(server.port, good))
        besieged_memory, besieged_descriptors = server.size()
        FIGURES.info("%s: %d kB, besieged %d kB", kind, memory, besieged_memory)
        FIGURES.info("good clients: %s s", [round(each, 3) for each in waited])
        # Not the longest: the machine of the tests may be busy with something else.
        assert statistics.median(waited) < 1
        assert besieged_descriptors - descriptors <= MAX_HANDSHAKES + 10

        def all_are_over() -> bool:
            for client in clients[::10]:
                with contextlib.suppress(OSError):
                    client.send(half[1:2], socket.MSG_DONTWAIT)
            clients[:] = [client for client in clients if not is_over(client)]
            return not clients

        began = time.monotonic()
        assert eventually(all_are_over, 3 * SECONDS)
        FIGURES.info("all gone %.1f s after the last came", time.monotonic() - began)
        assert eventually(lambda: server.size()[1] <= descriptors)
        assert seconds_of_a_request(server.port, good) < 1
        FIGURES.info("afterwards %d kB", server.size()[0])

"""gevent: a process that is monkey-patched, and gevent's servers in one that is not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent.socket
import pytest
from gevent.pywsgi import WSGIServer

from meshid import Mesh, Reason, Revocations
from meshid.testing import CA
from tests.helpers.lines import goes_on, is_ended, line
from tests.helpers.loops import gevent_server, serve_until_stopped
from tests.helpers.processes import UNMEASURED
from tests.helpers.tls_peers import (
    HELLO,
    HOST,
    PATH,
    TIMEOUT,
    Heard,
    Service,
    Started,
    knock,
    running,
    stranger,
)

ROOT = Path(__file__).parents[2]

PATCHED = """
from gevent import monkey
monkey.patch_all()
import pytest, sys
sys.exit(pytest.main(sys.argv[1:]))
"""


@contextlib.contextmanager
def web_server(context: ssl.SSLContext) -> Iterator[Service]:
    """Serve pages with gevent's own server, in a process that is not patched."""

    def serve(service: Service, started: Started) -> None:
        def application(environ: dict[str, object], start_response: Callable[..., object]) -> list[bytes]:
            service.seen.append(str(environ["PATH_INFO"]).encode())
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"welcome"]

        server = WSGIServer((HOST, 0), application, ssl_context=context, log=None, error_log=None)
        serve_until_stopped(server, service, started)

    with running(serve) as service:
        yield service


def get(tls: ssl.SSLSocket, path: str) -> bytes:
    tls.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"welcome") and (received := tls.recv(1024)):
        answer += received
    return answer


def test_its_web_server_serves_a_peer_until_it_is_removed(mesh: Mesh, prod_ca: CA) -> None:
    with (
        web_server(mesh.server_context()) as service,
        socket.create_connection((HOST, service.port), TIMEOUT) as plain,
        stranger(prod_ca.issue(PATH)).wrap_socket(plain) as tls,
    ):
        assert get(tls, "/one").startswith(b"HTTP/1.1 200")
        mesh.publish(revocations=Revocations(deny=[f"spiffe://prod.example.org{PATH}"]))
        assert is_ended(tls)
        assert service.seen == [b"/one"]


def test_its_web_server_never_sees_a_stranger(mesh: Mesh, heard: Heard) -> None:
    forged = stranger(CA("prod.example.org").issue(PATH))
    with web_server(mesh.server_context()) as service:
        assert knock(service.port, forged, hello=b"GET / HTTP/1.0\r\n\r\n").answer == b""
        assert heard.reason() is Reason.UNKNOWN_AUTHORITY
    assert service.seen == []


def test_a_silent_client_does_not_block_the_hub(mesh: Mesh, prod_ca: CA) -> None:
    """A standard TLS socket made of one of gevent's would: it waits in the thread."""
    with (
        gevent_server(mesh.server_context()) as service,
        socket.create_connection((HOST, service.port), TIMEOUT),
        line(service.port, stranger(prod_ca.issue(PATH))) as tls,
    ):
        assert goes_on(tls)


def test_a_listening_socket_is_wrapped_as_well(mesh: Mesh, prod_ca: CA) -> None:
    def serve(service: Service, started: Started) -> None:
        with gevent.socket.socket() as listening:
            listening.bind((HOST, 0))
            listening.listen()
            with mesh.server_context().wrap_socket(listening, server_side=True) as listener:
                service.port = listener.getsockname()[1]
                started.put(lambda: None)
                tls, _ = listener.accept()
                with tls:
                    tls.sendall(tls.recv(100))
        gevent.get_hub().destroy(destroy_loop=True)

    with running(serve) as service:
        assert knock(service.port, stranger(prod_ca.issue(PATH))).answer == HELLO


@pytest.mark.slow
def test_what_holds_for_threads_holds_in_a_patched_process() -> None:
    files = ["connections", "handshakes", "open_connections", "reviews"]
    unfit = "asyncio or uvloop or trio or gevent or fork"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow", "-k", f"not ({unfit})"]
    done = subprocess.run(
        [sys.executable, "-c", PATCHED, *options, *(f"tests/tls/test_{name}.py" for name in files)],
        cwd=ROOT,
        env=UNMEASURED,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
